# SPDX-License-Identifier: Apache-2.0
"""Reductions, softmax and norms, cumulative sums, selection of extremes."""

import numpy

from elements import F16, F32, F64, I32, I64, is_float
from graph import Refused
from tables import entry


def reduce_axes(g, x, inputs_since):
    """(operands, attributes) that choose the axes of a reduction, in the form of the graph's opset."""
    axes = None if g.chance(0.2) else g.axes(x) if x.rank > 0 else None
    attributes = {"keepdims": g.pick([None, 0, 1])}
    if g.opset < inputs_since:
        return [], {**attributes, "axes": axes}
    if g.chance(0.1):
        axes = []
    if axes is None or axes == []:
        attributes["noop_with_empty_axes"] = g.pick([None, 0, 1])
    return [] if axes is None else [g.ints(axes, runtime=0.0)], attributes


@entry("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
       "ReduceLogSumExp", "ReduceSumSquare")
def reduce(g, op):
    x = g.take(g.allowed(op), finite=op.startswith("ReduceLog"))
    if op == "ReduceLogSum":
        x = g.fresh(x.type, x.shape, 0.5, 3, special=0.0) if is_float(x.type) else x
        if not is_float(x.type):
            raise Refused("logarithms of integers")
    if not is_float(x.type) and op in ("ReduceLogSumExp", "ReduceL2"):
        raise Refused("roots of integers")
    if not x.small(3 if op == "ReduceProd" else 1000):
        raise Refused("sums that overflow")
    operands, attributes = reduce_axes(g, x, 13 if op == "ReduceSum" else 18)
    if op in ("ReduceMax", "ReduceMin", "ReduceMean"):
        if x.size == 0:
            raise Refused("an extreme of nothing")
        g.root.least_size = 1
    g.node(op, [x, *operands], **attributes)


@entry("ArgMax", "ArgMin")
def arg_reduce(g, op):
    x = g.take(g.allowed(op), min_rank=1, exact=True, finite=True, where=lambda v: v.size > 0)
    last = g.pick([None, 0, 1]) if g.opset >= 12 else None
    g.node(op, [x], axis=g.pick([None, g.axis(x)]), keepdims=g.pick([None, 0, 1]), select_last_index=last)


@entry("TopK", since=10)
def topk(g):
    x = g.take(g.allowed("TopK"), min_rank=1, exact=True, finite=True)
    if g.chance(0.5) and x.size:  # without equal numbers, whose order is not defined
        order = g.random.permutation(x.size).reshape(x.shape)
        x = g.place(order.astype(x.sample.dtype))
    axis = g.axis(x)
    k = g.ints([g.integer(0 if g.chance(0.1) else 1, max(1, x.shape[axis]))], runtime=0.2)
    if k.sample[0] > x.shape[axis]:
        raise Refused("k beyond the axis")
    attributes = {"largest": g.pick([None, 0, 1])} if g.opset >= 11 else {}
    g.node("TopK", [x, k], 2, axis=axis, **attributes)


@entry("CumSum", since=11)
def cumulative_sum(g):
    x = g.take(g.allowed("CumSum"), min_rank=1)
    axis = numpy.array(g.axis(x), numpy.int64 if g.chance(0.6) else numpy.int32)
    operand = g.constant(axis) if g.chance(0.9) else g.input(axis)
    g.node("CumSum", [x, operand], exclusive=g.pick([None, 0, 1]), reverse=g.pick([None, 0, 1]))


@entry("CumProd", since=26)
def cumulative_product(g):
    x = g.take([F32, F64, I32, I64], min_rank=1, low=-1.5, high=1.5)
    axis = g.constant(numpy.array(g.axis(x)))
    g.node("CumProd", [x, axis], exclusive=g.pick([None, 0, 1]), reverse=g.pick([None, 0, 1]), reference=True)


@entry("Softmax", "LogSoftmax")
def softmax(g, op):
    x = g.take(g.allowed(op), min_rank=1, where=lambda v: v.size > 0 or g.opset >= 13)
    g.node(op, [x], axis=g.pick([None, g.axis(x)]) if g.opset >= 11 else g.pick([None, g.integer(0, x.rank - 1)]))


@entry("Hardmax")
def hardmax(g):
    x = g.take(g.allowed("Hardmax"), min_rank=1, exact=True, finite=True, where=lambda v: v.size > 0)
    g.node("Hardmax", [x], axis=g.pick([None, g.axis(x)]) if g.opset >= 11 else g.integer(0, x.rank - 1))


@entry("LayerNormalization", since=17)
def layer_normalization(g):
    x = g.take(g.allowed("LayerNormalization"), min_rank=1, where=lambda v: v.size > 0, finite=True)
    axis = g.axis(x)
    shape = x.shape[axis:]
    if g.chance(0.2):
        shape = g.broadcast(shape)
    operands = [g.fresh(x.type, shape)] + ([g.fresh(x.type, shape)] if g.chance(0.6) else [])
    outputs = g.pick([1, 1, 3]) if x.type != F16 else 1
    g.node("LayerNormalization", [x, *operands], outputs, axis=axis, epsilon=g.pick([None, 1e-5, 1e-3]))


@entry("RMSNormalization", since=23)
def rms_normalization(g):
    x = g.take(g.allowed("RMSNormalization"), min_rank=1, where=lambda v: v.size > 0, finite=True)
    axis = g.axis(x)
    shape = x.shape[axis:]
    g.node("RMSNormalization", [x, g.fresh(x.type, shape)], axis=axis, epsilon=g.pick([None, 1e-5, 1e-3]))


@entry("BatchNormalization")
def batch_normalization(g):
    x = g.take([t for t in g.allowed("BatchNormalization")], min_rank=2)
    c = [x.shape[1]]
    parameters = [g.fresh(x.type, c), g.fresh(x.type, c), g.fresh(x.type, c), g.fresh(x.type, c, 0.5, 2, 0.0)]
    g.node("BatchNormalization", [x, *parameters], epsilon=g.pick([None, 1e-5, 1e-2]))


@entry("InstanceNormalization")
def instance_normalization(g):
    # of one number for a channel, ONNX Runtime multiplies its rounding by 1 / sqrt(epsilon)
    x = g.take(g.allowed("InstanceNormalization"), min_rank=3, where=lambda v: v.size > v.shape[0] * v.shape[1],
               finite=True)
    c = [x.shape[1]]
    g.node("InstanceNormalization", [x, g.fresh(x.type, c), g.fresh(x.type, c)], epsilon=g.pick([None, 1e-3]))


@entry("GroupNormalization", since=18)
def group_normalization(g):
    groups = g.integer(1, 3)
    shape = g.shape(3, 5)
    shape[1] = groups * g.integer(1, 3)
    x = g.fresh(g.pick([F32, F32, F16]), shape, special=0.0)  # float64 is computed in float32 there
    n = [groups if g.opset < 21 else shape[1]]
    if x.size == 0:
        raise Refused("norm of nothing")
    g.node("GroupNormalization", [x, g.fresh(x.type, n), g.fresh(x.type, n)], num_groups=groups,
           epsilon=g.pick([None, 1e-3]))


@entry("LRN")
def lrn(g):
    x = g.take(g.allowed("LRN"), min_rank=4, max_rank=4)
    g.node("LRN", [x], size=g.pick([1, 3, 5, 2]), alpha=g.pick([None, 0.1]), beta=g.pick([None, 0.5]),
           bias=g.pick([None, 2.0]))


@entry("LpNormalization")
def lp_normalization(g):
    x = g.take(g.allowed("LpNormalization"), min_rank=1)
    g.node("LpNormalization", [x], axis=g.pick([None, g.axis(x)]), p=g.pick([None, 1, 2]))


@entry("MeanVarianceNormalization", since=9)
def mean_variance_normalization(g):
    x = g.take(g.allowed("MeanVarianceNormalization"), min_rank=4, max_rank=4, where=lambda v: v.size > 0,
               finite=True)
    g.node("MeanVarianceNormalization", [x], axes=g.pick([None, [0, 1, 2, 3], [2, 3], [1]]))

