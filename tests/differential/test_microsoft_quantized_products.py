# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's products of 8-bit integers (com.microsoft), against NumPy references."""

import numpy

from microsoft_kit import Case, F, check, integers, numbers, point, quantize

# ---- products ----


def products(r, kinds, shapes):
    for left, right in kinds:
        for a, b in shapes:
            yield integers(r, left, a), integers(r, right, b), r.uniform(0.005, 0.02, b[-1]).astype(F)


KINDS = [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]
PRODUCTS = [((3, 17), (17, 5)), ((2, 3, 8), (8, 6)), ((0, 4), (4, 3)), ((1, 1), (1, 1))]


def test_matmul_integer_to_float(tmp_path):
    r, cases = numbers(11), []
    for a, b, columns in products(r, KINDS, PRODUCTS):
        za, zb = point(a.dtype, 5), integers(r, b.dtype, b.shape[-1])
        bias = r.uniform(-1, 1, b.shape[-1]).astype(F)
        whole = (a.astype(int) - 5) @ (b.astype(int) - zb)
        want = whole.astype(F) * (F(0.03) * columns)
        cases.append(Case("MatMulIntegerToFloat", [a, b, F(0.03), columns, za, zb, bias], want + bias))
        cases.append(
            Case(
                "MatMulIntegerToFloat",
                [a, b, F(0.03), columns],
                ((a.astype(int) @ b.astype(int)).astype(F) * (F(0.03) * columns)),
            )
        )
        half = numpy.float16(0.03), columns.astype(numpy.float16), bias.astype(numpy.float16)
        scale = F(half[0]) * half[1].astype(F)
        cases.append(
            Case(
                "MatMulIntegerToFloat",
                [a, b, half[0], half[1], za, zb, half[2]],
                (whole.astype(F) * scale + half[2].astype(F)).astype(numpy.float16),
                peer=False,
            )
        )
    check(cases, tmp_path)


def dynamic(x):
    low, high = min(x.min(initial=0), F(0)), max(x.max(initial=0), F(0))
    scale = F(1) if high == low else F((high - low) / F(255))
    zero = numpy.rint(numpy.clip(-low / scale, 0, 255))
    return numpy.clip(numpy.rint(x / scale) + zero, 0, 255).astype(int), scale, int(zero)


def test_dynamic_quantize_matmul(tmp_path):
    r, cases = numbers(12), []
    for a, b, columns in products(r, KINDS[1:2] + KINDS[:1], PRODUCTS):
        x, zb = r.uniform(-1, 2, a.shape).astype(F), integers(r, b.dtype, b.shape[-1])
        bias = r.uniform(-1, 1, b.shape[-1]).astype(F)
        q, scale, zero = dynamic(x)
        want = ((q - zero) @ (b.astype(int) - zb)).astype(F) * (scale * columns)
        full = x.size > 0
        cases.append(Case("DynamicQuantizeMatMul", [x, b, columns, zb, bias], want + bias, peer=full))
        plain = ((q - zero) @ b.astype(int)).astype(F) * (scale * columns[0])
        cases.append(Case("DynamicQuantizeMatMul", [x, b, columns[0], None, None], plain, peer=full))
    check(cases, tmp_path)


def test_qgemm(tmp_path):
    r, cases = numbers(13), []
    for a, b, columns in products(r, KINDS, [p for p in PRODUCTS if len(p[0]) == 2]):
        za, zb, zy = point(a.dtype, 9), integers(r, b.dtype, b.shape[-1]), point(a.dtype, 4)
        for turn, c_dims in [((0, 0), (b.shape[1],)), ((1, 1), (a.shape[0], 1)), ((0, 1), None)]:
            c = None if c_dims is None else r.integers(-500, 500, c_dims).astype(numpy.int32)
            whole = (a.astype(int) - 9) @ (b.astype(int) - zb) + (0 if c is None else c)
            scale = F(0.7) * F(0.03) * columns
            inputs = [a.T.copy() if turn[0] else a, F(0.03), za, b.T.copy() if turn[1] else b, columns, zb, c]
            more = {"alpha": 0.7, "transA": turn[0], "transB": turn[1]}
            full = a.size > 0
            # ONNX Runtime wants the scales and zero points as constants
            cases.append(
                Case("QGemm", inputs, whole.astype(F) * scale, constants=(1, 2, 4, 5), peer=full, **more)
            )
            want = quantize(whole.astype(F) * (scale / F(0.5)), 1, zy, a.dtype)
            cases.append(
                Case("QGemm", inputs + [F(0.5), zy], want, constants=(1, 2, 4, 5, 7, 8), peer=full, **more)
            )
    check(cases, tmp_path)


def test_matmul_integer16(tmp_path):
    r = numbers(14)
    a, b = r.integers(-3000, 3000, (2, 3, 5)).astype(numpy.int16), r.integers(-3000, 3000, (5, 4)).astype(
        numpy.int16
    )
    u, v = r.integers(0, 9000, (3, 5)).astype(numpy.uint16), r.integers(0, 9000, (5, 1)).astype(numpy.uint16)
    cases = [
        Case("MatMulInteger16", [a, b], (a.astype(int) @ b.astype(int)).astype(numpy.int32)),
        Case("MatMulInteger16", [u, v], (u.astype(int) @ v.astype(int)).astype(numpy.uint32), peer=False),
    ]
    check(cases, tmp_path)


def convolve(x, w, stride, pad, group):
    n, channels, h, width = x.shape
    m, depth, kh, kw = w.shape
    padded = numpy.zeros((n, channels, h + 2 * pad, width + 2 * pad), int)
    padded[:, :, pad : pad + h, pad : pad + width] = x
    rows, columns = (h + 2 * pad - kh) // stride + 1, (width + 2 * pad - kw) // stride + 1
    y = numpy.zeros((n, m, rows, columns), int)
    for k in range(m):
        first = k // (m // group) * depth
        for i in range(rows):
            for j in range(columns):
                part = padded[
                    :, first : first + depth, i * stride : i * stride + kh, j * stride : j * stride + kw
                ]
                y[:, k, i, j] = (part * w[k]).sum((1, 2, 3))
    return y


def test_qlinear_conv(tmp_path):
    r, cases = numbers(15), []
    for kind, weight in KINDS:
        for group, last in [(1, 1), (2, 1), (1, 0)]:
            x, w = integers(r, kind, (2, 4, 6, 5)), integers(r, weight, (6, 4 // group, 3, 3))
            zx, zy = point(kind, 12), point(kind, 50)
            scales, bias = r.uniform(0.01, 0.02, 6).astype(F), r.integers(-900, 900, 6).astype(numpy.int32)
            whole = convolve(x.astype(int) - 12, w.astype(int) - 3, 2, 1, group) + bias[:, None, None]
            factor = F(0.02) * scales / F(0.9)
            want = quantize(whole.astype(F) * factor[:, None, None], 1, zy, kind)
            turn = (lambda a: a.transpose(0, 2, 3, 1).copy()) if last else (lambda a: a)
            cases.append(
                Case(
                    "QLinearConv",
                    [turn(x), F(0.02), zx, w, scales, numpy.full(6, 3, weight), F(0.9), zy, bias],
                    turn(want),
                    constants=range(1, 9),
                    channels_last=last,
                    group=group,
                    strides=[2, 2],
                    pads=[1, 1, 1, 1],
                )
            )
    check(cases, tmp_path)


# ---- DynamicQuantizeLSTM ----


def eight_bits(x):
    q, scale, zero = dynamic(x.astype(F))
    return (q - zero) * float(scale)


def lstm(x, w, r, b, h, c, reverse):
    """One direction; w [input, 4h], r [h, 4h], gates in the order i, o, f, c; x and h as 8 bits."""
    hidden, steps = r.shape[0], []
    sigmoid = lambda v: 1 / (1 + numpy.exp(-v))
    for t in (range(len(x))[::-1] if reverse else range(len(x))):
        gates = x[t] @ w + eight_bits(h) @ r + b
        i, o, f, g = (gates[:, k * hidden : (k + 1) * hidden] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * numpy.tanh(g)
        h = sigmoid(o) * numpy.tanh(c)
        steps.append(h)
    return numpy.array(steps[::-1] if reverse else steps), h, c


def test_dynamic_quantize_lstm(tmp_path):
    r, cases = numbers(26), []
    for kind, direction, each in [
        ("uint8", "forward", False),
        ("int8", "bidirectional", False),
        ("int8", "reverse", True),
        ("uint8", "bidirectional", True),
    ]:
        directions = 2 if direction == "bidirectional" else 1
        steps, batch, size, hidden = 4, 3, 6, 5
        x = r.uniform(-1, 1, (steps, batch, size)).astype(F)
        w, u = integers(r, kind, (directions, size, 4 * hidden)), integers(
            r, kind, (directions, hidden, 4 * hidden)
        )
        dims = (directions, 4 * hidden) if each else (directions,)
        sw, su = (r.uniform(0.002, 0.004, dims).astype(F) for _ in range(2))
        zw = numpy.zeros(dims, kind) if kind == "int8" else r.integers(120, 136, dims).astype(kind)
        zu = numpy.zeros(dims, kind) if kind == "int8" else r.integers(120, 136, dims).astype(kind)
        b = r.uniform(-0.5, 0.5, (directions, 8 * hidden)).astype(F)
        h0, c0 = (r.uniform(-1, 1, (directions, batch, hidden)).astype(F) for _ in range(2))
        y, h, c = [], [], []
        for d in range(directions):
            real = [
                (q[d].astype(float) - z[d].astype(float)) * s[d].astype(float)
                for q, z, s in ((w, zw, sw), (u, zu, su))
            ]
            both = b[d, : 4 * hidden].astype(float) + b[d, 4 * hidden :]
            made = lstm(
                eight_bits(x),
                *real,
                both,
                h0[d].astype(float),
                c0[d].astype(float),
                direction == "reverse" or d == 1,
            )
            for to, value in zip((y, h, c), made):
                to.append(value)
        want = [numpy.array(y).transpose(1, 0, 2, 3).astype(F), numpy.array(h, F), numpy.array(c, F)]
        inputs = [x, w, u, b, None, h0, c0, None, sw, zw, su, zu]
        cases.append(
            Case(
                "DynamicQuantizeLSTM",
                inputs,
                want,
                constants=(1, 2, 3, 8, 9, 10, 11),
                hidden_size=hidden,
                direction=direction,
                peer=not each or kind == "int8",
            )
        )  # its zero points are the same along a row
    check(cases, tmp_path)
