# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the data of a run is said in words: the node, the offending number, what is allowed.

Each case is one node without a name; its inputs have dims and values that are known only when it runs. The
compiled model and the evaluator say the same.
"""

import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
X = np.arange(10, dtype=np.float32).reshape(2, 5)


def ints(*values):
    return np.array(values, np.int64)


def scalar(value):
    return np.array(value, np.int64)


def floats(*shape):
    return np.ones(shape, np.float32)


CASES = [
    ("Gather", [X, ints(9)], {"axis": 1}, "index 9 is out of range: allowed are -5 to 4"),
    ("Gather", [floats(2, 0), ints(0)], {"axis": 1}, "0 is out of range: there are 0 entries to choose from"),
    ("GatherElements", [X, np.full((2, 1), -6)], {"axis": 1}, "index -6 is out of range: allowed are -5 to 4"),
    ("ScatterElements", [X, np.full((1, 1), 7), floats(1, 1)], {}, "index 7 is out of range: allowed are -2 to 1"),
    ("TopK", [X, ints(9)], {}, "a count or length is 9; allowed are 0 to 5"),
    ("Expand", [X, ints(3, 5)], {}, None),
    ("Tile", [X, ints(-1, 1)], {}, "dim 0 of its output would be -2; allowed is 0 or more"),
    ("Reshape", [X, ints(3, 4)], {}, "10 elements cannot be viewed as 12"),
    ("Reshape", [X, ints(-3, 5)], {}, "10 elements cannot be viewed as -15"),
    ("Range", [scalar(0), scalar(5), scalar(0)], {}, "its step is 0 or not a number; allowed is any other number"),
    ("Range", [np.float32(0), np.float32(5), np.float32(np.nan)], {}, "its step is 0 or not a number"),
    ("Range", [scalar(-(2**63)), scalar(2**63 - 1), scalar(1)], {}, "a dim or the size of a value would be greater than 9223372036854775807"),
    ("Pad", [X, ints(-3, 0, 0, 0)], {}, "dim 0 of its output would be -1; allowed is 0 or more"),
    ("Pad", [X, ints(0, 0, 0, 0), np.array(0, np.float32), ints(4, 1)], {}, "axis 4 is out of range: allowed are -2 to 1"),
    ("Slice", [X, ints(0), ints(5), ints(-7), ints(1)], {}, "axis -7 is out of range: allowed are -2 to 1"),
    ("OneHot", [ints(1, 2), scalar(-1), np.array([0, 1], np.float32)], {}, "a count or size is -1; allowed is 0 or more"),
    ("Split", [X, ints(3, 3)], {"axis": 1}, "dims do not fit together: 6 and 5"),
    ("CumSum", [X, scalar(4)], {}, "axis 4 is out of range: allowed are -2 to 1"),
    ("Unsqueeze", [X, ints(7)], {}, "dims do not fit together: 3 and 2"),
    ("ReduceSum", [X, ints(5)], {}, "dims do not fit together: 1 and 0"),
    ("ReduceSum", [X, ints(1, -1)], {}, "dims do not fit together: 2 and 1"),
    ("Mod", [ints(3, 4), ints(2, 0)], {}, "integer division by zero at element 1"),
    ("MatMul", [X, floats(4, 3)], {}, "dims do not fit together: 5 and 4"),
    ("Resize", [X, floats(0), np.array([1, 0], np.float32)], {}, "scale 1 of 2 is not a number above 0"),
    ("ReverseSequence", [X, ints(9, 1)], {"batch_axis": 0, "time_axis": 1}, "a count or length is 9; allowed are 0 to 5"),
    ("Add", [X, floats(3, 5)], {}, None),
    ("ArgMax", [floats(2, 0)], {"axis": 1}, "its input has no elements, but 1 are needed for the output"),
    ("CenterCropPad", [X, ints(-2, 3)], {}, "dim 0 of its output would be -2; allowed is 0 or more"),
    ("BlackmanWindow", [scalar(-4)], {}, "dim 0 of its output would be -4; allowed is 0 or more"),
]
# What these say in a compiled model; the evaluator computes no dims of a mismatch.
COMPILED = {"Expand": "dims do not fit together: 2 and 3", "Add": "dims do not fit together: 2 and 3"}
EVALUATED = "dim 0 of its output has no value: what it is computed from does not fit together"


def port(number, array):
    """Lists of integers keep their length, from which ranks follow; all else is symbolic."""
    listed = number > 0 and array.ndim == 1 and array.dtype == np.int64
    dims = [array.shape[axis] if listed else f"d{number}_{axis}" for axis in range(array.ndim)]
    return helper.make_tensor_value_info(f"i{number}", helper.np_dtype_to_tensor_dtype(array.dtype), dims)


def save(op, inputs, attributes):
    names = [f"i{k}" if array.size > 0 or op != "Resize" else "" for k, array in enumerate(inputs)]
    outputs = {"TopK": ["y", "z"], "Split": ["y", "z"]}.get(op, ["y"])
    kind = TensorProto.INT64 if op in ("Mod", "ArgMax") or (op == "Range" and inputs[0].dtype == np.int64) else TensorProto.FLOAT
    ports = [port(k, array) for k, array in enumerate(inputs) if names[k]]
    graph = helper.make_graph([helper.make_node(op, names, outputs, **attributes)], "g", ports,
                              [helper.make_tensor_value_info("y", kind, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), "m.onnx")
    np.savez("in.npz", **{name: array for name, array in zip(names, inputs) if name})


def failure(*arguments):
    done = subprocess.run([TAMIS, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 65, (arguments, done)
    return done.stderr


@pytest.mark.parametrize("case", CASES, ids=[f"{k}-{case[0]}" for k, case in enumerate(CASES)])
def test_failures_in_words(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    op, inputs, attributes, text = case
    save(op, [np.asarray(array) for array in inputs], attributes)
    subprocess.run([TAMIS, "compile", "m.onnx", "-o", "m.so"], check=True, timeout=60)
    compiled = failure("run", "m.so", "--inputs", "in.npz")
    assert f"{op} (node 0 of main): {text or COMPILED[op]}" in compiled
    evaluated = failure("run", "m.onnx", "--evaluate", "--inputs", "in.npz")
    assert f"m.onnx:main:node 0:{op}: " in evaluated and (text or EVALUATED) in evaluated
    assert "''" not in compiled + evaluated


def test_a_fused_node_is_named(tmp_path, monkeypatch):
    """The name in a message is that of the model, also when the node became part of a region."""
    monkeypatch.chdir(tmp_path)
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5]),
             helper.make_tensor_value_info("w", TensorProto.FLOAT, ["m", 5])]
    nodes = [helper.make_node("Sigmoid", ["x"], ["t"]), helper.make_node("Add", ["t", "w"], ["u"], name="/a/Add"),
             helper.make_node("Tanh", ["u"], ["v"]), helper.make_node("Mul", ["v", "u"], ["y"])]
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), "m.onnx")
    np.savez("in.npz", x=floats(2, 5), w=floats(3, 5))
    subprocess.run([TAMIS, "compile", "m.onnx", "-o", "m.so"], check=True, timeout=60)
    message = failure("run", "m.so", "--inputs", "in.npz")
    assert "Region" not in message and "dims do not fit together: 2 and 3" in message and " of main" in message or "/a/Add" in message
