# SPDX-License-Identifier: Apache-2.0
"""Every form of a quantised product is right, with --math=strict and at -O0 too, and those of bytes are loops over integers."""

import re

import numpy as np
import onnxruntime
import pytest
from levels import is_x86
from quantized_forms import FLOATS, LIMITS, STORAGE, Form, dtype_of

import tamis

BYTES = ["uint8", "int8"]
SMALL = ["int4", "uint4", "int2", "uint2"]
STEPS = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def regions(model, folder):
    """The kinds of regions, and the operators outside of them."""
    tamis.compile(model, folder / "m.ir", emit="ir")
    text = (folder / "m.ir").read_text()
    return text, re.findall(r'kind = "(\w+)"', text)


def is_integer(text):
    return "MatMulInteger" in text and '"tiles"' in text and not re.search(r"\b(MatMul|Gemm|Conv|ConvInteger|QLinear\w+|MatMulNBits)\(", text)


def answer(model, feeds, **options):
    settings = tamis.SessionOptions()
    settings.use_cache = False
    settings.cpu = "x86-64-v3" if is_x86() else None  # test_integer.py and its kin compare the levels
    for name, value in options.items():
        setattr(settings, name, value)
    return tamis.InferenceSession(model, settings).run(None, feeds)[0]


def near(have, want, tolerance, what):
    """Quantised answers may differ by one step at few places, next to ties."""
    assert have.shape == want.shape, what
    if want.dtype.kind in "iu":
        apart = np.abs(have.astype(int) - want.astype(int))
        assert have.dtype == want.dtype and apart.max(initial=0) <= 1 and (apart > 0).mean() <= 0.02, (what, apart.max(), (apart > 0).mean())
    else:
        most = np.abs(want.astype(float)).max(initial=1e-3)
        np.testing.assert_allclose(have.astype(float), want.astype(float), rtol=0, atol=tolerance * most, err_msg=what)


def check(form, folder, integer, tolerance=STEPS["float32"], want=None, symbolic=True):
    model = form.model(symbolic)
    want = form.value[form.last] if want is None else want
    for what, options in [("O2", {}), ("strict", {"strict_math": True}), ("O0", {"optimization_level": 0})]:
        near(answer(model, form.inputs, **options), want, tolerance, what)
    if integer is not None:
        text, _ = regions(model, folder)
        assert is_integer(text) == integer, text


# ---- QDQ: what is stored, how it is scaled ----

K, N = 64, 32
GRAINS = {"tensor": {}, "axis": {"axis": 1}, "rows": {"axis": 0}, "blocks": {"axis": 0, "block": 16}, "one block": {"axis": 0, "block": K}}
ZEROS = {"missing": None, "zero": 0, "nonzero": 1}


def is_whole(storage):
    """Can it be told as bytes with one scale for each column?"""
    return storage in (*BYTES, *SMALL, "float4_e2m1fn")


@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize("storage", STORAGE)
def test_weights(tmp_path, storage, grain):
    for zero in ZEROS:
        if storage in FLOATS and zero == "nonzero":
            continue
        form = Form([3, 5, K])
        w = form.weights(storage, K, N, zero=ZEROS[zero], **GRAINS[grain])
        form.node("MatMul", form.quantized("x"), w)
        check(form, tmp_path, is_whole(storage) and grain not in ("rows", "blocks"))


@pytest.mark.parametrize("storage", STORAGE)
def test_activations(tmp_path, storage):
    for zero in (None, 0, 2):
        if storage in FLOATS and zero:
            continue
        form = Form([7, K])
        zero = -1 if storage == "int2" and zero else zero
        form.node("MatMul", form.quantized("x", storage, 0.5 if storage in SMALL or storage in FLOATS else 0.02, zero), form.weights("int8", K, N, axis=1))
        check(form, tmp_path, storage in BYTES or storage in SMALL)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("left", ["uint8", "int8"])
@pytest.mark.parametrize("right", ["int8", "uint8", "int4"])
def test_scales(tmp_path, left, right, kind):
    form = Form([7, K])
    a = form.quantized("x", left, 0.02, 5, kind)
    form.node("MatMul", a, form.weights(right, K, N, axis=1, kind=kind, zero=2))
    check(form, tmp_path, True, STEPS[kind])


@pytest.mark.parametrize("op", ["Conv", "Gemm"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_scales_of_others(tmp_path, op, kind):
    form = Form([2, 8, 6, 6] if op == "Conv" else [7, K])
    a = form.quantized("x", "uint8", 0.02, 5, kind)
    if op == "Conv":
        form.node("Conv", a, form.weights("int8", 16, 8, 3, 3, axis=0, kind=kind), form.scale(1, kind, (16,)), pads=[1] * 4)
    else:
        form.node("Gemm", a, form.weights("int8", N, K, axis=0, kind=kind), form.scale(1, kind, (N,)), transB=1)
        form.value[form.last] = form.value[form.last].astype(dtype_of(kind))
    check(form, tmp_path, True, STEPS[kind])


# ---- weights that are moved first ----


def halves(form, axis):
    """Two constants side by side, each with scales of its own."""
    dims = [(K // 2, N), (K, N // 2)][axis]
    return form.node("Concat", *(form.weights("int8", *dims, axis=1) for _ in range(2)), axis=axis)


MOVES = {
    "transposed": (lambda f: f.node("Transpose", f.weights("int8", N, K, axis=0), perm=[1, 0]), True),
    "transposed twice": (lambda f: f.node("Transpose", f.node("Transpose", f.weights("uint8", K, N, axis=1, zero=128), perm=[1, 0]), perm=[1, 0]), True),
    "transposed in blocks": (lambda f: f.node("Transpose", f.weights("int8", N, K, axis=1, block=8), perm=[1, 0]), False),
    "reshaped": (lambda f: f.node("Reshape", f.weights("int8", 8, K // 8, N, axis=2), np.array([K, N])), True),
    "heads": (lambda f: f.node("Transpose", f.node("Reshape", f.weights("int8", 4, N // 4, K, axis=0), np.array([N, K])), perm=[1, 0]), True),
    "sliced columns": (lambda f: f.node("Slice", f.weights("int8", K, 3 * N, axis=1), np.array([N]), np.array([2 * N]), np.array([1])), True),
    "sliced rows": (lambda f: f.node("Slice", f.weights("uint8", 3 * K, N, axis=1, zero=7), np.array([K]), np.array([2 * K]), np.array([0])), True),
    "columns side by side": (lambda f: halves(f, 1), True),
    "rows side by side": (lambda f: halves(f, 0), False),
    "gathered": (lambda f: f.node("Gather", f.weights("int8", K, 2 * N, axis=1), np.arange(N) * 2, axis=1), True),
    "squeezed": (lambda f: f.node("Squeeze", f.weights("int8", 1, K, N, axis=2), np.array([0])), True),
    "of batch one": (lambda f: f.weights("int8", 1, K, N, axis=2), True),
    "cast": (lambda f: f.node("Cast", f.weights("int8", K, N, axis=1, kind="float16"), to=1), True),
    "4 bits, transposed": (lambda f: f.node("Transpose", f.weights("int4", N, K, axis=0, zero=3), perm=[1, 0]), True),
    "4 bits, reshaped": (lambda f: f.node("Reshape", f.weights("uint4", 8, K // 8, N, axis=2, zero=8), np.array([K, N])), True),
    "identity": (lambda f: f.node("Identity", f.weights("int8", K, N, axis=1)), True),
}


@pytest.mark.parametrize("move", MOVES)
def test_moved_weights(tmp_path, move):
    make, integer = MOVES[move]
    form = Form([2, 3, K])
    a = form.quantized("x")
    form.node("MatMul", a, make(form))
    check(form, tmp_path, integer, 2e-3 if move == "cast" else STEPS["float32"])


@pytest.mark.parametrize("move", ["transposed", "reshaped", "sliced", "flattened", "twice", "cut and turned"])
def test_moved_activations(tmp_path, move):
    form = Form({"transposed": [3, K, 5], "flattened": [3, 4, K // 4], "sliced": [3, 2 * K], "twice": [3, K, 5], "cut and turned": [3, 2 * K, 5]}.get(move, [3, 2, K]))
    a = form.quantized("x", "int8", 0.02, -4)
    if move == "cut and turned":
        a = form.node("Slice", a, np.array([K]), np.array([2 * K]), np.array([1]))
    if move in ("transposed", "twice", "cut and turned"):
        a = form.node("Transpose", a, perm=[0, 2, 1])
    if move in ("reshaped", "twice"):
        a = form.node("Reshape", a, np.array([-1, K]))
    if move == "sliced":
        a = form.node("Slice", a, np.array([K]), np.array([2 * K]), np.array([1]))
    if move == "flattened":
        a = form.node("Flatten", a, axis=1)
    form.node("MatMul", a, form.weights("int8", K, N, axis=1))
    check(form, tmp_path, True)


def test_shared(tmp_path):
    """One constant and one scale for two products, and values with two readers."""
    form = Form([5, K])
    scale = form.constant(np.float32(0.02))
    zero = form.constant(np.uint8(9))
    q = form.node("QuantizeLinear", "x", scale, zero)
    a = form.node("DequantizeLinear", q, scale, zero)
    w = form.weights("int8", K, K, axis=1)
    h = form.node("MatMul", a, w)
    b = form.node("DequantizeLinear", form.node("QuantizeLinear", h, scale, zero), scale, zero)
    form.node("Add", form.node("MatMul", b, w), form.node("Add", a, b))
    check(form, tmp_path, True)


# ---- biases, Gemm, what stands behind ----


@pytest.mark.parametrize("bias", ["none", "float", "int32", "added int32"])
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Gemm turned", "Gemm scaled"])
def test_biases(tmp_path, op, bias):
    form = Form([6, K])
    a = form.quantized("x", "uint8", 0.02, 100)
    turned = "turned" in op
    w = form.weights("int8", *((N, K) if turned else (K, N)), axis=0 if turned else 1)
    c = []
    if "int32" in bias:
        q = form.random.integers(-5000, 5000, N).astype(np.int32)
        c = [form.node("DequantizeLinear", q, form.scale(1e-4, dims=(N,)), *([np.zeros(N, np.int32)] if bias == "int32" else []), axis=0)]
    if bias == "float":
        c = [form.random.standard_normal(N).astype(np.float32)]
    if op == "MatMul":
        y = form.node("MatMul", a, w)
        y = form.node("Add", y, c[0]) if c else y
    elif bias.startswith("added"):
        y = form.node("Add", form.node("Gemm", a, w, transB=int(turned)), c[0])
    else:
        scaled = {"alpha": 0.5, "beta": 2.0} if "scaled" in op else {}
        y = form.node("Gemm", a, w, *c, transB=int(turned), **scaled)
    y = form.node("Relu", y)
    form.node("QuantizeLinear", y, np.float32(0.05), np.uint8(0))
    check(form, tmp_path, True)


@pytest.mark.parametrize("form_of", ["input", "dynamic", "dynamic pair", "int8 input"])
def test_origins(tmp_path, form_of):
    if form_of.endswith("input"):
        kind = np.int8 if form_of.startswith("int8") else np.uint8
        form = Form([4, K], x=np.random.default_rng(1).integers(np.iinfo(kind).min, np.iinfo(kind).max, (4, K)).astype(kind))
        a = form.node("DequantizeLinear", "x", np.float32(0.03))
        form.node("MatMul", a, form.weights("int8", K, N, axis=1))
        return check(form, tmp_path, True)
    form = Form([4, K])
    x = form.value["x"]
    scale = np.float32((max(x.max(), 0) - min(x.min(), 0)) / np.float32(255))
    zero = np.uint8(np.clip(np.rint(-np.float32(min(x.min(), 0)) / scale), 0, 255))
    q = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    names = form.node("DynamicQuantizeLinear", "x", outputs=3, answer=[q, scale, zero])
    if form_of == "dynamic pair":
        form.node("MatMul", form.node("DequantizeLinear", *names), form.weights("int8", K, N, axis=1))
    else:
        w = form.integers("int8", K, N)
        sums = form.node("MatMulInteger", names[0], w, names[2], answer=(q.astype(int) - zero) @ w.astype(int))
        form.node("Mul", form.node("Cast", sums, to=1), form.node("Mul", names[1], form.scale(0.01, dims=(N,))))
    return check(form, tmp_path, True)


# ---- convolutions ----

SPACES = {
    "point": dict(w=(16, 8, 1, 1)),
    "3x3": dict(w=(16, 8, 3, 3), pads=[1] * 4),
    "strided": dict(w=(16, 8, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
    "depthwise": dict(w=(8, 1, 3, 3), group=8, pads=[1] * 4),
    "grouped": dict(w=(16, 4, 3, 3), group=2, pads=[1] * 4),
    "grouped, deep": dict(w=(36, 32, 3, 3), group=2, pads=[1] * 4, channels=64),
    "one axis": dict(w=(12, 8, 3), pads=[1, 1]),
}


def convolved(space, storage, left="uint8", bias="none", after=False, zero=None, grain="axis", move=None):
    space = dict(space)
    dims, channels = space.pop("w"), space.pop("channels", 8)
    form = Form([2, channels, *[7, 6][: len(dims) - 2]])
    a = form.quantized("x", left, 0.02, 100 if left == "uint8" else -7)
    if move == "reshaped":
        w = form.node("Reshape", form.weights(storage, dims[0], int(np.prod(dims[1:])), axis=0, zero=zero), np.array(dims))
    elif move == "transposed":
        w = form.node("Transpose", form.weights(storage, *dims[1:], dims[0], axis=len(dims) - 1, zero=zero), perm=[len(dims) - 1, *range(len(dims) - 1)])
    elif move == "side by side":
        half = (dims[0] // 2, *dims[1:])
        w = form.node("Concat", form.weights(storage, *half, axis=0), form.weights(storage, *half), axis=0)
    else:
        w = form.weights(storage, *dims, **({"axis": 0} if grain == "axis" else {}), zero=zero)
    c = []
    if bias == "float":
        c = [form.random.standard_normal(dims[0]).astype(np.float32)]
    if bias == "int32":
        c = [form.node("DequantizeLinear", form.random.integers(-5000, 5000, dims[0]).astype(np.int32), form.scale(1e-4, dims=(dims[0],)), axis=0)]
    y = form.node("Conv", a, w, *c, **space)
    if after:
        form.node("QuantizeLinear", form.node("Relu", y), np.float32(0.05), np.uint8(0))
    return form


def check_convolution(form, folder, space, **options):
    """Sums of few terms are exact in floats, whose loops are faster then: no kernel is called for any."""
    check(form, folder, None, **options)
    text, kinds = regions(form.model(), folder)
    assert not re.search(r"\b(Conv|ConvInteger|QLinearConv)\(", re.sub(r"body = region.*?return", "", text, flags=re.S)), text
    assert ("tiles" in kinds) == (space not in ("depthwise", "grouped")), text


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("left", BYTES)
def test_convolutions(tmp_path, space, left):
    for storage, zero, bias, after in [("int8", None, "none", False), ("int8", 0, "int32", True), ("uint8", 128, "float", True), ("uint8", 99, "none", False),
                                       ("int4", None, "int32", False)]:
        form = convolved(SPACES[space], storage, left, bias, after, zero)
        check_convolution(form, tmp_path, space)


@pytest.mark.parametrize("move", ["reshaped", "transposed", "side by side"])
@pytest.mark.parametrize("space", ["point", "3x3", "depthwise"])
def test_moved_kernels(tmp_path, space, move):
    check_convolution(convolved(SPACES[space], "int8", move=move), tmp_path, space)


# ---- QOperator ----


def peer(form, symbolic=False):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(form.model(symbolic), options, providers=["CPUExecutionProvider"])
    return session.run(None, form.inputs)[0]


def bytes_form(left, *dims):
    low, high = LIMITS[left]
    form = Form(dims, x=np.random.default_rng(2).integers(low, high + 1, dims).astype(left))
    form.opset, form.domains = 21, ("com.microsoft",)
    return form


LEFT = {"uint8": np.uint8(120), "int8": np.int8(-9)}


@pytest.mark.parametrize("left, right", [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
@pytest.mark.parametrize("columns", [False, True])
def test_qlinear_matmul(tmp_path, left, right, columns):
    form = bytes_form(left, 2, 5, K)
    scale = form.scale(0.01, dims=(N,)) if columns else form.scale(0.01)
    zero = np.full(scale.shape, 0 if right == "int8" else 130, right)
    form.node("QLinearMatMul", "x", np.float32(0.02), LEFT[left], form.integers(right, K, N), scale, zero, np.float32(0.4), LEFT[left], answer=np.zeros(0, left))
    check(form, tmp_path, True, want=peer(form))


@pytest.mark.parametrize("left", BYTES)
def test_qlinear_matmul_of_computed_matrices(tmp_path, left):
    form = bytes_form(left, 2, 5, K)
    turned = form.node("Transpose", "x", perm=[0, 2, 1])
    form.node("QLinearMatMul", "x", np.float32(0.02), LEFT[left], turned, np.float32(0.01), LEFT[left], np.float32(0.6), LEFT[left], answer=np.zeros(0, left))
    check(form, tmp_path, None, want=peer(form))
    text, _ = regions(form.model(), tmp_path)
    assert "QLinearMatMul" not in text, text


@pytest.mark.parametrize("left, right", [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")])
@pytest.mark.parametrize("space", SPACES)
def test_qlinear_conv(tmp_path, space, left, right):
    space_of = dict(SPACES[space])
    dims, channels = space_of.pop("w"), space_of.pop("channels", 8)
    form = bytes_form(left, 2, channels, *[7, 6][: len(dims) - 2])
    scale = form.scale(0.01, dims=(dims[0],))
    zero = np.zeros(dims[0], right) + (0 if right == "int8" else 128)
    form.node("QLinearConv", "x", np.float32(0.02), LEFT[left], form.integers(right, *dims), scale, zero.astype(right), np.float32(0.3), LEFT[left],
              form.random.integers(-4000, 4000, dims[0]).astype(np.int32), answer=np.zeros(0, left), **space_of)
    check_convolution(form, tmp_path, space, want=peer(form))


@pytest.mark.parametrize("space", SPACES)
def test_conv_integer(tmp_path, space):
    space_of = dict(SPACES[space])
    dims, channels = space_of.pop("w"), space_of.pop("channels", 8)
    form = bytes_form("uint8", 2, channels, *[7, 6][: len(dims) - 2])
    form.node("ConvInteger", "x", form.integers("uint8", *dims), np.uint8(120), np.uint8(7), answer=np.zeros(0, np.int32), **space_of)
    check_convolution(form, tmp_path, space, want=peer(form))


MS = "com.microsoft"


@pytest.mark.parametrize("right", BYTES)
@pytest.mark.parametrize("form_of", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QGemm to float", "QAttention"])
def test_microsoft_products(tmp_path, form_of, right):
    w_zero = np.array(0 if right == "int8" else 131, right)
    made = np.zeros(0, np.float32)
    if form_of == "DynamicQuantizeMatMul":
        form = Form([3, 4, K])
        form.opset, form.domains = 21, (MS,)
        form.node(form_of, "x", form.integers(right, K, N), form.scale(0.01, dims=(N,)), np.full(N, w_zero), form.scale(1, dims=(N,)), domain=MS, answer=made)
    elif form_of == "MatMulIntegerToFloat":
        form = bytes_form("uint8", 3, 4, K)
        form.node(form_of, "x", form.integers(right, K, N), np.float32(0.02), form.scale(0.01), LEFT["uint8"], w_zero, form.scale(1, dims=(N,)), domain=MS, answer=made)
    elif form_of == "QAttention":
        form = bytes_form("uint8", 2, 5, K)
        form.node(form_of, "x", form.integers(right, K, 3 * K), form.scale(1, dims=(3 * K,)), np.float32(0.02), np.float32(0.005), "", LEFT["uint8"], w_zero,
                  num_heads=4, domain=MS, answer=made)
    else:
        form = bytes_form("uint8", 7, K)
        bias = form.random.integers(-4000, 4000, N).astype(np.int32)
        result = [] if "float" in form_of else [np.float32(0.4), LEFT["uint8"]]
        form.node("QGemm", "x", np.float32(0.02), LEFT["uint8"], form.integers(right, N, K), form.scale(0.01), w_zero, bias, *result, transB=1, domain=MS,
                  answer=made if not result else np.zeros(0, np.uint8))
    if form_of == "QAttention":
        check(form, tmp_path, None, want=peer(form))
        text, kinds = regions(form.model(), tmp_path)
        assert "tiles" in kinds, text
    else:
        check(form, tmp_path, True, want=peer(form))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block", [16, 32, 64, 128, 256])
def test_matmul_nbits(tmp_path, bits, block):
    """Weights alone are quantised: products of floats that unpack them."""
    for zeros in (False, True):
        form = Form([3, 4, 256])
        form.opset, form.domains = 21, (MS,)
        blocks = 256 // block
        packed = form.random.integers(0, 256, (N, blocks, block * bits // 8)).astype(np.uint8)
        scale = form.scale(0.01, dims=(N, blocks))
        points = [form.random.integers(0, 256, (N, -(-blocks * bits // 8))).astype(np.uint8)] if zeros else []
        form.node("MatMulNBits", "x", packed, scale, *points, K=256, N=N, bits=bits, block_size=block, domain=MS, answer=np.zeros(0, np.float32))
        q = np.stack([packed >> (i * bits) & ((1 << bits) - 1) for i in range(8 // bits)], -1).reshape(N, 256).astype(np.float64)
        z = np.full((N, blocks), 1 << (bits - 1), np.float64)
        if zeros:
            z = np.stack([points[0] >> (i * bits) & ((1 << bits) - 1) for i in range(8 // bits)], -1).reshape(N, -1)[:, :blocks]
        w = (q - np.repeat(z, block, 1)) * np.repeat(scale.astype(np.float64), block, 1)
        check(form, tmp_path, None, 2e-5, want=(form.value["x"].astype(np.float64) @ w.T).astype(np.float32))
        text, _ = regions(form.model(), tmp_path)
        assert "DequantizeLinear" not in text


# ---- pairs around other operators ----

TOKENS, IMAGE = [2, 6, K], [2, 16, 8, 8]
PARTS = {
    "Transpose": (TOKENS, lambda f, x: f.node("Transpose", x, perm=[0, 2, 1])),
    "Slice": (TOKENS, lambda f, x: f.node("Slice", x, np.array([1]), np.array([5]), np.array([1]))),
    "Concat": (TOKENS, lambda f, x: f.node("Concat", x, f.quantized(f.node("Relu", x), "uint8", 0.03, 110), axis=1)),
    "Split": (TOKENS, lambda f, x: f.quantized(f.node("Split", x, axis=2, num_outputs=2, outputs=2)[1], "uint8", 0.03, 110)),
    "Gather": (TOKENS, lambda f, x: f.node("Gather", x, np.array([4, 1, 1]), axis=1)),
    "Pad": (TOKENS, lambda f, x: f.node("Pad", x, np.array([0, 1, 0, 0, 0, 2]))),
    "Expand": ([1, 6, K], lambda f, x: f.node("Expand", x, np.array([3, 6, K]))),
    "Tile": (TOKENS, lambda f, x: f.node("Tile", x, np.array([1, 2, 1]))),
    "Resize": (IMAGE, lambda f, x: f.node("Resize", x, "", np.array([1, 1, 2, 2], np.float32), mode="nearest", coordinate_transformation_mode="asymmetric",
                                          nearest_mode="floor")),
    "MaxPool": (IMAGE, lambda f, x: f.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
}


@pytest.mark.parametrize("op", PARTS)
@pytest.mark.parametrize("before", ["input", "product"])
def test_movement(tmp_path, op, before):
    """Between pairs of one scale only bytes are moved, whether the model's input or a product is quantised."""
    dims, make = PARTS[op]
    form = Form(dims)
    x = form.quantized("x", "uint8", 0.03, 110)
    if before == "product":
        x = form.node("MatMul", x, form.weights("int8", dims[-1], dims[-1], axis=1))
        x = form.quantized(form.node("Relu", x), "uint8", 0.03, 110)
    form.node("QuantizeLinear", make(form, x), np.float32(0.03), np.uint8(110))
    check(form, tmp_path, None)
    text, kinds = regions(form.model(), tmp_path)
    assert not re.search(rf"f32\[[^=]*= {op}\(", text), text
    assert ("tiles" in kinds) == (before == "product")


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool with padding"])
@pytest.mark.parametrize("storage, zero", [("uint8", 0), ("uint8", 9), ("int8", -128), ("int8", 5)])
def test_pools_between_convolutions(tmp_path, op, storage, zero):
    form = Form(IMAGE)
    x = form.node("Conv", form.quantized("x", "uint8", 0.03, 110), form.weights("int8", 24, 16, 1, 1, axis=0))
    x = form.quantized(form.node("Relu", x), storage, 0.02, zero)
    counted = {"count_include_pad": 1} if "padding" in op else {}
    y = form.node(op.split()[0], x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, **counted)
    form.quantized(y, storage, 0.02, zero)
    check(form, tmp_path, None, 0.021 / np.abs(form.value[form.last]).max())
    text, kinds = regions(form.model(), tmp_path)
    assert kinds.count("tiles") == 1 and kinds.count("window") == 1, text
    window = next(part for part in text.split("tamis.Region(") if 'kind = "window"' in part)
    assert re.search(r"region\(%\w+: [ui]8\[", window), text


def test_loops_between_bytes(tmp_path):
    """Elementwise chains between pairs are one loop from bytes to bytes; norms and softmax read and give bytes."""
    form = Form([2, 6, K])
    x = form.quantized("x", "uint8", 0.03, 110)
    y = form.quantized(form.node("MatMul", x, form.weights("int8", K, K, axis=1)), "int8", 0.05, 2)
    y = form.quantized(form.node("Add", x, y), "int8", 0.05, -3)
    y = form.quantized(form.node("Gelu", y), "int8", 0.05, -3)
    y = form.quantized(form.node("Mul", y, x), "int8", 0.07, 1)
    y = form.quantized(form.node("LayerNormalization", y, form.scale(1, dims=(K,)), form.scale(0.1, dims=(K,)), axis=-1), "int8", 0.03, 0)
    y = form.quantized(form.node("Softmax", y, axis=-1), "uint8", 1 / 256, 0)
    form.node("MatMul", y, form.weights("int8", K, N, axis=1))
    check(form, tmp_path, True, 0.05)
    text, kinds = regions(form.model(), tmp_path)
    assert not re.search(r"^  %.*= (?!tamis.Region)[A-Z]\w*\(", text, re.M), text


def spelled_norm(form, x, pair):
    axes, f32 = np.array([-1], np.int64), np.float32
    difference = pair(form.node("Sub", x, form.node("ReduceMean", x, axes)), 0.05, 128)
    mean = pair(form.node("ReduceMean", form.node("Mul", difference, difference), axes), 0.02, 0)
    root = form.node("Sqrt", pair(form.node("Add", mean, f32(1e-5)), 0.02, 0))
    y = pair(form.node("Div", difference, root), 0.04, 128)
    y = pair(form.node("Mul", y, form.scale(1, dims=(K,))), 0.04, 128)
    return form.node("Add", y, form.scale(0.1, dims=(K,)))


def spelled_gelu(form, x, pair):
    gate = pair(form.node("Erf", form.node("Div", x, np.float32(np.sqrt(2)))), 1 / 128, 128)
    gate = pair(form.node("Add", gate, np.float32(1)), 1 / 64, 0)
    return form.node("Mul", x, pair(form.node("Mul", gate, np.float32(0.5)), 1 / 128, 0))


def spelled_swish(form, x, pair):
    return form.node("Mul", x, pair(form.node("Sigmoid", x), 1 / 64, 0))


@pytest.mark.parametrize("write, op", [(spelled_norm, "LayerNormalization"), (spelled_gelu, "Gelu"), (spelled_swish, "Swish")])
def test_pairs_inside(tmp_path, write, op):
    """Norms, Gelu and SiLU that are spelled out are one operator, whose operand keeps its pair; with --math=strict all pairs stay."""

    def written(pair):
        form = Form([3, 6, K])
        write(form, form.quantized("x", "uint8", 0.03, 110), lambda x, scale, zero: pair(form, x, scale, zero))
        return form

    form = written(lambda form, x, scale, zero: form.quantized(x, "uint8", scale, zero))
    plain = written(lambda form, x, scale, zero: x)
    assert np.abs(form.value[form.last] - plain.value[plain.last]).max() > 5e-3
    model = form.model()
    near(answer(model, form.inputs), plain.value[plain.last], 3e-4, "O2")  # functions of what was quantised are good to 2^-12
    for what, options in [("strict", {"strict_math": True}), ("O0", {"optimization_level": 0})]:
        have = answer(model, form.inputs, **options)
        apart = np.abs(have - form.value[form.last]) > 1e-4
        assert apart.mean() <= 0.05, (what, apart.mean())  # a tie rounds otherwise
    text, kinds = regions(model, tmp_path)
    assert len(kinds) == 1 and f"{op}(" in text and text.count(" QuantizeLinear(") == 1, text


@pytest.mark.parametrize("scale", [0.125, 0.1, 3e-32, 1e31, 7e-39])
def test_dynamic_ties(scale):
    """The quotients next to ties are divisions: numbers half a step apart and their neighbours, over several blocks."""
    step = np.float32(scale)
    x = np.concatenate([np.arange(-200, 310, dtype=np.float32) / 2 * step, np.random.default_rng(0).random(3000).astype(np.float32) * 100 * step])
    x = np.concatenate([x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))])[:-1]
    x = x[(x >= -100 * step) & (x <= 155 * step)]
    form = Form([1], x=x)
    made = form.node("DynamicQuantizeLinear", "x", outputs=3, answer=[np.zeros(0, np.uint8)] * 3)
    form.last = made[0]
    y = answer(form.model(), form.inputs, strict_math=True)
    found = (x.max() - x.min()) / np.float32(255)
    zero = np.rint(-x.min() / found)
    assert (y == np.clip(np.rint(x / found) + zero, 0, 255).astype(np.uint8)).all()
