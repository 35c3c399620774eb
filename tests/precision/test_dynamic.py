# SPDX-License-Identifier: Apache-2.0
"""Quantisers that find their scale: ranges are found by the regions before them, bytes are made where products pack them.

The scale is of all elements, so the bits must be the same for any number of threads, and at every level, where the
floats before the quantiser are.
"""

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def levels():
    return kit.levels("x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx")


def random_weights(random, rows, columns):
    return random.integers(-128, 128, (rows, columns)).astype(np.int8), ((0.5 + random.random(columns)) / 512).astype(np.float32)


def add_product(model, x, w, w_scale):
    model.add("DynamicQuantizeLinear", x)
    q, s, z = model.nodes[-1].output[0], f"s{len(model.nodes)}", f"z{len(model.nodes)}"
    model.nodes[-1].output.extend([s, z])
    sums = model.add("Cast", model.add("MatMulInteger", q, w, z), to=1)
    return model.add("Mul", sums, model.add("Mul", s, w_scale))


def product(x, w, w_scale):
    low, high = min(x.min(initial=0), 0), max(x.max(initial=0), 0)
    scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = np.clip(np.rint(np.float32(-low) / scale), 0, 255)
    q = np.clip(np.rint(x * np.float32(1 / scale)) + zero, 0, 255).astype(np.int64)
    return ((q - int(zero)) @ w.astype(np.int64)).astype(np.float32) * (scale * w_scale)


@pytest.mark.parametrize("rows", [0, 1, 5, 16, 70, 300])
@pytest.mark.parametrize("width", [33, 64, 200])
def test_chain(tmp_path, runner, width, rows):
    """Of an input, of a product, with one and with two readers."""
    random = np.random.default_rng(width)
    (w, s), (v, t), (u, r) = random_weights(random, 48, width), random_weights(random, width, 48), random_weights(random, 48, 16)
    model = Model([None, 48])
    hidden = model.add("Relu", add_product(model, "x", w, s))
    back = model.add("Add", add_product(model, hidden, v, t), "x")
    model.add("Concat", add_product(model, back, u, r), back, axis=1)
    artifact = model.compile(tmp_path)
    x = random.standard_normal((rows, 48)).astype(np.float32)
    b = product(np.maximum(product(x, w, s), 0), v, t) + x
    want = np.concatenate([product(b, u, r), b], axis=1)
    answers = [run(runner, artifact, level, x, pieces).reshape(want.shape) for level in levels() for pieces in (1, 3)]
    for y in answers:
        assert (y == answers[0]).all()
        # A value next to a tie may go to the other side: a step of one factor.
        assert np.abs(y - want).max(initial=0) <= 3e-2 * max(1, np.abs(want).max(initial=0))
        assert np.abs(y - want).mean() <= 1e-4 if rows else True


@pytest.mark.parametrize("name", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("width", [40, 256, 1000])
def test_norms(tmp_path, runner, name, width):
    """The range of a norm's rows, short and long, of its operand, and of both."""
    random = np.random.default_rng(width)
    (w, s), (v, t) = random_weights(random, width, 20), random_weights(random, width, 8)
    scale = (1 + random.standard_normal(width) / 8).astype(np.float32)
    model = Model([None, width])
    model.opset = 23
    sums = model.add("Mul", "x", np.full(width, 1.5, np.float32))
    normed = model.add(name, sums, scale, axis=-1, epsilon=1e-5)
    model.add("Concat", add_product(model, normed, w, s), add_product(model, sums, v, t), axis=1)
    artifact = model.compile(tmp_path)
    x = random.standard_normal((37, width)).astype(np.float32)
    a = x * np.float32(1.5)
    centred = a - a.mean(-1, keepdims=True) if name[0] == "L" else a
    n = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale
    want = np.concatenate([product(n, w, s), product(a, v, t)], axis=1)
    for level in levels():
        y = run(runner, artifact, level, x).reshape(want.shape)
        assert (run(runner, artifact, level, x, 3).reshape(want.shape) == y).all(), level
        assert np.abs(y - want).max() <= 3e-2 * np.abs(want).max() and np.abs(y - want).mean() <= 1e-3, level


def test_special(tmp_path, runner):
    """Only zeros, only one sign, subnormals, NaN that says nothing of the range."""
    random = np.random.default_rng(1)
    w, s = random_weights(random, 48, 16)
    model = Model([None, 48])
    add_product(model, model.add("Mul", "x", np.float32(1)), w, s)
    artifact = model.compile(tmp_path)
    base = random.random((9, 48)).astype(np.float32)
    for x in (np.zeros_like(base), base, -base, base * np.float32(1e-38)):
        for level in levels():
            y = run(runner, artifact, level, x).reshape(9, 16)
            assert np.abs(y - product(x, w, s)).max() <= 2e-2 * max(np.abs(x).max(), 1e-30), level
    x = base.copy()
    x[3, 5] = np.nan
    y = run(runner, artifact, levels()[0], x).reshape(9, 16)
    assert np.isfinite(y).all()
    x[3, 5] = 0
    want = product(x, w, s)
    assert (np.delete(y, 3, 0) == np.delete(run(runner, artifact, levels()[0], x).reshape(9, 16), 3, 0)).all()
    assert np.abs(y - want).max() <= 1e-1 * np.abs(want).max() + 1


@pytest.mark.parametrize("target", OTHERS)
def test_other_targets(tmp_path, runner, target):
    """The same bits as on this processor."""
    random = np.random.default_rng(3)
    (w, s), (v, t) = random_weights(random, 70, 40), random_weights(random, 40, 24)
    model = Model([None, 70])
    add_product(model, model.add("Relu", add_product(model, "x", w, s)), v, t)
    inputs = [random.standard_normal((rows, 70)).astype(np.float32) for rows in (1, 17, 33)]
    answers = list(run_elsewhere(tmp_path, target, model, 70, 24, inputs))
    artifact = model.compile(tmp_path)
    for x, y in answers:
        assert (run(runner, artifact, "x86-64-v3", x).reshape(y.shape) == y).all(), len(x)
