# SPDX-License-Identifier: Apache-2.0
"""`--integers`: quantised models that compute in floats, or in what is faster."""

import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import tamis as module

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
FORMS = ["qdq", "operators", "dynamic"]
LEFT = ["QuantizeLinear(", "MatMulInteger(", "ConvInteger(", "QLinear"]


class Samples(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def write(path):
    """A convolution with a Relu that quantisers take in, one without, a norm spelled out, attention's products and a head."""
    random = np.random.default_rng(0)
    weights = {
        "k": random.standard_normal((8, 3, 3, 3)) / 5, "kb": random.standard_normal(8) / 5, "p": random.standard_normal((8, 8, 1, 1)) / 3,
        "w": random.standard_normal((8, 8)) / 3, "v": random.standard_normal((8, 8)) / 3, "g": 1 + random.random(8) / 9, "h": random.standard_normal((8, 5)) / 3,
        "two": np.array(2), "eps": np.array(1e-5),
    }
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    constants += [numpy_helper.from_array(np.array(dims, np.int64), name) for name, dims in {"flat": [0, 8, 64], "last": [-1]}.items()]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "k", "kb"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["r"]), node("Conv", ["r", "p"], ["c2"]),
        node("Reshape", ["c2", "flat"], ["f"]), node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        node("ReduceMean", ["t", "last"], ["m"]), node("Sub", ["t", "m"], ["d"]), node("Pow", ["d", "two"], ["s"]), node("ReduceMean", ["s", "last"], ["e"]),
        node("Add", ["e", "eps"], ["a"]), node("Sqrt", ["a"], ["q"]), node("Div", ["d", "q"], ["n"]), node("Mul", ["n", "g"], ["ng"]),
        node("MatMul", ["ng", "w"], ["mq"]), node("MatMul", ["ng", "v"], ["mv"]), node("Transpose", ["ng"], ["nt"], perm=[0, 2, 1]),
        node("MatMul", ["mq", "nt"], ["sc"]), node("Softmax", ["sc"], ["pr"]), node("MatMul", ["pr", "mv"], ["at"]),
        node("Add", ["at", "t"], ["res"]), node("MatMul", ["res", "h"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64, 5])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return {"x": random.standard_normal((2, 3, 8, 8)).astype(np.float32)}


@pytest.fixture
def feeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    feeds = write("float.onnx")
    for form in FORMS[:2]:
        layout = QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator
        quantize_static("float.onnx", f"{form}.onnx", Samples([feeds]), quant_format=layout, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                        per_channel=True)
    quantize_dynamic("float.onnx", "dynamic.onnx", weight_type=QuantType.QUInt8)
    return feeds


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def answer(path, feeds, **options):
    settings = module.SessionOptions()
    settings.use_cache = False
    for name, value in options.items():
        setattr(settings, name, value)
    return module.InferenceSession(path, settings).run(None, feeds)[0]


def test_answers_in_floats(feeds):
    """They lie near those of the float model, as near as the weights, while nothing is rounded on the way."""
    want = onnxruntime.InferenceSession("float.onnx").run(None, feeds)[0]
    for form in FORMS:
        module.compile(f"{form}.onnx", "m.ir", integers="float")
        with open("m.ir", encoding="utf-8") as file:
            text = file.read()
        assert not [word for word in LEFT if word in text], form
        assert text.count("LayerNormalization(") == 1 and text.count('kind = "attention"') == 1, form
        y = answer(f"{form}.onnx", feeds, integers="float")
        apart = np.abs(y - want).mean() / np.abs(want).mean()
        kept = np.abs(answer(f"{form}.onnx", feeds) - want).mean() / np.abs(want).mean()
        assert apart < 0.03 and apart < kept, (form, apart, kept)
        strict = answer(f"{form}.onnx", feeds, integers="float", strict_math=True)
        assert np.abs(strict - y).max() < 1e-4, form


def test_written_model(feeds):
    """A model without its quantisers is one for other engines."""
    for form in FORMS:
        tamis("compile", f"{form}.onnx", "--integers=float", "-o", "plain.onnx")
        assert not [n.op_type for n in onnx.load("plain.onnx").graph.node if "Quant" in n.op_type or "Integer" in n.op_type], form
        y = onnxruntime.InferenceSession("plain.onnx").run(None, feeds)[0]
        assert np.abs(y - answer(f"{form}.onnx", feeds, integers="float")).max() < 1e-4, form


def test_what_is_faster_is_measured(feeds):
    _, words = tamis("compile", "qdq.onnx", "--integers=faster", "--size", "n=2", "-o", "m.so")
    line = next(line for line in words.splitlines() if line.startswith("integers: a call takes "))
    assert line.endswith(("integers are kept", "floats are kept"))
    form = "float" if line.endswith("floats are kept") else "keep"
    assert (answer("m.so", feeds) == answer("qdq.onnx", feeds, integers=form)).all()


def test_bad_words(feeds):
    assert "--integers is keep, float or faster" in tamis("compile", "qdq.onnx", "--integers=all", code=2)[1]
    assert "tamis compile --integers=faster" in tamis("bench", "qdq.onnx", "--integers=faster", code=2)[1]
    assert "quantised already" in tamis("compile", "float.onnx", "--quantize=int8", "--integers=faster", "-o", "m.so", code=2)[1]
    assert "give the model's file" in tamis("compile", "-", "--integers=faster", "-o", "m.so", code=2)[1]
    with pytest.raises(ValueError, match="keep or float"):
        module.compile("qdq.onnx", "m.so", integers="faster")
