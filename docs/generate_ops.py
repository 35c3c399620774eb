# SPDX-License-Identifier: Apache-2.0
"""Writes docs/ops.md: what tamis makes of each operator.

    python docs/generate_ops.py --build build --reports build/conformance     the page, with the last run's figures
    python docs/generate_ops.py --build build                                 keeps the figures that the page has
    python docs/generate_ops.py --build build --check                         exit status 1 when the page is out of date

There is no list of operators here. Versions and types of a schema come from onnx.defs; the forms that are read, from
ir/rows/*.def and frontend/opset/table.def; the types with a kernel, from the table of kernels in the build; the ops of
generated loops, from the code that forms regions; figures, from the reports of run_onnx_suite.py (--report), named
given.json, symbolic.json and folded.json.
"""

import argparse
import collections
import glob
import json
import os
import re
import sys

import onnx
import onnx.defs

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(SOURCE, "docs", "ops.md")
MODES = ("given", "symbolic", "folded")
DOMAINS = {"ONNX": "", "ML": "ai.onnx.ml", "MS": "com.microsoft"}
PREFIXES = {"ONNX": "", "ML": "ml_", "MS": "ms_"}
# ONNX's names of types, as in "tensor(float)", and those of kernel symbols.
TYPES = {"float16": "f16", "bfloat16": "bf16", "float": "f32", "double": "f64", "int2": "i2", "uint2": "u2", "int4": "i4",
         "uint4": "u4", "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16", "int32": "i32", "uint32": "u32",
         "int64": "i64", "uint64": "u64", "bool": "bool", "string": "str", "complex64": "c64", "complex128": "c128",
         "float8e4m3fn": "f8e4m3fn", "float8e4m3fnuz": "f8e4m3fnuz", "float8e5m2": "f8e5m2",
         "float8e5m2fnuz": "f8e5m2fnuz", "float8e8m0": "f8e8m0", "float4e2m1": "f4e2m1"}
WIDTHS = {"i2": "b2", "u2": "b2", "i4": "b4", "u4": "b4", "f4e2m1": "b4", "bf16": "w2", "bool": "w1", "str": "w16",
          "c64": "w8", "c128": "w16"}
REGIONS = {"map": "codegen/llvm/region_value.c", "row": "passes/form_row_regions.c",
           "contract": "passes/form_contract_regions.c", "attention": "passes/form_attention_regions.c",
           "scan": "passes/form_scan_regions.c"}

Row = collections.namedtuple("Row", "name domain since key traits")


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)


def read_rows():
    """{(domain, name): Row} of the op table."""
    pattern = re.compile(r'TM_OP\(\s*(\w+),\s*(\w+),\s*(\d+),(?:[^,"]*,){4}\s*"(\w*)",\s*([\w\s|]+),')
    rows = {}
    for path in sorted(glob.glob(os.path.join(SOURCE, "ir/rows/*.def"))):
        text = read(os.path.relpath(path, SOURCE))
        found = pattern.findall(text)
        assert len(found) == len(re.findall(r"^TM_OP\(", text, re.MULTILINE)), path
        for name, domain, since, key, traits in found:
            if domain in DOMAINS:
                rows[DOMAINS[domain], name] = Row(name, domain, int(since), key, traits)
    return rows


def read_forms():
    """{(domain, name): [(first, last version, function)]} of the forms that the importer rewrites."""
    forms = collections.defaultdict(list)
    for domain, name, first, last, function in re.findall(r'TM_OPSET\("([\w.]*)", (\w+), (\d+), (\d+), (\w+)\)',
                                                          read("frontend/opset/table.def")):
        forms[domain, name].append((int(first), int(last), function))
    for name in re.findall(r'strcmp\(draft->op, "(\w+)"\) == 0', read("frontend/node.c")):
        forms["", name].append((1, 0, "import_draft"))  # Constant: no node remains of it
    return forms


def read_kernels(build):
    path = os.path.join(build, "generated", "kernel_table.c")
    with open(path, encoding="utf-8") as file:
        return set(re.findall(r'{"tm_k_(\w+)",', file.read()))


def read_regions():
    """{name: kinds of regions}"""
    kinds = collections.defaultdict(list)
    for kind, path in REGIONS.items():
        for name in set(re.findall(r"TM_OP_([A-Z]\w*)", read(path))) - {"COUNT", "Region", "INVALID"}:
            kinds[name].append(kind)
    return kinds


def read_schemas():
    """{(domain, name): [schemas, oldest first]}"""
    schemas = collections.defaultdict(list)
    for schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda schema: schema.since_version):
        schemas[schema.domain, schema.name].append(schema)
    return schemas


def width(type_):
    return WIDTHS.get(type_) or "w" + str(max(int(re.sub(r"^f8.*", "f8", type_)[1:]) // 8, 1))


def kernel_types(row, schema, kernels):
    """What the types of the first input are, and which have a kernel; None where the kernel looks at types itself."""
    symbol = PREFIXES[row.domain] + row.name
    if not row.key or schema is None or not schema.inputs:
        return None
    types = [TYPES[name] for name in sorted(re.sub(r"^tensor\((.*)\)$", r"\1", t) for t in schema.inputs[0].types)
             if name in TYPES]
    first = row.key[:2]
    if first not in ("T0", "W0"):
        return None
    have = [t for t in types
            if any(kernel == f"{symbol}_{t if first == 'T0' else width(t)}" or
                   kernel.startswith(f"{symbol}_{t if first == 'T0' else width(t)}_") for kernel in kernels)]
    return [t for t in TYPES.values() if t in types], have


def types_text(row, schema, kernels):
    if row is None:
        return "those of the ops that it becomes"
    if "TM_CONTROL" in row.traits or "TM_VIEW" in row.traits:
        return "all"
    found = kernel_types(row, schema, kernels)
    if found is None:
        symbol = PREFIXES[row.domain] + row.name
        return "as the kernel checks" if any(k == symbol or k.startswith(symbol + "_") for k in kernels) else "none"
    types, have = found
    if len(types) == len(have):
        return f"all {len(types)}" if len(types) > 6 else " ".join(types)
    missing = [t for t in types if t not in have]
    return f"{len(have)} of {len(types)}; not {' '.join(missing)}"


def compiled_text(row, regions, forms):
    if row is None:
        return "written out by the importer"
    ways = [f"{kind} region" for kind in regions.get(row.name, [])] if row.domain == "ONNX" else []
    ways.append("control flow" if "TM_CONTROL" in row.traits else "view" if "TM_VIEW" in row.traits else "kernel")
    return ", ".join(ways)


def folded_text(row):
    if row is None:
        return "as its parts"
    return "no" if re.search(r"TM_RANDOM|TM_CONTROL|TM_HANDLE", row.traits) else "yes"


def covers(forms, version):
    return any(first <= version and (version <= last or last == 0) for first, last, _ in forms)


def versions_text(key, row, forms, schemas):
    """Versions of the schema, the ones that are rewritten in parentheses."""
    versions = [schema.since_version for schema in schemas.get(key, [])]
    if not versions:
        return str(row.since if row else min(first for first, _, _ in forms))
    return " ".join(f"({v})" if covers(forms, v) else str(v) if row else f"~~{v}~~" for v in versions)


# ---- figures ----

def ops_of_cases():
    """{case name: set of (domain, op)} of the suite of the installed package."""
    sys.path.insert(0, os.path.join(SOURCE, "tests", "conformance"))
    import cases

    def visit(nodes, out):
        for node in nodes:
            out.add(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
            for attribute in node.attribute:
                for graph in [attribute.g, *attribute.graphs]:
                    visit(graph.node, out)

    used = {}
    for kind, name, _, path in cases.list_cases(cases.package_data())[0]:
        model = onnx.load(path, load_external_data=False)
        found = set()
        visit(model.graph.node, found)
        for function in model.functions:
            visit(function.node, found)
        used[kind, name] = found
    return used


def figures(reports):
    """{(domain, op): "passed/all in each mode"} from the reports of a run."""
    used = ops_of_cases()
    counts = collections.defaultdict(lambda: collections.defaultdict(lambda: [0, 0]))
    for mode in MODES:
        with open(os.path.join(reports, f"{mode}.json"), encoding="utf-8") as file:
            for case in json.load(file):
                for op in used.get((case["kind"], case["name"]), ()):
                    counts[op][mode][0] += case["status"] == "pass"
                    counts[op][mode][1] += 1
    return {op: " ".join("{}/{}".format(*by_mode[mode]) for mode in MODES) for op, by_mode in counts.items()}


def figures_of_page():
    """Those that the page has."""
    found, domain = {}, ""
    if not os.path.exists(PAGE):
        return found
    with open(PAGE, encoding="utf-8") as file:
        for line in file:
            if line.startswith("## "):
                domain = line[3:].strip().removeprefix("ai.onnx ").strip()
                domain = "" if domain == "ai.onnx" else domain
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) == 8 and "/" in cells[6]:
                found[domain, cells[1]] = cells[6]
    return found


HEAD = """\
# Operators

Made by `docs/generate_ops.py` from the op table, the table of kernels and the last run of the official suite; do not edit.

| column | says |
| --- | --- |
| versions | of the operator's schema; those in parentheses are brought into a newer form, or into other operators, when the model is read; those struck through are not supported |
| types | of the first input, how many of the schema's have a kernel; where one kernel looks at types itself, it refuses what it does not take |
| compiled | which generated loops (regions) may hold it, else the C kernel; a view costs nothing; control flow becomes branches |
| folded | computed when the model is compiled, if its inputs are constants |
| cases | of the official suite (onnx {version}) with this operator, passed/all: as given, with every dim symbolic, with every input a constant |
"""


def page(build, numbers):
    rows, forms, schemas = read_rows(), read_forms(), read_schemas()
    kernels, regions = read_kernels(build), read_regions()
    keys = sorted(set(rows) | set(forms) | set(schemas))
    lines, domain = [HEAD.format(version=onnx.__version__)], None
    for key in keys:
        row, written = rows.get(key), forms.get(key, [])
        schema = schemas[key][-1] if key in schemas else None
        if key[0] != domain:
            domain = key[0]
            lines.append(f"\n## {domain or 'ai.onnx'}\n\n| operator | versions | types | compiled | folded | cases |\n"
                         "| --- | --- | --- | --- | --- | --- |\n")
        newest = schema.since_version if schema else written[0][0] if written else row.since
        types = types_text(row, schema, kernels)
        if types == "none" or (row is None and not covers(written, newest)):
            texts = [" ".join(f"~~{s.since_version}~~" for s in schemas.get(key, [])), "none", "not supported", "no"]
        else:
            texts = [versions_text(key, row, written, schemas), types,
                     compiled_text(row, regions, written), folded_text(row)]
        lines.append(f"| {key[1]} | " + " | ".join(texts) + f" | {numbers.get(key, '')} |\n")
    return "".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.environ.get("TAMIS_BUILD", os.path.join(SOURCE, "build")))
    parser.add_argument("--reports", help="a folder with given.json, symbolic.json and folded.json")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = page(options.build, figures(options.reports) if options.reports else figures_of_page())
    if options.check:
        with open(PAGE, encoding="utf-8") as file:
            if file.read() == text:
                return 0
        print("docs/ops.md is out of date: run docs/generate_ops.py")
        return 1
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
