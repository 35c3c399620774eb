# SPDX-License-Identifier: Apache-2.0
"""Products by weights of 2, 4 and 8 bits that are unpacked where they are used, at every level of x86-64 and on other
processors under an emulator, against NumPy.

At one level each batch and number of threads must give the same bits. Against the sum in float64 an answer may differ by
some roundings of the sum of magnitudes: the digits of the levels that multiply bytes keep as much.
"""

import subprocess

import levels as kit
import numpy as np
import onnx
import pytest
from levels import OTHERS, TAMIS, is_x86, run, run_elsewhere, runner  # noqa: F401
from onnx import TensorProto, helper, numpy_helper

ROWS = [1, 4, 7, 49, 101]
ROUNDINGS = 16 * np.finfo(np.float32).eps
TYPES = {
    "u8": (8, 0, TensorProto.UINT8),
    "i8": (8, -128, TensorProto.INT8),
    "u4": (4, 0, TensorProto.UINT4),
    "i4": (4, -8, TensorProto.INT4),
    "u2": (2, 0, TensorProto.UINT2),
    "i2": (2, -2, TensorProto.INT2),
}

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def levels():
    return kit.levels("x86-64-v3", "x86-64-v4", "x86-64-v4-vnni")


class Weights:
    """A matrix [depth, columns] of a packed type; block 0: a scale for each column, -1: one for all."""

    def __init__(self, random, kind, depth, columns, block, zeros="some", turned=False):
        bits, low, self.type = TYPES[kind]
        self.q = random.integers(low, low + (1 << bits), (depth, columns))
        dims = {0: (columns,), -1: ()}.get(block, (-(-depth // max(block, 1)), columns))
        self.scale = random.uniform(0.005, 0.02, dims).astype(np.float32)
        self.zero = {"some": random.integers(low, low + (1 << bits), dims), "one": np.full(dims, low + 1), "none": None}[zeros]
        spread = [v if block <= 0 or v is None else np.repeat(v, block, 0)[:depth] for v in (self.scale, self.zero)]
        self.values = (self.q - (0 if spread[1] is None else spread[1])) * spread[0].astype(float)
        self.block, self.turned = block, turned

    def scale_spread(self, scale):
        return np.repeat(scale.astype(float), self.block, 0)[: len(self.q)] if self.block > 0 else scale.astype(float)

    def add(self, nodes, constants, name):
        tensors = {"q": self.q, "s": self.scale, "z": self.zero}
        for part, value in tensors.items():
            if value is None:
                continue
            value = value.T if self.turned else value
            kind = TensorProto.FLOAT if part == "s" else self.type
            constants.append(helper.make_tensor(name + part, kind, value.shape, value.flatten()))
        names = [name + part for part, value in tensors.items() if value is not None]
        axis = {True: 0, False: 1}[(self.block > 0) != self.turned]
        more = {"block_size": self.block} if self.block > 0 else {}
        nodes.append(helper.make_node("DequantizeLinear", names, [name], axis=axis, **more))
        return name


class Model:
    """What levels.run_elsewhere needs: x [rows, depth] -> y."""

    options = ()

    def __init__(self, depth, nodes, constants, x="x", y="y", kind=TensorProto.FLOAT):
        self.parts = (depth, nodes, constants, x, y, kind)

    def save(self, path, symbolic=True):
        depth, nodes, constants, x, y, kind = self.parts
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(x, kind, ["rows", depth])],
                                  [helper.make_tensor_value_info(y, kind, None)], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13), path)

    def compile(self, folder, *options):
        self.save(folder / "m.onnx")
        subprocess.run([TAMIS, "compile", folder / "m.onnx", "-o", folder / "m.so", *options], check=True)
        return folder / "m.so"


def product(weights, bias=None, activation=None):
    """MatMul, or Gemm for weights that lie turned; its bias; what is elementwise behind it."""
    nodes, constants = [], []
    inputs = ["x", weights.add(nodes, constants, "w")]
    if bias is not None:
        constants.append(numpy_helper.from_array(bias, "b"))
    if weights.turned:
        nodes.append(helper.make_node("Gemm", inputs + ["b"] * (bias is not None), ["p"], transB=1))
    else:
        nodes.append(helper.make_node("MatMul", inputs, ["p" if bias is None else "m"]))
        if bias is not None:
            nodes.append(helper.make_node("Add", ["m", "b"], ["p"]))
    nodes.append(helper.make_node(activation or "Identity", ["p"], ["y"]))
    return Model(weights.q.shape[0], nodes, constants)


def check(found, x, weights, bias, where):
    want = x.astype(float) @ weights.values + (0 if bias is None else bias)
    room = np.abs(x.astype(float)).max(1, initial=0)[:, None] * np.abs(weights.values).sum(0) / np.sqrt(len(weights.values))
    room = room + np.abs(x.astype(float)) @ np.abs(weights.values) + (0 if bias is None else np.abs(bias))
    assert (np.abs(found - want) <= ROUNDINGS * room).all(), (where, (np.abs(found - want) / room).max())


def check_levels(runner, artifact, x, weights, bias=None):
    columns = weights.q.shape[1]
    for level in levels():
        whole = run(runner, artifact, level, x).reshape(len(x), columns)
        check(whole, x, weights, bias, level)
        for rows in ROWS:
            some = run(runner, artifact, level, x[:rows], pieces=3).reshape(rows, columns)
            assert (some == whole[:rows]).all(), (level, rows)


def rows_of(random, depth):
    """Rows of several magnitudes, one of zeros, one with a number that is far larger than the others."""
    x = random.standard_normal((max(ROWS), depth)).astype(np.float32)
    x[1] *= np.float32(1e-20)
    x[2] *= np.float32(1e20)
    x[3] = 0
    x[5, depth // 2] = 300
    return x


SHAPES = [(1100, 40, 0), (136, 130, 0), (576, 64, 64), (272, 65, 16)]
MORE_SHAPES = [(600, 70, -1), (320, 100, 32), (1024, 48, 256), (640, 66, 128), (600, 80, 48), (296, 200, 64), (1200, 30, 512)]


@pytest.mark.parametrize("kind, depth, columns, block", [(kind, *shape) for kind in TYPES for shape in SHAPES] + [
    (kind, *shape) for kind in ("i8", "u4") for shape in MORE_SHAPES])  # fmt: skip
def test_products(tmp_path, runner, kind, depth, columns, block):
    random = np.random.default_rng(depth)
    zeros = ["some", "one", "none"][(depth // 8 + TYPES[kind][0]) % 3]
    weights = Weights(random, kind, depth, columns, block, zeros)
    artifact = product(weights).compile(tmp_path)
    assert artifact.stat().st_size < 2**18 + depth * columns * 2, "the weights are not packed"
    check_levels(runner, artifact, rows_of(random, depth), weights)


@pytest.mark.parametrize("kind, block, zeros", [("i8", 0, "none"), ("u4", 32, "some"), ("u8", 64, "some")])
def test_transposed_weights_with_a_bias(tmp_path, runner, kind, block, zeros):
    random = np.random.default_rng(1)
    weights = Weights(random, kind, 256, 90, block, zeros, turned=True)
    bias = random.standard_normal(90).astype(np.float32)
    check_levels(runner, product(weights, bias).compile(tmp_path), rows_of(random, 256), weights, bias)


@pytest.mark.parametrize("kind, block", [("i8", 0), ("i4", 32)])
def test_strict_math_is_the_product_by_the_dequantised_matrix(tmp_path, runner, kind, block):
    """The same bits as with floats, and the same infinities."""
    random = np.random.default_rng(2)
    weights = Weights(random, kind, 256, 96, block)
    folders = [tmp_path / "packed", tmp_path / "floats"]
    for folder in folders:
        folder.mkdir()
    x = random.standard_normal((9, 256)).astype(np.float32)
    x[4, 7] = np.inf
    packed = product(weights).compile(folders[0], "--math=strict")
    values = ((weights.q - np.repeat(weights.zero, max(block, 1), 0)[: len(weights.q)] if block else weights.q - weights.zero).astype(np.float32)
              * (np.repeat(weights.scale, block, 0) if block else weights.scale))  # fmt: skip
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    floats = Model(256, nodes, [numpy_helper.from_array(values, "w")]).compile(folders[1], "--math=strict")
    for level in levels():
        other = level.removesuffix("-vnni")  # floats know no units
        np.testing.assert_array_equal(run(runner, packed, level, x), run(runner, floats, other, x))


@pytest.mark.parametrize("kind, block", [("i8", 0), ("i8", 32), ("i4", 32)])
@pytest.mark.parametrize("size", [1e37, 1e-30])
def test_sums_before_the_scale_may_be_beyond_the_range(tmp_path, runner, kind, block, size):
    """A row times integers may overflow where a row times weights does not; and so with what is very small."""
    weights = Weights(np.random.default_rng(5), kind, 256, 96, block, "none")
    artifact = product(weights).compile(tmp_path)
    x = np.zeros((1, 256), np.float32)
    x[0, 3] = size
    want = size * weights.values[3]
    for level in levels():
        np.testing.assert_allclose(run(runner, artifact, level, x), want, rtol=1e-6, atol=size * 1e-7)


def test_numbers_that_are_none_stay_in_their_rows(tmp_path, runner):
    random = np.random.default_rng(3)
    weights = Weights(random, "i8", 256, 96, 0)
    artifact = product(weights).compile(tmp_path)
    x = random.standard_normal((6, 256)).astype(np.float32)
    clean = x.copy()
    x[1, 9], x[4, 200] = np.nan, np.inf
    for level in levels():
        y, want = (run(runner, artifact, level, v).reshape(6, 96) for v in (x, clean))
        assert not np.isfinite(y[[1, 4]]).any()
        assert (y[[0, 2, 3, 5]] == want[[0, 2, 3, 5]]).all()


@pytest.mark.parametrize("kind", ["i8", "u4"])
def test_what_follows_is_part_of_the_product(tmp_path, runner, kind):
    random = np.random.default_rng(4)
    weights = Weights(random, kind, 192, 150, 64)
    bias = random.standard_normal(150).astype(np.float32)
    artifact = product(weights, bias, "Tanh").compile(tmp_path)
    x = random.standard_normal((17, 192)).astype(np.float32)
    want = np.tanh(x.astype(float) @ weights.values + bias)
    for level in levels():
        room = np.abs(x.astype(float)) @ np.abs(weights.values) + 1
        assert (np.abs(run(runner, artifact, level, x).reshape(17, 150) - want) <= ROUNDINGS * room).all()


@pytest.mark.parametrize("target", ["aarch64-linux-gnu a76", *OTHERS])
@pytest.mark.parametrize("kind, block, zeros", [("i8", 0, "none"), ("u4", 32, "some")])
def test_elsewhere(tmp_path, target, kind, block, zeros):
    random = np.random.default_rng(5)
    weights = Weights(random, kind, 288, 70, block, zeros)
    x = rows_of(random, 288)
    for rows, y in run_elsewhere(tmp_path, target, product(weights), 288, 70, [x[:1], x[:9]]):
        check(y, rows, weights, None, target)


# ---- tables, and weights of several readers ----


def compiled(tmp_path, nodes, constants, inputs, outputs, feeds):
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13), tmp_path / "m.onnx")
    subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so"], check=True)
    np.savez(tmp_path / "in.npz", **feeds)
    subprocess.run([TAMIS, "run", tmp_path / "m.so", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"], check=True)
    return np.load(tmp_path / "out.npz")


@pytest.mark.parametrize("kind", ["i8", "u4"])
@pytest.mark.parametrize("axis, block, turned", [(0, 0, True), (0, 0, False), (1, 0, False), (0, 32, True), (1, 64, False), (0, -1, False)])
def test_tables_stay_packed(tmp_path, kind, axis, block, turned):
    random = np.random.default_rng(6)
    weights = Weights(random, kind, 128, 200, block, turned=turned)
    nodes, constants = [], []
    table = weights.add(nodes, constants, "w")
    nodes.append(helper.make_node("Gather", [table, "i"], ["y"], axis=axis))
    indices = random.integers(-100, 100, (2, 3))
    made = compiled(tmp_path, nodes, constants, [helper.make_tensor_value_info("i", TensorProto.INT64, ["a", "b"])],
                    [("y", TensorProto.FLOAT)], {"i": indices})["y"]  # fmt: skip
    spread = [np.repeat(v, block, 0)[:128] if block > 0 else v for v in (weights.scale, weights.zero)]
    values = (weights.q - spread[1]).astype(np.float32) * spread[0]
    np.testing.assert_array_equal(made, np.take(values.T if turned else values, indices, axis))
    assert (tmp_path / "m.so").stat().st_size < 128 * 200 * 4


def test_a_table_that_is_also_a_factor(tmp_path):
    """Tied embeddings: neither reader makes floats of the whole table; two products share it too."""
    random = np.random.default_rng(7)
    weights = Weights(random, "i8", 128, 500, 0, "none", turned=True)
    nodes, constants = [], []
    table = weights.add(nodes, constants, "w")
    nodes += [
        helper.make_node("Gather", [table, "i"], ["e"]),
        helper.make_node("Transpose", [table], ["t"]),
        helper.make_node("MatMul", ["e", "t"], ["y"]),
        helper.make_node("Tanh", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "t"], ["z"]),
    ]
    indices = random.integers(0, 500, (1, 5))
    made = compiled(tmp_path, nodes, constants, [helper.make_tensor_value_info("i", TensorProto.INT64, ["a", "b"])],
                    [("y", TensorProto.FLOAT), ("z", TensorProto.FLOAT)], {"i": indices})  # fmt: skip
    rows = weights.values.T[indices]
    np.testing.assert_allclose(made["y"], rows @ weights.values, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(made["z"], np.tanh(rows) @ weights.values, rtol=1e-5, atol=1e-4)
    assert (tmp_path / "m.so").stat().st_size < 128 * 500 * 3


@pytest.mark.parametrize("kind, block", [("i8", 0), ("i4", 32)])
def test_half_precision(tmp_path, kind, block):
    random = np.random.default_rng(8)
    weights = Weights(random, kind, 192, 150, block, "none")
    nodes, constants = [], []
    weights.add(nodes, constants, "w")
    constants = [helper.make_tensor(c.name, TensorProto.FLOAT16, c.dims, numpy_helper.to_array(c).astype(np.float16).flatten())
                 if c.name == "ws" else c for c in constants]  # fmt: skip
    nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    x = random.standard_normal((3, 192)).astype(np.float16)
    made = compiled(tmp_path, nodes, constants, [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["a", 192])],
                    [("y", TensorProto.FLOAT16)], {"x": x})["y"]  # fmt: skip
    want = x.astype(float) @ (weights.values / weights.scale_spread(weights.scale) * weights.scale_spread(weights.scale.astype(np.float16)))
    assert made.dtype == np.float16
    np.testing.assert_allclose(made.astype(float), want, rtol=2e-3, atol=2e-3)
    assert (tmp_path / "m.so").stat().st_size < 192 * 150 * 4
