# SPDX-License-Identifier: Apache-2.0
"""Optimisers of ai.onnx.preview.training, by onnx's reference evaluator."""

import numpy

from elements import F32
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
