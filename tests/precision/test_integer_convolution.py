# SPDX-License-Identifier: Apache-2.0
"""Convolutions of bytes as products by tiles, at every level of x86-64 and on other processors under an emulator,
against NumPy: as test_integer.py, which has the products themselves."""

import itertools

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401
from test_integer import TYPES, levels, quantize, random_bytes

# left, right, zero points of both
FORMS = [("u8", "s8", 3, 0), ("s8", "s8", -5, 0), ("u8", "u8", 200, 128), ("s8", "u8", -128, 131), ("u8", "s8", 0, -7)]
# channels, filters, size, kernel, strides, dilations, pads
SHAPES = [
    (8, 16, (6, 7), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (19, 33, (5, 3), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (16, 20, (9, 8), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    (3, 32, (11, 13), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (16, 16, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (5, 7, (9, 10), (3, 2), (1, 2), (2, 1), (0, 1, 2, 0)),
    (64, 40, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (17, 24, (12, 12), (5, 3), (1, 1), (1, 2), (2, 2, 2, 2)),
    (3, 8, (20, 20), (7, 7), (2, 2), (1, 1), (3, 3, 3, 3)),
    (1, 4, (2, 2), (3, 3), (1, 1), (1, 1), (2, 2, 2, 2)),
    (12, 18, (30,), (3,), (1,), (1,), (1, 1)),
    (32, 5, (17,), (5,), (3,), (2,), (4, 3)),
    (4, 9, (4, 5, 6), (2, 3, 3), (1, 2, 1), (1, 1, 1), (1, 0, 1, 0, 1, 1)),
    (3, 130, (9, 8), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (40, 8, (8, 8), (4, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
]
MOST_TERMS = 258  # whose sums of bytes floats hold
MOST_TAPS = 9  # of a kernel that gathers rows of an image whose size is not known

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def convolve(x, w, strides, dilations, pads):
    """Exact sums; x and w are less their zero points."""
    axes = w.ndim - 2
    x = np.pad(x.astype(np.int64), [(0, 0), (0, 0), *((pads[i], pads[axes + i]) for i in range(axes))])
    out = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(axes)]
    y = np.zeros((len(x), len(w), *out), np.int64)
    for tap in itertools.product(*map(range, w.shape[2:])):
        part = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilations, out, strides))
        y += np.einsum("nc...,mc->nm...", x[(slice(None), slice(None), *part)], w[(slice(None), slice(None), *tap)].astype(np.int64))
    return y


def under(row, axes):
    return row.reshape(-1, *[1] * axes)


class Case:
    def __init__(self, seed, shape, form, per_channel=True):
        self.channels, self.filters, self.size, self.kernel, self.strides, self.dilations, self.pads = shape
        self.left, self.right, self.z, self.w_zero = form
        random = self.random = np.random.default_rng(seed)
        self.w = random_bytes(random, TYPES[self.right], self.filters, self.channels, *self.kernel)
        count = self.filters if per_channel else 1
        self.w_scale = (0.5 + random.random(count)).astype(np.float32) / 64
        self.axes = len(self.kernel)
        self.attributes = {"strides": self.strides, "dilations": self.dilations, "pads": self.pads, "kernel_shape": self.kernel}

    def is_in_floats(self, space):
        """Few channels for few filters, or a window that is not gathered: sums of floats, where they are exact."""
        few = self.channels <= 4 and self.filters < 100
        return (few or (space and np.prod(self.kernel) > MOST_TAPS)) and self.channels * np.prod(self.kernel) <= MOST_TERMS

    def zeros(self):
        return np.full(self.w_scale.shape, self.w_zero, self.w.dtype)

    def sums(self, q):
        w = self.w.astype(np.int64) - self.w_zero
        return convolve(q.astype(np.int64) - self.z, w, self.strides, self.dilations, self.pads)

    def input(self, samples):
        return self.random.standard_normal((samples, self.channels, *self.size)).astype(np.float32)

    def quantized(self, model, scale, x="x"):
        scale, z = np.float32(scale), np.array(self.z, TYPES[self.left])
        return model.add("QuantizeLinear", x, scale, z), scale, z

    def static(self, model, scale, *bias, x="x"):
        q, scale, z = self.quantized(model, scale, x)
        d = model.add("DequantizeLinear", q, scale, z)
        v = model.add("DequantizeLinear", self.w, self.w_scale, self.zeros(), axis=0)
        return model.add("Conv", d, v, *bias, **self.attributes)


class SpaceModel(Model):
    """Of an image whose batch alone, or also size, is not known."""

    space = False

    def save(self, path, symbolic=True):
        names = [f"d{i}" if i == 0 or (self.space and i > 1) else d for i, d in enumerate(self.dims)]
        dims, self.dims = self.dims, [*names, None]
        helper = kit.helper
        graph = helper.make_graph(self.nodes, "g", [helper.make_tensor_value_info("x", kit.TensorProto.FLOAT, names)],
                                  [helper.make_tensor_value_info(self.last, kit.TensorProto.FLOAT, None)], self.constants)
        kit.onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10), path)
        self.dims = dims


def new_model(case, space=False):
    model = SpaceModel([None, case.channels, *case.size])
    model.space = space
    return model


def levels_of(case, space=False):
    """An artifact without products of bytes has no levels for them."""
    return kit.levels("x86-64-v3", "x86-64-v4") if case.is_in_floats(space) else levels()


def check(runner, artifact, x, want, exact=False, known=None):
    """Each level, batch and number of threads gives the same bits, near what is wanted."""
    first = None
    for level in known or levels():
        for samples in (1, len(x)):
            answers = [run(runner, artifact, level, x[:samples], pieces).reshape(want[:samples].shape) for pieces in (1, 3)]
            assert (answers[0] == answers[1]).all(), (level, samples, "threads")
            if exact:
                np.testing.assert_array_equal(answers[0], want[:samples], err_msg=f"{level} {samples}")
            else:
                np.testing.assert_allclose(answers[0], want[:samples], rtol=2e-6, atol=2e-6 * np.abs(want).max(), err_msg=f"{level} {samples}")
            first = answers[0] if samples == len(x) and first is None else first
            assert first is None or (answers[0] == first[:samples]).all(), (level, samples, "bits")


def text_of(folder):
    return kit.subprocess.run([kit.TAMIS, "opt", folder / "m.onnx"], capture_output=True, text=True, check=True).stdout


def is_product(folder):
    """Are there products of bytes by tiles, and no kernels for convolutions?"""
    text = text_of(folder)
    return '"tiles"' in text and "ConvInteger" not in text and " Conv(" not in text


@pytest.mark.parametrize("space", [False, True])
@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_static(tmp_path, runner, number, space):
    case = Case(number, SHAPES[number], FORMS[number % len(FORMS)])
    bias = case.random.standard_normal(case.filters).astype(np.float32)
    model = new_model(case, space)
    case.static(model, 0.02, bias)
    artifact = model.compile(tmp_path)
    kept = space and np.prod(case.kernel) > MOST_TAPS and not case.is_in_floats(space)
    assert is_product(tmp_path) == (not kept and not case.is_in_floats(space))
    if kept:
        return
    assert case.is_in_floats(space) == ('"convolution"' in text_of(tmp_path))
    x = case.input(3)
    sums = case.sums(quantize(x, 0.02, case.z, TYPES[case.left]))
    want = sums.astype(np.float32) * under(np.float32(0.02) * case.w_scale, case.axes) + under(bias, case.axes)
    check(runner, artifact, x, want, known=levels_of(case, space))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", [1, 3, 5])
def test_forms(tmp_path, runner, number, form):
    case = Case(number, SHAPES[number], form, per_channel=number != 5)
    model = new_model(case)
    case.static(model, 0.03)
    artifact = model.compile(tmp_path)
    x = case.input(2)
    sums = case.sums(quantize(x, 0.03, case.z, TYPES[case.left]))
    check(runner, artifact, x, sums.astype(np.float32) * under(np.float32(0.03) * case.w_scale, case.axes), known=levels_of(case))


@pytest.mark.parametrize("number", [0, 4, 10])
def test_qlinear(tmp_path, runner, number):
    case = Case(number, SHAPES[number], FORMS[number % 2])
    model = new_model(case)
    q, scale, z = case.quantized(model, 0.02)
    bias = case.random.integers(-4000, 4000, case.filters).astype(np.int32)
    y_zero = np.array(100, np.uint8) if case.left == "u8" else np.array(-3, np.int8)
    y = model.add("QLinearConv", q, scale, z, case.w, case.w_scale, case.zeros(), np.float32(1.5), y_zero, bias, **case.attributes)
    model.add("DequantizeLinear", y, np.float32(1), y_zero)
    artifact = model.compile(tmp_path)
    assert is_product(tmp_path)
    x = case.input(3)
    sums = case.sums(quantize(x, 0.02, case.z, TYPES[case.left])) + under(bias, case.axes)
    factor = np.float32(0.02) * case.w_scale / np.float32(1.5)
    limits = np.iinfo(y_zero.dtype)
    want = np.clip(np.rint(sums.astype(np.float32) * under(factor, case.axes)) + int(y_zero), limits.min, limits.max)
    check(runner, artifact, x, (want - int(y_zero)).astype(np.float32), exact=True)


@pytest.mark.parametrize("number", [1, 3, 7, 12])
def test_dynamic(tmp_path, runner, number):
    case = Case(number, SHAPES[number], ("u8", "s8", 0, 0))
    model = new_model(case)
    model.add("DynamicQuantizeLinear", "x")
    model.nodes[-1].output.extend(["s", "z"])
    sums = model.add("ConvInteger", model.last, case.w, "z", np.array(0, np.int8), **case.attributes)
    model.add("Mul", model.add("Cast", sums, to=1), model.add("Mul", "s", case.w_scale[:1]))
    artifact = model.compile(tmp_path)
    x = case.input(2)
    scale = np.float32((max(x.max(), 0) - min(x.min(), 0)) / np.float32(255))
    case.z = int(np.clip(np.rint(-np.float32(min(x.min(), 0)) / scale), 0, 255))
    q = np.clip(np.rint(x / scale) + case.z, 0, 255).astype(np.uint8)
    want = case.sums(q).astype(np.float32) * (scale * case.w_scale[0])
    answers = [run(runner, artifact, level, x, pieces).reshape(want.shape) for level in levels_of(case) for pieces in (1, 3)]
    np.testing.assert_allclose(answers[0], want, rtol=2e-6)
    assert all((y == answers[0]).all() for y in answers)


# channels, size, kernel, strides, dilations, pads
DEPTHWISE = [
    (16, (9, 8), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (37, (7, 11), (3, 3), (2, 2), (1, 1), (0, 1, 1, 0)),
    (5, (14,), (5,), (1,), (2,), (4, 4)),
    (96, (6, 6), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
]


@pytest.mark.parametrize("space", [False, True])
@pytest.mark.parametrize("form", FORMS[:4])
@pytest.mark.parametrize("number", range(len(DEPTHWISE)))
def test_depthwise(tmp_path, runner, number, form, space):
    """Bytes in, between products: sums of whole numbers in float32 are exact, so the bits are one on all levels."""
    channels, size, kernel, *rest = DEPTHWISE[number]
    ones = (1,) * len(size)
    first = Case(number, (8, channels, size, ones, ones, ones, (0,) * 2 * len(size)), form)
    case = Case(number + 9, (1, channels, size, kernel, *rest), form)
    case.attributes["group"] = channels
    model = new_model(first, space)
    model.dims = [None, 8, *size]
    hidden = first.static(model, 0.02)
    y = case.static(model, 0.5, case.random.integers(-9, 9, channels).astype(np.float32), x=hidden)
    last = Case(number + 20, (channels, 12, size, ones, ones, ones, (0,) * 2 * len(size)), form)
    last.static(model, 0.3, x=y)
    artifact = model.compile(tmp_path)
    x = first.input(2)
    text = kit.subprocess.run([kit.TAMIS, "opt", tmp_path / "m.onnx"], capture_output=True, text=True, check=True).stdout
    plain = case.right == "s8" or case.w_zero == 128  # else sums of the left side are needed, too
    assert text.count('"window"') == 1 and (not plain or (text.count('"pack"') == 1 and text.count('"map"') == 1))
    sums = first.sums(quantize(x, 0.02, first.z, TYPES[first.left]))
    h = sums.astype(np.float32) * under(np.float32(0.02) * first.w_scale, first.axes)
    q = quantize(h, 0.5, case.z, TYPES[case.left]).astype(np.int64) - case.z
    w = case.w.astype(np.int64) - case.w_zero
    parts = [convolve(q[:, c : c + 1], w[c : c + 1], case.strides, case.dilations, case.pads) for c in range(channels)]
    bias = next(c for c in (kit.numpy_helper.to_array(c) for c in model.constants) if c.dtype == np.float32 and c.shape == (channels,) and (c == np.rint(c)).all())
    z = np.concatenate(parts, 1).astype(np.float32) * under(np.float32(0.5) * case.w_scale, case.axes) + under(bias, case.axes)
    want = last.sums(quantize(z, 0.3, last.z, TYPES[last.left])).astype(np.float32) * under(np.float32(0.3) * last.w_scale, last.axes)
    answers = [run(runner, artifact, level, x, pieces).reshape(want.shape) for level in levels() for pieces in (1, 3)]
    assert all((y == answers[0]).all() for y in answers)
    # Next to a tie a value may go to either side: a step of one factor.
    step = 0.3 * 255 * last.w_scale.max()
    assert np.abs(answers[0] - want).max() <= 3 * step and (np.abs(answers[0] - want) > step / 999).mean() < 0.05


@pytest.mark.parametrize("op", ["QLinearConv", "ConvInteger"])
@pytest.mark.parametrize("number", range(len(DEPTHWISE)))
def test_depthwise_integers(tmp_path, runner, number, op):
    channels, size, *rest = DEPTHWISE[number]
    case = Case(number, (1, channels, size, *rest), FORMS[number])
    case.attributes["group"] = channels
    model = new_model(case)
    model.dims = [None, channels, *size]
    q, scale, z = case.quantized(model, 0.02)
    bias = case.random.integers(-4000, 4000, channels).astype(np.int32)
    y_zero = np.array(100, np.uint8)
    if op == "ConvInteger":
        model.add("Cast", model.add(op, q, case.w, z, case.zeros(), **case.attributes), to=1)
    else:
        y = model.add(op, q, scale, z, case.w, case.w_scale, case.zeros(), np.float32(1.5), y_zero, bias, **case.attributes)
        model.add("DequantizeLinear", y, np.float32(1), y_zero)
    artifact = model.compile(tmp_path)
    x = case.random.standard_normal((2, channels, *size)).astype(np.float32)
    q = quantize(x, 0.02, case.z, TYPES[case.left]).astype(np.int64) - case.z
    w = case.w.astype(np.int64) - case.w_zero
    sums = np.concatenate([convolve(q[:, c : c + 1], w[c : c + 1], case.strides, case.dilations, case.pads) for c in range(channels)], 1)
    want = sums.astype(np.float32)
    if op == "QLinearConv":
        factor = under(np.float32(0.02) * case.w_scale / np.float32(1.5), case.axes)
        want = np.clip(np.rint((sums + under(bias, case.axes)).astype(np.float32) * factor) + 100, 0, 255).astype(np.float32) - 100
    for level in kit.levels("x86-64-v3", "x86-64-v4"):
        assert (run(runner, artifact, level, x).reshape(want.shape) == want).all(), level


def test_strict(tmp_path, runner):
    """Strict arithmetic rounds each sum, so the first form stays in floats."""
    case = Case(4, SHAPES[4], FORMS[0])
    model = new_model(case)
    case.static(model, 0.02)
    model.save(tmp_path / "m.onnx")
    text = kit.subprocess.run([kit.TAMIS, "opt", "--math=strict", tmp_path / "m.onnx"], capture_output=True, text=True, check=True).stdout
    assert '"tiles"' not in text


@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.parametrize("target", [*OTHERS, "aarch64-linux-gnu dotprod"])
def test_other_targets(tmp_path, runner, target, number):
    """The same bits as on this processor: images as rows of a matrix."""
    case = Case(number, SHAPES[number], FORMS[1])
    depth = case.channels * int(np.prod(case.size))
    model = Model([None, depth])
    shaped = model.add("Reshape", "x", np.array([-1, case.channels, *case.size], np.int64))
    model.add("Flatten", case.static(model, 0.02, x=shaped), axis=1)
    x = case.input(3).reshape(3, depth)
    columns = case.sums(np.zeros((1, case.channels, *case.size), np.int8)).size
    answers = list(run_elsewhere(tmp_path, target, model, depth, columns, [x[:1], x]))
    artifact = model.compile(tmp_path)
    for own, y in answers:
        assert (run(runner, artifact, "x86-64-v3", own).reshape(y.shape) == y).all(), len(own)
