# SPDX-License-Identifier: Apache-2.0
"""Functions whose results are bytes are approximated: each answer is within 1/16 of a step of what is rounded, the bits are
the same at every level and on other processors, and --math=strict approximates nothing.
"""

import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")

NORMAL = np.vectorize(lambda x: __import__("math").erfc(-x / 2**0.5) / 2)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name: nodes from x, the function in double
FUNCTIONS = {
    "gelu": ([("Gelu", {})], lambda x: x * NORMAL(x)),
    "gelu_tanh": ([("Gelu", {"approximate": "tanh"})], lambda x: x * sigmoid(2 * (2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "silu": ([("Swish", {})], lambda x: x * sigmoid(x)),
    "swish": ([("Swish", {"alpha": 1.702})], lambda x: x * sigmoid(1.702 * x)),
    "sigmoid": ([("Sigmoid", {})], sigmoid),
    "tanh": ([("Tanh", {})], np.tanh),
    "exp": ([("Exp", {})], np.exp),
    "relu of tanh": ([("Tanh", {}), ("Relu", {})], lambda x: np.maximum(np.tanh(x), 0)),
}


def build(name, scale, zero, options=()):
    model = Model([None, 37])
    model.opset = 24
    model.options = options
    value = "x"
    for op, attributes in FUNCTIONS[name][0]:
        value = model.add(op, value, **attributes)
    q = model.add("QuantizeLinear", value, np.float32(scale), zero)
    model.add("DequantizeLinear", q, np.float32(scale), zero)
    return model


def samples(reach):
    random = np.random.default_rng(5)
    return np.concatenate([np.linspace(-reach, reach, 37 * 100), random.standard_normal(37 * 60)]).astype(np.float32).reshape(-1, 37)


def levels():
    return kit.levels("x86-64-v3", "x86-64-v4")


# Scales for the whole range, for what is near zero, and for the tail of negative arguments alone.
@pytest.mark.parametrize("dtype, zero", [(np.uint8, 0), (np.uint8, 131), (np.int8, -5)])
@pytest.mark.parametrize("reach", [12, 4, 0.01])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_steps(tmp_path, runner, name, reach, dtype, zero):
    x = samples(reach)
    limits = np.iinfo(dtype)
    y = FUNCTIONS[name][1](x.astype(np.float64))
    scale = np.float32(max(np.abs(y).max() / 127, 1e-6))
    want = np.clip(y / np.float64(scale), limits.min - zero, limits.max - zero)
    artifact = build(name, scale, dtype(zero)).compile(tmp_path)
    first = None
    for level in levels():
        got = run(runner, artifact, level, x).reshape(x.shape)
        first = got if first is None else first
        assert (got == first).all(), level
    assert np.abs(np.rint(first / scale) - want).max() <= 0.5 + 1 / 16


COEFFICIENT = "0x3FEEA4B140000000"  # of the short polynomial, as LLVM writes it


@pytest.mark.parametrize("form, options, coarse", [("static", [], True), ("factor", [], True), ("dynamic", [], True), ("sum", [], False),
                                                   ("float", [], False), ("both", [], False), ("static", ["--math=strict"], False)])
def test_choice(tmp_path, form, options, coarse):
    """Which results are wanted to a byte's precision only, also where another region quantises them."""
    random = np.random.default_rng(1)
    model = Model([None, 64])
    model.options = ["-mcpu=x86-64-v3", *options]
    w = random.integers(-128, 128, (64, 64)).astype(np.int8)

    def product(x):
        model.add("DynamicQuantizeLinear", x)
        q, s, z = model.nodes[-1].output[0], f"s{len(model.nodes)}", f"z{len(model.nodes)}"
        model.nodes[-1].output.extend([s, z])
        return model.add("Mul", model.add("Cast", model.add("MatMulInteger", q, w, z), to=1), s)

    y = model.add("Gelu", product("x"))
    if form == "dynamic":
        product(y)
    elif form == "both":
        model.add("Concat", product(y), y, axis=1)
    elif form != "float":
        y = model.add("Mul", y, np.float32(3)) if form == "factor" else model.add("Add", y, "x") if form == "sum" else y
        q = model.add("QuantizeLinear", y, np.float32(0.02), np.uint8(9))
        model.add("DequantizeLinear", q, np.float32(0.02), np.uint8(9))
    model.save(tmp_path / "m.onnx")
    command = [kit.TAMIS, "compile", tmp_path / "m.onnx", "--emit=llvm", "-o", tmp_path / "m.ll", *model.options]
    subprocess.run([str(part) for part in command], check=True)
    assert (COEFFICIENT in (tmp_path / "m.ll").read_text()) == coarse


@pytest.mark.parametrize("name", ["gelu", "silu", "tanh"])
def test_strict(tmp_path, runner, name):
    """The bits of the function and the quantiser apart."""
    x, scale = samples(6), np.float32(0.02)
    quantized = build(name, scale, np.int8(3), ["--math=strict"]).compile(tmp_path)
    alone = Model([None, 37])
    alone.opset = 24
    alone.options = ["--math=strict"]
    for op, attributes in FUNCTIONS[name][0]:
        alone.add(op, "x", **attributes)
    (tmp_path / "alone").mkdir()
    y = run(runner, alone.compile(tmp_path / "alone"), "x86-64-v3", x).reshape(x.shape)
    want = (np.clip(np.rint(y / scale), -131, 124)).astype(np.float32) * scale
    assert (run(runner, quantized, "x86-64-v3", x).reshape(x.shape) == want).all()


@pytest.mark.parametrize("zero", [np.uint8(0), np.uint8(200), np.int8(-128), np.int8(17)])
def test_quantizers(tmp_path, runner, zero):
    """Ties, bounds, infinities, NaN and the sign of zero, of a pair and of bytes that are stored, divided as ONNX does."""
    scale, limits = np.float32(0.37), np.iinfo(zero.dtype)
    special = [0.0, -0.0, -0.1, 0.1, np.inf, -np.inf, np.nan, 1e30, -1e30, 3e38, 1e-40]
    x = np.concatenate([np.arange(-700, 700, 0.5) * scale, special, np.zeros(59 - 11 + 37 * 2)]).astype(np.float32)
    x = x[: len(x) // 37 * 37].reshape(-1, 37)
    with np.errstate(invalid="ignore", over="ignore"):
        q = np.rint(x / scale) + np.float32(zero)
    q = np.where(q > limits.min, q, limits.min)
    want = (np.where(q < limits.max, q, limits.max) - np.float32(zero)) * scale
    for options in ([], ["--math=strict"]):
        pair = Model([None, 37])
        pair.options = options
        b = pair.add("QuantizeLinear", "x", scale, zero)
        d = pair.add("DequantizeLinear", b, scale, zero)
        pair.add("Add", d, np.float32(-0.0))  # keeps the sign of zero
        artifact = pair.compile(tmp_path)
        for level in levels():
            y = run(runner, artifact, level, x).reshape(x.shape)
            if options:
                assert (y == want).all() and (np.signbit(y) == np.signbit(want)).all(), level
            assert np.abs(y - want).max() <= scale * 1.001, level


@pytest.mark.parametrize("target", [*OTHERS, "aarch64-linux-gnu dotprod"])
def test_other_targets(tmp_path, runner, target):
    """The same bits as on this processor."""
    for name in FUNCTIONS:
        folder = tmp_path / name
        folder.mkdir()
        model = build(name, np.float32(0.03), np.uint8(100))
        x = samples(5)
        (_, y), = run_elsewhere(folder, target, model, 37, 37, [x])
        assert (run(runner, model.compile(folder), "x86-64-v3", x).reshape(y.shape) == y).all(), name
