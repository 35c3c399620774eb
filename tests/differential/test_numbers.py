# SPDX-License-Identifier: Apache-2.0
"""Where engines differ: ties, saturation, NaN, infinities, zeros with a sign, empty reductions, duplicate indices,
windows that end outside, all modes of Resize, transforms near zero, all forms of recurrence.

Each test makes many nodes of one kind and compares them in few models; the oracle is NumPy where ONNX's text names it,
else onnx's reference evaluator or ONNX Runtime.
"""

import itertools
import subprocess

import ml_dtypes
import numpy
import onnx
import pytest
from onnx import TensorProto, helper

from onnx_cases import TAMIS, Case, check, write_folder

OPSET = 25
NAN, INF = numpy.nan, numpy.inf
ODD = numpy.array([NAN, INF, -INF, 0.0, -0.0, 1.5, -1.5, 2.5, 0.5, -0.5, 3e38, -3e38, 1e-45, -0.3], numpy.float32)


def node(op, inputs, attributes=(), opset=OPSET, outputs=1, constants=(), rtol=1e-5, after=()):
    names = [f"in{k}" if value is not None else "" for k, value in enumerate(inputs)]
    results = [f"out{k}" for k in range(outputs)]
    nodes = [helper.make_node(op, names, results, **dict(attributes))]
    for k, step in enumerate(after):
        nodes.append(helper.make_node(step, [results[0]], [f"after{k}"]))
        results = [f"after{k}"]
    feeds = {f"in{k}": value for k, value in enumerate(inputs) if value is not None}
    return Case(f"{op} {dict(attributes)}", {"": opset}, nodes, feeds, results, {f"in{k}" for k in constants}, rtol)


def told(case, *answers):
    case.answers = list(answers)
    return case


def expect(cases, tmp_path, arguments=()):
    failed = check(cases, str(tmp_path), arguments)
    assert not failed, "\n".join(f"{case.name}: {detail}" for case, detail in failed)


# ---- casts ----

FLOAT8 = {TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn, TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
          TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2, TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz}
TO_INTEGERS = {TensorProto.INT4: ml_dtypes.int4, TensorProto.UINT4: ml_dtypes.uint4, TensorProto.INT2: ml_dtypes.int2,
               TensorProto.UINT2: ml_dtypes.uint2}


def codes(kind, count=256):
    return numpy.arange(count, dtype=numpy.uint8).view(kind) if count <= 256 else numpy.arange(
        count, dtype=numpy.uint16).view(kind)


def around(kind):
    """All values of a small float type, what lies in the middle of two of them, the neighbours of those, and more."""
    exact = codes(kind).astype(numpy.float64)
    exact = numpy.unique(exact[numpy.isfinite(exact)])
    middle = (exact[1:] + exact[:-1]) / 2
    largest = exact[-1]
    beyond = largest * numpy.array([1.01, 1.03, 1.0625, 1.07, 1.125, 1.13, 1.25, 1.3, 2, 1e3])
    values = numpy.concatenate([exact, middle, beyond, -beyond]).astype(numpy.float32)
    return numpy.concatenate([values, numpy.nextafter(values, numpy.float32(INF)),
                              numpy.nextafter(values, numpy.float32(-INF)), numpy.float32([INF, -INF, NAN, -0.0])])


def limited(values, kind, saturate):
    """The text: saturated to the largest finite value, or what is out of range becomes infinite or NaN."""
    if saturate:
        largest = float(ml_dtypes.finfo(kind).max)
        values = numpy.where(numpy.isnan(values), values, numpy.clip(values.astype(numpy.float64), -largest, largest))
    with numpy.errstate(all="ignore"):
        return values.astype(numpy.float32).astype(kind)


def test_casts_to_float8(tmp_path):
    cases = []
    sources = [codes(numpy.float16, 1 << 16), codes(ml_dtypes.bfloat16, 1 << 16)]
    for number, kind in FLOAT8.items():
        for values in [around(kind), around(kind).astype(numpy.float64), *sources, ints_for_casts()]:
            for saturate in (0, 1):
                case = node("Cast", [values], {"to": number, "saturate": saturate})
                cases.append(told(case, limited(values, kind, saturate)))
    four = ml_dtypes.float4_e2m1fn
    exact = codes(four, 16).astype(numpy.float32)
    middle = (numpy.sort(exact)[1:] + numpy.sort(exact)[:-1]) / 2
    beyond = numpy.float32([7, -9, 1e9, INF])
    values = numpy.concatenate([exact, middle, numpy.nextafter(middle, numpy.float32(9)), beyond])
    cases.append(told(node("Cast", [values], {"to": TensorProto.FLOAT4E2M1}), numpy.clip(values, -6, 6).astype(four)))
    expect(cases, tmp_path)


def ints_for_casts():
    return numpy.arange(-600, 600, dtype=numpy.int32)


def test_casts_from_all_codes(tmp_path):
    cases = []
    for number, kind in [*FLOAT8.items(), (TensorProto.FLOAT8E8M0, ml_dtypes.float8_e8m0fnu),
                         (TensorProto.FLOAT4E2M1, ml_dtypes.float4_e2m1fn), *TO_INTEGERS.items()]:
        count = {TensorProto.FLOAT4E2M1: 16, TensorProto.INT4: 16, TensorProto.UINT4: 16, TensorProto.INT2: 4,
                 TensorProto.UINT2: 4}.get(number, 256)
        every = numpy.arange(count) - (count // 2 if number in (TensorProto.INT4, TensorProto.INT2) else 0)
        every = every.astype(kind) if number in TO_INTEGERS else codes(kind, count)
        with numpy.errstate(all="ignore"):
            for to in (numpy.float32, numpy.float64, numpy.float16, ml_dtypes.bfloat16):
                wide = every.astype(numpy.float32).astype(numpy.float64)
                cases.append(told(node("Cast", [every], {"to": helper.np_dtype_to_tensor_dtype(numpy.dtype(to))}),
                                  wide.astype(to)))
            if number in TO_INTEGERS:
                for to in (numpy.int8, numpy.uint8, numpy.int64, numpy.bool_):
                    cases.append(told(node("Cast", [every], {"to": helper.np_dtype_to_tensor_dtype(numpy.dtype(to))}),
                                      every.astype(numpy.int64).astype(to)))
    wide = numpy.arange(-40, 40, dtype=numpy.int64)
    for number, kind in TO_INTEGERS.items():  # higher bits fall away
        cases.append(told(node("Cast", [wide], {"to": number}), wide.astype(kind)))
    expect(cases, tmp_path)


def test_casts_to_powers_of_two(tmp_path):
    kind = ml_dtypes.float8_e8m0fnu
    power = 2.0 ** numpy.arange(-20, 20)
    values = numpy.concatenate([power, power * 1.25, power * 1.5, power * 1.75]).astype(numpy.float32)
    low = numpy.floor(numpy.log2(values))
    part = values / 2.0**low
    cases = []
    for mode, up in (("up", part > 1), ("down", part < 0), ("nearest", part >= 1.5)):
        want = (2.0 ** (low + up)).astype(numpy.float32).astype(kind)
        cases.append(told(node("Cast", [values], {"to": TensorProto.FLOAT8E8M0, "round_mode": mode}), want))
    expect(cases, tmp_path)


# ---- NaN, infinities, zeros ----


def test_odd_numbers(tmp_path):
    cases, other = [], ODD[::-1].copy()
    with numpy.errstate(all="ignore"):
        for op, function in (("Abs", numpy.abs), ("Neg", numpy.negative), ("Floor", numpy.floor), ("Ceil", numpy.ceil),
                             ("Round", numpy.rint), ("Sqrt", numpy.sqrt), ("Sign", numpy.sign), ("Tanh", numpy.tanh),
                             ("Exp", numpy.exp), ("Reciprocal", numpy.reciprocal), ("Identity", lambda x: x)):
            want = function(ODD)
            cases.append(told(node(op, [ODD]), want))
            if op not in ("Abs", "Sign", "Exp"):  # the sign of zero, seen through a division
                cases.append(told(node(op, [ODD], after=["Reciprocal"]), numpy.reciprocal(want)))
        for kind in (numpy.float32, numpy.float64, numpy.float16):
            a, b = ODD.astype(kind), other.astype(kind)
            cases.append(told(node("Relu", [a]), numpy.maximum(a, kind(0))))
            cases.append(told(node("Max", [a, b]), numpy.maximum(a, b)))
            cases.append(told(node("Min", [a, b]), numpy.minimum(a, b)))
            cases.append(told(node("Clip", [a, kind(-1).reshape(()), kind(2).reshape(())]), numpy.clip(a, -1, 2)))
            most = numpy.finfo(kind).max  # a missing bound is the lowest or the largest number
            cases.append(told(node("Clip", [a]), numpy.clip(a, -most, most)))
            cases.append(told(node("Clip", [a, kind(-1).reshape(())]), numpy.clip(a, -1, most)))
            cases.append(told(node("Clip", [a, None, kind(2).reshape(())]), numpy.clip(a, -most, 2)))
            rows = numpy.stack([a, b, numpy.where(numpy.isnan(a), 1, a)])
            axes = numpy.array([1], numpy.int64)
            cases.append(told(node("ReduceMax", [rows, axes]), rows.max(1, keepdims=True)))
            cases.append(told(node("ReduceMin", [rows, axes]), rows.min(1, keepdims=True)))
            cases.append(told(node("ArgMax", [rows], {"axis": 1, "keepdims": 0}), rows.argmax(1)))
            cases.append(told(node("ArgMin", [rows], {"axis": 1, "keepdims": 0}), rows.argmin(1)))
            clean = a[~numpy.isnan(a)]
            best = numpy.argsort(-clean, kind="stable")[:5]
            k = numpy.array([5], numpy.int64)
            cases.append(told(node("TopK", [clean, k], outputs=2), clean[best], best))
        pairs = list(itertools.product((-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, INF, -INF, NAN),
                                       (-INF, -1.0, 0.0, 0.5, 2.0, 3.0, INF, NAN)))
        base, power = numpy.array(pairs, numpy.float32).T.copy()
        cases.append(told(node("Pow", [base, power]), numpy.power(base, power)))
        whole = numpy.array([[7, 3], [-7, 3], [7, -3], [-7, -3]], numpy.int32).T.copy()
        cases.append(told(node("Mod", [whole[0], whole[1]]), numpy.mod(whole[0], whole[1])))
        cases.append(told(node("Mod", [whole[0], whole[1]], {"fmod": 1}), numpy.fmod(whole[0], whole[1])))
        cases.append(told(node("Div", [whole[0], whole[1]]), numpy.array([2, -2, -2, 2], numpy.int32)))
        cases.append(told(node("IsInf", [ODD]), numpy.isinf(ODD)))
        x = numpy.array([3, NAN, 1, NAN, 3, -0.0, 0.0], numpy.float32)
        cases.append(told(node("NonZero", [x]), numpy.nonzero(x)[0][None]))
    expect(cases, tmp_path, ["--math=strict"])  # fast arithmetic takes subnormals for zero


def test_empty_reductions(tmp_path):
    x, axes = numpy.zeros((2, 0, 3), numpy.float32), numpy.array([1], numpy.int64)
    ends = {"ReduceSum": 0, "ReduceProd": 1, "ReduceMax": -INF, "ReduceMin": INF, "ReduceL1": 0, "ReduceL2": 0,
            "ReduceSumSquare": 0, "ReduceLogSum": -INF, "ReduceLogSumExp": -INF, "ReduceMean": NAN}
    cases = [told(node(op, [x, axes]), numpy.full((2, 1, 3), end, numpy.float32)) for op, end in ends.items()]
    for kind in (numpy.int32, numpy.int64, numpy.uint8, numpy.int8):
        limits = numpy.iinfo(kind)
        cases.append(told(node("ReduceMax", [x.astype(kind), axes]), numpy.full((2, 1, 3), limits.min, kind)))
        cases.append(told(node("ReduceMin", [x.astype(kind), axes]), numpy.full((2, 1, 3), limits.max, kind)))
    expect(cases, tmp_path)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_of_nothing_is_an_error(tmp_path, op):
    """When it is compiled, where the dim is known, and else when it runs."""
    case = told(node(op, [numpy.zeros((2, 0), numpy.float32)], {"axis": 1}), numpy.zeros((2, 1), numpy.int64))
    assert "is empty" in check([case], str(tmp_path / "known"))[0][1]
    write_folder(str(tmp_path / "open"), [case])
    model = onnx.load(tmp_path / "open" / "model.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"
    onnx.save(model, tmp_path / "open" / "model.onnx")
    done = subprocess.run([TAMIS, "check", tmp_path / "open"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "E04" in done.stdout


# ---- quantisation ----


def test_ties_and_saturation(tmp_path):
    ties = (numpy.arange(-600, 600) / 2).astype(numpy.float32)
    values = numpy.concatenate([ties, numpy.float32([1e9, -1e9, INF, -INF])])
    cases = []
    for kind in (numpy.int8, numpy.uint8, numpy.int16, numpy.uint16):
        limits = numpy.iinfo(kind)
        for zero in (0, 5):
            want = numpy.clip(numpy.rint(values) + zero, limits.min, limits.max).astype(kind)
            inputs = [values, numpy.float32(1).reshape(()), numpy.asarray(zero, kind)]
            cases.append(told(node("QuantizeLinear", inputs), want))
    for kind, low, high in ((ml_dtypes.int4, -8, 7), (ml_dtypes.uint4, 0, 15), (ml_dtypes.int2, -2, 1),
                            (ml_dtypes.uint2, 0, 3)):
        zero = numpy.zeros((), kind)
        want = numpy.clip(numpy.rint(values / 2), low, high).astype(numpy.int8).astype(kind)
        cases.append(told(node("QuantizeLinear", [values, numpy.float32(2).reshape(()), zero]), want))
    expect(cases, tmp_path)


# ---- movement ----


def test_slices(tmp_path):
    random, cases = numpy.random.default_rng(3), []
    x = numpy.arange(5 * 7, dtype=numpy.int32).reshape(5, 7)
    for _ in range(60):
        steps = random.choice([-3, -2, -1, 1, 2, 9, -(2**63) + 1], 2)
        starts, ends = random.integers(-9, 10, 2), random.integers(-9, 10, 2)
        far = random.random(2) < 0.2
        ends = numpy.where(far, numpy.where(steps > 0, 2**63 - 1, -(2**63)), ends)
        want = x[tuple(ordinary_slice(*t) for t in zip(starts, ends, steps, x.shape))]
        lists = [numpy.array(v, numpy.int64) for v in (starts, ends, [0, 1], steps)]
        cases.append(told(node("Slice", [x, *lists], constants=(1, 2, 3, 4)), want))
    expect(cases, tmp_path)


def ordinary_slice(start, end, step, dim):
    """The text: negative ones count from the end; then clamped to 0..dim, or -1..dim-1 for a negative step."""
    start, end, step, dim = int(start), int(end), int(step), int(dim)
    start, end = [v + dim if v < 0 else v for v in (start, end)]
    if step > 0:
        return slice(min(max(start, 0), dim), min(max(end, 0), dim), step)
    start, end = min(max(start, 0), dim - 1), min(max(end, -1), dim - 1)
    return slice(start, None if end < 0 else end, step)


@pytest.mark.parametrize("kind", [numpy.float32, numpy.int8, numpy.uint64, numpy.float16])
def test_duplicate_indices(tmp_path, kind):
    ways = {"add": numpy.add, "mul": numpy.multiply, "max": numpy.maximum, "min": numpy.minimum}
    random, cases = numpy.random.default_rng(4), []
    x = random.integers(0, 3, (4, 5)).astype(kind)
    for reduction, function in ways.items():
        indices = random.integers(-4, 4, (7, 5))
        updates = random.integers(0, 3, (7, 5)).astype(kind)
        want = x.copy()
        for at in numpy.ndindex(7, 5):
            want[indices[at], at[1]] = function(want[indices[at], at[1]], updates[at])
        cases.append(told(node("ScatterElements", [x, indices, updates], {"reduction": reduction}), want))
        rows = random.integers(-4, 4, (6, 1))
        want = x.copy()
        for k in range(6):
            want[rows[k, 0]] = function(want[rows[k, 0]], updates[k])
        cases.append(told(node("ScatterND", [x, rows, updates[:6]], {"reduction": reduction}), want))
    expect(cases, tmp_path)


# ---- windows ----


def test_pools_that_end_outside(tmp_path):
    random, cases = numpy.random.default_rng(5), []
    for _ in range(40):
        length = int(random.integers(4, 12))
        kernel, stride, dilation = int(random.integers(1, 4)), int(random.integers(1, 4)), int(random.integers(1, 3))
        pads = [int(p) for p in random.integers(0, (kernel + 1) // 2 + 1, 2)]
        pads = [min(p, kernel - 1) for p in pads]
        if length + sum(pads) < dilation * (kernel - 1) + 1:
            continue
        x = random.uniform(-1, 1, (1, 2, length)).astype(numpy.float32)
        shared = {"kernel_shape": [kernel], "strides": [stride], "pads": pads, "ceil_mode": 1, "dilations": [dilation]}
        for op, more in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1})):
            case = node(op, [x], {**shared, **more}, opset=19)
            case.by_onnxruntime()
            cases.append(case)
    expect(cases, tmp_path)


MODES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
         "tf_crop_and_resize", "tf_half_pixel_for_nn"]


def resize(x, scales=None, sizes=None, roi=None, opset=19, **attributes):
    inputs = [x, roi, scales, sizes]
    while inputs[-1] is None:
        inputs.pop()
    case = node("Resize", inputs, attributes, opset=opset, constants=tuple(range(1, len(inputs))), rtol=1e-4)
    case.by_reference()
    return case


def test_resize(tmp_path):
    x = numpy.random.default_rng(6).uniform(-1, 1, (1, 1, 5, 6)).astype(numpy.float32)
    grow, shrink = numpy.float32([1, 1, 1.7, 2]), numpy.float32([1, 1, 0.6, 0.5])
    roi = numpy.float32([0, 0, 0.1, -0.2, 1, 1, 0.9, 1.2])
    cases = []
    for mode, scales in itertools.product(MODES[:6], (grow, shrink)):
        more = {"coordinate_transformation_mode": mode, "roi": roi if mode == "tf_crop_and_resize" else None,
                "extrapolation_value": 7.0}
        for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
            cases.append(resize(x, scales, mode="nearest", nearest_mode=nearest, **more))
        for kind in ("linear", "cubic"):
            for antialias, exclude in itertools.product((0, 1), (0, 1)):
                if exclude and mode == "tf_crop_and_resize":
                    continue
                cases.append(resize(x, scales, mode=kind, antialias=antialias, exclude_outside=exclude, **more))
    for policy, kind in itertools.product(("stretch", "not_larger", "not_smaller"), ("nearest", "linear", "cubic")):
        for axes, sizes in (([2, 3], [7, 4]), ([3, 2], [4, 7]), ([3], [9])):
            cases.append(resize(x, sizes=numpy.array(sizes, numpy.int64), axes=axes, keep_aspect_ratio_policy=policy,
                                mode=kind))
    cases.append(resize(x, grow, mode="cubic", cubic_coeff_a=-0.5))
    expect(cases, tmp_path)


def test_resize_of_tensorflow(tmp_path):
    x = numpy.random.default_rng(6).uniform(-1, 1, (1, 1, 5, 6)).astype(numpy.float32)
    cases = []
    for scales, nearest in itertools.product(([1, 1, 1.7, 2], [1, 1, 0.6, 0.5]), ("floor", "round_prefer_floor")):
        attributes = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": nearest}
        inputs = [x, numpy.zeros(0, numpy.float32), numpy.float32(scales)]
        case = node("Resize", inputs, attributes, 11, constants=(1, 2))
        case.by_onnxruntime()
        cases.append(case)
    expect(cases, tmp_path)


# ---- signal ----


def test_transforms_near_zero(tmp_path):
    """A pure tone has bins of exactly nothing: errors there must stay below 1e-6 at lengths of all kinds."""
    cases = []
    for length in (1, 2, 3, 5, 7, 8, 12, 16, 17, 31, 64, 97, 100, 128, 210, 256, 243, 1000):
        tone = numpy.cos(2 * numpy.pi * 3 * numpy.arange(length) / length)
        for kind, rtol in ((numpy.float32, 1e-5), (numpy.float64, 1e-9)):
            x = tone.astype(kind).reshape(1, length, 1)
            spectrum = numpy.fft.fft(x[0, :, 0].astype(numpy.float64))
            want = numpy.stack([spectrum.real, spectrum.imag], -1)[None].astype(kind)
            axis = numpy.array(1, numpy.int64)
            cases.append(told(node("DFT", [x, None, axis], opset=20, constants=(2,), rtol=rtol), want))
            half = length // 2 + 1
            onesided = node("DFT", [x, None, axis], {"onesided": 1}, 20, constants=(2,), rtol=rtol)
            cases.append(told(onesided, want[:, :half]))
            cases.append(told(node("DFT", [want, None, axis], {"inverse": 1}, 20, constants=(2,), rtol=rtol),
                              numpy.concatenate([x, numpy.zeros_like(x)], -1)))
    expect(cases, tmp_path)


# ---- recurrence ----

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def recurrent(random, op, direction, lengths, initial, activations=None, **attributes):
    steps, batch, size, hidden = 4, 3, 3, 2
    ways = 2 if direction == "bidirectional" else 1
    gates = GATES[op]
    x = random.uniform(-1, 1, (steps, batch, size))
    inputs = [x, random.uniform(-1, 1, (ways, gates * hidden, size)),
              random.uniform(-1, 1, (ways, gates * hidden, hidden)), random.uniform(-1, 1, (ways, 2 * gates * hidden))]
    inputs = [v.astype(numpy.float32) for v in inputs]
    inputs.append(numpy.array(lengths, numpy.int32) if lengths is not None else None)
    state = random.uniform(-1, 1, (ways, batch, hidden)).astype(numpy.float32)
    inputs.append(state if initial else None)
    if op == "LSTM":
        inputs.append(state[::-1].copy() if initial else None)
        inputs.append(random.uniform(-1, 1, (ways, 3 * hidden)).astype(numpy.float32) if initial else None)
    while inputs[-1] is None:
        inputs.pop()
    attributes.update(hidden_size=hidden, direction=direction)
    if activations is not None:
        attributes["activations"] = activations * ways
        attributes["activation_alpha"] = [0.3] * (len(activations) * ways)
        attributes["activation_beta"] = [0.6] * (len(activations) * ways)
    outputs = 3 if op == "LSTM" else 2
    case = node(op, inputs, attributes, opset=14, outputs=outputs, rtol=1e-4)
    case.by_onnxruntime()
    return case


def with_batch_first(case):
    """The same case with layout 1."""
    inputs = [v.swapaxes(0, 1) if v.ndim == 3 and k not in ("in1", "in2") else v for k, v in case.inputs.items()]
    names = dict(zip(case.inputs, inputs))
    other = Case(case.name + " layout 1", case.opsets, [onnx.NodeProto()], names, case.outputs, (), case.rtol)
    other.nodes[0].CopyFrom(case.nodes[0])
    other.nodes[0].attribute.append(helper.make_attribute("layout", 1))
    return told(other, *[y.transpose(2, 0, 1, 3) if y.ndim == 4 else y.swapaxes(0, 1) for y in case.answers])


def test_recurrence(tmp_path):
    random, cases = numpy.random.default_rng(8), []
    for op, direction in itertools.product(GATES, ("forward", "reverse", "bidirectional")):
        for lengths, initial in itertools.product((None, [4, 2, 1]), (False, True)):
            case = recurrent(random, op, direction, lengths, initial)
            cases += [case, with_batch_first(case)]
        cases.append(recurrent(random, op, direction, [4, 2, 1], True, clip=0.4))
        if op == "GRU":
            cases.append(recurrent(random, op, direction, None, True, linear_before_reset=1))
        if op == "LSTM":
            cases.append(recurrent(random, op, direction, None, True, input_forget=1))
        for name in ("Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Elu",
                     "Softsign", "Softplus", "ScaledTanh"):
            # ONNX Runtime's Softplus overflows where a cell state grows.
            if direction == "forward" and (op, name) != ("LSTM", "Softplus"):
                cases.append(recurrent(random, op, direction, None, True, [name] * ACTIVATIONS[op]))
    expect(cases, tmp_path)
