# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's quantised operators (com.microsoft) but products, against NumPy references."""

import numpy
import pytest
from onnx import TensorProto

from microsoft_kit import (
    DOMAIN,
    F,
    LIMITS,
    Case,
    Typed,
    check,
    dequantize,
    integers,
    numbers,
    point,
    quantize,
    refused,
)

SHAPES = [(3, 5), (1,), (2, 3, 4), (0, 4), ()]


def zero_of(kind, value):
    return value if kind == "uint8" else value - 128


# ---- elementwise ----


def binary(op, r):
    cases = []
    for kind in ("uint8", "int8"):
        for left, right in [
            ((3, 5), (3, 5)),
            ((2, 3, 4), (4,)),
            ((3, 1), (1, 7)),
            ((0, 4), (4,)),
            ((), (2,)),
        ]:
            a, b = integers(r, kind, left), integers(r, kind, right)
            scales = [F(s) for s in (0.013, 0.027, 0.04)]
            zeros = [point(kind, zero_of(kind, z)) for z in (3, 120, 100)]
            if left == (3, 1):
                scales, zeros = [F(1), F(1), F(2)], [None, None, None]  # ties, no zero points
            values = [0 if z is None else int(z) for z in zeros]
            if op == "QLinearAdd":
                real = dequantize(a, scales[0], values[0]) + dequantize(b, scales[1], values[1])
            else:
                whole = (a.astype(int) - values[0]) * (b.astype(int) - values[1])
                real = whole.astype(F) * (scales[0] * scales[1])
            inputs = [a, scales[0], zeros[0], b, scales[1], zeros[1], scales[2], zeros[2]]
            # ONNX Runtime takes neither empty operands nor omitted zero points here
            peer = a.size > 0 and zeros[0] is not None
            cases.append(Case(op, inputs, quantize(real, scales[2], values[2], kind), peer=peer))
    return cases


def test_qlinear_add(tmp_path):
    check(binary("QLinearAdd", numbers(1)), tmp_path, peer_steps=1)  # it multiplies by ratios of the scales


def test_qlinear_mul(tmp_path):
    check(binary("QLinearMul", numbers(2)), tmp_path)


def test_mul_integer(tmp_path):
    r, cases = numbers(3), []
    for kind in ("uint8", "int8"):
        for left, right in [((3, 5), (5,)), ((2, 1, 4), (3, 1)), ((0,), (1,))]:
            a, b, za, zb = integers(r, kind, left), integers(r, kind, right), point(kind, 5), point(kind, 99)
            for zeros in ([za, zb], [None, None]):
                values = [0 if z is None else int(z) for z in zeros]
                want = (a.astype(numpy.int32) - values[0]) * (b.astype(numpy.int32) - values[1])
                cases.append(
                    Case("MulInteger", [a, zeros[0], b, zeros[1]], want.astype(numpy.int32), peer=False)
                )
    check(cases, tmp_path)


def test_qlinear_activations(tmp_path):
    r, cases = numbers(4), []
    for kind in ("uint8", "int8"):
        for shape in SHAPES:
            x, sx, sy = integers(r, kind, shape), F(0.05), F(1 / 128)
            zx, zy = point(kind, zero_of(kind, 130)), point(kind, zero_of(kind, 7))
            for zeros in ([zx, zy], [None, None]):
                values = [0 if z is None else int(z) for z in zeros]
                real = dequantize(x, sx, values[0])
                sigmoid = (1 / (1 + numpy.exp(-real.astype(float)))).astype(F)
                leaky = numpy.where(real < 0, F(0.2) * real, real)
                inputs = [x, sx, zeros[0], sy, zeros[1]]
                both = zeros[0] is not None and x.size > 0
                cases.append(
                    Case("QLinearSigmoid", inputs, quantize(sigmoid, sy, values[1], kind), peer=both)
                )
                cases.append(
                    Case(
                        "QLinearLeakyRelu", inputs, quantize(leaky, sy, values[1], kind), peer=both, alpha=0.2
                    )
                )
    check(cases, tmp_path)


def test_qlinear_where(tmp_path):
    r, cases = numbers(5), []
    for kind in ("uint8", "int8"):
        for c, a, b in [((3, 5), (3, 5), (3, 5)), ((4,), (2, 1, 4), (3, 1)), ((0,), (0,), (1,))]:
            condition, x, y = r.random(c) < 0.5, integers(r, kind, a), integers(r, kind, b)
            zeros = [point(kind, zero_of(kind, z)) for z in (10, 128, 60)]
            real = numpy.where(condition, dequantize(x, 0.02, zeros[0]), dequantize(y, 0.03, zeros[1]))
            inputs = [condition, x, F(0.02), zeros[0], y, F(0.03), zeros[1], F(0.025), zeros[2]]
            cases.append(
                Case(
                    "QLinearWhere",
                    inputs,
                    quantize(real, 0.025, zeros[2], kind),
                    peer=x.size > 0,
                    constants=(2, 3, 5, 6, 7, 8),
                )
            )
    check(cases, tmp_path)


def test_qlinear_concat(tmp_path):
    r, cases = numbers(6), []
    for kind in ("uint8", "int8"):
        for axis, shapes in [(1, [(2, 3), (2, 1), (2, 0), (2, 4)]), (-1, [(5,), (2,)]), (0, [(1, 2, 3)])]:
            parts = [integers(r, kind, s) for s in shapes]
            scales, zeros = [F(0.02), F(0.03), F(0.02), F(0.5)], [zero_of(kind, z) for z in (9, 9, 9, 200)]
            want = [
                quantize(dequantize(x, s, z), 0.02, zeros[0], kind) for x, s, z in zip(parts, scales, zeros)
            ]
            inputs = [F(0.02), point(kind, zeros[0])]
            for x, s, z in zip(parts, scales, zeros):
                inputs += [x, s, point(kind, z)]
            fixed = [i for i in range(len(inputs)) if i < 2 or (i - 2) % 3 != 0]
            cases.append(
                Case("QLinearConcat", inputs, numpy.concatenate(want, axis), constants=fixed, axis=axis)
            )
    check(cases, tmp_path)


# ---- windows and rows ----


def average_pool(x, kernel, strides, pads, include):
    """x [n, c, h, w] as float; the divisor counts what is inside, or the whole window."""
    n, c, h, w = x.shape
    (kh, kw), (sh, sw) = kernel, strides
    rows, columns = (h + pads[0] + pads[2] - kh) // sh + 1, (w + pads[1] + pads[3] - kw) // sw + 1
    y = numpy.zeros((n, c, rows, columns), F)
    for i in range(rows):
        for j in range(columns):
            top, left = i * sh - pads[0], j * sw - pads[1]
            part = x[:, :, max(top, 0) : min(top + kh, h), max(left, 0) : min(left + kw, w)].astype(float)
            y[:, :, i, j] = part.sum((2, 3)) / (kh * kw if include else part.shape[2] * part.shape[3])
    return y


def test_qlinear_average_pool(tmp_path):
    r, cases = numbers(7), []
    for kind in ("uint8", "int8"):
        for include in (0, 1):
            for last in (0, 1):
                x = integers(r, kind, (2, 3, 7, 6))
                zx, zy = point(kind, zero_of(kind, 131)), point(kind, zero_of(kind, 100))
                real = average_pool(dequantize(x, 0.5, zx), (3, 2), (2, 1), (1, 0, 1, 1), include)
                want = quantize(real, 0.37, zy, kind)
                turn = (lambda a: a.transpose(0, 2, 3, 1).copy()) if last else (lambda a: a)
                cases.append(
                    Case(
                        "QLinearAveragePool",
                        [turn(x), F(0.5), zx, F(0.37), zy],
                        turn(want),
                        constants=(1, 2, 3, 4),
                        kernel_shape=[3, 2],
                        strides=[2, 1],
                        pads=[1, 0, 1, 1],
                        count_include_pad=include,
                        channels_last=last,
                    )
                )
    x = integers(r, "uint8", (1, 2, 5, 5))
    real = average_pool(dequantize(x, 0.25), (5, 5), (1, 1), (0, 0, 0, 0), 0)
    cases.append(
        Case(
            "QLinearAveragePool",
            [x, F(0.25), None, F(0.2), None],
            quantize(real, 0.2, 0, "uint8"),
            kernel_shape=[5, 5],
            peer=False,
        )
    )
    check(cases, tmp_path)


def test_qlinear_global_average_pool(tmp_path):
    r, cases = numbers(8), []
    for kind in ("uint8", "int8"):
        for shape in [(2, 3, 5, 7), (1, 4, 2, 2), (2, 3, 9), (0, 3, 2, 2)]:
            for last in (0, 1):
                x, axes = integers(r, kind, shape), tuple(range(2, len(shape)))
                zx, zy = point(kind, zero_of(kind, 77)), point(kind, zero_of(kind, 128))
                size = F(numpy.prod(shape[2:]))
                total = (x.astype(int) - int(zx)).sum(axes, keepdims=True).astype(F)
                want = quantize(total * (F(0.02) / (F(0.02) * size)), 1, zy, kind)
                turn = (lambda a: numpy.moveaxis(a, 1, -1).copy()) if last else (lambda a: a)
                cases.append(
                    Case(
                        "QLinearGlobalAveragePool",
                        [turn(x), F(0.02), zx, F(0.02), zy],
                        turn(want),
                        channels_last=last,
                        peer=x.size > 0,
                    )
                )
    check(cases, tmp_path)


def softmax(x, axis):
    shifted = x.astype(float) - x.max(axis, keepdims=True, initial=-numpy.inf).astype(float)
    weights = numpy.exp(shifted)
    return (weights / weights.sum(axis, keepdims=True)).astype(F)


def test_qlinear_softmax(tmp_path):
    r, cases = numbers(9), []
    for kind in ("uint8", "int8"):
        for shape, axis, opset in [
            ((3, 17), -1, 13),
            ((2, 5, 4), 1, 13),
            ((2, 5, 4), 1, 11),
            ((2, 3), 0, 12),
            ((0, 3), -1, 13),
        ]:
            x, zx = integers(r, kind, shape), point(kind, zero_of(kind, 200))
            real = dequantize(x, 0.07, zx)
            if opset < 13:
                rows = int(numpy.prod(shape[:axis]))
                soft = softmax(real.reshape(rows, -1), -1).reshape(shape)
            else:
                soft = softmax(real, axis)
            zy = point(kind, zero_of(kind, 0))
            cases.append(
                Case(
                    "QLinearSoftmax",
                    [x, F(0.07), zx, F(1 / 256), zy],
                    quantize(soft, 1 / 256, zy, kind),
                    constants=(1, 2, 3, 4),
                    axis=axis,
                    opset=opset,
                    peer=x.size > 0,
                )
            )
    check(cases, tmp_path, peer_steps=1)


def test_qlinear_reduce_mean(tmp_path):
    r, cases = numbers(10), []
    for kind in ("uint8", "int8"):
        for shape, axes, keep in [((3, 4, 5), [1], 1), ((3, 4, 5), [0, -1], 0), ((6,), [0], 0)]:
            x, zx, zy = integers(r, kind, shape), point(kind, 7), point(kind, 3)
            real = dequantize(x, 0.5, zx).astype(float).mean(tuple(axes), keepdims=bool(keep)).astype(F)
            cases.append(
                Case(
                    "QLinearReduceMean",
                    [x, F(0.5), zx, F(0.23), zy],
                    quantize(real, 0.23, zy, kind),
                    axes=axes,
                    keepdims=keep,
                    peer=False,
                )
            )
            wide = numpy.uint32 if kind == "uint8" else numpy.int32
            cases.append(
                Case(
                    "ReduceSumInteger",
                    [x],
                    x.astype(wide).sum(tuple(axes), wide, keepdims=bool(keep)),
                    axes=axes,
                    keepdims=keep,
                    peer=False,
                )
            )
    check(cases, tmp_path)


# ---- QuantizeLinear, DequantizeLinear ----


def test_quantize_linear(tmp_path):
    r, cases = numbers(16), []
    for kind in ("uint8", "int8", "uint16", "int16"):
        x = r.uniform(-300, 300, (3, 4, 2)).astype(F)
        x.flat[:4] = [0.5, 1.5, -0.5, 2.5]
        zero = point(kind, 3)
        cases.append(Case("QuantizeLinear", [x, F(1), zero], quantize(x, 1, 3, kind)))
        scales, zeros = F([0.5, 1, 2, 3]), numpy.array([1, 2, 3, 4], kind)
        low, high = LIMITS[kind]
        each = numpy.clip(numpy.rint(x / scales[:, None]) + zeros[:, None].astype(F), low, high).astype(kind)
        cases.append(Case("QuantizeLinear", [x, scales, zeros], each, axis=1))
        half = x.astype(numpy.float16)
        wide = numpy.rint((half / numpy.float16(2)).astype(F)) + F(3)
        cases.append(
            Case(
                "QuantizeLinear",
                [half, numpy.float16(2), zero],
                numpy.clip(wide, low, high).astype(kind),
                peer=False,
            )
        )
        q = integers(r, kind, (3, 4, 2))
        cases.append(Case("DequantizeLinear", [q, F(0.25), zero], dequantize(q, 0.25, 3)))
        each = (q.astype(int) - zeros[:, None].astype(int)).astype(F) * scales[:, None]
        cases.append(Case("DequantizeLinear", [q, scales, zeros], each, axis=-2))
        cases.append(
            Case(
                "DequantizeLinear",
                [q, numpy.float16(0.25), zero],
                dequantize(q, 0.25, 3).astype(numpy.float16),
                peer=False,
            )
        )
    q = r.integers(-(10**6), 10**6, (5,)).astype(numpy.int32)
    cases.append(Case("DequantizeLinear", [q, F(0.25)], dequantize(q, 0.25)))
    x = r.uniform(-10, 300, (0, 3)).astype(F)
    cases.append(Case("QuantizeLinear", [x, F(1), None], quantize(x, 1, 0, "uint8")))
    cases.append(
        Case("QuantizeLinear", [F([1.5, -2, 300]), F(1)], quantize(F([1.5, -2, 300]), 1, 0, "uint8"))
    )
    for kind, name in [(TensorProto.UINT4, "uint4"), (TensorProto.INT4, "int4")]:
        low, high = LIMITS[name]
        q = r.integers(low, high + 1, (3, 5))
        cases.append(
            Case("DequantizeLinear", [Typed(q, kind), F(0.5), Typed(1, kind)], (q - 1).astype(F) * F(0.5))
        )
    check(cases, tmp_path)


# ---- what is refused ----


@pytest.mark.parametrize(
    "case, fragment",
    [
        (
            Case(
                "MatMulIntegerToFloat",
                [numpy.zeros((2, 3), numpy.uint8), numpy.zeros((3, 4), numpy.uint8), numpy.ones(2, F), F(1)],
                None,
            ),
            "per tensor",
        ),
        (
            Case("QLinearConcat", [F(1), numpy.uint8(0), numpy.zeros(2, numpy.uint8), F(1)], None, axis=0),
            "three inputs",
        ),
        (
            Case(
                "QLinearAdd",
                [numpy.zeros(2, numpy.uint8), F(1), None, numpy.zeros(2, numpy.uint8), F(1)],
                None,
            ),
            "needs its input 6",
        ),
    ],
)
def test_refused(case, fragment, tmp_path):
    case.want = [numpy.zeros(1)]
    refused(case, tmp_path, fragment, f"{DOMAIN}.{case.op}", "case0")
