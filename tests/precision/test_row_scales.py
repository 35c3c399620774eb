# SPDX-License-Identifier: Apache-2.0
"""Products of rows that are quantised each by its own largest magnitude, when the model runs.

The form is that of `tamis quantize --quantize=int8-dynamic`: blocks as long as the rows. Answers are the same bits at
every level, for every batch and number of threads, and on other processors.
"""

import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, TAMIS, is_x86, levels, run, run_elsewhere, runner  # noqa: F401
from onnx import TensorProto

LEVELS = ["x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx"]
SHAPES = [(2, 1), (5, 3), (16, 32), (40, 33), (130, 20), (1100, 17)]
ROWS = [1, 3, 16, 33]

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


class Model(kit.Model):
    opset = 21  # of blocks


def rounded(model, x, depth, divide=False):
    """x by the scales of its rows, and back."""
    largest = model.add("ReduceMax", model.add("Abs", x), np.array([-1]), keepdims=1)
    share = model.add("Div", largest, np.float32(127)) if divide else model.add("Mul", largest, np.float32(1 / 127))
    scale = model.add("Max", share, np.float32(1e-30))
    block = {"axis": -1, "block_size": depth}
    down = model.add("QuantizeLinear", x, scale, output_dtype=TensorProto.INT8, **block)
    return model.add("DequantizeLinear", down, scale, **block)


def product(model, x, w, w_scale, divide=False):
    weights = model.add("DequantizeLinear", w, w_scale, axis=1)
    return model.add("MatMul", rounded(model, x, w.shape[0], divide), weights)


def wanted(x, w, w_scale):
    scale = np.maximum(np.abs(x).max(-1, keepdims=True) * np.float32(1 / 127), np.float32(1e-30))
    q = np.clip(np.rint(x * (1 / scale)), -128, 127)
    return (q.astype(np.int64) @ w.astype(np.int64)).astype(np.float32) * w_scale * scale


def drawn(depth, columns):
    random = np.random.default_rng(depth)
    w = random.integers(-127, 128, (depth, columns)).astype(np.int8)
    return random, w, (0.5 + random.random(columns)).astype(np.float32) / 64


@pytest.mark.parametrize("depth, columns", SHAPES)
@pytest.mark.parametrize("divide", [False, True])
def test_products(tmp_path, runner, depth, columns, divide):
    random, w, w_scale = drawn(depth, columns)
    x = (random.standard_normal((max(ROWS), depth)) * np.exp(4 * random.standard_normal((max(ROWS), 1)))).astype(np.float32)
    x[2] = 0
    model = Model([None, depth])
    product(model, "x", w, w_scale, divide)
    artifact = model.compile(tmp_path)
    want, first = wanted(x, w, w_scale), None
    for level in levels(*LEVELS):
        for rows in reversed(ROWS):
            for pieces in (1, 3):
                y = run(runner, artifact, level, x[:rows], pieces).reshape(rows, columns)
                first = y if first is None else first
                assert (y == first[:rows]).all(), (level, rows, pieces)
    # A value next to a tie may go to either side.
    step = np.abs(x).max(-1, keepdims=True) / 127 * w_scale * 127
    assert (np.abs(first - want) <= 2 * step + 1e-6 * np.abs(want)).all()
    assert (first[2] == 0).all()


def test_rows_with_nan_are_nan(tmp_path, runner):
    random, w, w_scale = drawn(37, 5)
    x = random.standard_normal((4, 37)).astype(np.float32)
    x[1, 20] = np.nan
    model = Model([None, 37])
    product(model, "x", w, w_scale)
    artifact = model.compile(tmp_path)
    for level in levels(*LEVELS):
        y = run(runner, artifact, level, x).reshape(4, 5)
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2, 3]]).all(), level


def test_chain_is_made_of_integer_products(tmp_path, runner):
    """Two products with a norm between: nothing multiplies floats, and the row's region stores tiles."""
    random, w, w_scale = drawn(48, 48)
    model = Model([None, None, 48])
    hidden = model.add("Gelu", product(model, "x", w, w_scale))
    normed = model.add("LayerNormalization", hidden, np.ones(48, np.float32), axis=-1)
    product(model, normed, w, w_scale)
    artifact = model.compile(tmp_path)
    text = subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "--emit=ir", "-o", tmp_path / "m.ir"], capture_output=True, text=True)
    assert text.returncode == 0, text.stderr
    ir = (tmp_path / "m.ir").read_text()
    assert ir.count('kind = "tiles"') == 2 and ir.count('kind = "pack"') == 0 and "MatMul(" not in ir
    x = random.standard_normal((2, 9, 48)).astype(np.float32)
    answers = [run(runner, artifact, level, x, pieces) for level in levels(*LEVELS) for pieces in (1, 2)]
    assert all((y == answers[0]).all() for y in answers)


@pytest.mark.parametrize("target", OTHERS)
def test_other_targets(tmp_path, runner, target):
    random, w, w_scale = drawn(70, 12)
    model = Model([None, 70])
    product(model, "x", w, w_scale)
    inputs = [random.standard_normal((rows, 70)).astype(np.float32) for rows in (1, 17)]
    answers = list(run_elsewhere(tmp_path, target, model, 70, 12, inputs))
    artifact = model.compile(tmp_path)
    for x, y in answers:
        assert (run(runner, artifact, "x86-64-v3", x).reshape(y.shape) == y).all(), len(x)
