# SPDX-License-Identifier: Apache-2.0
"""Quantised operators of com.microsoft. What ONNX Runtime has for GPUs only is voted on without it (`ours`)."""

import numpy

from elements import DTYPES, F32, I8, I16, I32, I64, T, U8, U16
from tables import entry

MS = "com.microsoft"


def eight_bits(g, kind, shape, **how):
    return g.fresh(kind, shape, -128, 255, special=0.0, **how)


def scale(g, low=0.01, high=0.1):
    return g.fresh(F32, [], low, high, special=0.0)


def point(g, kind):
    """An even number: ONNX Runtime partly adds it before it rounds half to even, which shows with odd ones."""
    return g.place(numpy.array(2 * (g.integer(50, 75) if kind == U8 else g.integer(-10, 10)), DTYPES[kind]))


def parameters(g, kind, low=0.01, high=0.1):
    return [scale(g, low, high), point(g, kind)]


def full(g, least=1, most=3):
    """Dims without zero, which ONNX Runtime's kernels of 8 bits do not expect."""
    return [g.integer(1, 5) for _ in range(g.integer(least, most))]


@entry("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def binary(g, op):
    kind, shape = g.pick([I8, U8]), full(g)
    scales = [scale(g), scale(g), scale(g, 0.05, 1)]
    if op.endswith("Add"):  # ONNX Runtime multiplies by ratios of scales, which of powers of two are exact
        scales = [g.scalar(2.0**-g.integer(1, 5), F32) for _ in range(3)]
    points = [point(g, kind) for _ in range(3)]
    a, b = eight_bits(g, kind, shape), eight_bits(g, kind, g.broadcast(shape))
    g.node(op.rpartition(".")[2], [a, scales[0], points[0], b, scales[1], points[1], scales[2], points[2]], domain=MS)


@entry("com.microsoft.QLinearSigmoid", "com.microsoft.QLinearLeakyRelu")
def unary(g, op):
    kind = g.pick([I8, U8])
    attributes = {"alpha": g.pick([None, 0.125, 0.5])} if op.endswith("LeakyRelu") else {}
    g.node(op.rpartition(".")[2], [eight_bits(g, kind, full(g)), *parameters(g, kind), *parameters(g, kind)], domain=MS,
           **attributes)


@entry("com.microsoft.QLinearWhere")
def where(g):
    kind, shape = g.pick([I8, U8]), full(g)
    condition = g.place(g.random.random(g.broadcast(shape)) < 0.5)
    x, y = eight_bits(g, kind, shape), eight_bits(g, kind, g.broadcast(shape))
    # ONNX Runtime reads scales and zero points of 8 bits as constants
    rest = [[g.constant(v.sample) for v in parameters(g, kind)] for _ in range(3)]
    g.node("QLinearWhere", [condition, x, *rest[0], y, *rest[1], *rest[2]], domain=MS)


@entry("com.microsoft.QLinearConcat")
def concat(g):
    kind, shape = g.pick([I8, U8]), full(g)
    axis = g.integer(0, len(shape) - 1)
    result = parameters(g, kind)
    parts = []
    for _ in range(g.integer(1, 3)):
        dims = list(shape)
        dims[axis] = g.integer(1, 4)
        parts += [eight_bits(g, kind, dims), *(result if g.chance(0.4) else parameters(g, kind))]
    g.node("QLinearConcat", [*result, *parts], domain=MS, axis=axis - len(shape) if g.chance(0.3) else axis)


@entry("com.microsoft.QLinearAveragePool", "com.microsoft.QLinearGlobalAveragePool")
def average_pool(g, op):
    kind, last = g.pick([I8, U8]), g.integer(0, 1)
    spatial, channels = [g.integer(2, 6) for _ in range(2)], g.integer(1, 4)
    shape = [g.integer(1, 2), *spatial, channels] if last else [g.integer(1, 2), channels, *spatial]
    inputs = [eight_bits(g, kind, shape), *parameters(g, kind), *parameters(g, kind)]
    if op.endswith("GlobalAveragePool"):
        return g.node("QLinearGlobalAveragePool", inputs, domain=MS, channels_last=last)
    kernel = [g.integer(1, 2) for _ in spatial]
    pads = [g.integer(0, k - 1) for k in kernel * 2]
    return g.node("QLinearAveragePool", inputs, domain=MS, channels_last=last, kernel_shape=kernel, pads=pads,
                  strides=[g.integer(1, 2) for _ in kernel], count_include_pad=g.pick([None, 0, 1]))


@entry("com.microsoft.QLinearSoftmax")
def softmax(g):
    kind, shape = g.pick([I8, U8]), full(g, 1, 3)
    x = eight_bits(g, kind, shape)
    result = [g.scalar(1 / 256, F32), g.scalar(0 if kind == U8 else -128, kind)]
    # ONNX Runtime takes exponentials from a table: the result is one off now and then
    g.node("QLinearSoftmax", [x, *parameters(g, kind), *result], domain=MS, axis=g.axis(x), opset=g.pick([11, 13]),
           ours=True)


@entry("com.microsoft.QLinearReduceMean", "com.microsoft.ReduceSumInteger")
def reduction(g, op):
    kind = g.pick([I8, U8])
    x = eight_bits(g, kind, full(g))
    attributes = {"axes": g.axes(x), "keepdims": g.integer(0, 1)}
    more = [*parameters(g, kind), *parameters(g, kind)] if op.endswith("ReduceMean") else []
    g.node(op.rpartition(".")[2], [x, *more], domain=MS, ours=True, **attributes)


@entry("com.microsoft.QLinearConv")
def convolution(g):
    kind, last, group = g.pick([I8, U8]), g.integer(0, 1), g.pick([1, 1, 2])
    per, out = g.integer(1, 3), g.integer(1, 3)
    n, h, w = g.integer(1, 2), g.integer(3, 6), g.integer(3, 6)
    x = eight_bits(g, kind, [n, h, w, group * per] if last else [n, group * per, h, w])
    weights = eight_bits(g, I8, [group * out, per, 2, 3], constant=True)
    several = g.chance(0.4)
    ws = g.fresh(F32, [group * out] if several else [], 0.01, 0.1, special=0.0, constant=True)
    wz = g.constant(numpy.zeros(ws.shape, numpy.int8))
    bias = [g.fresh(I32, [group * out], -100, 100, special=0.0, constant=True)] if g.chance(0.5) else []
    g.node("QLinearConv", [x, *parameters(g, kind), weights, ws, wz, *parameters(g, kind, 0.3, 2), *bias], domain=MS,
           channels_last=last, group=group, pads=[g.integer(0, 1) for _ in range(4)], strides=[g.integer(1, 2)] * 2)


@entry("com.microsoft.QGemm")
def gemm(g):
    m, k, n, ta, tb = g.integer(1, 4), g.integer(1, 6), g.integer(1, 6), g.integer(0, 1), g.integer(0, 1)
    kind = g.pick([I8, U8])
    a = eight_bits(g, kind, [k, m] if ta else [m, k])
    # of two operands without sign and with, ONNX Runtime has the products of U8 by both
    other = I8 if kind == I8 else g.pick([I8, U8])
    b = eight_bits(g, other, [n, k] if tb else [k, n])
    bs = g.fresh(F32, [n] if g.chance(0.3) else [], 0.01, 0.1, special=0.0)
    bz = g.fresh(other, bs.shape, 0, 20, special=0.0)
    c = g.fresh(I32, g.pick([[n], [1, n], [m, n], [m, 1]]), -500, 500, special=0.0) if g.chance(0.6) else None
    result = parameters(g, kind, 0.3, 2) if g.chance(0.6) else []
    g.node("QGemm", [a, *parameters(g, kind), b, bs, bz, c, *result], domain=MS, transA=ta, transB=tb,
           alpha=g.pick([None, 0.5]))


@entry("com.microsoft.MatMulInteger16", "com.microsoft.MulInteger")
def integers(g, op):
    if op.endswith("16"):
        m, k, n = g.integer(1, 4), g.integer(1, 6), g.integer(1, 6)
        # ONNX Runtime's CPU build has the product of two int16 only
        kinds = [I16, I16] if g.chance(0.6) else [U16, U16]
        low = -200 if kinds[0] == I16 else 0
        operands = [g.fresh(t, s, low, 200, special=0.0) for t, s in zip(kinds, ([m, k], [k, n]))]
        return g.node("MatMulInteger16", operands, domain=MS, ours=kinds[0] == U16)
    kind, shape = g.pick([I8, U8]), full(g)
    a, b = eight_bits(g, kind, shape), eight_bits(g, kind, g.broadcast(shape))
    first, second = (point(g, kind) if g.chance(0.6) else None for _ in range(2))
    return g.node("MulInteger", [a, first, b, second], domain=MS, ours=True)


@entry("com.microsoft.DynamicQuantizeLSTM")
def dynamic_lstm(g):
    direction = g.pick(["forward", "reverse", "bidirectional"])
    ways = 2 if direction == "bidirectional" else 1
    steps, batch, size, hidden, kind = g.integer(1, 4), g.integer(1, 2), g.integer(1, 6), g.integer(1, 5), g.pick([I8, U8])
    x = g.fresh(F32, [steps, batch, size], -1, 1, special=0.0)
    w, r = (eight_bits(g, kind, [ways, n, 4 * hidden], constant=True) for n in (size, hidden))
    b = g.fresh(F32, [ways, 8 * hidden], -1, 1, special=0.0) if g.chance(0.6) else None
    states = [g.fresh(F32, [ways, batch, hidden], -1, 1, special=0.0) if g.chance(0.5) else None for _ in range(2)]
    rest = []
    for _ in range(2):
        # zero points of a row must be equal there
        rest += [g.fresh(F32, [ways], 0.005, 0.01, special=0.0, constant=True),
                 g.constant(numpy.full(ways, g.integer(0, 9) if kind == I8 else 128, w.sample.dtype))]
    g.node("DynamicQuantizeLSTM", [x, w, r, b, None, *states, None, *rest], 3, domain=MS, hidden_size=hidden,
           direction=direction, ours=True)  # a state that is rounded to 8 bits: the last bit of a sum shows


@entry("com.microsoft.GatherBlockQuantized")
def gather_block(g):
    kind, block = g.pick([T.UINT4, T.INT4]), 16
    shape = [g.integer(1, 5), g.pick([16, 32, 40])]
    data = g.fresh(kind, shape, -8, 15, special=0.0, constant=True)
    blocks = [shape[0], -(-shape[1] // block)]
    scales = g.fresh(F32, blocks, 0.02, 0.1, special=0.0, constant=True)
    points = [g.fresh(kind, blocks, 0, 7, special=0.0, constant=True)] if g.chance(0.5) else []
    places = g.random.integers(-shape[0], shape[0], size=g.shape(0, 2, 3)).astype(numpy.int64)
    g.node("GatherBlockQuantized", [data, g.place(places), scales, *points], domain=MS, block_size=block, gather_axis=0,
           quantize_axis=1)
