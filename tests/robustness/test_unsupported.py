# SPDX-License-Identifier: Apache-2.0
"""A model with many things that are not supported: one run names them all, and nothing is written."""

import os
import subprocess

import onnx
import pytest
from onnx import TensorProto, helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")


def tensor(name, shape=(2,), kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def make_branch(name, op):
    return helper.make_graph([helper.make_node(op, ["x"], [f"{name}_y"])], name, [], [tensor(f"{name}_y")])


def make_model():
    """Unknown ops in the main graph, in both branches of an If, in a function and in a domain; a rank that nothing
    tells; an attribute value that no operator takes; a type that the operator does not take, and one without a kernel."""
    function = helper.make_function("local", "Outer", ["a"], ["b"], [helper.make_node("NoSuchInFunction", ["a"], ["b"])],
                                    [helper.make_opsetid("", 21)])
    nodes = [
        helper.make_node("NoSuchInMain", ["x"], ["m"]),
        helper.make_node("NoSuchInMain", ["m"], ["m2"]),
        helper.make_node("If", ["c"], ["i"], then_branch=make_branch("t", "NoSuchInThen"),
                         else_branch=make_branch("e", "NoSuchInElse")),
        helper.make_node("Outer", ["x"], ["f"], domain="local"),
        helper.make_node("Foreign", ["x"], ["d"], domain="com.example"),
        helper.make_node("Reshape", ["x", "s"], ["r"], name="rankless"),
        helper.make_node("Det", ["b"], ["t"], name="mistyped"),
        helper.make_node("Col2Im", ["k", "i1", "i2"], ["v"], name="kernelless"),
        helper.make_node("Resize", ["q", "", "w"], ["u"], name="misformed", mode="no_such_mode"),
        helper.make_node("RegexFullMatch", ["k"], ["e"], name="classes", pattern="\\pL"),
        helper.make_node("Rfft", ["x"], ["h"], name="scaled", domain="com.microsoft", normalized=1),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [tensor("x"), tensor("c", (), TensorProto.BOOL), tensor("s", ("n",), TensorProto.INT64),
         tensor("b", (2, 2), TensorProto.BOOL), tensor("q", (1, 1, 2, 2)), tensor("w", (4,)),
         tensor("k", (1, 5, 5), TensorProto.STRING), tensor("i1", (2,), TensorProto.INT64),
         tensor("i2", (2,), TensorProto.INT64)],
        [helper.make_empty_tensor_value_info(name) for name in ("m2", "i", "f", "d", "r", "t", "u", "v", "e", "h")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1), helper.make_opsetid("com.example", 1),
              helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=[function])


@pytest.mark.parametrize("verb", ["compile", "check"])
def test_all_in_one_run(tmp_path, verb):
    model, artifact = tmp_path / "model.onnx", tmp_path / "model.so"
    onnx.save(make_model(), model)
    (tmp_path / "test_data_set_0").mkdir()
    arguments = [str(model), "-o", str(artifact)] if verb == "compile" else [str(tmp_path)]
    done = subprocess.run([TAMIS, verb, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 69, done.stderr
    assert not artifact.exists()
    if verb == "check":
        return
    for name in ("NoSuchInMain", "NoSuchInThen", "NoSuchInElse", "NoSuchInFunction", "com.example.Foreign", "rankless",
                 "mistyped", "kernelless", "misformed", "classes", "scaled"):
        assert name in done.stderr, f"{name} is not named:\n{done.stderr}"
    assert "2 nodes" in done.stderr, done.stderr
