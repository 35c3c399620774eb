# SPDX-License-Identifier: Apache-2.0
"""Attention of quantised models on bytes, at every level of x86-64 and on other processors under an emulator, against NumPy.

Sums of products and of weights are integers, and all that is rounded between them is done element by element in the same
order: every level, number of threads and batch must give the same bits. NumPy rounds weights as the loops do; next to a tie a
weight may be one of 255 steps more or less.
"""

import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, TAMIS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401

TYPES = {"u8": np.uint8, "s8": np.int8}
LENGTHS = [1, 2, 3, 7, 16, 33, 127, 128, 129, 200]
HEADS = 2

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def levels():
    return kit.levels("x86-64-v3", "x86-64-v3-vnni", "x86-64-v4", "x86-64-v4-vnni")


class Case:
    """x: queries, keys, values of all heads and a number for the mask, for each position."""

    def __init__(self, size=32, value_size=None, types=("u8", "u8", "u8"), zeros=(120, 131, 126), mask=None, kv_heads=HEADS, pairs="qkspv"):
        self.size, self.value_size = size, value_size or size
        self.types, self.zeros, self.mask, self.kv_heads, self.pairs = types, zeros, mask, kv_heads, pairs
        self.scales = [np.float32(0.02), np.float32(0.025), np.float32(0.03)]
        self.widths = [HEADS * self.size, kv_heads * self.size, kv_heads * self.value_size, 1]
        self.width = sum(self.widths)

    def input(self, batch, length, seed=0):
        return np.random.default_rng(seed).standard_normal((batch, length, self.width)).astype(np.float32)

    def pair(self, model, value, i):
        scale, zero = self.scales[i], np.array(self.zeros[i], TYPES[self.types[i]])
        return model.add("DequantizeLinear", model.add("QuantizeLinear", value, scale, zero), scale, zero)

    def bias(self, model, column):
        """What the mask adds, or where it hides."""
        if self.mask == "keys":  # finite, as exporters write it
            hidden = model.add("Cast", model.add("Greater", column, np.float32(0.7)), to=1)
            return model.add("Mul", model.add("Transpose", model.add("Unsqueeze", hidden, np.array([1])), perm=[0, 1, 3, 2]), np.float32(-3.4028235e38))
        if self.mask == "truth":
            return model.add("Less", model.add("Transpose", model.add("Unsqueeze", column, np.array([1])), perm=[0, 1, 3, 2]), np.float32(0.7))
        columns = model.add("Unsqueeze", column, np.array([1]))
        return model.add("Mul", model.add("Sub", columns, model.add("Transpose", columns, perm=[0, 1, 3, 2])), np.float32(0.5))

    def save(self, model, x="x"):
        split = model.add("Split", x, np.array(self.widths), axis=2)
        model.nodes[-1].output.extend([f"{split}_{i}" for i in range(1, 4)])
        names = [split] + [f"{split}_{i}" for i in range(1, 4)]
        operands = []
        for i, size in enumerate([self.size, self.size, self.value_size]):
            value = model.add("Reshape", names[i], np.array([0, 0, -1, size]))
            if i > 0 and self.kv_heads != HEADS:
                value = model.add("Expand", model.add("Unsqueeze", value, np.array([3])), np.array([1, 1, 1, HEADS // self.kv_heads, 1]))
                value = model.add("Reshape", value, np.array([0, 0, HEADS, size]))
            value = model.add("Transpose", value, perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3])
            operands.append(self.pair(model, value, i) if "qkv"[i] in self.pairs else value)
        scores = model.add("MatMul", *operands[:2])
        if "s" in self.pairs:
            scores = self.rounded(model, scores, np.float32(0.5), np.array(128, np.uint8))
        scores = model.add("Div", scores, np.float32(self.size**0.5))
        if self.mask == "truth":
            scores = model.add("Where", self.bias(model, names[3]), scores, np.float32(-np.inf))
        elif self.mask is not None:
            scores = model.add("Add", scores, self.bias(model, names[3]))
        weights = model.add("Softmax", scores, axis=-1)
        if "p" in self.pairs:
            weights = self.rounded(model, weights, np.float32(1 / 255), np.array(0, np.uint8))
        y = model.add("Transpose", model.add("MatMul", weights, operands[2]), perm=[0, 2, 1, 3])
        return model.add("Reshape", y, np.array([0, 0, -1]))

    @staticmethod
    def rounded(model, value, scale, zero):
        return model.add("DequantizeLinear", model.add("QuantizeLinear", value, scale, zero), scale, zero)

    def real(self, x, i):
        if "qkv"[i] not in self.pairs:
            return x
        limits = np.iinfo(TYPES[self.types[i]])
        q = np.clip(np.rint(x * np.float32(1 / self.scales[i])) + self.zeros[i], limits.min, limits.max)
        return (q - self.zeros[i]) * np.float64(self.scales[i])

    def want(self, x, rounds=True, tile=None):
        """`rounds`: weights to bytes, beside the best of their tile."""
        batch, length, _ = x.shape
        parts = np.split(x, np.cumsum(self.widths)[:-1], axis=2)
        q, k, v = (self.real(p, i).reshape(batch, length, -1, s).transpose(0, 2, 1, 3)
                   for i, (p, s) in enumerate(zip(parts[:3], [self.size, self.size, self.value_size])))
        k, v = (np.repeat(m, HEADS // self.kv_heads, axis=1) for m in (k, v))
        scores = q @ k.transpose(0, 1, 3, 2) / self.size**0.5
        column = parts[3].transpose(0, 2, 1)[:, :, None, :].astype(np.float64)
        if self.mask in ("keys", "truth"):
            scores = np.where(column > 0.7, -np.inf if self.mask == "truth" else -3e38, scores)
        elif self.mask == "rows":
            scores = scores + 0.5 * (column.transpose(0, 1, 3, 2) - column)
        elif self.mask == "causal":
            scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
        with np.errstate(invalid="ignore", divide="ignore"):
            if not rounds:
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                y = weights @ v / weights.sum(-1, keepdims=True)
            else:
                tile = tile or (64 if max(self.size, self.value_size) > 64 else 128)
                top, sums, y = scores.max(-1, keepdims=True), 0, 0
                for at in range(0, length, tile):
                    part = scores[..., at:at + tile]
                    best = part.max(-1, keepdims=True)
                    weights = np.nan_to_num(np.rint(255 * np.exp(part - best))) * np.nan_to_num(np.exp(best - top))
                    sums, y = sums + weights.sum(-1, keepdims=True), y + weights @ v[..., at:at + tile, :]
                y = y / sums
        return y.transpose(0, 2, 1, 3).reshape(batch, length, -1)

    def check(self, y, want, note):
        assert (np.isnan(y) == np.isnan(want)).all(), note
        y, want = np.nan_to_num(y), np.nan_to_num(want)
        assert np.abs(y - want).max() <= 4 / 255 * np.abs(want).max() + 1e-6, note
        assert np.abs(y - want).mean() <= 2e-4, note


def kinds(artifact_folder):
    text = subprocess.run([TAMIS, "opt", artifact_folder / "m.onnx", "-O2"], check=True, capture_output=True, text=True).stdout
    return [kind for kind in ("attention", "attention_bytes") if f'kind = "{kind}"' in text]


def check(tmp_path, runner, case, model, lengths, batch=2):
    artifact = model.compile(tmp_path)
    assert kinds(tmp_path) == ["attention_bytes"]
    for length in lengths:
        x = case.input(batch, length, length)
        first = None
        for level in levels():
            for pieces in (1, 3):
                y = run(runner, artifact, level, x, pieces).reshape(batch, length, -1)
                first = y if first is None else first
                assert (y.view(np.uint32) == first.view(np.uint32)).all(), (level, length, pieces)
        y = run(runner, artifact, levels()[-1], x[:1]).reshape(1, length, -1)
        assert (y.view(np.uint32) == first[:1].view(np.uint32)).all(), (length, "batch")
        case.check(first, case.want(x), length)


@pytest.mark.parametrize("size, value_size", [(4, 4), (12, 12), (20, 7), (32, 32), (32, 17), (48, 48), (64, 64), (80, 100), (128, 128)])
def test_sizes(tmp_path, runner, size, value_size):
    case, model = Case(size, value_size), Model([None, None, Case(size, value_size).width])
    case.save(model)
    check(tmp_path, runner, case, model, [1, 3, 33, 129])


def test_lengths(tmp_path, runner):
    case = Case()
    model = Model([None, None, case.width])
    case.save(model)
    check(tmp_path, runner, case, model, LENGTHS)


@pytest.mark.parametrize("length", [1, 3, 16, 100, 128, 131, 200, 260])
def test_known_lengths(tmp_path, runner, length):
    case = Case(mask="keys" if length > 1 else None)
    model = Model([2, length, case.width])
    case.save(model)
    artifact = model.compile(tmp_path, symbolic=False)
    assert kinds(tmp_path) == (["attention_bytes"] if length > 1 else ["attention"])
    if length == 1:  # a single query is float32, without pairs
        case.pairs = ""
    x = case.input(2, length, length)
    names = levels() if length > 1 else kit.levels("x86-64-v3", "x86-64-v4")
    answers = [run(runner, artifact, level, x, pieces).reshape(2, length, -1) for level in names for pieces in (1, 3)]
    assert all((y == answers[0]).all() for y in answers)
    even = -(-length // -(-length // 128))  # tiles are even, and whole blocks
    case.check(answers[0], case.want(x, tile=-(-even // 8) * 8), length)


@pytest.mark.parametrize("mask", ["keys", "truth", "rows"])
def test_masks(tmp_path, runner, mask):
    case = Case(mask=mask)
    model = Model([None, None, case.width])
    case.save(model)
    check(tmp_path, runner, case, model, [1, 5, 40, 150])


@pytest.mark.parametrize("types, zeros", [(("s8", "s8", "s8"), (0, 0, 0)), (("s8", "s8", "s8"), (-7, 9, 12)), (("u8", "s8", "u8"), (255, -128, 0)), (("s8", "u8", "s8"), (127, 128, -128))])
def test_types(tmp_path, runner, types, zeros):
    case = Case(types=types, zeros=zeros)
    model = Model([None, None, case.width])
    case.save(model)
    check(tmp_path, runner, case, model, [9, 130])


def test_groups(tmp_path, runner):
    case = Case(kv_heads=1)
    model = Model([None, None, case.width])
    case.save(model)
    check(tmp_path, runner, case, model, [6, 65])


def test_hidden_rows(tmp_path, runner):
    """Rows that see no key: all alike for a finite fill, NaN for minus infinity."""
    for mask in ("keys", "truth"):
        case = Case(mask=mask)
        model = Model([None, None, case.width])
        case.save(model)
        artifact = model.compile(tmp_path)
        for length in (5, 150):
            x = case.input(2, length)
            x[:, :, -1] = 1
            for level in levels():
                case.check(run(runner, artifact, level, x).reshape(2, length, -1), case.want(x), (mask, length, level))


@pytest.mark.parametrize("length", [50, 300])
def test_attention_operator(tmp_path, runner, length):
    """Attention as an operator, whose operands are quantised; causal."""
    case = Case(mask="causal")
    model = Model([None, None, case.width])
    model.opset = 23
    split = model.add("Split", "x", np.array(case.widths), axis=2)
    model.nodes[-1].output.extend([f"{split}_{i}" for i in range(1, 4)])
    operands = [case.pair(model, name, i) for i, name in enumerate([split, f"{split}_1", f"{split}_2"])]
    model.add("Attention", *operands, q_num_heads=HEADS, kv_num_heads=HEADS, is_causal=1)
    check(tmp_path, runner, case, model, [length])


@pytest.mark.parametrize("pairs", ["qk", "p", "qkv", "kspv", "qkp", "qkps"])
def test_missing_pairs(tmp_path, runner, pairs):
    """Attention is computed in float32 then, without the pairs that there are."""
    case = Case(pairs=pairs)
    model = Model([None, None, case.width])
    case.save(model)
    artifact = model.compile(tmp_path)
    assert kinds(tmp_path) == ["attention"]
    case.pairs = ""
    x = case.input(2, 21)
    for level in kit.levels("x86-64-v3", "x86-64-v4"):
        np.testing.assert_allclose(run(runner, artifact, level, x).reshape(2, 21, -1), case.want(x, rounds=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size, value_size", [(33, 33), (132, 8), (8, 132)])
def test_other_heads(tmp_path, runner, size, value_size):
    """Heads that are not whole words of bytes, and wide ones, are floats."""
    case = Case(size, value_size)
    model = Model([None, None, case.width])
    case.save(model)
    artifact = model.compile(tmp_path)
    assert kinds(tmp_path) == ["attention"]
    case.pairs = ""
    x = case.input(2, 21)
    np.testing.assert_allclose(run(runner, artifact, "x86-64-v3", x).reshape(2, 21, -1), case.want(x, rounds=False), rtol=1e-4, atol=1e-5)


def test_strict(tmp_path, runner):
    """The operators' own arithmetic."""
    case = Case()
    model = Model([None, None, case.width])
    case.save(model)
    model.save(tmp_path / "m.onnx")
    text = subprocess.run([TAMIS, "opt", tmp_path / "m.onnx", "-O2", "--math=strict"], check=True, capture_output=True, text=True).stdout
    assert "attention" not in text and text.count(" QuantizeLinear(") == 5 and text.count(" DequantizeLinear(") == 5


@pytest.mark.parametrize("value_size", [16, 48, 24])
@pytest.mark.parametrize("known", [None, 40, 150])
def test_stored_as_tiles(tmp_path, runner, value_size, known):
    """A product that reads the answer, quantised: of whole vectors of columns its tiles are stored by the attention."""
    case = Case(16, value_size, mask="keys")
    model = Model([None, known, case.width])
    w = np.random.default_rng(1).integers(-128, 128, (HEADS * value_size, 40)).astype(np.int8)
    scale, zero = np.float32(0.01), np.array(117, np.uint8)
    q = model.add("QuantizeLinear", case.save(model), scale, zero)
    weights = model.add("DequantizeLinear", w, np.float32(0.002), np.array(0, np.int8))
    model.add("MatMul", model.add("DequantizeLinear", q, scale, zero), weights)
    artifact = model.compile(tmp_path, symbolic=True)
    text = subprocess.run([TAMIS, "opt", tmp_path / "m.onnx", "-O2"], check=True, capture_output=True, text=True).stdout
    assert text.count('kind = "pack"') == (0 if value_size % 16 == 0 else 1)
    for length in [known] if known else [1, 20, 128, 129, 300]:
        x, first = case.input(2, length, length), None
        for level in kit.levels("x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-amx"):
            for pieces in (1, 3):
                y = run(runner, artifact, level, x, pieces).reshape(2, length, 40)
                first = y if first is None else first
                assert (y == first).all(), (level, length, pieces)
        a = np.clip(np.rint(case.want(x) / 0.01) + 117, 0, 255) - 117
        want = (a @ w) * 0.00002
        assert np.abs(first - want).max() <= 4 * 128 * 0.00002, length  # a few of the factors one step off
        assert np.abs(first - want).mean() <= 128 * 0.00002, length


@pytest.mark.parametrize("size, value_size", [(32, 32), (12, 7)])
@pytest.mark.parametrize("target", [*OTHERS, "aarch64-linux-gnu dotprod"])
def test_other_targets(tmp_path, runner, target, size, value_size):
    """The same bits as on this processor."""
    case = Case(size, value_size, mask="keys")
    model = Model([None, case.width])
    case.save(model, model.add("Unsqueeze", "x", np.array([0])))
    model.add("Squeeze", model.last, np.array([0]))
    inputs = [case.input(1, length, length)[0] for length in (1, 9, 40, 135)]
    answers = list(run_elsewhere(tmp_path, target, model, case.width, HEADS * value_size, inputs))
    artifact = model.compile(tmp_path)
    for x, y in answers:
        assert (run(runner, artifact, "x86-64-v3", x).reshape(y.shape) == y).all(), len(x)
