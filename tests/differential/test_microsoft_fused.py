# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's fused and channels-last operators (com.microsoft), against NumPy references."""

import math

import numpy
from onnx import TensorProto, helper

from microsoft_kit import Case, F, build, check, differences, numbers, run, tamis, uniform

# ---- convolutions ----


def convolve(x, w, bias=None, stride=1, pad=0, group=1):
    n, channels, h, width = x.shape
    m, depth, kh, kw = w.shape
    padded = numpy.zeros((n, channels, h + 2 * pad, width + 2 * pad))
    padded[:, :, pad : pad + h, pad : pad + width] = x
    rows, columns = (h + 2 * pad - kh) // stride + 1, (width + 2 * pad - kw) // stride + 1
    y = numpy.zeros((n, m, rows, columns))
    for k in range(m):
        first = k // (m // group) * depth
        for i in range(rows):
            for j in range(columns):
                part = padded[
                    :, first : first + depth, i * stride : i * stride + kh, j * stride : j * stride + kw
                ]
                y[:, k, i, j] = (part * w[k]).sum((1, 2, 3)) + (0 if bias is None else bias[k])
    return y


def last(x):
    return numpy.moveaxis(x, 1, -1).copy()


ACTIVATIONS = [
    ("", [], lambda x: x),
    ("Relu", [], lambda x: numpy.maximum(x, 0)),
    ("Tanh", [], numpy.tanh),
    ("Sigmoid", [], lambda x: 1 / (1 + numpy.exp(-x))),
    ("LeakyRelu", [0.3], lambda x: numpy.where(x < 0, F(0.3) * x, x)),
    ("Clip", [-0.5, 0.75], lambda x: numpy.clip(x, -0.5, 0.75)),
    ("HardSigmoid", [0.3, 0.4], lambda x: numpy.clip(F(0.3) * x + F(0.4), 0, 1)),
]


def test_fused_conv(tmp_path):
    r, cases = numbers(1), []
    for name, parameters, function in ACTIVATIONS:
        x, w, b = uniform(r, 2, 4, 6, 5), uniform(r, 6, 2, 3, 3), uniform(r, 6)
        y = convolve(x, w, b, 2, 1, 2)
        z = uniform(r, *y.shape)
        more = {"activation": name} if name else {}
        if parameters:
            more["activation_params"] = parameters
        common = {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], **more}
        cases.append(
            Case("FusedConv", [x, w, b], function(y).astype(F), constants=(1, 2), peer=bool(name), **common)
        )
        cases.append(
            Case(
                "FusedConv",
                [x, w, b, z],
                function(y + z).astype(F),
                constants=(1, 2),
                peer=bool(name),
                **common,
            )
        )
        cases.append(
            Case(
                "NhwcFusedConv",
                [last(x), w, b, last(z)],
                last(function(y + z)).astype(F),
                constants=(1, 2),
                peer=False,
                **common,
            )
        )
    check(cases, tmp_path)


def test_channels_last(tmp_path):
    r, cases = numbers(2), []
    for group, bias in [(1, True), (2, False)]:
        x, w, b = uniform(r, 2, 4, 5, 6), uniform(r, 6, 4 // group, 3, 2), uniform(r, 6)
        y = convolve(x, w, b if bias else None, 1, 1, group)
        cases.append(
            Case(
                "NhwcConv",
                [last(x), w] + ([b] if bias else []),
                last(y).astype(F),
                peer=False,
                group=group,
                pads=[1, 1, 1, 1],
            )
        )
    for kind in (numpy.uint8, numpy.int8):
        x = r.integers(-100 if kind == numpy.int8 else 0, 100, (2, 3, 6, 5)).astype(kind)
        y = numpy.stack(
            [numpy.stack([x[:, :, i : i + 2, j : j + 3].max((2, 3)) for j in (0, 2)], -1) for i in (0, 2, 4)],
            -2,
        )
        cases.append(Case("NhwcMaxPool", [last(x)], last(y), kernel_shape=[2, 3], strides=[2, 2]))
    check(cases, tmp_path)


def scatter_convolve(x, w, bias, stride):
    n, channels, h, width = x.shape
    _, m, kh, kw = w.shape
    y = numpy.zeros((n, m, (h - 1) * stride + kh, (width - 1) * stride + kw))
    for i in range(h):
        for j in range(width):
            y[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += numpy.einsum(
                "nc,cmij->nmij", x[:, :, i, j].astype(float), w.astype(float)
            )
    return y + bias[:, None, None]


def test_conv_transpose_with_dynamic_pads(tmp_path):
    r, cases = numbers(3), []
    for constants in [(), (1, 2, 3)]:
        x, w, b = uniform(r, 2, 3, 4, 5), uniform(r, 3, 4, 3, 3), uniform(r, 4)
        y = scatter_convolve(x, w, b, 2).astype(F)
        pads = numpy.array([1, 0, 2, 1])
        cut = y[:, :, 1 : y.shape[2] - 2, : y.shape[3] - 1]
        cases.append(
            Case("ConvTransposeWithDynamicPads", [x, w, pads, b], cut, constants=constants, strides=[2, 2])
        )
    cases.append(Case("ConvTransposeWithDynamicPads", [x, w, None, b], y, strides=[2, 2], peer=False))
    check(cases, tmp_path)


# ---- products ----

SCALAR = [
    ("Relu", {}, lambda x: numpy.maximum(x, 0)),
    ("LeakyRelu", {"activation_alpha": 0.2}, lambda x: numpy.where(x < 0, F(0.2) * x, x)),
    ("Elu", {"activation_alpha": 0.5}, lambda x: numpy.where(x < 0, 0.5 * (numpy.exp(x) - 1), x)),
    (
        "Selu",
        {"activation_alpha": 1.5, "activation_gamma": 1.25},
        lambda x: 1.25 * numpy.where(x < 0, 1.5 * (numpy.exp(x) - 1), x),
    ),
    (
        "HardSigmoid",
        {"activation_alpha": 0.3, "activation_beta": 0.4},
        lambda x: numpy.clip(0.3 * x + 0.4, 0, 1),
    ),
    ("Softplus", {}, lambda x: numpy.log1p(numpy.exp(x))),
    ("Tanh", {}, numpy.tanh),
]


def test_fused_gemm(tmp_path):
    r, cases = numbers(4), []
    for i, (name, more, function) in enumerate(SCALAR):
        a, b, c = uniform(r, 3, 7), uniform(r, 7, 5), uniform(r, 5)
        ta, tb = i & 1, i >> 1 & 1
        y = 0.7 * (a.astype(float) @ b) + 1.5 * c
        cases.append(
            Case(
                "FusedGemm",
                [a.T.copy() if ta else a, b.T.copy() if tb else b, c],
                function(y).astype(F),
                activation=name,
                alpha=0.7,
                beta=1.5,
                transA=ta,
                transB=tb,
                peer=name not in ("Selu", "HardSigmoid"),
                **more,
            )
        )
        plain = {k: v for k, v in more.items()}
        cases.append(
            Case(
                "FusedMatMulActivation",
                [a, b],
                function(a.astype(float) @ b).astype(F),
                activation=name,
                peer=False,
                **plain,
            )
        )
    x = uniform(r, 2, 3, 7)
    cases.append(
        Case(
            "FusedMatMulActivation",
            [x, b],
            (lambda e: e / e.sum(-1, keepdims=True))(numpy.exp(x.astype(float) @ b)).astype(F),
            activation="Softmax",
            peer=False,
        )
    )
    check(cases, tmp_path)


def turned(x, turn, batch):
    """The operand whose product form is x: what transBatch and trans undo."""
    x = x.swapaxes(-1, -2) if turn else x
    return numpy.ascontiguousarray(numpy.moveaxis(x, -2, 0) if batch else x)


def test_transposed_products(tmp_path):
    r, cases = numbers(5), []
    for ta in (0, 1):
        for tb in (0, 1):
            a, b = uniform(r, 2, 3, 7), uniform(r, 2, 7, 4)
            y = (0.5 * (a.astype(float) @ b)).astype(F)
            both = {"transA": ta, "transB": tb, "alpha": 0.5}
            cases.append(Case("TransposeMatMul", [turned(a, ta, 0), turned(b, tb, 0)], y, **both))
            for batch in [(1, 1), (1, 0), (0, 1)]:
                # transBatch moves the dim that stands before the last two to the front: [m, batch, k]
                left = turned(a.swapaxes(-1, -2) if ta else a, 0, batch[0])
                right = turned(b.swapaxes(-1, -2) if tb else b, 0, batch[1])
                cases.append(
                    Case("FusedMatMul", [left, right], y, transBatchA=batch[0], transBatchB=batch[1], **both)
                )
    a, b = uniform(r, 0, 7), uniform(r, 7, 4)
    cases.append(Case("FusedMatMul", [a, b], numpy.zeros((0, 4), F)))
    check(cases, tmp_path)


def gelu_tanh(x):
    return 0.5 * x * (1 + numpy.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_gemm_fast_gelu(tmp_path):
    r = numbers(6)
    x, w, b = uniform(r, 2, 3, 7), uniform(r, 7, 5), uniform(r, 5)
    y = x.astype(float) @ w
    check(
        [
            Case("GemmFastGelu", [x, w, b], gelu_tanh(y + b).astype(F), peer=False),
            Case("GemmFastGelu", [x, w], gelu_tanh(y).astype(F), constants=(1,), peer=False),
        ],
        tmp_path,
    )


def test_sparse_to_dense_matmul(tmp_path):
    """The sparse matrix is an initializer; ONNX Runtime takes the same model."""
    r = numbers(7)
    dense = numpy.zeros((4, 6), F)
    positions = [1, 7, 8, 20]
    dense.flat[positions] = [2, -1, 0.5, 3]
    values = helper.make_tensor("a", TensorProto.FLOAT, [4], dense.flat[positions])
    indices = helper.make_tensor("i", TensorProto.INT64, [4], positions)
    sparse = helper.make_sparse_tensor(values, indices, [4, 6])
    b = uniform(r, 6, 3)
    case = Case(
        "SparseToDenseMatMul", [numpy.zeros(1), b], (1.5 * (dense @ b)).astype(F), constants=(0,), alpha=1.5
    )
    model, feeds = build([case])
    proto = helper.onnx.ModelProto.FromString(model)
    del proto.graph.initializer[:]
    proto.graph.node[0].input[0] = "a"
    proto.graph.sparse_initializer.append(sparse)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    code, text = tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.so")
    assert code == 0, text
    assert not differences([case], run(tmp_path / "a.so", feeds, tmp_path), "compiled")
    assert not differences([case], run(tmp_path / "model.onnx", feeds, tmp_path, "--evaluate"), "evaluator")


# ---- group normalisation ----


def group_norm(x, gamma, beta, groups, epsilon, silu):
    n, c = x.shape[:2]
    flat = x.astype(float).reshape(n, groups, -1)
    mean, variance = flat.mean(-1, keepdims=True), flat.var(-1, keepdims=True)
    y = ((flat - mean) / numpy.sqrt(variance + epsilon)).reshape(x.shape)
    y = y * gamma.astype(float)[:, None, None] + beta.astype(float)[:, None, None]
    return y / (1 + numpy.exp(-y)) if silu else y


def test_group_norm(tmp_path):
    r, cases = numbers(8), []
    for kind, parameters in [(F, F), (numpy.float16, numpy.float16), (numpy.float16, F)]:
        for channels_last in (0, 1):
            for silu in (0, 1):
                x = uniform(r, 2, 6, 3, 4).astype(kind)
                gamma, beta = uniform(r, 6).astype(parameters), uniform(r, 6).astype(parameters)
                turn = last if channels_last else (lambda a: a)
                more = {"groups": 3, "epsilon": 1e-3, "activation": silu, "peer": False}
                if not channels_last:
                    more["channels_last"] = 0
                cases.append(
                    Case(
                        "GroupNorm",
                        [turn(x), gamma, beta],
                        turn(group_norm(x, gamma, beta, 3, 1e-3, silu)).astype(kind),
                        **more,
                    )
                )
                if kind != F:
                    continue
                skip, bias = uniform(r, 2, 6, 3, 4), uniform(r, 6)
                total = x + skip + bias[:, None, None]
                want = [turn(group_norm(total, gamma, beta, 3, 1e-3, silu)).astype(kind), turn(total)]
                cases.append(Case("SkipGroupNorm", [turn(x), gamma, beta, turn(skip), bias], want, **more))
                flat = uniform(r, 2, 6)
                total = x + flat[:, :, None, None]
                want = turn(group_norm(total, gamma, beta, 3, 1e-3, silu)).astype(kind)
                cases.append(Case("SkipGroupNorm", [turn(x), gamma, beta, flat], want, **more))
    check(cases, tmp_path)
