# SPDX-License-Identifier: Apache-2.0
"""Writes the backend cases of the installed package onnx as a data folder, for run_onnx_suite.py --data.

    python -m venv FOLDER && FOLDER/bin/pip install onnx && FOLDER/bin/python dump_cases.py DATA

From 1.23 on the package makes the cases of the kind `node` when they are asked for; the other kinds are folders in it.
Needs nothing but that package, so that any version can be dumped by an interpreter of its own.
"""

import json
import os
import shutil
import sys

import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests


def to_proto(value, info):
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        return value
    kind = info.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, info.name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, info.name)
    if kind == "map_type":
        return numpy_helper.from_dict(value, info.name)
    return numpy_helper.from_array(value, info.name)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def relative_tolerance(case):
    """That of the case, or, where all outputs are bfloat16, the two units in the last place that the package's own
    runner gives them."""
    types = {item.type.tensor_type.elem_type for item in case.model.graph.output}
    return max(case.rtol, 2**-6) if types == {onnx.TensorProto.BFLOAT16} else case.rtol


def dump_case(case, folder):
    """Writes a case that the package made in memory."""
    os.makedirs(folder)
    write(os.path.join(folder, "model.onnx"), case.model.SerializeToString())
    tolerances = {"rtol": relative_tolerance(case), "atol": case.atol}
    write(os.path.join(folder, "data.json"), json.dumps(tolerances).encode())
    for i, (inputs, outputs) in enumerate(case.data_sets):
        data_set = os.path.join(folder, f"test_data_set_{i}")
        os.makedirs(data_set)
        for name, values, infos in (("input", inputs, case.model.graph.input), ("output", outputs, case.model.graph.output)):
            for k, (value, info) in enumerate(zip(values, infos)):
                write(os.path.join(data_set, f"{name}_{k}.pb"), to_proto(value, info).SerializeToString())


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    target = sys.argv[1]
    os.makedirs(target)
    for kind in sorted(os.listdir(DATA_DIR)):
        if os.path.isdir(os.path.join(DATA_DIR, kind)):
            shutil.copytree(os.path.join(DATA_DIR, kind), os.path.join(target, kind))
    made = [case for case in load_model_tests(kind="node") if case.model is not None]
    for case in made:
        dump_case(case, os.path.join(target, "node", case.name))
    print(f"onnx {onnx.__version__}: {len(made)} cases of kind node made, the others copied")


if __name__ == "__main__":
    main()
