# SPDX-License-Identifier: Apache-2.0
"""Every version of every operator of ai.onnx and ai.onnx.ml, with the answer of that version's text.

onnx_recipes_*.py have the models: a row for each form of an operator, which runs once for every version of the schema
that it covers. Nothing may be left out: a version without a row needs its reason below.
"""

import functools

import onnx
import pytest
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented

from onnx_cases import Case, check
import onnx_recipes_compute  # noqa: F401 (makes rows)
import onnx_recipes_move  # noqa: F401
from onnx_rows import ROWS

# (domain, op): where it is tested instead.
ELSEWHERE = {
    ("", "DeformConv"): "tests/conformance",
    ("", "ImageDecoder"): "tests/conformance",
    ("", "Optional"): "tests/conformance",
    ("", "OptionalGetElement"): "tests/conformance",
    ("", "OptionalHasElement"): "tests/conformance",
    ("", "RegexFullMatch"): "tests/conformance",
    ("", "StringConcat"): "tests/conformance",
    ("", "StringNormalizer"): "tests/conformance",
    ("", "StringSplit"): "tests/conformance",
    ("ai.onnx.ml", "CategoryMapper"): "tests/unit/ops",
    ("ai.onnx.ml", "CastMap"): "maps have tests of their own",
    ("ai.onnx.ml", "DictVectorizer"): "maps have tests of their own",
    ("ai.onnx.ml", "ZipMap"): "maps have tests of their own",
}


@functools.cache
def schemas():
    """(domain, op) -> versions."""
    found = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain in ("", "ai.onnx.ml"):
            found.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    return found


def make_node(row):
    """The nodes of a row (one, or two with `after`), its inputs and the names of its outputs."""
    names = [f"in{k}" if value is not None else "" for k, value in enumerate(row.inputs)]
    wanted = row.outputs if isinstance(row.outputs, list) else [True] * row.outputs
    outputs = [f"out{k}" if want else "" for k, want in enumerate(wanted)]
    nodes = [helper.make_node(row.op, names, outputs, domain=row.domain, **row.attributes)]
    if row.after:
        nodes.append(helper.make_node(row.after, ["out0"], ["after"]))
        outputs = ["after"]
    inputs = {f"in{k}": value for k, value in enumerate(row.inputs) if value is not None}
    return nodes, inputs, [name for name in outputs if name]


def opsets_of(row, version):
    return {"": version} if row.domain == "" else {"": 18, row.domain: version}


def make_case(row, version):
    nodes, inputs, outputs = make_node(row)
    constants = {f"in{k}" for k in row.constants}
    return Case(f"{row.op}-{version}", opsets_of(row, version), nodes, inputs, outputs, constants)


def solve_recurrent(row, case):
    """ONNX Runtime has these from opset 7 on and with layout 0: output_sequence says what is listed anyway, and the
    other layout has the batch in front."""
    later = make_case(row, max(7, row.first if row.last > 6 else 7))
    for attribute in [a for a in later.nodes[0].attribute if a.name in ("output_sequence", "layout")]:
        later.nodes[0].attribute.remove(attribute)
    if row.answer == "layout":
        later.inputs["in0"] = row.inputs[0].swapaxes(0, 1)
    later.by_onnxruntime()
    case.answers = later.answers
    if row.answer == "layout":
        case.answers = [y.transpose(2, 0, 1, 3) if y.ndim == 4 else y.swapaxes(0, 1) for y in later.answers]


def solve_by_onnxruntime(row, case, version):
    """By the version itself, or by the newest one below it that ONNX Runtime has and the row covers."""
    for older in sorted((v for v in schemas()[(row.domain, row.op)] if row.first <= v <= version), reverse=True):
        try:
            other = make_case(row, older)
            other.by_onnxruntime()
        except NotImplemented as error:
            missing = error
            continue
        case.answers = other.answers
        return
    raise missing


def solve(row, case, version):
    if callable(row.answer):
        made = row.answer(*row.inputs, **row.attributes)
        case.answers = list(made) if isinstance(made, (tuple, list)) else [made]
    elif row.answer in ("later", "layout"):
        solve_recurrent(row, case)
    elif row.answer == "ort":
        solve_by_onnxruntime(row, case, version)
    else:
        case.by_reference()


def make_cases():
    versions = schemas()
    cases, unsolved = [], []
    for row in ROWS:
        for version in sorted(versions[(row.domain, row.op)]):
            if not row.first <= version <= row.last:
                continue
            case = make_case(row, version)
            try:
                solve(row, case, version)
            except Exception as error:  # the engines have many kinds of them
                unsolved.append((case, str(error)))
                continue
            cases.append(case)
    return cases, unsolved


def test_all_versions_have_a_row():
    left = []
    for (domain, op), versions in schemas().items():
        for version in versions:
            rows = [row for row in ROWS if (row.domain, row.op) == (domain, op) and row.first <= version <= row.last]
            if not rows and (domain, op) not in ELSEWHERE:
                left.append(f"{domain or 'ai.onnx'} {op} {version}")
    assert not left, left


def test_answers(tmp_path):
    cases, unsolved = make_cases()
    assert not unsolved, [f"{case.name}: {error}" for case, error in unsolved]
    failed = check(cases, str(tmp_path))
    assert not failed, "\n".join(f"{case.name}: {detail}" for case, detail in failed)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__]))
