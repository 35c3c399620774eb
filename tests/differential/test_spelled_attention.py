# SPDX-License-Identifier: Apache-2.0
"""Attention as exporters spell it, with what published models put into it, against ONNX Runtime and -O0.

A seed makes a model of several attentions, each of random parts: how heads are split, where K is turned,
where the factor stands, biases and masks in their order, caps, guards, sinks, taps. Rows that see no key are
among the inputs, because masks with finite fills say what such a row is: the softmax of what the fill leaves.
TAMIS_SEEDS=FROM:TO looks further.
"""

import numpy
import pytest
import test_regions as regions
from test_regions import SEEDS, Model

CASES = 6
LEAST = float(numpy.finfo(numpy.float32).min)
FILLS = [LEAST, -1e9, -1e4, -65504.0, -numpy.inf]
ADDENDS = [LEAST, -1e4, -numpy.inf]
# Beside -1e4 a score has steps of 1/1024, and sums are taken in another order.
STEPS = 1 << 16


def ints(m, *numbers):
    return m.constant(numpy.array(numbers, numpy.int64), "i")


def turn(m, x, *perm):
    return m.node("Transpose", [x], dims=[x.dims[i] for i in perm], perm=perm)


def split_heads(m, x, heads, size):
    """[batch, length, heads * size] as [batch, heads, length, size]."""
    rows = m.node("Reshape", [x, ints(m, 0, 0, heads, size)], dims=[*x.dims[:2], heads, size])
    return turn(m, rows, 0, 2, 1, 3)


def operands(m, batch, queries, keys, heads, groups, size):
    """Q of all heads, K and V repeated to them: with heads first, from rows of heads, or of one product."""
    kv = heads // groups
    way = m.pick(["heads", "rows", "fused"]) if queries == keys and groups == 1 else m.pick(["heads", "rows"])
    if way == "fused":
        x = m.input("f", [batch, queries, 3 * heads * size])
        five = m.node("Reshape", [x, ints(m, 0, 0, 3, heads, size)], dims=[batch, queries, 3, heads, size])
        five = turn(m, five, 2, 0, 3, 1, 4)
        return [m.node("Gather", [five, m.constant(i, "i")], dims=five.dims[1:], axis=0) for i in range(3)]
    if way == "heads":
        q = m.input("f", [batch, heads, queries, size])
        k, v = (m.input("f", [batch, kv, keys, size]) for _ in range(2))
    else:
        q = split_heads(m, m.input("f", [batch, queries, heads * size]), heads, size)
        k, v = (split_heads(m, m.input("f", [batch, keys, kv * size]), kv, size) for _ in range(2))
    if m.chance(0.2):  # a cache
        old = m.dim(17)
        k, v = (m.node("Concat", [m.input("f", [batch, kv, old, size]), x], axis=2,
                       dims=[batch, kv, None, size]) for x in (k, v))
    return [q, *repeat(m, k, v, kv, groups)]


def repeat(m, k, v, kv, groups):
    if groups == 1 or (kv == 1 and m.chance(0.5)):  # one head broadcasts
        return k, v
    if m.chance(0.3):
        counts = ints(m, 1, groups, 1, 1)
        return [m.node("Tile", [x, counts], dims=[x.dims[0], kv * groups, *x.dims[2:]]) for x in (k, v)]
    made = []
    for x in (k, v):
        five = m.node("Unsqueeze", [x, ints(m, 2)], dims=[*x.dims[:2], 1, *x.dims[2:]])
        wide = m.node("Expand", [five, ints(m, 1, 1, groups, 1, 1)], dims=[*x.dims[:2], groups, *x.dims[2:]])
        dims = [x.dims[0], kv * groups, *x.dims[2:]]
        made.append(m.node("Reshape", [wide, ints(m, 0, kv * groups, -1, x.dims[3])], dims=dims))
    return made


def unit(m, x):
    """Rows of length one: cosine attention."""
    length = m.node("ReduceL2", [x, ints(m, -1)], dims=[*x.dims[:-1], 1], keepdims=1)
    return m.node("Div", [x, m.node("Max", [length, m.constant(1e-6)])], dims=x.dims)


def scaled(m, q, kt, size):
    """The scores and their factor: on either side, on both, on the scores, for each head."""
    factor, way = size**-0.5, m.pick(["q", "k", "both", "scores", "divided", "heads", "cosine", "none"])
    if way == "both":
        q, kt = (m.node("Mul", [x, m.constant(factor**0.5)]) for x in (q, kt))
    elif way == "q":
        q = m.node("Mul", [q, m.constant(factor)])
    elif way == "k":
        kt = m.node("Div", [kt, m.constant(1 / factor)])
    elif way == "none":
        q = m.node("Mul", [q, m.weights(size)])
    scores = m.node("MatMul", [q, kt], dims=[*q.dims[:3], None])
    if way == "scores":
        return m.node("Mul", [m.constant(factor), scores], dims=scores.dims)
    if way == "divided":
        return m.node("Div", [scores, m.constant(1 / factor)])
    if way in ("heads", "cosine"):
        return m.node("Mul", [scores, m.weights(q.dims[1], 1, 1)])
    return scores


def condition(m, scores, kt):
    """True where a key is seen; some rows may see none."""
    batch, heads, queries, _ = scores.dims
    keys = m.node("Shape", [kt], "i", [1], start=3, end=4)
    if m.chance(0.4):  # below the diagonal, ends aligned; with more queries than keys the first see nothing
        count = m.node("Squeeze", [keys], "i", [])
        rows = m.node("Squeeze", [m.node("Shape", [scores], "i", [1], start=2, end=3)], "i", [])
        column = m.node("Range", [m.constant(0, "i"), count, m.constant(1, "i")], "i", [None])
        row = m.node("Range", [m.node("Sub", [count, rows], "i", []), count, m.constant(1, "i")], "i", [None])
        row = m.node("Unsqueeze", [row, ints(m, 1)], "i", [None, 1])
        seen = m.node("LessOrEqual", [column, row], "b", [None, None])
        if m.chance(0.4):
            near = m.node("Sub", [row, m.constant(m.pick([1, 4]), "i")], "i")
            seen = m.node("And", [seen, m.node("Greater", [column, near], "b", [None, None])], "b")
        return m.node("Unsqueeze", [seen, ints(m, 0, 1)], "b", [1, 1, None, None]) if m.chance(0.5) else seen
    lead = [batch if m.chance(0.5) else 1, heads if m.chance(0.2) else 1, queries if m.chance(0.5) else 1]
    level = m.input("f", [*lead, 1])  # rows with little of it see few keys, or none
    dims = m.node("Concat", [ints(m, 1, 1, 1), keys], "i", [4], axis=0)
    wide = m.node("Expand", [level, dims], dims=[*lead, None])
    wave = m.node("Mul", [m.node("Abs", [wide]), m.constant(0.7)])
    wave = m.node("CumSum", [wave, m.constant(-1, "i")])
    wave = m.node("Sin", [m.node("Mul", [wave, m.constant(3.0)])])
    return m.node("Less", [wave, m.node("Sub", [level, m.constant(0.3)])], "b", wide.dims)


def masked(m, scores, kt):
    """One more mask or bias; the condition if scores were filled by one."""
    way = m.pick(["fill", "fill", "add", "add", "integers", "bias", "bias"])
    if way == "bias":
        if m.chance(0.5) and isinstance(scores.dims[1], int):
            slope = m.weights(scores.dims[1], 1, 1)
            keys = m.node("Squeeze", [m.node("Shape", [kt], "i", [1], start=3, end=4)], "i", [])
            at = m.node("Range", [m.constant(0, "i"), keys, m.constant(1, "i")], "i", [None])
            bias = m.node("Mul", [m.node("Cast", [at], to=1), slope], dims=[scores.dims[1], 1, None])
        else:
            rows, columns = m.weights(5, scores.dims[1]), m.input("f", [5, 1])
            bias = m.node("MatMul", [turn(m, rows, 1, 0), columns], dims=[scores.dims[1], 1])
            bias = m.node("Unsqueeze", [bias, ints(m, 1)], dims=[scores.dims[1], 1, 1])
        pair = [scores, bias] if m.chance(0.6) else [bias, scores]
        return m.node("Add", pair, dims=scores.dims), None
    seen, fill = condition(m, scores, kt), m.pick(FILLS if way == "fill" else ADDENDS)
    if way == "fill":
        if m.chance(0.4):
            return m.node("Where", [seen, scores, m.constant(fill)], dims=scores.dims), None
        hidden = m.node("Not", [seen], "b")
        return m.node("Where", [hidden, m.constant(fill), scores], dims=scores.dims), hidden
    if way == "integers" and fill != -numpy.inf:
        number = m.node("Sub", [m.constant(1.0), m.node("Cast", [seen], to=1)], dims=seen.dims)
        mask = m.node("Mul", [number, m.constant(fill)])
    else:
        mask = m.node("Where", [seen, m.constant(0.0), m.constant(fill)], dims=seen.dims)
    return m.node("Add", [scores, mask] if m.chance(0.6) else [mask, scores], dims=scores.dims), None


def weights_of(m, scores, hidden):
    """Softmax, whole or in its steps, and what stands behind it."""
    if m.chance(0.15):  # a sink: one more column that takes weight
        sink = m.node("Mul", [m.node("ReduceMax", [scores, ints(m, -1)], keepdims=1), m.constant(0.5)])
        sink = m.node("Max", [sink, m.constant(-1.0)])
        wide = m.node("Softmax", [m.node("Concat", [scores, sink], axis=-1)], axis=-1)
        return m.node("Slice", [wide, ints(m, 0), ints(m, -1), ints(m, -1)], dims=scores.dims)
    p = m.node("Softmax", [scores], axis=-1)
    if hidden is not None and m.chance(0.4):
        p = m.node("Where", [hidden, m.constant(0.0), p], dims=scores.dims)
    elif m.chance(0.3):
        p = m.node("Where", [m.node("IsNaN", [p], "b"), m.constant(0.0), p], dims=scores.dims)
    elif m.chance(0.1):
        p = m.node("Mul", [p, m.weights(scores.dims[1], 1, 1)])
    return p


def spelled_attention_case(m):
    size, heads, groups = m.pick([1, 3, 4, 8, 16]), m.pick([1, 2, 4]), 1
    if heads > 1 and m.chance(0.4):
        groups = m.pick([2, heads])
    batch, queries = m.dim(3), m.dim(33)
    q, k, v = operands(m, batch, queries, queries if m.chance(0.6) else m.dim(33), heads, groups, size)
    if m.chance(0.15):
        q, k = unit(m, q), unit(m, k)
    kt = turn(m, k, 0, 1, 3, 2)
    scores, hidden = scaled(m, q, kt, size), None
    if m.chance(0.15):
        cap = m.constant(2.0)
        scores = m.node("Mul", [m.node("Tanh", [m.node("Div", [scores, cap])]), cap])
    for _ in range(m.pick([0, 1, 1, 2, 2, 3])):
        scores, hidden = masked(m, scores, kt)
    p = weights_of(m, scores, hidden)
    if m.chance(0.1):
        m.output(p)
    y = m.node("MatMul", [p, v], dims=q.dims)
    if m.chance(0.6):
        rows = turn(m, y, 0, 2, 1, 3)
        y = m.node("Reshape", [rows, ints(m, 0, 0, heads * size)], dims=[batch, queries, heads * size])
    m.output(y)


@pytest.mark.parametrize("seed", SEEDS)
def test_spelled_attention(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(regions, "STEPS", STEPS)
    m = Model([seed, 77])
    for _ in range(CASES):
        spelled_attention_case(m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    artifacts = {level: regions.compile_model(path, tmp_path, level[1:], [level]) for level in ("-O0", "-O2")}
    found = []
    for sizes in regions.sizes_of(m)[:3]:
        feeds = m.feeds(sizes, False)
        wanted = m.wanted(feeds)
        for level, artifact in artifacts.items():
            made = regions.run_artifact(artifact, feeds, tmp_path)
            found += regions.differences(made, wanted, f"{level}, {sizes}")
    assert not found, "\n".join(found[:20])
