# SPDX-License-Identifier: Apache-2.0
"""--precision=bf16: products whose factors are rounded to bfloat16, at every level, against NumPy.

The reference rounds both factors to bfloat16 and sums in double, so
only the order of float32 sums is left as a difference: for each product at most depth * 2^-24 of the sum of the
absolute products, twice that with what rounding of halves of sums adds.
"""

import pathlib
import shutil
import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, TAMIS, is_x86, run, run_elsewhere, runner  # noqa: F401
from onnx import TensorProto, helper

STEP = 2.0**-24  # half a step of float32
ROWS = [1, 13, 16, 17, 33, 50]


class Model(kit.Model):
    options = ("--precision=bf16",)


LEVELS = ["x86-64-v3", "x86-64-v4", "x86-64-v4-dot", "x86-64-v4-amx"]


def levels():
    return kit.levels(*LEVELS)


pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def to_bf16(x):
    """Rounded to bfloat16, ties to even; as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def weights(random, *dims):
    return random.standard_normal(dims).astype(np.float32)


def product(x, w):
    """The product of the rounded factors, and the bound of a float32 sum in any order."""
    a, b = to_bf16(x).astype(np.float64), to_bf16(w).astype(np.float64)
    return a @ b, 2 * (w.shape[0] + 4) * STEP * (np.abs(a) @ np.abs(b))


@pytest.mark.parametrize("depth, columns", [(32, 16), (33, 17), (64, 32), (65, 31), (96, 100), (127, 64), (256, 48), (520, 33)])
def test_product(tmp_path, runner, depth, columns):
    random = np.random.default_rng(depth)
    w, bias = weights(random, depth, columns), weights(random, columns)
    model = Model([None, depth])
    model.add("Add", model.add("MatMul", "x", w), bias)
    artifact = model.compile(tmp_path)
    for level in levels():
        answers = {}
        for rows in ROWS:
            x = weights(np.random.default_rng(0), max(ROWS), depth)[:rows]
            y = run(runner, artifact, level, x).reshape(rows, columns)
            want, bound = product(x, w)
            assert (np.abs(y - (want + bias)) <= bound + 2 * STEP * np.abs(want + bias)).all(), (level, rows)
            answers[rows] = y
            assert (y == run(runner, artifact, level, x, pieces=3).reshape(rows, columns)).all(), (level, rows, "threads")
        for rows in ROWS:
            assert (answers[rows] == answers[max(ROWS)][:rows]).all(), (level, rows, "batch")


@pytest.mark.parametrize("symbolic", [True, False])
def test_large_units(tmp_path, runner, symbolic):
    """More rows than a unit has, and more panels than a thread."""
    random = np.random.default_rng(5)
    w = weights(random, 8224, 70)
    x = weights(random, 90, 8224)
    model = Model([90, 8224])
    model.add("MatMul", "x", w)
    artifact = model.compile(tmp_path, symbolic=symbolic)
    want, bound = product(x, w)
    for level in levels():
        y = run(runner, artifact, level, x)
        assert (np.abs(y.reshape(want.shape) - want) <= bound).all(), level
        assert (y == run(runner, artifact, level, x, pieces=5)).all(), level


@pytest.mark.parametrize("width", [64, 72])
def test_chain(tmp_path, runner, width):
    """Products that feed products: what lies between is stored rounded; others read it in float32 too."""
    random = np.random.default_rng(width)
    w = [weights(random, 64, width) / 8, weights(random, width, 64) / 8, weights(random, 64, 48) / 8]
    model = Model([None, None, 64])
    hidden = model.add("Relu", model.add("MatMul", "x", w[0]))
    back = model.add("Add", model.add("MatMul", hidden, w[1]), "x")
    model.add("Concat", model.add("MatMul", back, w[2]), back, axis=2)
    artifact = model.compile(tmp_path)
    x = weights(random, 2, 21, 64)
    first = np.maximum(product(x, w[0])[0], 0).astype(np.float32)
    second = (product(first, w[1])[0] + x).astype(np.float32)
    third = product(second, w[2])[0]
    want = np.concatenate([third, second], axis=2)
    for level in levels():
        y = run(runner, artifact, level, x).reshape(want.shape)
        # A sum next to the middle of two bfloat16 may be rounded either way: a step of 2^-8 of one factor.
        assert np.abs(y - want).max() <= 2.0**-8 * 4, level
        assert np.abs(y - want).mean() <= 2.0**-12, level
        assert (run(runner, artifact, level, x, pieces=2).reshape(want.shape) == y).all(), level


def norm(x, scale, bias):
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


@pytest.mark.parametrize("width, after", [(64, False), (64, True), (320, False), (320, True), (80, True)])
def test_norms(tmp_path, runner, width, after):
    """A norm before a product, and one behind a residual sum whose value others read too."""
    random = np.random.default_rng(width)
    w = [weights(random, width, width) / 8, weights(random, width, 48) / 8]
    scale, bias = 1 + weights(random, width) / 8, weights(random, width) / 8
    model = Model([None, None, width])
    if after:
        sums = model.add("Add", model.add("MatMul", "x", w[0]), "x")
    else:
        sums = model.add("Add", "x", model.add("Abs", "x"))
    normed = model.add("LayerNormalization", sums, scale, bias, axis=-1, epsilon=1e-5)
    y = model.add("MatMul", normed, w[1])
    if after:
        model.add("Concat", y, normed, axis=2)
    else:
        model.add("Concat", y, sums, axis=2)
    artifact = model.compile(tmp_path)
    x = weights(random, 2, 19, width)
    sums = (product(x, w[0])[0] + x if after else x + np.abs(x)).astype(np.float32)
    normed = norm(sums, scale, bias).astype(np.float32)
    want = np.concatenate([product(normed, w[1])[0], normed if after else sums], axis=2)
    for level in levels():
        y = run(runner, artifact, level, x).reshape(want.shape)
        assert np.abs(y - want).max() <= 2.0**-8 * 6, level
        assert np.abs(y - want).mean() <= 2.0**-11, level
        assert (run(runner, artifact, level, x, pieces=2).reshape(want.shape) == y).all(), level


def attention(q, k, v, heads, kv_heads, bias, rounds):
    """Rank 3 operands; the answer, and what rounding weights may change of it."""
    batch, queries = q.shape[:2]
    split = [x.reshape(batch, x.shape[1], n, -1).transpose(0, 2, 1, 3) for x, n in ((q, heads), (k, kv_heads), (v, kv_heads))]
    q, k, v = [(to_bf16(x) if rounds else x).astype(np.float64) for x in split]
    k, v = [np.repeat(x, heads // kv_heads, axis=1) for x in (k, v)]
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]) + bias
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    join = lambda x: x.transpose(0, 2, 1, 3).reshape(batch, queries, -1)
    return join(p @ v), join(p @ np.abs(v))


@pytest.mark.parametrize("size, heads, kv_heads, form", [
    (32, 2, 2, "plain"), (64, 4, 2, "mask"), (64, 2, 2, "causal"), (96, 1, 1, "bool"), (128, 1, 1, "plain"), (128, 1, 1, "causal")])
def test_attention(tmp_path, runner, size, heads, kv_heads, form):
    """Queries, keys and values of one input; lengths around those of tiles, groups and units."""
    random = np.random.default_rng(size)
    width = heads * size
    kv_width = kv_heads * size
    for length in (1 if form in ("plain", "causal") else 2, 33, 64, 130):
        model = Model([None, None, width])
        model.opset = 23
        shift = weights(random, width)
        ends = [np.array(x, np.int64) for x in ([0], [kv_width], [2])]
        key = model.add("Slice", model.add("Mul", "x", shift), *ends)
        value = model.add("Slice", model.add("Add", "x", shift), *ends)
        bias, mask = 0, None
        if form == "mask":
            mask = weights(random, 1, heads, length, length)
            bias = mask
        elif form == "bool":
            mask = random.random((length, length)) < 0.7
            mask[:, 0] = True
            bias = np.where(mask, 0, -np.inf)
        elif form == "causal":
            bias = np.where(np.tril(np.ones((length, length), bool)), 0, -np.inf)
        operands = ["x", key, value] + ([] if mask is None else [mask])
        model.add("Attention", *operands, q_num_heads=heads, kv_num_heads=kv_heads, is_causal=int(form == "causal"))
        model.dims = [2, length, width]
        artifact = model.compile(tmp_path, symbolic=mask is None)
        x = weights(random, 2, length, width)
        q, k, v = x, (x * shift)[:, :, :kv_width], (x + shift)[:, :, :kv_width]
        for level in kit.levels("x86-64-v3", "x86-64-v4", "x86-64-v4-amx"):  # pairs of bfloat16 are for products
            tiles = level.endswith("amx")
            want, spread = attention(q, k, v, heads, kv_heads, bias, tiles)
            y = run(runner, artifact, level, x).reshape(want.shape)
            bound = 2.0**-8 * spread + 2.0**-18 if tiles else 2.0**-14
            assert (np.abs(y - want) <= bound).all(), (level, length)
            assert (y == run(runner, artifact, level, x, pieces=3).reshape(want.shape)).all(), (level, length)


def test_epilogue_and_special_values(tmp_path, runner):
    random = np.random.default_rng(1)
    w = weights(random, 64, 40)
    model = Model([None, 64])
    model.add("MatMul", "x", w)
    artifact = model.compile(tmp_path)
    x = weights(random, 20, 64)
    x[3, 5], x[4, 6], x[5, 7] = np.nan, np.inf, -np.inf
    x[6, :] = 3e38
    x[7, :] = 1e-42
    for level in levels():
        y = run(runner, artifact, level, x).reshape(20, 40)
        assert np.isnan(y[3]).all() and np.isinf(y[4]).all() and np.isinf(y[5]).all(), level
        assert not np.isfinite(y[6]).all() or np.abs(y[6]).max() > 1e37, level
        assert np.abs(y[7]).max() <= 1e-37, level
        rest = [i for i in range(20) if i not in (3, 4, 5, 6, 7)]
        want, bound = product(x[rest], w)
        assert (np.abs(y[rest] - want) <= bound).all(), level


def test_rows_that_depend_on_data(tmp_path, runner):
    """The tiles of a value whose number of rows is known only while the model runs."""
    random = np.random.default_rng(1)
    w = [weights(random, 33, 64), weights(random, 64, 32)]
    model = Model([None, 33])
    chosen = model.add("NonZero", model.add("ReduceMax", model.add("Greater", model.add("Slice", "x", *[
        np.array(n, np.int64) for n in ([0], [1], [1])]), np.zeros(1, np.float32)), np.array([1], np.int64), keepdims=0))
    rows = model.add("Gather", "x", model.add("Squeeze", chosen, np.array([0], np.int64)))
    model.add("MatMul", model.add("Relu", model.add("MatMul", rows, w[0])), w[1])
    artifact = model.compile(tmp_path)
    for count in (0, 1, 17, 40, 3):
        x = weights(random, 40, 33)
        x[:, 0] = np.abs(x[:, 0]) * np.where(np.arange(40) < count, 1, -1)
        want = product(np.maximum(product(x[:count], w[0])[0], 0).astype(np.float32), w[1])[0]
        for level in levels():
            y = run(runner, artifact, level, x).reshape(count, 32)
            assert count == 0 or np.abs(y - want).max() <= 2.0**-8 * np.abs(want).max(), (level, count)


@pytest.mark.parametrize("target", OTHERS)
def test_other_targets(tmp_path, target):
    """Processors without units for bfloat16 widen it: the bits of a sum are those of x86-64 without units."""
    random = np.random.default_rng(3)
    depth, columns = 70, 40
    w, bias = weights(random, depth, columns), weights(random, columns)
    model = Model([None, depth])
    model.add("Add", model.add("MatMul", "x", w), bias)
    for x, y in run_elsewhere(tmp_path, target, model, depth, columns, [weights(random, rows, depth) for rows in (1, 5, 17, 33)]):
        want, bound = product(x, w)
        assert (np.abs(y - (want + bias)) <= bound + 2 * STEP * np.abs(want + bias)).all(), len(x)


def test_bfloat16_models(tmp_path, runner):
    """Products of tensors that are bfloat16 in the model: results rounded once."""
    random = np.random.default_rng(4)
    w = weights(random, 64, 32)
    bits = (to_bf16(w).view(np.uint32) >> 16).astype("<u2")
    model = Model([None, 64])
    model.constants.append(helper.make_tensor("w", TensorProto.BFLOAT16, w.shape, bits.tobytes(), raw=True))
    narrow = model.add("Cast", "x", to=TensorProto.BFLOAT16)
    model.add("Cast", model.add("MatMul", narrow, "w"), to=TensorProto.FLOAT)
    artifact = model.compile(tmp_path, "--precision=f32")
    x = weights(random, 21, 64)
    want, bound = product(x, w)
    for level in levels():
        y = run(runner, artifact, level, x).reshape(want.shape)
        assert (to_bf16(y) == y).all(), level
        assert (np.abs(y - want) <= bound + 2.0**-8 * np.abs(want) * (1 + 2.0**-8)).all(), level


def test_small_products_stay(tmp_path):
    random = np.random.default_rng(1)
    for depth, columns in ((31, 64), (64, 15)):
        model = Model([None, depth])
        model.add("MatMul", "x", weights(random, depth, columns))
        model.save(tmp_path / "m.onnx")
        text = subprocess.run([TAMIS, "opt", tmp_path / "m.onnx", "-O2", "--precision=bf16"], check=True, capture_output=True, text=True)
        assert "bf16" not in text.stdout


def test_unknown_precision():
    done = subprocess.run([TAMIS, "compile", "m.onnx", "--precision=f8"], capture_output=True, text=True)
    assert done.returncode == 2 and "--precision is f32 or bf16, not 'f8'" in done.stderr


def test_native_run(tmp_path, runner):
    """The command takes the best level that the CPU and the system give: its bits are those of one of them."""
    model = Model([None, 64])
    model.add("MatMul", "x", weights(np.random.default_rng(1), 64, 64))
    artifact = model.compile(tmp_path)
    x = weights(np.random.default_rng(2), 40, 64)
    np.savez(tmp_path / "in.npz", x=x)
    subprocess.run([TAMIS, "run", artifact, "--inputs", tmp_path / "in.npz", "-o", f"{model.last}={tmp_path / 'y.npy'}"], check=True)
    native = np.load(tmp_path / "y.npy")
    assert any((run(runner, artifact, level, x).reshape(40, 64) == native).all() for level in levels())


def test_default_is_float32(tmp_path):
    """Without the option an artifact has the default levels and asks the system for nothing."""
    model = Model([None, 64])
    model.add("MatMul", "x", weights(np.random.default_rng(1), 64, 64))
    model.save(tmp_path / "m.onnx")
    for options, want in ([], ["x86-64-v3", "x86-64-v4"]), (["--precision=bf16"], LEVELS):
        subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--target=x86_64", *options], check=True)
        text = subprocess.run([TAMIS, "inspect", tmp_path / "m.so", "--json"], check=True, capture_output=True, text=True).stdout
        assert all((f'"{level}"' in text) == (level in want) for level in LEVELS), text
