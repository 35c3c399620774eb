# SPDX-License-Identifier: Apache-2.0
"""One small node for each operator and form of ai.onnx and ai.onnx.ml.

    row("Clip", 1, 10, [f(2, 3)], min=-0.5, max=0.5, answer=lambda x, **a: numpy.clip(x, a["min"], a["max"]))

stands for all versions of the schema from 1 to 10. The answer is a function of inputs and attributes written from the
schema's text, "ort" for ONNX Runtime, or, without one, onnx's reference evaluator.
"""

import numpy

RANDOM = numpy.random.default_rng(7)
LAST = 99
ROWS = []
ML = "ai.onnx.ml"


class Row:
    def __init__(self, op, first, last, inputs, outputs, domain, answer, constants, after, attributes):
        self.op, self.first, self.last, self.domain = op, first, last, domain
        self.inputs, self.outputs, self.answer = inputs, outputs, answer
        self.constants, self.after, self.attributes = constants, after, attributes


def row(op, first, last, inputs, outputs=1, domain="", answer=None, constants=(), after=None, **attributes):
    """`constants`: numbers of inputs that are initializers. `after`: an op that the first output goes through.
    `outputs` may be a list of bools: which ones are named."""
    ROWS.append(Row(op, first, last, inputs, outputs, domain, answer, constants, after, attributes))


def f(*dims):
    return RANDOM.uniform(-2, 2, dims).astype(numpy.float32)


def positive(*dims):
    return RANDOM.uniform(0.25, 2, dims).astype(numpy.float32)


def unit(*dims):
    return RANDOM.uniform(-0.95, 0.95, dims).astype(numpy.float32)


def ints(*dims, low=-5, high=6, dtype=numpy.int64):
    return RANDOM.integers(low, high, dims).astype(dtype)


def bools(*dims):
    return RANDOM.random(dims) < 0.5


def i64(*values):
    return numpy.array(values, numpy.int64)


def scalar(value, dtype=numpy.float32):
    return numpy.array(value, dtype)


def f32(*values):
    return numpy.array(values, numpy.float32)
