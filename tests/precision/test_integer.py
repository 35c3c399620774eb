# SPDX-License-Identifier: Apache-2.0
"""Products of bytes as regions, at every level of x86-64 and on other processors under an emulator, against NumPy.

The sums are integers and exact, so every level, number of threads and batch must give the same bits; against
NumPy, which follows the same arithmetic in float32, only the multiplication and the sum of the bias may be fused.
"""

import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401

ROWS = [1, 3, 5, 8, 12, 17, 35]
SHAPES = [(1, 1), (3, 5), (4, 16), (5, 17), (63, 32), (64, 33), (65, 31), (130, 100), (256, 48), (1100, 40)]
TYPES = {"u8": np.uint8, "s8": np.int8}
# left, right, zero points of both
FORMS = [("u8", "s8", 3, 0), ("s8", "s8", -5, 0), ("s8", "s8", 0, 7), ("u8", "u8", 200, 128), ("s8", "u8", -128, 131), ("u8", "s8", 0, -128)]

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def levels():
    return kit.levels("x86-64-v3", "x86-64-v3-vnni", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx")


def quantize(x, scale, zero, dtype):
    limits = np.iinfo(dtype)
    return np.clip(np.rint(x * np.float32(1 / scale)) + zero, limits.min, limits.max).astype(dtype)


def integer_product(a, a_zero, w, w_zero):
    return (a.astype(np.int64) - a_zero) @ (w.astype(np.int64) - w_zero)


def random_bytes(random, dtype, *dims):
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max + 1, dims).astype(dtype)


def save_static(model, left, w, w_scale, z, w_zero, scale, x="x"):
    a, b = TYPES[left], w.dtype.type
    scale, z = np.float32(scale), np.array(z, a)
    q = model.add("QuantizeLinear", x, scale, z)
    d = model.add("DequantizeLinear", q, scale, z)
    v = model.add("DequantizeLinear", w, w_scale, np.full(w_scale.shape, w_zero, b), axis=1)
    return model.add("MatMul", d, v)


def check_rows(runner, artifact, x, want, columns):
    """Each level, batch and number of threads gives the same bits, near what is wanted."""
    first = None
    for level in levels():
        for rows in ROWS:
            y = run(runner, artifact, level, x[:rows]).reshape(rows, columns)
            assert (y == run(runner, artifact, level, x[:rows], pieces=3).reshape(rows, columns)).all(), (level, rows, "threads")
            first = y if rows == max(ROWS) and first is None else first
            np.testing.assert_allclose(y, want[:rows], rtol=2e-6, atol=2e-6 * np.abs(want).max(), err_msg=f"{level} {rows}")
            if first is not None:
                assert (y == first[:rows]).all(), (level, rows, "bits")


@pytest.mark.parametrize("left, right, z, w_zero", FORMS)
@pytest.mark.parametrize("depth, columns", SHAPES)
def test_static(tmp_path, runner, depth, columns, left, right, z, w_zero):
    random = np.random.default_rng(depth)
    w = random_bytes(random, TYPES[right], depth, columns)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    bias = random.standard_normal(columns).astype(np.float32)
    x = random.standard_normal((max(ROWS), depth)).astype(np.float32)
    model = Model([None, depth])
    model.add("Add", save_static(model, left, w, w_scale, z, w_zero, 0.02), bias)
    artifact = model.compile(tmp_path)
    sums = integer_product(quantize(x, 0.02, z, TYPES[left]), z, w, w_zero)
    check_rows(runner, artifact, x, sums.astype(np.float32) * (np.float32(0.02) * w_scale) + bias, columns)


@pytest.mark.parametrize("columns", [48, 96, 144, 192])
def test_columns_of_several_panels(tmp_path, runner, columns):
    """Tiles that are wider than a panel, cut anywhere: each column is made once, by the task that has its panel."""
    random = np.random.default_rng(columns)
    depth, rows = 70, 19
    w = random_bytes(random, np.int8, depth, columns)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    x = random.standard_normal((rows, depth)).astype(np.float32)
    model = Model([None, depth])
    save_static(model, "u8", w, w_scale, 131, 3, 0.02)
    artifact = model.compile(tmp_path)
    want = integer_product(quantize(x, 0.02, 131, np.uint8), 131, w, 3).astype(np.float32) * (np.float32(0.02) * w_scale)
    for level in levels():
        for pieces in range(1, 6):
            y = run(runner, artifact, level, x, pieces).reshape(want.shape)
            assert (y == want).all(), (level, pieces)


@pytest.mark.parametrize("right, w_zero", [("s8", 0), ("u8", 120)])
@pytest.mark.parametrize("depth, columns", [(5, 3), (64, 32), (130, 100)])
def test_dynamic(tmp_path, runner, depth, columns, right, w_zero):
    random = np.random.default_rng(depth)
    w = random_bytes(random, TYPES[right], depth, columns)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    x = random.standard_normal((40, depth)).astype(np.float32)
    model = Model([None, depth])
    model.add("DynamicQuantizeLinear", "x")
    model.nodes[-1].output.extend(["s", "z"])
    sums = model.add("MatMulInteger", model.last, w, "z", np.array(w_zero, TYPES[right]))
    model.add("Mul", model.add("Cast", sums, to=1), model.add("Mul", "s", w_scale))
    artifact = model.compile(tmp_path)
    scale = np.float32((max(x.max(), 0) - min(x.min(), 0)) / np.float32(255))
    z = int(np.clip(np.rint(-np.float32(min(x.min(), 0)) / scale), 0, 255))
    q = np.clip(np.rint(x / scale) + z, 0, 255).astype(np.uint8)
    want = integer_product(q, z, w, w_zero).astype(np.float32) * (scale * w_scale)
    answers = [run(runner, artifact, level, x, pieces).reshape(want.shape) for level in levels() for pieces in (1, 3)]
    np.testing.assert_allclose(answers[0], want, rtol=2e-6)
    assert all((y == answers[0]).all() for y in answers)


@pytest.mark.parametrize("depth, columns", [(2, 32), (63, 32), (130, 100)])
def test_scale_for_each_row(tmp_path, runner, depth, columns):
    """QDQ in blocks that are whole rows: as tamis quantize writes it. An answer does not depend on the other rows."""
    random = np.random.default_rng(depth)
    w = random_bytes(random, np.int8, depth, columns)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    x = random.standard_normal((max(ROWS), depth)).astype(np.float32) * np.exp(4 * random.standard_normal((max(ROWS), 1))).astype(np.float32)
    x[3] = 0
    model = Model([None, depth])
    model.opset = 21
    largest = model.add("ReduceMax", model.add("Abs", "x"), np.array([-1]))
    s = model.add("Max", model.add("Mul", largest, np.float32(1 / 127)), np.float32(1e-30))
    block = {"axis": -1, "block_size": depth}
    d = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", s, output_dtype=3, **block), s, **block)
    model.add("MatMul", d, model.add("DequantizeLinear", w, w_scale, axis=1))
    artifact = model.compile(tmp_path)
    scales = np.maximum(np.abs(x).max(1, keepdims=True) * np.float32(1 / 127), np.float32(1e-30))
    q = np.clip(np.rint(x * (1 / scales)), -128, 127).astype(np.int8)
    want = integer_product(q, 0, w, 0).astype(np.float32) * scales * w_scale
    first = run(runner, artifact, levels()[-1], x).reshape(want.shape)
    for level in levels():
        for rows in ROWS:
            y = run(runner, artifact, level, x[:rows], pieces=3).reshape(rows, columns)
            np.testing.assert_allclose(y, want[:rows], rtol=2e-6, err_msg=f"{level} {rows}")
            assert (y == first[:rows]).all(), (level, rows, "bits")


@pytest.mark.parametrize("width", [40, 64])
def test_chain(tmp_path, runner, width):
    """Products and norms that store quantised tiles, with other readers of what lies between."""
    random = np.random.default_rng(width)
    w = [random_bytes(random, np.int8, a, b) for a, b in ((48, width), (width, 48), (48, 33))]
    s = [(0.5 + random.random(m.shape[1])).astype(np.float32) / 2048 for m in w]
    scale, bias = (1 + random.standard_normal(48) / 8).astype(np.float32), (random.standard_normal(48) / 8).astype(np.float32)
    model = Model([None, None, 48])
    hidden = model.add("Relu", save_static(model, "u8", w[0], s[0], 128, 0, 0.03))
    sums = model.add("Add", save_static(model, "s8", w[1], s[1], -100, 0, 0.01, hidden), "x")
    normed = model.add("LayerNormalization", sums, scale, bias, axis=-1, epsilon=1e-5)
    model.add("Concat", save_static(model, "s8", w[2], s[2], 4, 0, 0.05, normed), normed, axis=2)
    artifact = model.compile(tmp_path)
    x = random.standard_normal((2, 19, 48)).astype(np.float32)
    first = np.maximum(integer_product(quantize(x, 0.03, 128, np.uint8), 128, w[0], 0).astype(np.float32) * (np.float32(0.03) * s[0]), 0)
    second = integer_product(quantize(first, 0.01, -100, np.int8), -100, w[1], 0).astype(np.float32) * (np.float32(0.01) * s[1]) + x
    centred = second - second.mean(-1, keepdims=True)
    norm = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias
    third = integer_product(quantize(norm, 0.05, 4, np.int8), 4, w[2], 0).astype(np.float32) * (np.float32(0.05) * s[2])
    want = np.concatenate([third, norm], axis=2)
    for level in levels():
        y = run(runner, artifact, level, x).reshape(want.shape)
        # Next to a tie a value may go to either side: a step of one factor.
        assert np.abs(y - want).max() <= 0.05 * 128 * s[2].max() * 2, level
        assert np.abs(y - want).mean() <= 1e-4, level
        assert (run(runner, artifact, level, x, pieces=2).reshape(want.shape) == y).all(), level


@pytest.mark.parametrize("depth, columns", [(5, 3), (64, 32), (130, 100)])
def test_side_by_side(tmp_path, runner, depth, columns):
    """Products of one left side, as queries, keys and values, are one region; one that differs in kind stays alone."""
    random = np.random.default_rng(depth)
    model = Model([None, depth])
    scale, z = np.float32(0.02), np.int8(-7)
    d = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", scale, z), scale, z)
    x = random.standard_normal((max(ROWS), depth)).astype(np.float32)
    a, outputs, wants = quantize(x, 0.02, -7, np.int8), [], []
    for i, (own, zero) in enumerate([(0.05, 1), (0.11, -9), (0.31, 1), (0.07, 0)]):
        w = random_bytes(random, np.int8, depth, columns)
        w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
        bias = random.standard_normal(columns).astype(np.float32)
        v = model.add("DequantizeLinear", w, w_scale, np.zeros(columns, np.int8), axis=1)
        y = model.add("MatMul", d, v)
        y = model.add("DequantizeLinear", model.add("QuantizeLinear", y, np.float32(own), np.int8(zero)), np.float32(own), np.int8(zero))
        outputs.append(model.add("Add", y, bias) if i < 3 else model.add("Relu", y))
        real = integer_product(a, -7, w, 0).astype(np.float32) * (scale * w_scale * np.float32(1 / np.float32(own)))
        real = (np.clip(np.rint(real) + zero, -128, 127) - zero).astype(np.float32) * np.float32(own)
        wants.append(real + bias if i < 3 else np.maximum(real, 0))
    model.add("Concat", *outputs, axis=-1)
    artifact = model.compile(tmp_path)
    shown = subprocess.run([kit.TAMIS, "inspect", "--schedule", artifact], capture_output=True, text=True, check=True).stdout
    assert f"x{depth}x{columns} u8 *3" in shown and f"x{depth}x{columns} u8 v3" in shown
    check_rows(runner, artifact, x, np.concatenate(wants, axis=1), 4 * columns)


@pytest.mark.parametrize("left, z, w_zero", [("u8", 131, 0), ("s8", -5, 7)])
def test_square_chain(tmp_path, runner, left, z, w_zero):
    """Tiles of the same type and dims on both sides of a product: the result must not lie over its factor."""
    width, dtype = 64, TYPES[left]
    random = np.random.default_rng(width)
    scale, w_scale, zero = np.float32(0.05), np.float32(0.001), np.array(z, dtype)
    model = Model([None, width])
    value = model.add("QuantizeLinear", "x", scale, zero)
    x = random.standard_normal((max(ROWS), width)).astype(np.float32)
    want = np.clip(np.rint(x / scale) + z, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    for _ in range(4):
        w = random_bytes(random, np.int8, width, width)
        value = model.add("QLinearMatMul", value, scale, zero, w, w_scale, np.array(w_zero, np.int8), scale, zero)
        factor = np.float32(scale * w_scale / scale)
        real = integer_product(want, z, w, w_zero).astype(np.float32).astype(np.float64) * factor  # exact, then rounded once
        want = np.clip(np.rint(real) + z, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)
    model.add("DequantizeLinear", value, scale, zero)
    artifact = model.compile(tmp_path)
    want = (want.astype(np.float32) - z) * scale
    for level in levels():
        for pieces in (1, 3):
            assert (run(runner, artifact, level, x, pieces).reshape(want.shape) == want).all(), (level, pieces)


def test_saturation(tmp_path, runner):
    """The largest sums that there are: an instruction that saturates pairs would show."""
    depth, columns = 1024, 32
    w = np.where(np.arange(depth * columns).reshape(depth, columns) % 3 == 0, -128, 127).astype(np.int8)
    x = np.full((3, depth), 1e9, np.float32)
    x[1] = np.nan
    model = Model([None, depth])
    save_static(model, "u8", w, np.ones(1, np.float32), 0, 0, 1)
    artifact = model.compile(tmp_path)
    want = np.stack([255.0 * w.sum(0, dtype=np.int64), np.zeros(columns), 255.0 * w.sum(0, dtype=np.int64)]).astype(np.float32)
    for level in levels():
        assert (run(runner, artifact, level, x).reshape(want.shape) == want).all(), level


@pytest.mark.parametrize("left, right, z, w_zero", [FORMS[0], FORMS[4]])
@pytest.mark.parametrize("target", [*OTHERS, "aarch64-linux-gnu dotprod"])
def test_other_targets(tmp_path, runner, target, left, right, z, w_zero):
    """The same bits as on this processor."""
    random = np.random.default_rng(3)
    depth, columns = 70, 40
    w = random_bytes(random, TYPES[right], depth, columns)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    model = Model([None, depth])
    model.add("Add", save_static(model, left, w, w_scale, z, w_zero, 0.02), random.standard_normal(columns).astype(np.float32))
    inputs = [random.standard_normal((rows, depth)).astype(np.float32) for rows in (1, 5, 17, 33)]
    answers = list(run_elsewhere(tmp_path, target, model, depth, columns, inputs))
    artifact = model.compile(tmp_path)
    for x, y in answers:
        assert (run(runner, artifact, "x86-64-v3", x).reshape(y.shape) == y).all(), len(x)
