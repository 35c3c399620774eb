# SPDX-License-Identifier: Apache-2.0
"""Quantisation."""

import numpy

from elements import F16, F32, FLOAT8, I8, I16, I32, SMALL_INTEGERS, U8, U16, is_float
from tables import entry


def zero_point(g, element_type, shape=()):
    if element_type in FLOAT8:
        return g.fresh(element_type, list(shape), 0, 0, constant=True)
    low, high = {I8: (-20, 20), U8: (100, 150), I16: (-200, 200), U16: (1000, 3000)}.get(element_type, (0, 3))
    if element_type == I32:
        low = high = 0
    return g.fresh(element_type, list(shape), low, high, special=0.0)


def granularity(g, x, opset_axis=13, opset_block=21):
    """The shape of scale and zero point, and the attributes that say so."""
    way = g.pick(["tensor", "tensor", "axis", "block"])
    if way == "axis" and g.opset >= opset_axis and x.rank > 0:
        axis = g.axis(x)
        return [x.shape[axis]], {"axis": axis}
    if way == "block" and g.opset >= opset_block and x.rank > 1 and 0 not in x.shape:
        axis = g.axis(x)
        n = x.shape[axis]
        size = g.pick([d for d in range(1, n + 1) if n % d == 0])
        shape = x.shape
        shape[axis] = n // size
        return shape, {"axis": axis, "block_size": size}
    return [], {}


@entry("QuantizeLinear", since=10)
def quantize_linear(g):
    x = g.take([t for t in g.allowed("QuantizeLinear") if is_float(t) and (t in (F32, F16) or g.chance(0.3))],
               exact=True, finite=True)
    shape, attributes = granularity(g, x)
    targets = [t for t in g.allowed("QuantizeLinear", input=2)]
    target = g.pick([U8, I8] if g.chance(0.5) else targets)
    scale = g.fresh(x.type, shape, 0.03, 0.2, special=0.0)
    if target in (U8,) and not attributes and g.chance(0.3):
        return g.node("QuantizeLinear", [x, scale])
    if target in FLOAT8 and g.chance(0.3):
        attributes["saturate"] = g.pick([0, 1])
    return g.node("QuantizeLinear", [x, scale, zero_point(g, target, shape)], **attributes)


@entry("DequantizeLinear", since=10)
def dequantize_linear(g):
    kinds = g.allowed("DequantizeLinear")
    x = g.take([I8, U8] if g.chance(0.5) else kinds, low=-120, high=250)
    shape, attributes = granularity(g, x)
    kind = g.pick([t for t in g.allowed("DequantizeLinear", input=1) if t in (F32, F16)])
    scale = g.fresh(kind, shape, 0.03, 0.2, special=0.0)
    points = [zero_point(g, x.type, shape)] if g.chance(0.6) else []
    g.node("DequantizeLinear", [x, scale, *points], **attributes)


@entry("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(g):
    x = g.take([F32], exact=True, finite=True, where=lambda v: v.size > 0)
    g.node("DynamicQuantizeLinear", [x], 3, exact=True)


@entry("MatMulInteger", since=10)
def matmul_integer(g):
    # a sum of no products is left as it was in memory by ONNX Runtime
    a = g.take([I8, U8], min_rank=2, max_rank=4, low=-128, high=255, where=lambda v: v.shape[-1] > 0)
    b = g.fresh(g.pick([I8, U8]), [a.shape[-1], g.dim()], -128, 255, special=0.0)
    points = [zero_point(g, a.type), zero_point(g, b.type, g.pick([[], [b.shape[1]]]))]
    g.node("MatMulInteger", [a, b, *points[:g.integer(0, 2)]])


@entry("QLinearMatMul", since=10)
def qlinear_matmul(g):
    kind = g.pick([I8, U8])  # a sum of no products is left as it was in memory by ONNX Runtime
    a = g.take([kind], min_rank=2, max_rank=3, low=-128, high=255, where=lambda v: v.shape[-1] > 0)
    b = g.fresh(kind if kind == I8 else g.pick([I8, U8]), [a.shape[-1], g.dim()], -128, 255, special=0.0)
    operands = [a, scale_of(g), zero_point(g, a.type), b, scale_of(g), zero_point(g, b.type),
                scale_of(g, 0.3, 2), zero_point(g, kind)]
    g.node("QLinearMatMul", operands)


def scale_of(g, low=0.01, high=0.1):
    return g.fresh(F32, [], low, high, special=0.0)


@entry("ConvInteger", "QLinearConv", since=10)
def convolution(g, op):
    group = g.pick([1, 1, 2])
    per, out = g.integer(1, 3), g.integer(1, 3)
    kind = U8 if op == "ConvInteger" else g.pick([U8, I8])
    x = g.fresh(kind, [g.integer(1, 2), group * per, g.integer(3, 7), g.integer(3, 7)], -128, 255, special=0.0)
    w = g.fresh(kind if kind == I8 else g.pick([U8, I8]) if op != "ConvInteger" else U8, [group * out, per, 2, 3], -128, 255,
                special=0.0)
    attributes = {"group": group, "pads": [g.integer(0, 1) for _ in range(4)], "strides": [g.integer(1, 2)] * 2}
    if op == "ConvInteger":
        points = [zero_point(g, x.type), zero_point(g, w.type)]
        return g.node(op, [x, w, *points[:g.integer(0, 2)]], **attributes)
    per_channel = g.chance(0.4)
    scale = g.fresh(F32, [group * out], 0.01, 0.1, special=0.0) if per_channel else scale_of(g)
    wz = g.constant(numpy.zeros([group * out] if per_channel else [], w.sample.dtype))
    bias = [g.fresh(I32, [group * out], -100, 100, special=0.0)] if g.chance(0.5) else []
    return g.node(op, [x, scale_of(g), zero_point(g, x.type), w, scale, wz, scale_of(g, 0.3, 2),
                       zero_point(g, x.type), *bias], **attributes)


@entry("DequantizedProduct", since=13)
def dequantized_product(g):
    """Weights of few bits before a product, as quantised models have them."""
    kinds = [I8, U8] + (list(SMALL_INTEGERS) if g.opset >= 21 else [])
    k, n = g.integer(1, 8), g.integer(1, 8)
    w = g.fresh(g.pick(kinds), [k, n], -8, 15, constant=True)
    axis = g.integer(0, 1)
    scale = g.fresh(F32, [w.shape[axis]], 0.03, 0.2, special=0.0, constant=True)
    points = [zero_point(g, w.type, [w.shape[axis]])] if g.chance(0.5) else []
    y = g.node("DequantizeLinear", [w, scale, *points], axis=axis)
    x = g.take([F32], min_rank=1, max_rank=3, where=lambda v: v.shape[-1] == k, reuse=0.3) \
        if g.chance(0.3) else g.fresh(F32, [g.dim(), k])
    y = g.node("MatMul", [x, y])
    g.count("DequantizedProduct")
    return y


