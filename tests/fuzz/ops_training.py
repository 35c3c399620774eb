# SPDX-License-Identifier: Apache-2.0
"""ai.onnx.preview.training: optimisers by onnx's reference evaluator, and Gradient, which nothing else runs."""

import numpy

from elements import F32
from graph import Refused
from tables import entry

DOMAIN = "ai.onnx.preview.training"


def step(g):
    return [g.place(numpy.array(0.1, numpy.float32)), g.place(numpy.array(g.integer(0, 3)))]


def tensors(g, count):
    shape = g.shape(0, 3)
    return [g.fresh(F32, shape, special=0.0) for _ in range(count)]


@entry("Adagrad", since=13)
def adagrad(g):
    g.opsets[DOMAIN] = 1
    x, gradient = tensors(g, 2)
    squares = g.fresh(F32, x.shape, 0.1, 2, special=0.0)
    g.node("Adagrad", [*step(g), x, gradient, squares], 2, domain=DOMAIN, reference=True, norm_coefficient=0.001,
           epsilon=1e-5, decay_factor=g.pick([0.0, 0.1]))


@entry("Momentum", since=13)
def momentum(g):
    g.opsets[DOMAIN] = 1
    g.node("Momentum", [*step(g), *tensors(g, 3)], 2, domain=DOMAIN, reference=True, norm_coefficient=0.001,
           alpha=0.95, beta=g.pick([0.1, 1.0]), mode=g.pick(["standard", "nesterov"]))


@entry("Adam", since=13)
def adam(g):
    g.opsets[DOMAIN] = 1
    x, gradient, first = tensors(g, 3)
    second = g.fresh(F32, x.shape, 0.1, 2, special=0.0)
    g.node("Adam", [*step(g), x, gradient, first, second], 3, domain=DOMAIN, reference=True, norm_coefficient=0.001,
           alpha=0.9, beta=0.8, epsilon=1e-5)


@entry("Gradient", since=13)
def gradient(g):
    """Of a chain of the operators that docs/limits.md names; the evaluator and compiled code vote."""
    if g.parent is not None:
        raise Refused("Gradient stands in the main graph")
    g.opsets[DOMAIN] = 1
    shape = [g.integer(1, 4), g.integer(1, 4)]
    xs = [g.fixed(g.fresh(F32, s, 0.5, 2, special=0.0, constant=False)) for s in (shape, g.broadcast(shape))]
    y = g.node(g.pick(["Add", "Mul", "Div", "Sub"]), xs)
    for _ in range(g.integer(1, 4)):
        way = g.pick(["unary", "binary", "product", "square"])
        if way == "unary":
            y = g.node(g.pick(["Tanh", "Sigmoid", "Relu", "Neg", "Exp", "Identity"]), [y])
        elif way == "binary":
            pair = [y, g.pick(xs)]
            y = g.node(g.pick(["Add", "Mul", "Sub"]), pair if g.chance(0.5) else pair[::-1])
        elif way == "product":
            y = g.node("MatMul", [y, g.fixed(g.fresh(F32, [y.shape[1], shape[1]], -1, 1, special=0.0))])
        else:
            y = g.node("Sqrt", [g.node("Add", [g.node("Mul", [y, y]), g.scalar(1, F32)])])
    if g.chance(0.4):
        y = g.node("ReduceSum", [y, g.constant(numpy.array([g.integer(0, 1)]))], keepdims=g.integer(0, 1))
    chosen = xs[:g.integer(1, 2)]
    g.node("Gradient", chosen, len(chosen), domain=DOMAIN, ours=True, xs=[v.name for v in chosen], y=y.name)
