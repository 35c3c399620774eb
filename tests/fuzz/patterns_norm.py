# SPDX-License-Identifier: Apache-2.0
"""Norms, activations and softmax as exporters write them out, and near misses."""

import numpy

from elements import F32, I64
from patterns import Pattern
from tables import entry


def source(g, min_rank=1, max_rank=4):
    return g.take([F32], min_rank=min_rank, max_rank=max_rank, where=lambda v: v.size > 0, finite=True)


def power(g, p, x):
    """x squared."""
    if g.chance(0.5):
        return p.node("Mul", [x, x])
    return p.node("Pow", [x, p.number(2.0)])


def rooted(g, p, square, epsilon):
    """sqrt(square + epsilon); twisted: the epsilon behind the root."""
    if p.twist():
        return p.both("Add", p.node("Sqrt", [square]), epsilon)
    return p.node("Sqrt", [p.both("Add", square, epsilon)])


def divided(g, p, x, root):
    way = g.integer(0, 2)
    if p.twist():
        return p.node("Div", [root, x]) if g.chance(0.3) else p.node("Mul", [x, root])
    if way == 0:
        return p.both("Mul", x, p.node("Reciprocal", [root]))
    if way == 1:
        return p.both("Mul", x, p.node("Div", [p.number(1.0), root]))
    return p.node("Div", [x, root])


@entry("layer_normalization")
def layer_normalization(g):
    p = Pattern(g, "layer_normalization")
    x = source(g)
    axes = [-1] if x.rank < 2 or g.chance(0.7) else [-2, -1]
    if g.opset < 11:
        axes = [a + x.rank for a in axes]
    centred = p.node("Sub", [x, p.reduce("ReduceMean", x, axes)])
    if p.twist():
        centred = p.node("Neg", [centred])
    other = centred
    if g.chance(0.15):  # exporters without equal nodes merged
        other = p.node("Sub", [x, p.reduce("ReduceMean", x, axes)])
    square = p.reduce("ReduceMean" if not p.twist() else "ReduceSum", power(g, p, other if not p.twist() else x), axes)
    y = divided(g, p, centred, rooted(g, p, square, p.number(g.pick([1e-5, 1e-3, 0.5]))))
    shape = x.shape[-len(axes):]
    if g.chance(0.8):
        y = p.both("Mul", y, p.weights(shape))
    if g.chance(0.7):
        y = p.both("Add", y, p.weights(shape))
    return y


@entry("rms_normalization")
def rms_normalization(g):
    p = Pattern(g, "rms_normalization")
    x = source(g)
    axes = [-1] if g.opset >= 11 else [x.rank - 1]
    square = p.reduce("ReduceMean", power(g, p, x), axes)
    y = divided(g, p, x, rooted(g, p, square, p.number(g.pick([1e-6, 1e-3, 0.5]))))
    if g.chance(0.7):
        y = p.both("Mul", y, p.weights(x.shape[-1:]))
    return y


@entry("softmax_spelled_out")
def softmax(g):
    p = Pattern(g, "softmax")
    x = source(g)
    axes = [g.integer(-x.rank, -1) if g.opset >= 11 else g.integer(0, x.rank - 1)]
    shifted = x
    if g.chance(0.8):
        shifted = p.node("Sub", [x, p.reduce("ReduceMax" if not p.twist() else "ReduceMin", x, axes)])
    powers = p.node("Exp", [shifted])
    return p.node("Div", [powers, p.reduce("ReduceSum", powers if not p.twist() else shifted, axes)])


@entry("gelu_erf")
def gelu_erf(g):
    p = Pattern(g, "gelu_erf")
    x = source(g)
    root = 2.0**0.5
    inner = p.node("Div", [x, p.number(root)]) if g.chance(0.5) else p.both("Mul", x, p.number(1 / root))
    if g.opset < 9:
        return p.node("Tanh", [inner])
    sum_ = p.both("Add", p.node("Erf", [inner]), p.number(1.0))
    other = x if not p.twist() else source(g) if g.chance(0.3) else g.node("Neg", [x])
    way = g.integer(0, 2)
    if way == 0:
        return p.both("Mul", p.both("Mul", other, sum_), p.number(0.5))
    if way == 1:
        return p.both("Mul", p.both("Mul", other, p.number(0.5)), sum_)
    return p.both("Mul", other, p.both("Mul", sum_, p.number(0.5)))


@entry("gelu_tanh")
def gelu_tanh(g):
    p = Pattern(g, "gelu_tanh")
    x = source(g)
    cube = p.node("Pow", [x, p.number(3.0)]) if g.chance(0.5) else p.both("Mul", p.node("Mul", [x, x]), x)
    inner = p.both("Add", x, p.both("Mul", cube, p.number(0.044715)))
    bent = p.node("Tanh", [p.both("Mul", inner, p.number((2 / numpy.pi)**0.5))])
    sum_ = p.both("Add", bent, p.number(1.0))
    if g.chance(0.5):
        return p.both("Mul", p.both("Mul", x, p.number(0.5)), sum_)
    return p.both("Mul", x, p.both("Mul", sum_, p.number(0.5)))


@entry("swish_spelled_out")
def swish(g):
    p = Pattern(g, "swish")
    x = source(g)
    scaled = p.both("Mul", x, p.number(g.pick([1.702, 1.0, 0.5]))) if g.chance(0.5) else x
    other = x if not p.twist() else scaled
    return p.both("Mul", other, p.node("Sigmoid" if not p.twist() else "HardSigmoid", [scaled]))


@entry("merge_numbers")
def numbers(g):
    p = Pattern(g, "numbers")
    y = source(g, 0)
    for _ in range(g.integer(2, 5)):
        op = g.pick(["Add", "Mul", "Mul", "Sub", "Div"])
        n = g.constant(numpy.full(g.pick([[], [1], [1, 1, 1]]), g.pick([0.5, 2.0, -1.0, 3.0, 1.0, 0.0, 0.25]
                                                                        if op != "Div" else [2.0, 0.5, -4.0]),
                                  numpy.float32))
        y = p.node(op, [y, n] if g.chance(0.7) or op == "Div" else [n, y])
    return y


@entry("fold_batch_normalization", since=9)
def fold_batch_normalization(g):
    p = Pattern(g, "batch_normalization")
    way = g.pick(["Conv", "ConvTranspose", "Gemm", "MatMul"])
    c = g.integer(1, 5)
    if way in ("Conv", "ConvTranspose"):
        group = g.pick([1, 1, 2])
        n = g.integer(1, 3)
        x = g.fresh(F32, [g.dim(3), group * n, g.integer(3, 5), g.integer(3, 5)], special=0.0)
        shape = [group * c, n, 2, 2] if way == "Conv" else [group * n, c, 2, 2]
        inputs = [x, p.weights(shape)] + ([p.weights([group * c])] if g.chance(0.6) else [])
        inputs = [i for i in inputs]
        y = p.node(way, inputs, group=group)
    else:
        k = g.integer(1, 5)
        x = g.fresh(F32, [g.dim(3), k], special=0.0)
        y = p.node("MatMul", [x, g.fresh(F32, [k, c], special=0.0, constant=not p.twist())]) if way == "MatMul" else \
            p.node("Gemm", [x, g.fresh(F32, [k, c], special=0.0, constant=not p.twist()), p.weights([c])],
                   alpha=g.pick([None, 0.5]), beta=g.pick([None, 0.5]))
        if g.chance(0.4):
            y = p.both("Add", y, p.weights([c]))
    if g.chance(0.15):
        y = p.node("Relu", [y])
    channels = [y.shape[1]]
    constant = not p.twist()
    parameters = [g.fresh(F32, channels, special=0.0, constant=constant) for _ in range(3)]
    variance = g.fresh(F32, channels, 0.5, 2, special=0.0, constant=constant)
    y = g.node("BatchNormalization", [y, *parameters, variance], epsilon=g.pick([None, 1e-3]))
    if g.chance(0.3):
        y = p.node("Relu", [y])
    return y


@entry("mul_add_after_product")
def scale_after_product(g):
    """Mul and Add by channels around convolutions and products, as unfused norms leave them."""
    p = Pattern(g, "scale_after_product")
    c, n = g.integer(1, 4), g.integer(1, 3)
    x = g.fresh(F32, [g.dim(2), n, g.integer(2, 5), g.integer(2, 5)], special=0.0)
    y = p.node("Conv", [x, p.weights([c, n, 1, 1])])
    y = p.both("Mul", y, p.weights([c, 1, 1]))
    return p.both("Add", y, p.weights([1, c, 1, 1]))


@entry("positions")
def positions(g):
    """Elementwise chains over integers and bools, as masks are made."""
    p = Pattern(g, "positions")
    n = g.integer(1, 6)
    rows = g.constant(numpy.arange(n))
    x = g.take([I64], shape=[n], reuse=0.2)
    mask = p.node("Less", [rows, x]) if g.opset >= 9 else p.node("Not", [p.node("Cast", [x], to=9)])
    return p.node("Cast", [mask], to=F32)
