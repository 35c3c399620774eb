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
from onnx_cases import check, element_types, tensor_of
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
    return Row(op, 1, LAST, inputs, outputs, "", attributes.pop("answer", None), attributes.pop("constants", ()),
               attributes.pop("after", None), attributes)


def stepped(op):
    """A body that hands its state on."""
    inputs = [("i", TensorProto.INT64, []), ("go", BOOL, []), ("state", 0, None)]
    nodes = [("go", "on"), ("state", "next"), ("state", "seen")]
    if op == "Scan":
        inputs, nodes = [("state", 0, None), ("item", 0, None)], [("state", "next"), ("item", "seen")]
    body = graph([helper.make_node("Identity", [a], [b]) for a, b in nodes], inputs, [(b, 0, None) for _, b in nodes])
    for info in [*body.input, *body.output]:
        if info.type.tensor_type.elem_type == 0:
            info.ClearField("type")
    if op == "Loop":
        body.output[0].type.CopyFrom(helper.make_tensor_type_proto(BOOL, []))
    return body


WHOLE = f32(0, 1, 2, 1)
INSTEAD = {
    "Cast": [plain("Cast", [WHOLE], to=TensorProto.FLOAT)],
    "CastLike": [plain("CastLike", [WHOLE, f(1)])],
    "BitCast": [plain("BitCast", [f(4)], to=0)],
    "DequantizeLinear": [plain("DequantizeLinear", [numpy.array([1, 2, 3], numpy.int8), scalar(0.5)],
                               output_dtype=TensorProto.FLOAT)],
    "Loop": [plain("Loop", [scalar(3, numpy.int64), scalar(True, bool), f(2, 2)], outputs=2, body=stepped("Loop"),
                   answer=lambda m, c, x, **_: (x, numpy.stack([x, x, x])))],
    "Scan": [plain("Scan", [f(2), f(3, 2)], outputs=2, num_scan_inputs=1, body=stepped("Scan"),
                   answer=lambda s, x, **_: (s, x))],
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


def fits(row, number, version):
    if row.op == "Mod" and not row.attributes.get("fmod") and NAMES[number] in ("float", "double", "float16", "bfloat16"):
        return False
    if number == STRING and row.attributes.get("mode", "nearest") in ("linear", "bilinear", "cubic"):
        return False
    return row.first <= version <= row.last and (number != STRING or "reduction" not in row.attributes)


def attributes_for(op, number):
    """The attributes that give the op's output the type; None: the type of the output is not free."""
    kind = helper.tensor_dtype_to_np_dtype(number)
    if op in ("Cast", "BitCast"):
        return {"to": number}
    if op in ("EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
              "Multinomial"):
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
    del kind
    return None


def bind(row, version, variable, number):
    """The row with the types, or None when the variable is of none of its inputs or outputs."""
    schema = onnx.defs.get_schema(row.op, version, "")
    made = copy.copy(row)
    made.inputs, made.attributes, made.first, made.last = list(row.inputs), dict(row.attributes), version, version
    together = {variable} | ({"T", "S"} if "Sequence" in row.op and variable in ("T", "S") else set())
    hit = False
    for k, value in enumerate(row.inputs):
        if value is not None and schema.inputs[min(k, len(schema.inputs) - 1)].type_str in together:
            made.inputs[k] = as_type(value, number)
            hit = True
    if row.op == "BitCast":
        bits = next(b for b, types in WIDE_TYPES.items() if number in types)
        made.inputs[0] = as_type(row.inputs[0], number if variable == "T1" else WIDTHS[bits])
        made.attributes["to"] = WIDTHS[bits] if variable == "T1" else number
        return made
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


def widened(value):
    if isinstance(value, list):
        return [widened(item) for item in value]
    if value is not None and helper.np_dtype_to_tensor_dtype(value.dtype) in HALF:
        return value.astype(numpy.float32)
    return value


def answer(row, case, version):
    """Sets the case's answers: of the oracle, in the types that the schema says."""
    if any(isinstance(v, list) or v is None for v in row.inputs) or row.op in ("Cast", "CastLike", "BitCast"):
        solve(row, case, version)
        return
    wide = copy.copy(row)
    wide.inputs = [widened(value) for value in row.inputs]
    other = make_case(wide, version)
    types = element_types(case.model())
    solve(wide, other, version)
    declared = [types.get(f"c0_{name}", 0) for name in case.outputs]
    case.answers = [v if isinstance(v, list) or not number else numpy.asarray(v).astype(
        helper.tensor_dtype_to_np_dtype(number)) for v, number in zip(other.answers, declared)]


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
        choice = [row for row in rows[op] if fits(row, number, version)]
        made = [m for m in (bind(row, version, variable, number) for row in choice) if m is not None]
        if not made:
            left.append((op, variable, number, version))
            continue
        case = make_case(made[0], version)
        case.name, case.rtol = name, HALF.get(number, 1e-3)
        try:
            answer(made[0], case, version)
        except Exception as error:  # the engines have many kinds of them
            left.append((op, variable, number, version, str(error)[:100]))
            continue
        cases.append(case)
    return cases, left


def test_all_types(tmp_path):
    cases, left = make_cases()
    single = {}
    for op, variable, _, _ in bindings():
        single[op, variable] = single.get((op, variable), 0) + 1
    left = [entry for entry in left if len(entry) > 4 or single[entry[:2]] > 1]
    assert not left, left
    failed = check(cases, str(tmp_path))
    assert not failed, "\n".join(f"{case.name}: {detail}" for case, detail in failed)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
