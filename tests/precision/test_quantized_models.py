# SPDX-License-Identifier: Apache-2.0
"""Whole models quantised by ONNX Runtime's quantiser: each level of x86-64 and other processors give the same bits, near ONNX
Runtime's answers.

Random networks in all forms, of two seeds in ./dev test; TAMIS_SEEDS=N for more. Convolutional models of the zoo as well,
TAMIS_ZOO=all for all of them.
"""

import os
import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
from levels import OTHERS, SOURCE, Model, is_x86, levels, run, run_elsewhere, runner  # noqa: F401
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import tamis

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")

ZOO = SOURCE.parent / "shared/zoo"
SEEDS = range(int(os.environ.get("TAMIS_SEEDS", 2)))
LEVELS = ["x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx"]
FORMS = {
    "u8s8": (QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8),
    "s8s8": (QuantFormat.QDQ, QuantType.QInt8, QuantType.QInt8),
    "u8u8": (QuantFormat.QDQ, QuantType.QUInt8, QuantType.QUInt8),
    "operators": (QuantFormat.QOperator, QuantType.QUInt8, QuantType.QInt8),
}


class Samples(CalibrationDataReader):
    def __init__(self, feeds):
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


def quantize(source, target, form, feeds):
    if form == "dynamic":
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8)
    else:
        layout, left, right = FORMS[form]
        quantize_static(source, target, Samples(feeds), quant_format=layout, activation_type=left, weight_type=right, per_channel=right == QuantType.QInt8)


class Network(Model):
    """A random network [rows, depth] -> [rows, columns] of convolutions and products and what is between them."""

    opset = 17

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.channels, self.size = int(self.random.integers(3, 9)), int(self.random.integers(8, 15))
        self.depth = self.channels * self.size**2
        super().__init__([None, self.depth])
        self.shape(self.add("Reshape", "x", np.array([-1, self.channels, self.size, self.size], np.int64)))
        for _ in range(int(self.random.integers(3, 6))):
            getattr(self, self.random.choice(["convolution", "point", "depthwise", "groups", "pool", "residual", "branches"]))()
        self.convolution()
        self.last = self.add("Relu", self.last)
        self.last = self.add("Flatten", self.add("AveragePool", self.last, kernel_shape=[2, 2], strides=[2, 2]))
        self.size //= 2
        self.columns = int(self.random.integers(3, 40))
        self.add("Gemm", self.last, self.normal(self.columns, self.channels * self.size**2), self.normal(self.columns), transB=1)

    def shape(self, value):
        self.last = value

    def normal(self, *dims):
        return (self.random.standard_normal(dims) / np.sqrt(max(1, np.prod(dims[1:])))).astype(np.float32)

    def made(self, filters, per, kernel, group=1, relu=True):
        self.add("Conv", self.last, self.normal(filters, per, kernel, kernel), self.normal(filters), group=group, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
        self.channels = filters
        if relu:
            self.add("Relu", self.last)

    def convolution(self):
        self.made(int(self.random.integers(4, 40)), self.channels, 3)

    def point(self):
        self.made(int(self.random.integers(4, 70)), self.channels, 1)

    def depthwise(self):
        self.made(self.channels, 1, 3, self.channels)

    def groups(self):
        self.made(32, self.channels, 1)
        self.made(32, 16, 3, 2)

    def pool(self):
        if self.size >= 6:
            self.add("MaxPool", self.last, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
            self.size = (self.size - 1) // 2 + 1

    def residual(self):
        before = self.last
        self.made(self.channels, self.channels, 3, relu=False)
        self.add("Relu", self.add("Add", self.last, before))

    def branches(self):
        before, channels = self.last, self.channels
        self.made(8, channels, 1)
        other, self.last, self.channels = self.last, before, channels
        self.made(12, channels, 3)
        self.add("Concat", self.last, other, axis=1)
        self.channels = 20


class Saved(Model):
    """A model that is there already, for run_elsewhere."""

    def __init__(self, path):
        self.path = path

    def save(self, path, symbolic=True):
        path.write_bytes(self.path.read_bytes())


def network(folder, seed, form):
    net = Network(seed)
    net.save(folder / "float.onnx")
    feeds = [{"x": net.random.standard_normal((4, net.depth)).astype(np.float32)} for _ in range(3)]
    quantize(folder / "float.onnx", folder / "m.onnx", form, feeds)
    return net, feeds[0]["x"]


@pytest.mark.parametrize("form", [*FORMS, "dynamic"])
@pytest.mark.parametrize("seed", SEEDS)
def test_networks(tmp_path, runner, seed, form):
    net, x = network(tmp_path, seed, form)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want = onnxruntime.InferenceSession(tmp_path / "m.onnx", options).run(None, {"x": x})[0]
    tamis.compile(tmp_path / "m.onnx", tmp_path / "m.so")
    first = run(runner, tmp_path / "m.so", "x86-64-v3", x).reshape(want.shape)
    # Each quantiser between the two may round ties otherwise, or round once where ONNX Runtime rounds twice.
    assert np.abs(first - want).mean() <= 0.03 * np.abs(want).max(), np.abs(first - want).max()
    for level in levels(*LEVELS):
        for pieces in (1, 3):
            assert (run(runner, tmp_path / "m.so", level, x, pieces).reshape(want.shape) == first).all(), (level, pieces)
    if form != "dynamic":  # whose scale is that of all rows
        assert (run(runner, tmp_path / "m.so", "x86-64-v3", x[:1]).reshape(want[:1].shape) == first[:1]).all(), "batch"


@pytest.mark.parametrize("target, form", [*((target, "s8s8") for target in OTHERS), ("aarch64-linux-gnu dotprod", "u8s8"), ("riscv64-linux-gnu", "operators")])
def test_networks_elsewhere(tmp_path, runner, target, form):
    net, x = network(tmp_path, 1, form)
    (answer,) = run_elsewhere(tmp_path, target, Saved(tmp_path / "m.onnx"), net.depth, net.columns, [x])
    tamis.compile(tmp_path / "m.onnx", tmp_path / "m.so")
    assert (run(runner, tmp_path / "m.so", "x86-64-v3", x).reshape(answer[1].shape) == answer[1]).all()


# ---- the zoo ----

NAMES = ["mobilenetv2", "efficientnet", "t1", "cotta-batchnorm"]
OTHER = {"nfig-encode": "the quantiser writes a DFT of five parts", "periodwave": "the quantiser does not share weights' parameters"}


def is_quantizable(path):
    """Convolutions of floats, without norms and softmax: their sums of floats have other last bits on other levels."""
    model = onnx.load(path, load_external_data=False)
    ops = {node.op_type for node in model.graph.node}
    floats = all(i.type.tensor_type.elem_type == TensorProto.FLOAT for i in model.graph.input)
    return floats and "Conv" in ops and not ops & {"LayerNormalization", "Softmax", "ReduceMean", "LSTM", "GRU", "Loop", "Scan", "If"}


def zoo():
    if not ZOO.is_dir():
        return []
    if os.environ.get("TAMIS_ZOO") == "all":
        return sorted(path.parent.name for path in ZOO.glob("*/model.onnx") if path.parent.name not in OTHER and is_quantizable(path))
    return [name for name in NAMES if (ZOO / name / "model.onnx").is_file()]


def recorded(folder):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    files = sorted((folder / "test_data_set_0").glob("input_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return {i.name: numpy_helper.to_array(onnx.load_tensor(file)) for i, file in zip(model.graph.input, files)}


@pytest.mark.parametrize("name", zoo())
def test_zoo(tmp_path, name):
    feeds = recorded(ZOO / name)
    target = tmp_path / "m.onnx"
    quantize(ZOO / name / "model.onnx", target, "s8s8", [feeds])
    answers = {}
    for level in levels(*LEVELS[:3]):
        options = tamis.SessionOptions()
        options.use_cache, options.cpu = False, level
        answers[level] = tamis.InferenceSession(str(target), options).run(None, feeds)
    first = answers["x86-64-v3"]
    assert all(np.isfinite(y).all() for y in first if y.dtype.kind == "f")
    for level, other in answers.items():
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, other)), level
