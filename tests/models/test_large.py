# SPDX-License-Identifier: Apache-2.0
"""Graphs of thousands of nodes: the driver is made in parts, so that compile time grows with the model and not
with its square, and the parts together do what one function would do.
"""

import os
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
MOST_LINES = 6000  # of one function of the driver


def chain(count, source, names):
    """`count` nodes from f32[n, m] to f32[n, m]; some make values whose dims depend on data."""
    nodes, current, earlier = [], source, source

    def add(op, inputs, **attributes):
        nodes.append(helper.make_node(op, inputs, [f"{names}{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    while len(nodes) < count:
        shape = add("Shape", [current])
        turned = add("Transpose", [current], perm=[1, 0])
        earlier, current = current, add("Add", [add("Reshape", [add("CumSum", [turned, "axis"]), shape]), earlier])
        chosen = add("GatherND", [current, add("Transpose", [add("NonZero", [add("Greater", [current, "half"])])])])
        current = add("Tanh", [add("Sub", [current, add("ReduceMean", [chosen], keepdims=0)])])
    return nodes, current


INITS = [numpy_helper.from_array(np.array(1, np.int64), "axis"), numpy_helper.from_array(np.array(-100, np.float32), "half"),
         numpy_helper.from_array(np.array(2, np.int64), "rounds")]


def flat(count):
    nodes, last = chain(count, "x", "v")
    return nodes, last


def in_loop(count):
    body, last = chain(count, "carried", "b")
    body.append(helper.make_node("Identity", ["go"], ["goes_on"]))
    graph = helper.make_graph(
        body, "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                       helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["n", "m"])],
        [helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []), helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", "m"])])
    return [helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=graph)], "y"


def functions(text):
    """Lines of each function of the driver."""
    return {m[1]: m[0].count("\n") for m in re.finditer(r"^define [^@]*@(tm_model_[\w.]*)\(.*?^}", text, re.M | re.S)}


@pytest.mark.parametrize("make", [flat, in_loop])
def test_parts_of_the_driver(tmp_path, make):
    nodes, last = make(900)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])],
                              [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)], INITS)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    text = subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "--emit=llvm", "-O0", "-o", "-"], check=True, capture_output=True,
                          text=True).stdout
    found = functions(text)
    assert sum(name.startswith("tm_model_nodes") for name in found) >= 4
    assert max(found.values()) < MOST_LINES, found
    subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so"], check=True, timeout=120)
    x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5)
    np.savez(tmp_path / "in.npz", x=x)
    answers = []
    for source in (["m.so"], ["m.onnx", "--evaluate"]):
        subprocess.run([TAMIS, "run", *source, "--inputs", "in.npz", "-o", f"{last}=y.npy"], check=True, timeout=120, cwd=tmp_path)
        answers.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-5)


def test_a_failure_in_a_part_leaves_all_of_them(tmp_path):
    """300 nodes, then an index out of range: the run ends there, with that node's name."""
    nodes, last = chain(300, "x", "v")
    nodes.insert(200, helper.make_node("Gather", ["x", "at"], ["row"], name="/late/Gather"))
    nodes.append(helper.make_node("Add", [last, "row"], ["y"]))
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"]), helper.make_tensor_value_info("at", TensorProto.INT64, [])]
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], INITS)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "m.onnx")
    subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so"], check=True, timeout=120)
    np.savez(tmp_path / "in.npz", x=np.ones((3, 5), np.float32), at=np.array(3))
    done = subprocess.run([TAMIS, "run", tmp_path / "m.so", "--inputs", tmp_path / "in.npz"], capture_output=True, text=True)
    assert done.returncode == 65 and "Gather '/late/Gather': index 3 is out of range: allowed are -3 to 2" in done.stderr


def test_dims_that_share_parts(tmp_path):
    """Each length is computed from the one before it twice: as many terms as there are nodes, not as there are paths."""
    nodes = [helper.make_node("NonZero", ["x"], ["found"]), helper.make_node("Shape", ["found"], ["s0"], start=1)]
    expected = 20
    for i in range(30):
        nodes += [helper.make_node("Sub", [f"s{i}", "three"], [f"a{i}"]), helper.make_node("Max", [f"a{i}", "one"], [f"b{i}"]),
                  helper.make_node("Div", [f"s{i}", "two"], [f"c{i}"]), helper.make_node("Add", [f"b{i}", f"c{i}"], [f"s{i + 1}"])]
        expected = max(expected - 3, 1) + expected // 2
    nodes.append(helper.make_node("Expand", ["x0", "s30"], ["y"]))
    numbers = {"one": 1, "three": 3, "two": 2}
    inits = [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in numbers.items()]
    inits.append(numpy_helper.from_array(np.array([2.5], np.float32), "x0"))
    graph = helper.make_graph(nodes, "dims", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])], inits)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones(20, np.float32))
    subprocess.run([TAMIS, "compile", "m.onnx", "-o", "m.so"], check=True, timeout=60, cwd=tmp_path)
    subprocess.run([TAMIS, "run", "m.so", "--inputs", "x.npz", "-o", "y=y.npy"], check=True, timeout=60, cwd=tmp_path)
    assert np.load(tmp_path / "y.npy").shape == (expected,)
