# SPDX-License-Identifier: Apache-2.0
"""tamis.quantize: samples as arrays, generators and files are the same; what it writes runs; errors carry their number."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tamis

RNG = np.random.default_rng(3)
X = RNG.normal(size=(20, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    constants = {"w": RNG.normal(size=(16, 32)).astype(np.float32), "v": RNG.normal(size=(32, 4)).astype(np.float32) / 6}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="first"), helper.make_node("Relu", ["h"], ["r"]),
             helper.make_node("MatMul", ["r", "v"], ["s"], name="second"), helper.make_node("Softmax", ["s"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()


def answers(model):
    return tamis.InferenceSession(str(model)).run(None, {"x": X})[0]


def test_samples_of_every_kind(model, tmp_path):
    (tmp_path / "float.onnx").write_bytes(model)
    np.save(tmp_path / "x.npy", X)
    expected = answers(tmp_path / "float.onnx")
    first = None
    for calib in [tmp_path / "x.npy", str(tmp_path / "x.npy"), X, {"x": X}, ({"x": row[None]} for row in X)]:
        report = tamis.quantize(model, tmp_path / "q.onnx", form="int8,always,threads=1", calib=calib, labels=expected.argmax(1))
        assert report["samples"] == len(X) and [layer["form"] for layer in report["layers"]] == ["int8, static"] * 2
        assert report["divergence"]["accuracy_float"] == 1 and report["divergence"]["log_loss"] > 0
        found = answers(tmp_path / "q.onnx")
        assert 0 < np.abs(found - expected).max() < 0.1
        first = found if first is None else first
        np.testing.assert_array_equal(found, first)


def test_outputs_budgets_and_options(model, tmp_path):
    (tmp_path / "float.onnx").write_bytes(model)
    report = tamis.quantize(tmp_path / "float.onnx", tmp_path / "q.so", form="int8,always,threads=1", calib=X,
                            budget={"kl": 1.5e-3, "cosine": 0.99}, dims={"n": (1, 64)}, level=3)
    assert report["budget"].startswith("met")
    assert np.abs(answers(tmp_path / "q.so") - answers(tmp_path / "float.onnx")).max() < 0.1
    report = tamis.quantize(model, tmp_path / "w.onnx", form="int8-weights")
    assert report["divergence"] is None and "no samples" in report["unchecked"]
    types = {constant.data_type for constant in onnx.load(tmp_path / "w.onnx").graph.initializer}
    assert TensorProto.INT8 in types


def test_errors(model, tmp_path):
    with pytest.raises(tamis.Error, match="int3") as caught:
        tamis.quantize(model, tmp_path / "q.onnx", form="int3")
    assert caught.value.code > 0
    with pytest.raises(tamis.Error, match="samples"):
        tamis.quantize(model, tmp_path / "q.onnx")
