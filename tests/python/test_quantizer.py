# SPDX-License-Identifier: Apache-2.0
"""tamis.quantize, tamis.compress and how compile() keeps weights: samples as arrays, generators and files are the same; what
they write runs; errors carry their number."""

import os

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


@pytest.mark.parametrize("options, share, error", [({"weights": "coded"}, 0.9, 0), ({"storage": "float16"}, 0.55, 1e-3),
                                                   ({"storage": "bfloat16"}, 0.45, 1e-2)])
def test_how_compile_keeps_weights(tmp_path, options, share, error):
    w = RNG.normal(size=(16, 4096)).astype(np.float32) / 4
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4096])], [numpy_helper.from_array(w, "w")])
    wide = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    tamis.compile(wide, tmp_path / "plain.so", name="m")
    tamis.compile(wide, tmp_path / "kept.so", name="m", **options)
    difference = np.abs(answers(tmp_path / "kept.so") - answers(tmp_path / "plain.so")).max()
    assert difference <= 10 * error and (difference > 0) == (error > 0)
    code = os.path.getsize(tmp_path / "plain.so") - w.nbytes
    assert os.path.getsize(tmp_path / "kept.so") < share * w.nbytes + code + 6000  # the decoder


def test_code_for_size_and_a_map(model, tmp_path):
    tamis.compile(model, tmp_path / "plain.so", name="m")
    tamis.compile(model, tmp_path / "small.so", name="m", small=True, map=tmp_path / "small.map")
    assert os.path.getsize(tmp_path / "small.so") < os.path.getsize(tmp_path / "plain.so") - 2000
    assert "tm_region_0_contract MatMul first" in (tmp_path / "small.map").read_text()
    np.testing.assert_allclose(answers(tmp_path / "small.so"), answers(tmp_path / "plain.so"), rtol=1e-5)
    for options, word in (({"weights": "zipped"}, "mapped or coded"), ({"storage": "auto"}, "compress"), ({"small": True, "level": 3}, "level")):
        with pytest.raises(ValueError, match=word):
            tamis.compile(model, tmp_path / "x.so", **options)


def weights_of(path):
    return sum(numpy_helper.to_array(constant).nbytes for constant in onnx.load(path).graph.initializer)


def test_compress(model, tmp_path):
    (tmp_path / "float.onnx").write_bytes(model)
    expected = answers(tmp_path / "float.onnx")
    report = tamis.compress(model, tmp_path / "pruned.onnx", prune="flops:0.5,noblocks,threads=1", calib=X, labels=expected.argmax(1))
    assert report["divergence"]["kl"] > 0 and weights_of(tmp_path / "pruned.onnx") < 0.7 * weights_of(tmp_path / "float.onnx")
    tamis.compress(tmp_path / "float.onnx", tmp_path / "same.onnx")
    np.testing.assert_allclose(answers(tmp_path / "same.onnx"), expected, rtol=1e-5)
    assert tamis.compress(model, tmp_path / "palette.onnx", palette=16) is None
    assert weights_of(tmp_path / "palette.onnx") < 0.5 * weights_of(tmp_path / "float.onnx")
    assert tamis.compress(model, tmp_path / "auto.so", storage="auto", calib=X, budget={"kl": 1e-3}) is None
    tamis.compile(model, tmp_path / "coded.so", weights="coded")
    assert os.path.getsize(tmp_path / "auto.so") < os.path.getsize(tmp_path / "coded.so") - 500
    assert 0 < np.abs(answers(tmp_path / "auto.so") - expected).max() < 0.1


def test_compress_under_one_budget(model, tmp_path):
    report = tamis.compress(model, tmp_path / "both.so", prune="zeros", quantize="int8-weights,threads=1", storage="auto",
                            calib={"x": X}, budget="kl:1e-3", weights="coded")
    assert report["budget"].startswith("met")
    assert answers(tmp_path / "both.so").shape == (20, 4)
    with pytest.raises(tamis.Error, match="samples and a budget") as caught:
        tamis.compress(model, tmp_path / "x.so", storage="auto")
    assert caught.value.code > 0
    with pytest.raises(tamis.Error, match="palette"):
        tamis.compress(model, tmp_path / "x.onnx", palette=1)
