# SPDX-License-Identifier: Apache-2.0
"""MatMulNBits and GatherBlockQuantized of com.microsoft: NumPy references, and weights that stay packed."""

import numpy
import pytest
from onnx import TensorProto, helper, numpy_helper

from microsoft_kit import (
    DOMAIN,
    STEPS,
    Brain,
    Case,
    F,
    Typed,
    brain,
    build,
    check,
    numbers,
    refused,
    run,
    tamis,
)

# ---- weights of few bits ----


def pack(values, bits):
    """Integers [..., n] as bytes, low bits first."""
    per_byte = 8 // bits
    width = -(-values.shape[-1] // per_byte) * per_byte
    padded = numpy.zeros(values.shape[:-1] + (width,), numpy.uint8)
    padded[..., : values.shape[-1]] = values
    parts = padded.reshape(values.shape[:-1] + (-1, per_byte)).astype(int)
    return (parts << numpy.arange(per_byte) * bits).sum(-1).astype(numpy.uint8)


def few_bits(
    r, n, k, block, bits, rows, zero="packed", kind=F, indices=None, bias=False, constant=True, flat=False
):
    """A MatMulNBits case; `zero`: packed, float or none."""
    blocks = -(-k // block)
    q = r.integers(0, 1 << bits, (n, blocks * block)).astype(numpy.uint8)
    b = pack(q.reshape(n, blocks, block), bits)
    scales = r.uniform(0.01, 0.03, (n, blocks)).astype(F).astype(kind)
    middle = 1 << (bits - 1)
    points, z = numpy.full((n, blocks), F(middle)), None
    if zero == "packed":
        whole = r.integers(0, 1 << bits, (n, blocks)).astype(numpy.uint8)
        points, z = whole.astype(F), pack(whole, bits)
    elif zero == "float":
        z = (middle + r.uniform(-1, 1, (n, blocks))).astype(F).astype(kind)
        points = z.astype(F)
    at = numpy.arange(k) // block if indices is None else indices
    w = (q[:, :k].astype(F) - points[:, at]) * scales.astype(F)[:, at]
    a = r.uniform(-1, 1, (*rows, k)).astype(F).astype(kind)
    added = r.uniform(-1, 1, n).astype(F).astype(kind) if bias else None
    y = a.astype(float) @ w.astype(float).T + (0 if added is None else added.astype(float))
    inputs = [
        a,
        b.reshape(n, -1) if flat else b,
        scales.flatten() if flat else scales,
        z.flatten() if flat and z is not None else z,
        None if indices is None else indices.astype(numpy.int32),
        added,
    ]
    return Case(
        "MatMulNBits",
        inputs,
        y.astype(F).astype(kind),
        N=n,
        K=k,
        block_size=block,
        bits=bits,
        constants=(1, 2, 3, 4, 5) if constant else (),
        peer=constant and not flat and y.size > 0,
    )


def test_matmul_nbits(tmp_path):
    r, cases = numbers(20), []
    for bits in (2, 4, 8):
        for n, k, block, rows in [
            (5, 32, 16, (3,)),
            (7, 40, 16, (2, 3)),
            (3, 16, 32, (1,)),
            (1, 300, 256, (2,)),
            (8, 96, 32, (2, 0)),
            (6, 33, 16, (4,)),
        ]:
            for zero in ("packed", "none"):
                cases.append(few_bits(r, n, k, block, bits, rows, zero))
        cases.append(few_bits(r, 9, 64, 64, bits, (2, 2), bias=True))
        cases.append(few_bits(r, 9, 48, 16, bits, (2, 2), kind=numpy.float16, bias=True))
        cases.append(few_bits(r, 5, 48, 32, bits, (3,), constant=False))
        cases.append(few_bits(r, 5, 48, 32, bits, (3,), zero="none", constant=False))
        cases.append(few_bits(r, 4, 48, 16, bits, (3,), flat=True))
    for case in cases:  # its CPU kernels have fewer forms than the definition
        case.peer = case.peer and case.attributes["bits"] != 2 and case.inputs[0].dtype == F
    check(cases, tmp_path)


def test_matmul_nbits_with_float_zero_points_and_indices(tmp_path):
    r, cases = numbers(21), []
    for bits in (4, 8):
        cases.append(few_bits(r, 5, 40, 16, bits, (3,), zero="float"))
        cases.append(few_bits(r, 5, 40, 16, bits, (3,), zero="float", constant=False))
        cases.append(few_bits(r, 5, 40, 16, bits, (3,), zero="float", kind=numpy.float16))
        cases.append(few_bits(r, 5, 48, 16, bits, (3,), indices=r.integers(0, 3, 48)))
        cases.append(few_bits(r, 5, 48, 16, bits, (3,), zero="none", indices=r.integers(0, 3, 48)))
        cases.append(
            few_bits(r, 5, 48, 16, bits, (3,), zero="none", indices=r.integers(0, 3, 48), constant=False)
        )
        cases.append(few_bits(r, 5, 40, 16, bits, (3,), indices=numpy.arange(40) // 16))
    for (
        case
    ) in cases:  # ONNX Runtime 1.32 takes other zero points than the definition's where there are indices
        own = case.inputs[3] is not None and case.inputs[4] is not None
        case.peer = case.peer and case.attributes["bits"] == 4 and case.inputs[0].dtype == F and not own
    check(cases, tmp_path)


def test_matmul_nbits_of_bfloat16(tmp_path):
    r, cases = numbers(22), []
    for zero in ("packed", "none"):
        case = few_bits(r, 5, 40, 16, 4, (3,), zero=zero, bias=True)
        a, scales, bias = (brain(case.inputs[i]) for i in (0, 2, 5))
        q = few_weights(case.inputs[1], 5, 3, 16)[:, :40]
        points = (
            few_weights(case.inputs[3], 5, 1, 3).reshape(5, 3) if zero == "packed" else numpy.full((5, 3), 8)
        )
        at = numpy.arange(40) // 16
        w = (q.astype(F) - points[:, at].astype(F)) * scales[:, at]
        case.want = [brain((a.astype(float) @ w.astype(float).T + bias).astype(F))]
        case.inputs = [Brain(a), case.inputs[1], Brain(scales), case.inputs[3], None, Brain(bias)]
        case.peer = False
        cases.append(case)
    check(cases, tmp_path)


def test_matmul_nbits_left_out(tmp_path):
    """Weights with a dim of 0 stand for a product that is not there."""
    a, bias = F([[1, 2], [numpy.inf, 4]]).repeat(8, 1), F([1, 2, 3])
    none, scales = numpy.zeros((3, 0, 8), numpy.uint8), numpy.zeros((3, 0), F)
    common = {"N": 3, "K": 16, "block_size": 16, "constants": (1, 2)}
    cases = [
        Case("MatMulNBits", [a, none, scales, None, None, bias], numpy.tile(bias, (2, 1)), **common),
        Case("MatMulNBits", [a, none, scales], numpy.zeros((2, 3), F), **common),
    ]
    check(cases, tmp_path)


def few_weights(packed, n, blocks, block):
    """4-bit bytes [n, blocks, bytes] as integers [n, blocks * block]."""
    both = numpy.stack([packed & 15, packed >> 4], -1).reshape(n, blocks, -1)
    return both[:, :, :block].reshape(n, blocks * block)


def test_matmul_nbits_of_weights_that_stay_packed(tmp_path):
    """Large enough that they are not folded: few and many rows, whole and partial blocks, odd lengths."""
    r, cases = numbers(27), []
    for bits in (2, 4):
        for n, k, block, rows in [
            (130, 144, 16, (3,)),
            (66, 288, 32, (2, 9)),
            (33, 1536, 256, (1,)),
            (200, 104, 32, (17,)),
            (150, 112, 128, (2,)),
            (150, 129, 32, (2,)),
        ]:
            cases.append(few_bits(r, n, k, block, bits, rows, bias=k == 144))
            cases.append(few_bits(r, n, k, block, bits, rows, "none", bias=k == 288))
        cases.append(few_bits(r, 130, 144, 16, bits, (0,)))
        cases.append(few_bits(r, 130, 144, 16, bits, (5,), "float"))
        cases.append(few_bits(r, 200, 104, 32, bits, (17,), "float", bias=True))
        cases.append(few_bits(r, 150, 1024, 64, bits, (1,), "float"))
        cases.append(few_bits(r, 130, 144, 16, bits, (5,), kind=numpy.float16))
    for case in cases:
        case.peer = False
    check(cases, tmp_path)


def standard(r, kind, k, n, layout, product, rows):
    """Nodes of the standard operator set that a quantiser writes: dequantised weights and a product."""
    bits, low = {"u4": (4, 0), "i4": (4, -8), "u8": (8, 0), "i8": (8, -128)}[kind]
    q = r.integers(low, low + (1 << bits), (k, n))
    block, axis = (32, 0) if layout == "blocks" else (0, 1)
    dims = (k // 32, n) if layout == "blocks" else (n,)
    scale = r.uniform(0.01, 0.03, dims).astype(F)
    zero = r.integers(low, low + (1 << bits), dims)
    spread = [numpy.repeat(v, 32, 0) if layout == "blocks" else v for v in (zero, scale)]
    w = (q - spread[0]).astype(F) * spread[1]
    if product == "turned":  # the weights are [n, k], and turned by the product
        q, axis = q.T, 1 - axis
        scale, zero = (v.T for v in (scale, zero))
    name = getattr(TensorProto, {"u4": "UINT4", "i4": "INT4", "u8": "UINT8", "i8": "INT8"}[kind])
    more = {"block_size": block} if block else {}
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=axis, **more)]
    if product == "MatMul":
        nodes.append(helper.make_node("MatMul", ["x", "w"], ["y"]))
    else:
        nodes.append(helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=int(product == "turned")))
    bias = r.uniform(-1, 1, n).astype(F)
    constants = [
        helper.make_tensor("q", name, q.shape, q.flatten()),
        numpy_helper.from_array(numpy.ascontiguousarray(scale), "s"),
        helper.make_tensor("z", name, zero.shape, zero.flatten()),
        numpy_helper.from_array(bias, "b"),
    ]
    x = r.uniform(-1, 1, (rows, k)).astype(F)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    y = x.astype(float) @ w.astype(float) + (0 if product == "MatMul" else bias)
    return model.SerializeToString(), {"x": x}, y


@pytest.mark.parametrize("layout", ["blocks", "columns"])
@pytest.mark.parametrize("product", ["MatMul", "Gemm", "turned"])
@pytest.mark.parametrize("kind", ["u4", "i4"])
def test_standard_products_unpack_where_they_use(kind, product, layout, tmp_path):
    model, feeds, want = standard(numbers(28), kind, 128, 150, layout, product, 5)
    (tmp_path / "model.onnx").write_bytes(model)
    code, text = tamis("opt", tmp_path / "model.onnx", "-O2")
    assert code == 0 and "MatMulNBits" in text and "DequantizeLinear" not in text, text
    for level in ("-O0", "-O3"):
        assert tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.so", level)[0] == 0
        for rows in (5, 1, 0, 20):
            x = numpy.resize(feeds["x"], (rows, 128))
            made = run(tmp_path / "a.so", {"x": x}, tmp_path)["y"]
            wanted = numpy.concatenate([want] * 4)[:rows]
            steps = STEPS * numpy.finfo(F).eps * numpy.abs(want).max()
            assert made.shape == (rows, 150) and numpy.abs(made - wanted).max(initial=0) <= steps


@pytest.mark.parametrize("zero", ["packed", "float"])
def test_packed_weights_stay_packed(zero, tmp_path):
    """An artifact is about as large as its model, and unpacks the weights when it runs."""
    r = numbers(23)
    case = few_bits(r, 256, 512, 32, 4, (3,), zero)
    model, feeds = build([case])
    (tmp_path / "model.onnx").write_bytes(model)
    code, text = tamis("opt", tmp_path / "model.onnx", "-O2")
    assert code == 0 and "MatMulNBits" in text, text
    for level in ("-O0", "-O3"):
        assert tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.so", level)[0] == 0
        packed = 256 * 512 // 2
        assert (
            tmp_path / "a.so"
        ).stat().st_size < 4 * packed, level  # unpacked it would be 8 * packed and more
        made = run(tmp_path / "a.so", feeds, tmp_path)["c0_out0"]
        assert (
            numpy.abs(made - case.want[0]).max() <= 512 * numpy.finfo(F).eps * numpy.abs(case.want[0]).max()
        )


def gathered(r, shape, indices, gather, quantize_axis, block, kind, zero=True, real=F):
    """A case of GatherBlockQuantized; `kind`: u4, i4, or the number of bits in bytes."""
    bits = 4 if kind in ("u4", "i4") else kind
    low, high = (-8, 8) if kind == "i4" else (0, 1 << bits)
    data = r.integers(low, high, shape)
    dims = list(shape)
    dims[quantize_axis] = -(-dims[quantize_axis] // block)
    scales = r.uniform(0.01, 0.03, dims).astype(F).astype(real)
    default = 0 if kind in ("u4", "i4") else 1 << (bits - 1)
    points = r.integers(low, high, dims) if zero else numpy.full(dims, default)
    spread = [
        numpy.repeat(x, block, quantize_axis).take(range(shape[quantize_axis]), quantize_axis)
        for x in (points, scales)
    ]
    table = ((data - spread[0]).astype(F) * spread[1].astype(F)).astype(real)
    length = shape[gather]
    inside = (indices >= -length) & (indices < length)
    want = numpy.take(table, numpy.where(inside, indices, 0), gather)
    mask = inside.reshape(inside.shape + (1,) * (len(shape) - 1 - gather))
    want = numpy.where(mask, want, 0).astype(real)
    if kind in ("u4", "i4"):
        name = TensorProto.UINT4 if kind == "u4" else TensorProto.INT4
        inputs = [Typed(data, name), indices, scales, Typed(points, name) if zero else None]
    else:
        inputs = [pack(data, bits), indices, scales, pack(points, bits) if zero else None]
    more = {} if kind in ("u4", "i4") else {"bits": bits}
    return Case(
        "GatherBlockQuantized",
        inputs,
        want,
        constants=(0, 2, 3),
        gather_axis=gather,
        quantize_axis=quantize_axis,
        block_size=block,
        **more,
    )


def test_gather_block_quantized(tmp_path):
    r, cases = numbers(24), []
    some = numpy.array([[3, -1, 0], [2, 4, -5]], numpy.int64)
    for kind in ("u4", "i4"):
        for shape, gather, axis in [((5, 32), 0, 1), ((3, 5, 18), 1, 2), ((32, 5), 1, 0), ((20, 3), 0, 0)]:
            for zero in (True, False):
                cases.append(gathered(r, shape, some, gather, axis, 16, kind, zero))
    for bits in (2, 4, 8):
        for zero in (True, False):
            cases.append(gathered(r, (5, 48), some.astype(numpy.int32), 0, 1, 16, bits, zero))
        cases.append(gathered(r, (5, 48), numpy.array(2), 0, 1, 16, bits, real=numpy.float16))
        cases.append(gathered(r, (5, 48), numpy.zeros((2, 0), numpy.int64), 0, 1, 16, bits))
    for case in cases:  # float16 scales are compared with the reference alone
        case.peer = case.want[0].size > 0
    check(cases, tmp_path)


def test_gather_block_quantized_of_bytes_that_are_inputs(tmp_path):
    r, cases = numbers(25), []
    some = numpy.array([1, -1, 9], numpy.int64)  # 9 is outside and reads zeros
    for bits in (2, 4, 8):
        case = gathered(r, (5, 48), some, 0, 1, 16, bits)
        case.constants, case.peer = (), False
        cases.append(case)
        case = gathered(r, (5, 48), some, 0, 1, 16, bits, zero=False)
        case.constants, case.peer = (2,), False
        cases.append(case)
    check(cases, tmp_path)


def test_gather_block_quantized_of_small_floats(tmp_path):
    data = numpy.array([0.5, -1, 2, 3, 4, -6, 1.5, 0] * 8, F).reshape(4, 16)
    indices = numpy.array([2, 0], numpy.int64)
    cases = []
    for kind in (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.FLOAT4E2M1):
        each = F([[0.5], [2], [1], [3]])
        cases.append(
            Case(
                "GatherBlockQuantized",
                [Typed(data, kind), indices, each],
                data[indices] * each[indices],
                constants=(2,),
                block_size=16,
                peer=False,
            )
        )
        one = F([[0.5]])
        cases.append(
            Case(
                "GatherBlockQuantized",
                [Typed(data, kind), indices, one],
                data[indices] * F(0.5),
                constants=(2,),
                block_size=0,
                peer=False,
            )
        )
    check(cases, tmp_path)


# ---- what is refused ----


def weights_of(bits):
    b = numpy.zeros((4, 1, 16 * bits // 8), numpy.uint8)
    return [numpy.zeros((2, 16), F), b, numpy.ones((4, 1), F)]


def wide_bytes():
    a, b, scales = weights_of(4)
    return [a, b.astype(numpy.int32), scales]


@pytest.mark.parametrize(
    "case, fragment",
    [
        (
            Case("MatMulNBits", wide_bytes(), None, N=4, K=16, block_size=16, constants=(1, 2)),
            "B is i32 where packed u8 is needed",
        ),
        (
            Case(
                "GatherBlockQuantized",
                [numpy.zeros((4, 32), numpy.uint8), numpy.zeros(2, int), numpy.ones((4, 4), F)]
                + [numpy.zeros((4, 1), numpy.uint8)],
                None,
                constants=(0, 2, 3),
                block_size=16,
            ),
            "other dims than the scales",
        ),
        (
            Case("MatMulNBits", weights_of(8), None, N=4, K=16, block_size=16, bits=3),
            "quantise to 2, 4 or 8 bits",
        ),
        (Case("MatMulNBits", weights_of(4), None, N=4, K=16, block_size=8), "power of 2 from 16 on"),
        (
            Case("MatMulNBits", weights_of(4), None, N=5, K=16, block_size=16, constants=(1, 2)),
            "scales has 4 elements",
        ),
        (
            Case("MatMulNBits", weights_of(4), None, N=4, K=16, block_size=16, weight_prepacked=1),
            "weight_prepacked",
        ),
        (
            Case(
                "GatherBlockQuantized",
                [numpy.zeros((4, 8), numpy.uint8), numpy.zeros(2, int), numpy.ones((4, 1), F)],
                None,
                gather_axis=1,
                quantize_axis=0,
                block_size=16,
            ),
            "gathers on axis 0",
        ),
    ],
)
def test_refused(case, fragment, tmp_path):
    case.want = [numpy.zeros(1)]
    refused(case, tmp_path, fragment, f"{DOMAIN}.{case.op}", "case0")
