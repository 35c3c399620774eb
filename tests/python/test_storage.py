# SPDX-License-Identifier: Apache-2.0
"""compile --weights=coded and --storage: every bit comes back, what has structure is small, damage is noticed."""

import json
import os
import pathlib
import platform
import shutil
import struct
import subprocess
import zlib

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit import TAMIS, tamis

SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(7)
LOWEST = {"x86_64": "x86-64-v3", "aarch64": "armv8-a", "riscv64": "rv64gc"}[platform.machine()]


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "g", inputs, outputs,
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def grid(shape, scales, most=127):
    return (RNG.integers(-most, most + 1, shape).astype(np.float32) * scales).astype(np.float32)


def sines(rows, columns, base=10000.0, first=0, layout="pairs", single=False, less=0):
    half = columns // 2
    frequencies = base ** (-np.arange(half) / (half - less))
    if single:
        angles = np.arange(first, first + rows, dtype=np.float32)[:, None] * frequencies.astype(np.float32)
        s, c = np.sin(angles), np.cos(angles)
    else:
        angles = np.arange(first, first + rows)[:, None] * frequencies
        s, c = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    if layout == "pairs":
        return np.stack([s, c], -1).reshape(rows, columns)
    return {"halves": np.hstack([s, c]), "cosines first": np.hstack([c, s]), "cosines twice": np.hstack([c, c]),
            "cosines": c, "sines": s}[layout]


def special():
    x = normal(40)
    x[:6] = [np.nan, np.inf, -np.inf, -0.0, 1e-42, 3e38]
    return x


def sparse(shape, share, block=1):
    keep = RNG.random((shape[0] // block, shape[1])) < share
    return np.where(np.repeat(keep, block, 0), normal(*shape), np.float32(0))


# Name: constant, and a share of its bytes that it must come down to.
CONSTANTS = {
    "noise": (normal(64, 48), 0.86),
    "special": (special(), 1.3),
    "one": (normal(1), 10),
    "zeros": (np.zeros((40, 50), np.float32), 0.01),
    "fill": (np.full(300, -0.37, np.float32), 0.02),
    "half": (normal(64, 50).astype(np.float16).astype(np.float32), 0.45),
    "brain": (normal(64, 50).astype(ml_dtypes.bfloat16).astype(np.float32), 0.37),
    "palette": (normal(16)[RNG.integers(0, 16, (50, 60))], 0.16),
    "integers": (grid((64, 60), np.float32(0.013)), 0.27),
    "columns": (grid((96, 40), np.abs(normal(40))), 0.32),
    "rows": (grid((64, 90), np.abs(normal(64))[:, None]), 0.32),
    "blocks": (grid((128, 48), np.repeat(np.abs(normal(4, 48)), 32, 0), 7), 0.30),
    "sparse": (sparse((80, 64), 0.2), 0.21),
    "sparse blocks": (sparse((80, 64), 0.2, 4), 0.195),
    "sines": (sines(100, 32), 0.02),
    "sines of 1 to 100": (sines(99, 32)[None], 0.02),
    "halves": (sines(60, 64, layout="halves", base=500000.0), 0.03),
    "cosines first": (sines(60, 64, layout="cosines first"), 0.03),
    "one less": (sines(60, 64, layout="halves", less=1), 0.03),
    "rotary": (sines(50, 32, layout="cosines twice"), 0.04),
    "rotary cosines": (sines(50, 64, layout="cosines"), 0.06),
    "rotary sines": (sines(50, 64, layout="sines"), 0.06),
    "sines of float32": (sines(64, 64, single=True), 0.25),
    "sines rounded to float16": (sines(100, 32).astype(np.float16).astype(np.float32)[None], 0.02),
    "sines rounded to bfloat16": (sines(60, 64, layout="halves").astype(ml_dtypes.bfloat16).astype(np.float32), 0.03),
    "sines of float16": (sines(90, 32, layout="cosines").astype(np.float16), 0.06),
    "sines of bfloat16": (sines(70, 48, layout="cosines first", base=500000.0).astype(ml_dtypes.bfloat16), 0.06),
    "sines near float16's": (np.nextafter(sines(64, 32).astype(np.float16), np.float16(0)), 0.1),
    "positions": (np.arange(512, dtype=np.int64)[None], 0.01),
    "tiles of positions": (np.tile(np.arange(12, dtype=np.int32), (20, 1)), 0.05),
    "counted floats": (np.repeat(np.arange(5, 40, dtype=np.float32), 3), 0.1),
    "indices": (RNG.integers(0, 5000, 300), 0.3),
    "bytes": (RNG.integers(-20, 20, (60, 30)).astype(np.int8), 0.8),
    "noise bytes": (RNG.integers(0, 256, 400).astype(np.uint8), 1.05),
    "doubles": (RNG.normal(size=(30, 30)), 1.0),
    "halves of float16": (normal(50, 30).astype(np.float16), 0.9),
    "bools": (np.tril(np.ones((64, 64), bool)), 0.15),
    "nibbles": (RNG.integers(-8, 8, (33, 5)).astype(ml_dtypes.int4), 2),
    "empty": (np.zeros((0, 4), np.float32), 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every constant is an output of one model."""
    path = tmp_path_factory.mktemp("storage")
    nodes, outputs, constants = [], [], {}
    for i, (name, (array, _)) in enumerate(CONSTANTS.items()):
        constants[f"c{i}"] = array
        nodes.append(helper.make_node("Identity", [f"c{i}"], [f"y{i}"], name=name))
        outputs.append(helper.make_tensor_value_info(f"y{i}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    nodes.append(helper.make_node("Neg", ["x"], ["z"]))
    outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    save(path / "model.onnx", nodes, [x], outputs, constants)
    np.save(path / "x.npy", np.zeros(1, np.float32))
    return path


def read(path, dtype):
    array = np.load(path)
    return array.view(dtype) if dtype == ml_dtypes.bfloat16 else array.astype(dtype) if dtype == ml_dtypes.int4 else array


def test_every_bit_comes_back(folder):
    tamis("compile", folder / "model.onnx", "--weights=coded", "-o", folder / "all.so")
    outputs = [o for i in range(len(CONSTANTS)) for o in ("-o", f"y{i}={folder}/y{i}.npy")]
    tamis("run", folder / "all.so", "-i", f"x={folder}/x.npy", *outputs)
    for i, (name, (array, _)) in enumerate(CONSTANTS.items()):
        found = read(folder / f"y{i}.npy", array.dtype)
        assert found.shape == array.shape and found.tobytes() == array.tobytes(), name


@pytest.mark.parametrize("name", [name for name, (array, _) in CONSTANTS.items() if array.size > 0])
def test_constants_become_small(name, tmp_path):
    array, share = CONSTANTS[name]
    y = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
    save(tmp_path / "model.onnx", [helper.make_node("Identity", ["c"], ["y"])], [], [y], {"c": array})
    tamis("compile", tmp_path / "model.onnx", "--weights=coded", "-o", tmp_path / "model.so")
    stored = json.loads(tamis("inspect", "--json", tmp_path / "model.so"))["stored_bytes"] - 44  # header and record
    assert stored <= max(share * array.nbytes, 24), (stored, array.nbytes)
    assert stored <= 1.02 * len(zlib.compress(array.tobytes(), 9)) + 24  # what a general compressor makes of the bytes


def network(path, seed=1):
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "k", "kb"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("GlobalAveragePool", ["b"], ["c"]), helper.make_node("Flatten", ["c"], ["d"]),
             helper.make_node("MatMul", ["d", "w1"], ["e"]), helper.make_node("Add", ["e", "b1"], ["f"]),
             helper.make_node("Relu", ["f"], ["g"]), helper.make_node("Gemm", ["g", "w2", "b2"], ["h"], transB=1),
             helper.make_node("Softmax", ["h"], ["y"])]
    save(path, nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 12, 12])],
         [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
         {"k": weights(24, 3, 3, 3), "kb": weights(24), "w1": weights(24, 70), "b1": weights(70), "w2": weights(10, 70),
          "b2": 0.1 * weights(10)})


def answers(folder, artifact):
    tamis("run", artifact, "-i", f"x={folder}/x.npy", "-o", f"y={folder}/y.npy")
    return np.load(folder / "y.npy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("network")
    network(path / "model.onnx")
    np.save(path / "x.npy", np.random.default_rng(3).normal(size=(24, 3, 12, 12)).astype(np.float32))
    tamis("compile", path / "model.onnx", "-o", path / "mapped.so")
    return path


def stored(artifact):
    return json.loads(tamis("inspect", "--json", artifact))["stored_bytes"]


def test_packed_weights_come_back(trained):
    tamis("compile", trained / "model.onnx", "--weights=coded", "-o", trained / "coded.so")
    np.testing.assert_array_equal(answers(trained, trained / "coded.so"), answers(trained, trained / "mapped.so"))
    assert stored(trained / "coded.so") < 0.9 * stored(trained / "mapped.so")


@pytest.mark.parametrize("storage, share, error", [("float16", 0.47, 2e-4), ("bfloat16", 0.36, 2e-3)])
def test_rounded_storage(trained, storage, share, error):
    tamis("compile", trained / "model.onnx", f"--storage={storage}", "-o", trained / "rounded.so")
    assert stored(trained / "rounded.so") < share * stored(trained / "mapped.so")
    difference = np.abs(answers(trained, trained / "rounded.so") - answers(trained, trained / "mapped.so")).max()
    assert 0 < difference < error


def test_storage_under_a_budget(trained):
    options = ["--storage=auto", f"--calib={trained}/x.npy"]
    tamis("compile", trained / "model.onnx", *options, "--budget=kl:1e-6", "-o", trained / "fine.so")
    tamis("compile", trained / "model.onnx", *options, "--budget=kl:1e-3", "-o", trained / "coarse.so")
    expected = answers(trained, trained / "mapped.so").astype(np.float64)
    for name, most in (("fine", 1e-6), ("coarse", 1e-3)):
        found = answers(trained, trained / f"{name}.so").astype(np.float64)
        assert (expected * np.log(expected / found)).sum(1).mean() <= most * 1.01
    assert stored(trained / "coarse.so") < stored(trained / "fine.so") < 0.5 * stored(trained / "mapped.so")


def test_a_quantised_model_is_coded_as_what_it_was_made_of(tmp_path):
    """Integers times scales and, of the position codes, which the quantiser rounds to float16, their formula."""
    model = SOURCE / "examples/t2/t2.onnx"
    np.save(tmp_path / "x.npy", np.load(SOURCE / "examples/t2/eval.npz")["x"][:32])
    tamis("quantize", model, "--quantize=int8-weights", f"--calib={tmp_path}/x.npy", "-o", tmp_path / "t2.onnx")
    tamis("compile", tmp_path / "t2.onnx", "--weights=coded", "-o", tmp_path / "t2.so")
    assert stored(tmp_path / "t2.so") < 14800  # 13,262 parameters
    report = json.loads(tamis("inspect", "--compress", "--json", tmp_path / "t2.onnx"))
    generated = [text for tensor in report["tensors"] if "sin" in (text := tensor["generated"] or "")]
    assert len(generated) == 1 and generated[0].endswith("(base 10000), rounded to float16")


def test_equal_constants_are_stored_once(tmp_path):
    """Equal bytes of other dims and types too."""
    w = normal(64, 64)
    constants = {"a": w, "b": w.reshape(32, 128), "c": w.view(np.int32)}
    outputs = [helper.make_tensor_value_info(f"y{k}", helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
               for k, v in constants.items()]
    save(tmp_path / "model.onnx", [helper.make_node("Identity", [k], [f"y{k}"]) for k in constants], [], outputs, constants)
    tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "model.so")
    assert stored(tmp_path / "model.so") < 1.1 * w.nbytes
    tamis("run", tmp_path / "model.so", *[o for k in constants for o in ("-o", f"y{k}={tmp_path}/{k}.npy")])
    for name, array in constants.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), array)


def test_large_weights_are_aligned_for_large_pages(tmp_path):
    w = normal(1100, 1100)
    x = normal(1, 1100)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1100]) for name in "xy"]
    save(tmp_path / "model.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], values[:1], values[1:], {"w": w})
    tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "model.so")
    data = (tmp_path / "model.so").read_bytes()
    first, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    segments = [struct.unpack_from("<IIQQQQQQ", data, first + 56 * i) for i in range(count)]
    _, _, offset, address, _, size, _, align = max((s for s in segments if s[0] == 1), key=lambda s: s[5])
    assert size >= w.nbytes and align == 2 << 20 and offset % align == address % align and offset + size <= len(data)
    np.save(tmp_path / "x.npy", x)
    tamis("run", tmp_path / "model.so", "-i", f"x={tmp_path}/x.npy", "-o", f"y={tmp_path}/y.npy")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), x @ w, rtol=1e-3, atol=1e-3)


def test_damage_is_noticed(trained):
    tamis("compile", trained / "model.onnx", "--weights=coded", "-o", trained / "damaged.so")
    data = bytearray((trained / "damaged.so").read_bytes())
    sections = json.loads(tamis("inspect", "--size", "--json", trained / "damaged.so"))["sections"]
    reader = os.environ.get("LLVM_READELF", "llvm-readelf-19")
    listing = subprocess.run([reader, "-S", "-W", trained / "damaged.so"], capture_output=True, text=True, check=True).stdout
    line = next(line for line in listing.splitlines() if ".tamis.weights" in line).split()
    at = int(line[line.index("PROGBITS") + 2], 16) + sections[".tamis.weights"] // 2
    data[at] ^= 4
    (trained / "damaged.so").write_bytes(data)
    message = tamis("run", trained / "damaged.so", "-i", f"x={trained}/x.npy", code=65)
    assert "E0400" in message and "coded weights" in message and "damaged" in message


@pytest.mark.skipif(shutil.which("cc") is None and shutil.which("clang-19") is None, reason="no C compiler")
def test_an_object_with_coded_weights(trained, tmp_path):
    tamis("compile", trained / "model.onnx", "--weights=coded", "-o", tmp_path / "net.o")
    (tmp_path / "main.c").write_text("""
#include "net.h"
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    static float x[24 * 3 * 12 * 12], y[24 * 10];
    void *weights = aligned_alloc(64, (net_WEIGHTS_BYTES + 63) / 64 * 64);
    void *workspace = aligned_alloc(64, (net_workspace_bytes(24) + 63) / 64 * 64);
    if (fread(x, 4, sizeof x / 4, stdin) != sizeof x / 4 || net_unpack(weights) != 0)
        return 1;
    if (net_run(workspace, weights, 24, x, y) != 0)
        return 2;
    return fwrite(y, 4, sizeof y / 4, stdout) != sizeof y / 4;
}
""")
    compiler = shutil.which("cc") or "clang-19"
    subprocess.run([compiler, "-o", tmp_path / "main", tmp_path / "main.c", tmp_path / "net.o"], check=True)
    x = np.load(trained / "x.npy")
    done = subprocess.run([tmp_path / "main"], input=x.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, np.float32).reshape(24, 10)
    np.testing.assert_allclose(found, answers(trained, trained / "mapped.so"), rtol=1e-5, atol=1e-7)


def test_code_for_size(trained):
    options = ["--weights=coded", "--name=net"]
    tamis("compile", trained / "model.onnx", *options, f"-mcpu={LOWEST}", "-o", trained / "one.so")
    tamis("compile", trained / "model.onnx", *options, "-Os", "-o", trained / "small.so")
    assert os.path.getsize(trained / "small.so") < os.path.getsize(trained / "one.so") - 900
    assert json.loads(tamis("inspect", "--json", trained / "small.so"))["levels"] == [LOWEST]
    np.testing.assert_allclose(answers(trained, trained / "small.so"), answers(trained, trained / "mapped.so"), rtol=1e-5, atol=1e-7)
    size = json.loads(tamis("inspect", "--size", "--json", trained / "small.so"))
    assert size["bytes"] == os.path.getsize(trained / "small.so") == sum(size["sections"].values())
    assert any("execute" in name for name in size["sections"])


def test_large_weights_without_section_headers(tmp_path):
    w = normal(1100, 1000)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, w.shape)
    save(tmp_path / "model.onnx", [helper.make_node("Identity", ["c"], ["y"])], [], [y], {"c": w})
    for options in (["-Os"], ["-Os", "--weights=coded"], ["--weights=coded"]):
        tamis("compile", tmp_path / "model.onnx", *options, "-o", tmp_path / "model.so")
        tamis("run", tmp_path / "model.so", "-o", f"y={tmp_path}/y.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), w)


def test_the_same_model_gives_the_same_bytes(trained, tmp_path):
    for name in ("a", "b"):
        tamis("compile", trained / "model.onnx", "--weights=coded", "--name=net", "-o", tmp_path / f"{name}.so")
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes()


@pytest.mark.parametrize("arguments, words", [
    (["--weights=zipped"], "--weights is mapped or coded"),
    (["--storage=int3"], "--storage is exact, float16, bfloat16 or auto"),
    (["--storage=auto"], "needs samples and a budget"),
])
def test_wrong_options(trained, tmp_path, arguments, words):
    message = tamis("compile", trained / "model.onnx", *arguments, "-o", tmp_path / "x.so", code=2)
    assert words in message
