# SPDX-License-Identifier: Apache-2.0
"""Every element type that the schemas of ai.onnx allow, in any version: it compiles and gives the right answer.

For each operator one row of onnx_recipes_*.py is the model, and each type variable of the schema takes each of its types
in turn, in the newest version that allows it. The answer is that of the row for the same values in a type in which
the row's answer is known: floats are computed in float32, what only moves moves.
"""

import numpy
import onnx
import pytest
from onnx import TensorProto, helper

import onnx_recipes_compute  # noqa: F401 (makes rows)
import onnx_recipes_move  # noqa: F401
from onnx_cases import Case, check
from onnx_rows import ROWS
from test_versions import ELSEWHERE, make_case, solve

NUMBERS = {str(name).lower(): number for name, number in TensorProto.DataType.items()}
WIDE = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def element(text):
    """tensor(float) -> 1; None for what is not a tensor."""
    return NUMBERS[text[7:-1]] if text.startswith("tensor(") else None


def newest_rows():
    """(domain, op) -> rows of the newest form."""
    found = {}
    for row in ROWS:
        if row.domain == "":
            found.setdefault(row.op, []).append(row)
    return found


def as_type(array, number):
    """Values of the type that resemble the array's."""
    if number == TensorProto.STRING:
        return array.astype(str).astype(object)
    kind = helper.tensor_dtype_to_np_dtype(number)
    if array.dtype == object:
        return array
    if number == TensorProto.BOOL:
        return array > 0
    if number in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return (array + 0.5j * array).astype(kind)
    if number == TensorProto.FLOAT8E8M0:
        return (2.0 ** numpy.rint(numpy.abs(array))).astype(kind)
    if kind.kind in "iu" or number in (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2):
        whole = numpy.rint(array) if array.dtype.kind == "f" else array
        signed = number in (TensorProto.INT2, TensorProto.INT4) or kind.kind == "i"
        return (whole if signed else numpy.abs(whole.astype(numpy.int64))).astype(numpy.int64).astype(kind)
    return array.astype(kind)


def bindings(schema):
    """{type variable: its tensor types}."""
    return {c.type_param_str: [element(t) for t in c.allowed_type_strs if element(t)] for c in schema.type_constraints}


def all_bindings(op):
    """[(variable, type, newest version that allows it)]."""
    found = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.name == op and not schema.deprecated:
            for variable, types in bindings(schema).items():
                for number in types:
                    key = (variable, number)
                    found[key] = max(found.get(key, 0), schema.since_version)
    return [(variable, number, version) for (variable, number), version in sorted(found.items())]
