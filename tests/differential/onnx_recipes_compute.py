# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that compute: elementwise, products, windows, norms, reductions."""

import numpy
from onnx import TensorProto, helper

from onnx_rows import LAST, ML, bools, f, f32, i64, ints, positive, row, scalar, unit

U8, I8 = numpy.uint8, numpy.int8


# ---- arithmetic: before 7, B lay over A from `axis` on, and only with `broadcast` ----


def along(function):
    def answer(a, b, axis=None, broadcast=0, consumed_inputs=None):
        if broadcast and axis is not None:
            b = b.reshape(b.shape + (1,) * (a.ndim - axis % a.ndim - b.ndim))
        return function(a, b)
    return answer


BINARY = {"Add": numpy.add, "Sub": numpy.subtract, "Mul": numpy.multiply, "Div": numpy.divide,
          "Pow": lambda a, b: numpy.power(numpy.abs(a), b)}
for name, function in BINARY.items():
    A = positive if name == "Pow" else f
    if name != "Pow":
        row(name, 1, 5, [A(2, 3, 4, 5), positive(3, 4)], answer=along(function), axis=1, broadcast=1,
            consumed_inputs=[0, 0])
    row(name, 1, 6, [A(2, 3, 4, 5), positive(3, 4)], answer=along(function), axis=1, broadcast=1)
    row(name, 1, 6, [A(2, 3, 4, 5), positive(4, 5)], answer=along(function), broadcast=1)
    row(name, 1, 6, [A(2, 3), positive(2)], answer=along(function), axis=-2, broadcast=1)
    row(name, 1, 6, [A(2, 3, 4), positive(1)], answer=along(function), broadcast=1)
    row(name, 1, 6, [A(2, 3), positive(2, 3)], answer=along(function))
    row(name, 7, LAST, [A(2, 1, 4), positive(3, 1)])
for name, function in (("And", numpy.logical_and), ("Or", numpy.logical_or), ("Xor", numpy.logical_xor)):
    row(name, 1, 6, [bools(2, 3, 4), bools(3)], answer=along(function), axis=1, broadcast=1)
    row(name, 7, LAST, [bools(2, 3, 4), bools(3, 1)])
for name, function in (("Less", numpy.less), ("Greater", numpy.greater), ("Equal", numpy.equal)):
    A = f if name != "Equal" else lambda *dims: ints(*dims, low=0, high=3)
    row(name, 1, 6, [A(2, 3, 4), A(3)], answer=along(function), axis=1, broadcast=1)
    row(name, 1, 6, [A(2, 3, 4), A(3, 4)], answer=along(function), broadcast=1)
    row(name, 7, LAST, [A(2, 3, 4), A(3, 1)])
row("GreaterOrEqual", 12, LAST, [f(2, 3), f(3)])
row("LessOrEqual", 12, LAST, [f(2, 3), f(3)])
for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    row(name, 18, LAST, [ints(2, 3, dtype=numpy.int32), ints(3, dtype=numpy.int32)])
row("BitwiseNot", 18, LAST, [ints(2, 3, dtype=numpy.int32)])
row("BitShift", 11, LAST, [ints(2, 3, low=0, high=200, dtype=numpy.uint32), ints(3, low=0, high=6, dtype=numpy.uint32)],
    direction="LEFT")
row("Mod", 10, LAST, [ints(7), i64(-3, 2, 3, 5, -7, 4, 3)])
row("Mod", 10, LAST, [f(7), f(7)], fmod=1)
row("PRelu", 1, 6, [f(2, 3, 4), positive(3)], answer=lambda x, s, **a: numpy.where(x < 0, x * s[:, None], x))
row("PRelu", 1, 6, [f(2, 3, 4), positive(1)], answer=lambda x, s, **a: numpy.where(x < 0, x * s, x))
row("PRelu", 1, 5, [f(2, 3), positive(3)], answer=lambda x, s, **a: numpy.where(x < 0, x * s, x),
    consumed_inputs=[0, 0])
row("PRelu", 7, LAST, [f(2, 3, 4), positive(3, 1)])
MANY = {"Max": lambda *x: numpy.maximum(numpy.maximum(x[0], x[1]), x[2]),
        "Min": lambda *x: numpy.minimum(numpy.minimum(x[0], x[1]), x[2]),
        "Sum": lambda *x: x[0] + x[1] + x[2], "Mean": lambda *x: (x[0] + x[1] + x[2]) / numpy.float32(3)}
for name, function in MANY.items():
    row(name, 1, 5, [f(2, 3), f(2, 3), f(2, 3)], answer=lambda *x, g=function, **a: g(*x), consumed_inputs=[0, 0, 0])
    row(name, 6, 7, [f(2, 3), f(2, 3), f(2, 3)], answer=lambda *x, g=function, **a: g(*x))
    row(name, 8, LAST, [f(2, 3), f(3), f(2, 1)], answer=lambda *x, g=function, **a: g(*x))
    row(name, 1, LAST, [f(2, 3)], answer=lambda x: x)
row("Where", 9, LAST, [bools(2, 3), f(3), f(2, 1)])

# ---- functions of one input ----

UNARY = {"Abs": numpy.abs, "Neg": numpy.negative, "Floor": numpy.floor, "Ceil": numpy.ceil, "Exp": numpy.exp,
         "Relu": lambda x: numpy.maximum(x, 0), "Tanh": numpy.tanh, "Sigmoid": lambda x: 1 / (1 + numpy.exp(-x))}
for name, function in UNARY.items():
    row(name, 1, 5, [f(2, 3)], answer=lambda x, g=function, **a: g(x), consumed_inputs=[0])
    row(name, 1, LAST, [f(2, 3)], answer=lambda x, g=function, **a: g(x))
for name, function in (("Sqrt", numpy.sqrt), ("Log", numpy.log), ("Reciprocal", numpy.reciprocal)):
    row(name, 1, 5, [positive(2, 3)], answer=lambda x, g=function, **a: g(x), consumed_inputs=[0])
    row(name, 1, LAST, [positive(2, 3)], answer=lambda x, g=function, **a: g(x))
for name in ("Sin", "Cos", "Tan", "Sinh", "Cosh", "Asinh", "Erf", "Sign", "HardSwish", "Mish", "Gelu", "Atan"):
    row(name, 7, LAST, [unit(2, 3)])
for name in ("Asin", "Acos", "Atanh"):
    row(name, 7, LAST, [unit(2, 3)])
row("Acosh", 9, LAST, [1 + positive(2, 3)])
row("Gelu", 20, LAST, [f(2, 3)], approximate="tanh")
row("Swish", 24, LAST, [f(2, 3)], alpha=0.5)
row("Round", 11, LAST, [f32(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.7)])
row("Not", 1, LAST, [bools(2, 3)])
row("Softplus", 1, LAST, [f(2, 3)], answer=lambda x: numpy.log1p(numpy.exp(x)))
row("Softsign", 1, LAST, [f(2, 3)], answer=lambda x: x / (1 + numpy.abs(x)))


def elu(x, alpha=1.0, consumed_inputs=None):
    return numpy.where(x < 0, alpha * (numpy.exp(x) - 1), x).astype(x.dtype)


def hard_sigmoid(x, alpha=0.2, beta=0.5, consumed_inputs=None):
    return numpy.clip(alpha * x + beta, 0, 1).astype(x.dtype)


def leaky(x, alpha=0.01, consumed_inputs=None):
    return numpy.where(x < 0, alpha * x, x).astype(x.dtype)


def selu(alpha, gamma):
    return lambda x, alpha=alpha, gamma=gamma, **a: numpy.where(
        x > 0, gamma * x, gamma * (alpha * numpy.exp(x) - alpha)).astype(x.dtype)


for name, function in (("Elu", elu), ("HardSigmoid", hard_sigmoid), ("LeakyRelu", leaky)):
    row(name, 1, 5, [f(2, 3)], answer=function, consumed_inputs=[0])
    row(name, 1, LAST, [f(2, 3)], answer=function)
    row(name, 1, LAST, [f(2, 3)], answer=function, alpha=0.3)
row("Selu", 1, 5, [f(2, 3)], answer=selu(1.6732, 1.0507), consumed_inputs=[0])
row("Selu", 6, LAST, [f(2, 3)], answer=selu(1.67326319217681884765625, 1.05070102214813232421875))
row("Selu", 1, LAST, [f(2, 3)], answer=selu(0, 0), alpha=2.0, gamma=3.0)
row("ThresholdedRelu", 1, LAST, [f(2, 3)])
row("Celu", 12, LAST, [f(2, 3)], alpha=2.0)
row("Shrink", 9, LAST, [f(2, 3)], bias=0.25, lambd=0.5)
row("Clip", 1, 5, [f(2, 3)], answer=lambda x, **a: numpy.clip(x, -0.5, 0.75), min=-0.5, max=0.75, consumed_inputs=[0])
row("Clip", 1, 10, [f(2, 3)], answer=lambda x, **a: numpy.clip(x, -0.5, 0.75), min=-0.5, max=0.75)
row("Clip", 1, 10, [f(2, 3)], answer=lambda x, **a: numpy.minimum(x, 0.75), max=0.75)
row("Clip", 1, 10, [f(2, 3)], answer=lambda x: x)
row("Clip", 11, LAST, [f(2, 3), scalar(-0.5), scalar(0.75)])
row("Clip", 12, LAST, [ints(2, 3), scalar(-2, numpy.int64), scalar(3, numpy.int64)])
row("Clip", 11, LAST, [f(2, 3), None, scalar(0.75)])
row("IsNaN", 9, LAST, [f32(1, numpy.nan, numpy.inf)])
row("IsInf", 10, LAST, [f32(1, numpy.nan, numpy.inf, -numpy.inf)])
row("IsInf", 10, LAST, [f32(1, numpy.nan, numpy.inf, -numpy.inf)], detect_negative=0)
row("Cast", 1, 5, [f(2, 3)], answer=lambda x, to: x.astype(numpy.int32), to="INT32")
row("Cast", 1, 5, [ints(2, 3)], answer=lambda x, to: x.astype(numpy.float64), to="DOUBLE")
row("Cast", 6, LAST, [f(2, 3)], to=TensorProto.INT64)
row("Cast", 9, LAST, [numpy.array(["1.5", "-2", "inf"], object)], to=TensorProto.FLOAT)
row("Cast", 19, LAST, [f32(1, 1000, -1000, 0.1)], to=TensorProto.FLOAT8E4M3FN, saturate=0)
row("Cast", 24, LAST, [f32(1, 3, 5, 0.1)], to=TensorProto.FLOAT8E8M0, round_mode="nearest")
row("CastLike", 15, LAST, [f(2, 3), ints(1)])
row("BitCast", 26, LAST, [f(2, 3)], to=TensorProto.INT32)


def same(x, *_, **__):
    return x


# The tests of inference only: is_test was a flag, later ratio and mode became inputs.
row("Dropout", 1, 5, [f(2, 3)], answer=same, is_test=1, ratio=0.3, consumed_inputs=[0])
row("Dropout", 1, 6, [f(2, 3)], answer=same, is_test=1)
row("Dropout", 7, 11, [f(2, 3)], answer=same, ratio=0.3)
row("Dropout", 10, 11, [f(2, 3)], outputs=2, answer=lambda x: (x, numpy.ones(x.shape, bool)))
row("Dropout", 7, 9, [f(2, 3)], outputs=2, answer=lambda x: (x, numpy.ones_like(x)))
row("Dropout", 12, LAST, [f(2, 3), scalar(0.4)], outputs=2, answer=lambda x, r: (x, numpy.ones(x.shape, bool)))
row("Dropout", 12, LAST, [f(2, 3), scalar(0.0), scalar(True, bool)], outputs=2,
    answer=lambda x, r, t: (x, numpy.ones(x.shape, bool)))

# ---- products ----

row("MatMul", 1, LAST, [f(2, 3, 4), f(4, 5)], answer=numpy.matmul)
row("MatMul", 1, LAST, [f(4), f(4, 5)], answer=numpy.matmul)
row("MatMul", 9, LAST, [ints(3, 4), ints(4, 5)], answer=numpy.matmul)


def gemm(a, b, c=0, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=0):
    return (alpha * ((a.T if transA else a) @ (b.T if transB else b)) + beta * c).astype(a.dtype)


row("Gemm", 1, 6, [f(2, 3), f(3, 4), f(2, 4)], answer=gemm, alpha=0.5, beta=2.0)
row("Gemm", 1, 6, [f(3, 2), f(4, 3), f(4)], answer=gemm, transA=1, transB=1, broadcast=1)
row("Gemm", 6, 6, [f(3, 2), f(4, 3), f(2, 1)], answer=gemm, transA=1, transB=1, broadcast=1)
row("Gemm", 7, LAST, [f(2, 3), f(3, 4), f(4)], answer=gemm, alpha=0.5, beta=2.0)
row("Gemm", 9, LAST, [ints(2, 3), ints(3, 4), ints(2, 1)], answer=gemm)
row("Gemm", 11, LAST, [f(2, 3), f(3, 4)], answer=gemm)
row("Einsum", 12, LAST, [f(2, 3), f(3, 4)], equation="ij,jk->ki")
row("MatMulInteger", 10, LAST, [ints(2, 3, low=0, high=9, dtype=U8), ints(3, 4, dtype=I8), scalar(3, U8),
                                scalar(1, I8)])
QUANTS = [ints(2, 3, low=0, high=9, dtype=U8), scalar(0.5), scalar(3, U8), ints(3, 4, low=0, high=9, dtype=U8),
          scalar(0.25), scalar(2, U8), scalar(0.5), scalar(100, U8)]


def quantised_matmul(a, sa, za, b, sb, zb, sy, zy):
    a, b = [(x.astype(numpy.float64) - z.astype(numpy.float64)) * s for x, s, z in ((a, sa, za), (b, sb, zb))]
    y = a @ b / sy
    if zy.dtype.kind not in "iu":
        return (y + zy.astype(numpy.float64)).astype(zy.dtype)
    limits = numpy.iinfo(zy.dtype)
    return numpy.clip(numpy.rint(y) + zy, limits.min, limits.max).astype(zy.dtype)


row("QLinearMatMul", 10, LAST, QUANTS, answer=quantised_matmul)

# ---- convolution and pooling ----

row("Conv", 1, LAST, [f(1, 2, 5, 5), f(3, 2, 3, 3), f(3)], pads=[1, 1, 1, 1], strides=[2, 2])
row("Conv", 1, LAST, [f(1, 2, 7), f(2, 1, 3)], group=2, dilations=[2], auto_pad="SAME_UPPER")
row("ConvTranspose", 1, LAST, [f(1, 2, 3, 3), f(2, 2, 3, 3), f(2)], strides=[2, 2], answer="ort")
row("ConvTranspose", 1, LAST, [f(1, 2, 3, 3), f(2, 2, 3, 3)], strides=[3, 2], output_shape=[10, 8], answer="ort")
row("ConvTranspose", 1, LAST, [f(1, 2, 3, 3), f(2, 2, 3, 3)], strides=[3, 2], output_shape=[10, 8],
    auto_pad="SAME_UPPER", answer="ort")
row("ConvInteger", 10, LAST, [ints(1, 1, 4, 4, low=0, high=9, dtype=U8), ints(1, 1, 2, 2, low=0, high=9, dtype=U8),
                              scalar(1, U8)])
row("QLinearConv", 10, LAST, [ints(1, 1, 4, 4, low=0, high=9, dtype=U8), scalar(0.5), scalar(3, U8),
                              ints(1, 1, 2, 2, low=0, high=9, dtype=U8), scalar(0.25), scalar(2, U8), scalar(0.5),
                              scalar(100, U8), ints(1, dtype=numpy.int32)])


def average(x, kernel_shape, pads, count_include_pad=0, **_):
    rows = numpy.pad(x, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])])
    ones = numpy.pad(numpy.ones_like(x), [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])],
                     constant_values=float(count_include_pad))
    windows = [numpy.lib.stride_tricks.sliding_window_view(y, kernel_shape, (2, 3)).sum((4, 5)) for y in (rows, ones)]
    return (windows[0] / windows[1]).astype(x.dtype)


row("AveragePool", 1, LAST, [f(1, 2, 5, 5)], answer=average, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
row("AveragePool", 7, LAST, [f(1, 2, 5, 5)], answer=average, kernel_shape=[3, 3], pads=[1, 0, 1, 1],
    count_include_pad=1)
row("AveragePool", 10, LAST, [f(1, 2, 6)], kernel_shape=[3], strides=[2], ceil_mode=1)
row("AveragePool", 19, LAST, [f(1, 2, 8)], kernel_shape=[3], dilations=[2])
row("AveragePool", 1, LAST, [f(1, 2, 6, 6)], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER",
    answer=lambda x, **_: average(x, (3, 3), [1, 1, 0, 0])[:, :, ::2, ::2])
row("MaxPool", 1, LAST, [f(1, 2, 5, 5)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
row("MaxPool", 8, LAST, [f(1, 2, 5, 5)], outputs=2, kernel_shape=[3, 3], strides=[2, 2])
row("MaxPool", 8, LAST, [f(1, 2, 5, 5)], outputs=2, kernel_shape=[3, 3], strides=[2, 2], storage_order=1, answer="ort")
row("MaxPool", 10, LAST, [f(1, 2, 6, 6)], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
row("MaxPool", 10, LAST, [f(1, 2, 8, 8)], kernel_shape=[3, 3], dilations=[2, 2])
row("MaxPool", 12, LAST, [ints(1, 2, 8, dtype=I8)], kernel_shape=[3])


def lp(x, p=2, kernel_shape=None):
    rows = numpy.lib.stride_tricks.sliding_window_view(numpy.abs(x.astype(numpy.float64)) ** p, kernel_shape, (2, 3))
    return (rows.sum((4, 5)) ** (1 / p)).astype(x.dtype)


row("LpPool", 1, 1, [f(1, 2, 5, 5)], answer=lp, kernel_shape=[3, 2], p=3.0)
row("LpPool", 1, 1, [f(1, 2, 5, 5)], answer=lp, kernel_shape=[3, 2], p=1.5)
row("LpPool", 1, LAST, [f(1, 2, 5, 5)], answer=lp, kernel_shape=[3, 2])
row("LpPool", 2, LAST, [f(1, 2, 5, 5)], answer=lp, kernel_shape=[3, 2], p=3)
for name, function in (("GlobalAveragePool", numpy.mean), ("GlobalMaxPool", numpy.max)):
    row(name, 1, LAST, [f(2, 3, 4, 5)], answer=lambda x, g=function: g(x, (2, 3), keepdims=True))


def global_lp(x, p=2):
    return ((numpy.abs(x) ** p).sum((2, 3), keepdims=True) ** (1 / p)).astype(x.dtype)


row("GlobalLpPool", 1, 1, [f(2, 3, 4, 5)], answer=global_lp, p=3.0)
row("GlobalLpPool", 1, 1, [f(2, 3, 4, 5)], answer=global_lp, p=2.5)
row("GlobalLpPool", 1, LAST, [f(2, 3, 4, 5)], answer=global_lp)
row("GlobalLpPool", 2, LAST, [f(2, 3, 4, 5)], answer=global_lp, p=3)
row("MaxRoiPool", 1, LAST, [f(1, 2, 6, 6), numpy.array([[0, 0, 0, 3, 3], [0, 1, 1, 5, 4]], numpy.float32)],
    pooled_shape=[2, 2], spatial_scale=1.0, answer="ort")
row("MaxUnpool", 9, LAST, [f(1, 1, 2, 2), i64(5, 7, 13, 15).reshape(1, 1, 2, 2)], kernel_shape=[2, 2], strides=[2, 2])
row("Col2Im", 18, LAST, [f(1, 5, 5), i64(5, 5), i64(1, 5)])
row("CausalConvWithState", 27, LAST, [f(1, 3, 5), f(3, 1, 3), f(3), f(1, 3, 2)], outputs=2)

# ---- normalisation ----


def batch(x, s, b, m, v, epsilon=1e-5, **_):
    side = (1, -1) + (1,) * (x.ndim - 2)
    return ((x - m.reshape(side)) / numpy.sqrt(v.reshape(side) + epsilon) * s.reshape(side) + b.reshape(side)).astype(
        x.dtype)


def batch_elements(x, s, b, m, v, epsilon=1e-5, **_):
    return ((x - m) / numpy.sqrt(v + epsilon) * s + b).astype(x.dtype)


def batch_training(x, s, b, m, v, epsilon=1e-5, momentum=0.9, spatial=1, **_):
    axes = (0,) + (tuple(range(2, x.ndim)) if spatial else ())
    mean, var = x.mean(axes), x.var(axes)
    y = (batch if spatial else batch_elements)(x, s, b, mean, var, epsilon)
    return (y, m * momentum + mean * (1 - momentum), v * momentum + var * (1 - momentum), mean, var)


C3 = [positive(3), f(3), f(3), positive(3)]
E34 = [positive(3, 4), f(3, 4), f(3, 4), positive(3, 4)]
row("BatchNormalization", 1, 5, [f(2, 3, 4)] + C3, answer=batch, consumed_inputs=[0, 0, 0, 1, 1], is_test=1)
row("BatchNormalization", 6, 6, [f(2, 3, 4)] + C3, answer=batch, is_test=1, epsilon=0.1)
row("BatchNormalization", 6, 6, [f(2, 3, 4)] + E34, answer=batch_elements, is_test=1, spatial=0)
row("BatchNormalization", 6, 6, [f(4, 3, 4)] + C3, outputs=5, answer=batch_training, momentum=0.8)
row("BatchNormalization", 7, 13, [f(4, 3, 4)] + C3, outputs=5, answer=batch_training)
row("BatchNormalization", 7, 8, [f(2, 3, 4)] + E34, answer=batch_elements, spatial=0)
row("BatchNormalization", 7, 8, [f(4, 3, 4)] + E34, outputs=5, answer=batch_training, spatial=0)
row("BatchNormalization", 7, LAST, [f(2, 3, 4)] + C3, answer=batch)
row("BatchNormalization", 7, LAST, [f(2, 3)] + C3, answer=batch)
row("BatchNormalization", 14, LAST, [f(4, 3, 4)] + C3, outputs=3, training_mode=1, momentum=0.8,
    answer=lambda *x, **a: batch_training(*x, **a)[:3])


def instance(x, s, b, epsilon=1e-5, **_):
    axes, side = tuple(range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)
    y = (x - x.mean(axes, keepdims=True)) / numpy.sqrt(x.var(axes, keepdims=True) + epsilon)
    return y * s.reshape(side) + b.reshape(side)


row("InstanceNormalization", 1, 5, [f(2, 3, 5), positive(3), f(3)], answer=instance, consumed_inputs=[0, 0, 0])
row("InstanceNormalization", 1, LAST, [f(2, 3, 5), positive(3), f(3)], answer=instance, epsilon=0.01)
row("LayerNormalization", 17, LAST, [f(2, 3, 4), positive(4), f(4)], outputs=3)
row("LayerNormalization", 17, LAST, [f(2, 3, 4), positive(3, 4)], axis=1, epsilon=0.1)
row("RMSNormalization", 23, LAST, [f(2, 3, 4), positive(4)])


def group(x, s, b, num_groups, epsilon=1e-5, each=False):
    y = instance(x.reshape(x.shape[0], num_groups, -1), numpy.ones(num_groups), numpy.zeros(num_groups), epsilon)
    y = y.reshape(x.shape)
    if each:
        s, b = numpy.repeat(s, x.shape[1] // num_groups), numpy.repeat(b, x.shape[1] // num_groups)
    side = (1, -1) + (1,) * (x.ndim - 2)
    return (y * s.reshape(side) + b.reshape(side)).astype(x.dtype)


row("GroupNormalization", 18, 20, [f(2, 4, 5), positive(2), f(2)], num_groups=2,
    answer=lambda *x, **a: group(*x, **a, each=True))
row("GroupNormalization", 21, LAST, [f(2, 4, 5), positive(4), f(4)], num_groups=2, answer=group)


def lrn(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    sums = numpy.zeros_like(x)
    for c in range(x.shape[1]):
        low, high = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + size // 2)
        sums[:, c] = (x[:, low:high + 1] ** 2).sum(1)
    return (x / (bias + alpha / size * sums) ** beta).astype(x.dtype)


row("LRN", 1, LAST, [f(1, 5, 2, 2)], answer=lrn, size=3)
row("LRN", 1, LAST, [f(1, 5, 2, 2)], answer=lrn, size=4, alpha=0.1, beta=0.5, bias=2.0)
for p in (1, 2):
    row("LpNormalization", 1, LAST, [f(2, 3, 4)], axis=1, p=p,
        answer=lambda x, axis, p: x / numpy.linalg.norm(x, p, axis, keepdims=True))
row("LpNormalization", 1, LAST, [f(2, 3)], answer=lambda x: x / numpy.linalg.norm(x, 2, -1, keepdims=True))
for axes in (None, [1, 2]):
    row("MeanVarianceNormalization", 9, LAST, [f(2, 3, 4, 2)], **({"axes": axes} if axes else {}),
        answer=lambda x, axes=(0, 2, 3): (x - x.mean(tuple(axes), keepdims=True)) / x.std(tuple(axes), keepdims=True))


def softmax(x):
    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hardmax(x):
    return numpy.eye(x.shape[-1], dtype=x.dtype)[x.argmax(-1)]


def flat(function):
    def answer(x, axis=1):
        axis = axis % x.ndim
        rows = x.reshape(int(numpy.prod(x.shape[:axis])), -1)
        return function(rows).reshape(x.shape)
    return answer


def on_axis(function):
    return lambda x, axis=-1: numpy.moveaxis(function(numpy.moveaxis(x, axis, -1)), -1, axis)


for name, function in (("Softmax", softmax), ("LogSoftmax", lambda x: numpy.log(softmax(x))), ("Hardmax", hardmax)):
    row(name, 1, 12, [f(2, 3, 4)], answer=flat(function))
    row(name, 1, 12, [f(2, 3, 4)], answer=flat(function), axis=2)
    row(name, 1, 12, [f(2, 3, 4)], answer=flat(function), axis=0)
    row(name, 11, 12, [f(2, 3, 4)], answer=flat(function), axis=-2)
    row(name, 13, LAST, [f(2, 3, 4)], answer=on_axis(function))
    row(name, 13, LAST, [f(2, 3, 4)], answer=on_axis(function), axis=1)

# ---- reductions ----

REDUCE = {"ReduceSum": numpy.sum, "ReduceMean": numpy.mean, "ReduceMax": numpy.max, "ReduceMin": numpy.min,
          "ReduceProd": numpy.prod, "ReduceL1": lambda x, a, keepdims: numpy.abs(x).sum(a, keepdims=keepdims),
          "ReduceL2": lambda x, a, keepdims: numpy.sqrt((x * x).sum(a, keepdims=keepdims)),
          "ReduceLogSum": lambda x, a, keepdims: numpy.log(x.sum(a, keepdims=keepdims)),
          "ReduceLogSumExp": lambda x, a, keepdims: numpy.log(numpy.exp(x).sum(a, keepdims=keepdims)),
          "ReduceSumSquare": lambda x, a, keepdims: (x * x).sum(a, keepdims=keepdims)}


def reducer(function):
    def answer(x, given=None, axes=None, keepdims=1, noop_with_empty_axes=0):
        axes = axes if given is None else given
        if axes is not None and len(axes) == 0 and noop_with_empty_axes:
            return x
        axes = None if axes is None or len(axes) == 0 else tuple(int(a) for a in axes)
        y = function(x, axes, keepdims=bool(keepdims))
        return numpy.asarray(y).astype(x.dtype)
    return answer


for name, function in REDUCE.items():
    attribute_until = 12 if name == "ReduceSum" else 17
    row(name, 1, attribute_until, [positive(2, 3, 4)], answer=reducer(function), axes=[0, 2])
    row(name, 1, attribute_until, [positive(2, 3, 4)], answer=reducer(function), axes=[1], keepdims=0)
    row(name, 11, attribute_until, [positive(2, 3, 4)], answer=reducer(function), axes=[-1])
    row(name, 1, LAST, [positive(2, 3, 4)], answer=reducer(function))
    row(name, attribute_until + 1, LAST, [positive(2, 3, 4), i64(0, -1)], answer=reducer(function), constants=(1,))
    row(name, attribute_until + 1, LAST, [positive(2, 3, 4), i64()], answer=reducer(function), constants=(1,),
        keepdims=0)
    if name in ("ReduceSum", "ReduceMax", "ReduceProd"):
        row(name, attribute_until + 1, LAST, [positive(2, 3, 4), i64()], answer=reducer(function), constants=(1,),
            noop_with_empty_axes=1)
row("ReduceMax", 20, LAST, [bools(2, 3), i64(1)], answer=reducer(numpy.max), constants=(1,))
row("ReduceMin", 20, LAST, [bools(2, 3), i64(1)], answer=reducer(numpy.min), constants=(1,))
TIES = numpy.array([[1, 3, 3, 2], [5, 5, 0, 5]], numpy.float32)
for name in ("ArgMax", "ArgMin"):
    row(name, 1, LAST, [TIES], axis=1)
    row(name, 1, LAST, [f(2, 3, 4)], keepdims=0)
    row(name, 12, LAST, [TIES], axis=-1, select_last_index=1)
K2 = numpy.array([1], numpy.int64) * 2


def topk(x, k, axis=-1):
    order = numpy.argsort(-x, axis, kind="stable")
    taken = numpy.take(order, range(int(numpy.ravel(k)[0])), axis)
    return numpy.take_along_axis(x, taken, axis), taken


row("TopK", 1, 9, [f(3, 4)], outputs=2, k=2, answer=topk)
row("TopK", 1, 9, [f(3, 4)], outputs=2, k=2, axis=0, answer=topk)
row("TopK", 10, LAST, [f(3, 4), K2], outputs=2, answer=topk)
row("TopK", 11, LAST, [f(3, 4), K2], outputs=2, axis=0, largest=0, answer=lambda x, k, **a: (
    numpy.sort(x, 0)[:2], numpy.argsort(x, 0, kind="stable")[:2]))
row("CumSum", 11, LAST, [f(2, 5), scalar(1, numpy.int32)])
row("CumSum", 11, LAST, [f(2, 5), scalar(0, numpy.int64)], exclusive=1, reverse=1)
row("CumProd", 26, LAST, [f(2, 5), scalar(1, numpy.int32)])
