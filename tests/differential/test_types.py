# SPDX-License-Identifier: Apache-2.0
"""Every element type that the schemas of ai.onnx allow, in any version, compiles and gives the right answer.

For each operator a row of onnx_recipes_*.py (or of the list below) is the model, and each type variable of the schema
takes each of its types in turn, in the newest version that allows it. The answer is that of the row's oracle for the
same values; 16-bit floats are computed in float32 and rounded once.
"""

import copy

import numpy
import onnx
import pytest
from onnx import TensorProto, helper

import onnx_recipes_compute  # noqa: F401 (makes rows)
import onnx_recipes_move  # noqa: F401
from onnx_cases import check, element_of, tensor_of
from onnx_recipes_move import graph
from onnx_rows import LAST, ROWS, Row, f, f32, i64, scalar
from test_versions import ELSEWHERE, make_case, solve

NUMBERS = {name.lower(): number for name, number in TensorProto.DataType.items()}
NAMES = {number: name for name, number in NUMBERS.items()}
STRING, BOOL = TensorProto.STRING, TensorProto.BOOL
HALF = {TensorProto.FLOAT16: 2e-3, TensorProto.BFLOAT16: 1.6e-2}
COMPLEX = {TensorProto.COMPLEX64, TensorProto.COMPLEX128}
TINY = {TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2}
# Integers of the width of each type, for BitCast.
WIDTHS = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 8: TensorProto.UINT8, 16: TensorProto.UINT16,
          32: TensorProto.UINT32, 64: TensorProto.UINT64, 128: TensorProto.COMPLEX128}

# (op, variable, type): why it is not there.
REASONS = {
    ("Col2Im", "T", STRING): "strings have no sum",
}


def plain(op, inputs, **attributes):
    outputs = attributes.pop("outputs", 1)
    first, last = attributes.pop("first", 1), attributes.pop("last", LAST)
    return Row(op, first, last, inputs, outputs, "", attributes.pop("answer", None), attributes.pop("constants", ()),
               attributes.pop("after", None), attributes)


def stepped(inputs, nodes):
    """A body whose nodes hand values on, of whatever type they are."""
    body = graph([helper.make_node("Identity", [a], [b]) for a, b in nodes], inputs, [(b, 0, None) for _, b in nodes])
    for info in [*body.input, *body.output]:
        if info.type.tensor_type.elem_type == 0:
            info.ClearField("type")
    return body


TURN = stepped([("i", TensorProto.INT64, []), ("go", BOOL, []), ("state", 0, None)],
               [("go", "on"), ("state", "next"), ("state", "seen")])
TURN.output[0].type.CopyFrom(helper.make_tensor_type_proto(BOOL, []))
STEP = stepped([("state", 0, None), ("item", 0, None)], [("state", "next"), ("item", "seen")])


def mapped(number):
    """A body that hands an element and a value from outside on."""
    return graph([helper.make_node("Identity", ["a"], ["y"]), helper.make_node("Identity", ["b"], ["z"])],
                 [("a", number, None), ("b", number, None)], [("y", number, None), ("z", number, None)])


def dequantize(first, last, **attributes):
    return plain("DequantizeLinear", [numpy.array([1, 2, 3], numpy.int8), scalar(0.5)], first=first, last=last,
                 **attributes, answer=lambda x, s, **_: x.astype(numpy.float32) * s.astype(numpy.float32))


WHOLE = f32(0, 1, 2, 1)
INSTEAD = {
    "Cast": [plain("Cast", [WHOLE], to=TensorProto.FLOAT)],
    "CastLike": [plain("CastLike", [WHOLE, f(1)])],
    "BitCast": [plain("BitCast", [f(4)], to=0)],
    "DequantizeLinear": [dequantize(10, 22), dequantize(23, LAST, output_dtype=TensorProto.FLOAT)],
    "QuantizeLinear": [plain("QuantizeLinear", [f(2, 3), scalar(1.0), scalar(0, numpy.uint8)])],
    "Loop": [plain("Loop", [scalar(3, numpy.int64), scalar(True, bool), f(2, 2)], outputs=2, body=TURN,
                   answer=lambda m, c, x, **_: (x, numpy.stack([x, x, x])))],
    "If": [plain("If", [scalar(True, bool)], then_branch=None, else_branch=None, answer=lambda c, then_branch, **_:
                 onnx.numpy_helper.to_array(then_branch.node[0].attribute[0].t))],
    "Scan": [row for row in ROWS if row.op == "Scan" and row.last == 8] + [plain(
        "Scan", [f(2), f(3, 2)], first=9, outputs=2, num_scan_inputs=1, body=STEP, answer=lambda s, x, **_: (s, x))],
    "SequenceMap": [plain("SequenceMap", [[f(2), f(3)], f(2)], outputs=2, body=None,
                          answer=lambda s, x, **_: (list(s), [x, x]))],
    "Erf": [plain("Erf", [f32(-7, -1, 0, 1, 6, 2)])],
    "Constant": [plain("Constant", [], value=None, answer=lambda value: onnx.numpy_helper.to_array(value))],
}


def element(text):
    """tensor(float) and seq(tensor(float)) -> 1; None for what is neither."""
    text = text[4:-1] if text.startswith("seq(") else text
    return NUMBERS[text[7:-1]] if text.startswith("tensor(") else None


def as_type(value, number):
    """Values of the type that resemble the array's."""
    if isinstance(value, list):
        return [as_type(item, number) for item in value]
    return numpy.asarray(array_as(numpy.asarray(value), number))


def array_as(value, number):
    kind = helper.tensor_dtype_to_np_dtype(number)
    if number == STRING:
        return value.astype(str).astype(object)
    if value.dtype == object:
        value = numpy.arange(value.size).reshape(value.shape)
    if number == BOOL:
        return value > 0
    if number in COMPLEX:
        return (value + 0.5j * value).astype(kind)
    if number == TensorProto.FLOAT8E8M0:
        return (2.0 ** numpy.rint(numpy.abs(value))).astype(kind)
    if kind.kind in "iu" or number in TINY:
        signed = NAMES[number].startswith("int")
        whole = numpy.rint(value).astype(numpy.int64)
        return (whole if signed else numpy.abs(whole)).astype(kind)
    return value.astype(kind)


def bindings():
    """[(op, variable, type, newest version that allows it)]."""
    found = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and not schema.deprecated and ("", schema.name) not in ELSEWHERE:
            for constraint in schema.type_constraints:
                for number in filter(None, map(element, constraint.allowed_type_strs)):
                    key = (schema.name, constraint.type_param_str, number)
                    found[key] = max(found.get(key, 0), schema.since_version)
    return [(*key, version) for key, version in found.items()]


def is_certain(op, variable, version):
    """A type of outputs only, and the only one: any case of the op shows it."""
    schema = onnx.defs.get_schema(op, version, "")
    only = [c for c in schema.type_constraints if c.type_param_str == variable and len(c.allowed_type_strs) == 1]
    return bool(only) and all(variable != formal.type_str for formal in schema.inputs)


def fits(row, number, version):
    """Does the row's form go with the type? The others fail with an error of inference."""
    is_float = NAMES[number] in ("float", "double", "float16", "bfloat16")
    if row.op == "Mod" and bool(row.attributes.get("fmod")) != is_float:
        return False
    mode = row.attributes.get("mode", "linear" if row.op == "GridSample" else "nearest")
    if number == STRING and (mode in ("linear", "bilinear", "cubic") or "reduction" in row.attributes):
        return False
    if number in COMPLEX and row.attributes.get("reduction") in ("max", "min"):
        return False
    return row.first <= version <= row.last


def attributes_for(op, number):
    """The attributes that give the op's output the type; None: the type of the output is not free."""
    if op in ("Cast", "BitCast"):
        return {"to": number}
    if op in ("EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
              "Multinomial", "SequenceEmpty"):
        return {"dtype": number}
    if op in ("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"):
        return {"output_datatype": number}
    if op in ("QuantizeLinear", "DequantizeLinear"):
        return {"output_dtype": number}
    if op == "LayerNormalization":
        return {"stash_type": number}
    if op in ("ConstantOfShape", "Constant"):
        return {"value": tensor_of(as_type(f32(1), number), "value")}
    if op == "If":
        text = tensor_of(as_type(f32(1, 2), number), "t")
        body = graph([helper.make_node("Constant", [], ["y"], value=text)], [], [("y", number, [2])])
        return {"then_branch": body, "else_branch": body}
    return None


def bind(row, version, variable, number):
    """The row with the types, or None when the variable is of none of its inputs or outputs."""
    schema = onnx.defs.get_schema(row.op, version, "")
    made = copy.copy(row)
    made.inputs, made.attributes = list(row.inputs), dict(row.attributes)
    together = {variable} | ({"T", "S", "V"} if "Sequence" in row.op and variable in ("T", "S", "V") else set())
    hit = False
    if row.op == "If":
        made.attributes.update(attributes_for("If", number))
    for k, value in enumerate(row.inputs):
        if value is not None and schema.inputs[min(k, len(schema.inputs) - 1)].type_str in together:
            made.inputs[k] = as_type(value, number)
            hit = True
    if row.op == "BitCast":
        bits = next(b for b, types in WIDE_TYPES.items() if number in types)
        made.inputs[0] = as_type(row.inputs[0], number if variable == "T1" else WIDTHS[bits])
        made.attributes["to"] = WIDTHS[bits] if variable == "T1" else number
        return made
    if row.op == "SequenceMap":
        made.attributes["body"] = mapped(number)
    if row.op == "TfIdfVectorizer" and number == STRING:
        made.attributes["pool_strings"] = [str(n) for n in made.attributes.pop("pool_int64s")]
    if hit:
        return made
    change = attributes_for(row.op, number)
    if change is None:
        return None
    made.attributes.update(change)
    return made


WIDE_TYPES = {}
for number_ in NUMBERS.values():
    if number_ not in (TensorProto.UNDEFINED, STRING):
        size = {TensorProto.FLOAT4E2M1: 4, TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.INT2: 2,
                TensorProto.UINT2: 2}.get(number_, helper.tensor_dtype_to_np_dtype(number_).itemsize * 8)
        WIDE_TYPES.setdefault(size, set()).add(number_)


def widened(value, also=()):
    if isinstance(value, list):
        return [widened(item, also) for item in value]
    if value is not None and helper.np_dtype_to_tensor_dtype(value.dtype) in {*HALF, *also}:
        return value.astype(numpy.float32)
    return value


def with_data(row, data):
    """The row with another first input."""
    other = copy.copy(row)
    other.inputs = [data, *row.inputs[1:]]
    return other


def oracle(row, version):
    case = make_case(row, version)
    solve(row, case, version)
    return case.answers


def moved(row, version):
    """What moves elements moves their numbers."""
    x = row.inputs[0]
    numbers = numpy.arange(1, x.size + 1, dtype=numpy.float32).reshape(x.shape)
    elements = numpy.concatenate([numpy.zeros(1, x.dtype) if x.dtype != object else [""], x.reshape(-1)])
    return [elements[y.astype(numpy.int64)] for y in oracle(with_data(row, numbers), version)]


def in_parts(row, version):
    """What is linear works on real and imaginary parts."""
    real, imaginary = [oracle(with_data(row, part.astype(numpy.float32)), version)[0]
                       for part in (row.inputs[0].real, row.inputs[0].imag)]
    return [(real + 1j * imaginary).astype(row.inputs[0].dtype)]


def output_types(row, version):
    """The element type of each output, by the schema; None: as the oracle has it."""
    schema = onnx.defs.get_schema(row.op, version, "")
    known = {}
    for k, value in enumerate(row.inputs):
        value = value[0] if isinstance(value, list) else value
        if value is not None:
            known[schema.inputs[min(k, len(schema.inputs) - 1)].type_str] = element_of(value)
    for name in ("to", "dtype", "output_dtype", "output_datatype", "stash_type"):
        for constraint in schema.type_constraints if name in row.attributes else []:
            known.setdefault(constraint.type_param_str, row.attributes[name])
    for constraint in schema.type_constraints:
        if len(constraint.allowed_type_strs) == 1:
            known.setdefault(constraint.type_param_str, element(constraint.allowed_type_strs[0]))
    for one, other in (("S", "T"), ("T", "S"), ("T1", "T2")) if "Sequence" in row.op or row.op == "Bernoulli" else ():
        if one in known:
            known.setdefault(other, known[one])
    count = len(row.outputs) if isinstance(row.outputs, list) else row.outputs
    formal = [schema.outputs[min(k, len(schema.outputs) - 1)].type_str for k in range(count)]
    types = [known.get(text, element(text)) for text in formal]
    return [t for t, wanted in zip(types, row.outputs) if wanted] if isinstance(row.outputs, list) else types


def answer(row, case, version):
    """Sets the case's answers: of the oracle, in the types that the schema says."""
    first = row.inputs[0] if row.inputs else None
    spatial = row.op in ("Resize", "GridSample")
    if (spatial or row.op in ("Col2Im", "Upsample")) and first.dtype.kind == "c":
        case.answers = in_parts(row, version)
    elif (spatial and first.dtype == object) or fills_with_zero(row):
        case.answers = moved(row, version)
    else:
        wide = copy.copy(row)
        wide.attributes = {k: TensorProto.FLOAT if k in ("output_datatype", "stash_type") else v
                           for k, v in row.attributes.items()}
        also = {TensorProto.DOUBLE} if row.answer in ("ort", "layout", "later") else ()
        also = set(NUMBERS.values()) - {STRING} if row.op == "GridSample" else {BOOL} if row.op == "Resize" else also
        if row.op not in ("Cast", "CastLike", "BitCast"):
            wide.inputs = [widened(value, also) for value in row.inputs]
        case.answers = oracle(wide, version)
        if row.op in ("GridSample", "Resize", "Upsample") and first.dtype.kind in "iu":
            case.answers = [numpy.rint(y) for y in case.answers]
    if row.after is None:
        case.answers = [in_type(v, number) for v, number in zip(case.answers, output_types(row, version))]


def fills_with_zero(row):
    """The zero that Pad fills with is a code, which in powers of two is no number 0."""
    return row.op == "Pad" and len(row.inputs) == 2 and element_of(row.inputs[0]) == TensorProto.FLOAT8E8M0


def in_type(value, number):
    if isinstance(value, list):
        return [in_type(item, number) for item in value]
    if not number:
        return value
    if number == STRING:
        return numpy.vectorize(lambda t: t if isinstance(t, str) else "", otypes=[object])(value)
    kind = helper.tensor_dtype_to_np_dtype(number)
    return numpy.asarray(value).astype(kind)


def make_cases():
    rows = {}
    for row in ROWS:
        if row.domain == "":
            rows.setdefault(row.op, []).append(row)
    rows.update(INSTEAD)
    cases, left = [], []
    for op, variable, number, version in bindings():
        name = f"{op}-{version} {variable}={NAMES[number]}"
        if (op, variable, number) in REASONS:
            continue
        if is_certain(op, variable, version):
            continue
        choice = [row for row in rows[op] if fits(row, number, version)]
        made = [m for m in (bind(row, version, variable, number) for row in choice) if m is not None]
        if not made:
            left.append((op, variable, number, version))
            continue
        for row in made:
            case = make_case(row, version)
            case.name, case.rtol = name, HALF.get(number, 1e-3)
            try:
                answer(row, case, version)
            except Exception as error:  # the engines have many kinds of them
                left.append((op, variable, number, version, str(error)[:100]))
                continue
            cases.append(case)
    return cases, left


def test_all_types(tmp_path):
    cases, left = make_cases()
    assert not left, left
    failed = check(cases, str(tmp_path))
    assert not failed, "\n".join(f"{case.name}: {detail}" for case, detail in failed)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
