# SPDX-License-Identifier: Apache-2.0
"""The most memory that compiling and quantising need: little with weights, and the same for any number of samples."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
MIB = 1 << 20
LAYERS, ROWS = 8, 30
MOST = 64 * 1000 * 1000  # bytes that quantising may need beyond the model
RNG = np.random.default_rng(3)

# A process counts what it was before it became another program, so a small one starts the command.
LAUNCHER = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak(*arguments):
    """Bytes of the largest process of the command."""
    done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, TAMIS, *map(str, arguments)], capture_output=True,
                          check=False, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) * 1024


def save(path, model, aligned):
    """With a name so long that the elements of all tensors, or of none, are at multiples of 4 in the file."""
    for length in range(1, 5):
        model.producer_name = "p" * length
        data = model.SerializeToString()
        places = [data.find(tensor.raw_data[:64]) % 4 for tensor in model.graph.initializer]
        if (places.count(0) > 0) == aligned:
            path.write_bytes(data)
            return
    raise AssertionError(places)


def network(path, width, aligned=False, gemm=False):
    """Products by square weights with a norm after each."""
    nodes, constants, last = [], {"g": np.ones(width, np.float32)}, "x"
    for i in range(LAYERS):
        product = helper.make_node("Gemm", [last, f"w{i}"], [f"p{i}"], transB=1) if gemm else helper.make_node(
            "MatMul", [last, f"w{i}"], [f"p{i}"])
        nodes += [product, helper.make_node("LayerNormalization", [f"p{i}", "g"], [f"n{i}"], axis=-1)]
        constants[f"w{i}"] = RNG.standard_normal((width, width), np.float32)
        last = f"n{i}"
    dims = ["n", width] if gemm else ["n", ROWS, width]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", last)]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    save(path, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), aligned)
    return path


@pytest.mark.parametrize("form", [{}, {"aligned": True}, {"gemm": True}], ids=["copied", "aligned", "transposed"])
def test_weights_do_not_stay_in_memory_when_they_are_compiled(tmp_path, form):
    """32 MiB of weights: where they are in the file, copied since they are not aligned there, or transposed."""
    few, many = (peak("compile", network(tmp_path / f"{width}.onnx", width, **form), "-o", tmp_path / "m.so")
                 for width in (128, 1024))
    assert many - few <= 12 * MIB, (few / MIB, many / MIB)


def test_quantising_needs_the_model_and_little_more(tmp_path):
    model = network(tmp_path / "model.onnx", 1024)
    samples = RNG.standard_normal((64, ROWS, 1024), np.float32)
    np.save(tmp_path / "few.npy", samples[:8])
    np.save(tmp_path / "many.npy", samples)
    few, many = (peak("quantize", model, "-o", tmp_path / "out.onnx", "--quantize=int8,always,sweep=0", "--calib",
                      tmp_path / name) for name in ("few.npy", "many.npy"))
    assert many <= model.stat().st_size + MOST, (few / MIB, many / MIB)
    assert abs(many - few) <= 6 * MIB, (few / MIB, many / MIB)
