# SPDX-License-Identifier: Apache-2.0
"""Runs the official ONNX backend cases through `tamis check` and compares with the expected list.

    python run_onnx_suite.py --tamis build/bin/tamis                    as given
    python run_onnx_suite.py --mode symbolic                            every input dim a symbol of its own
    python run_onnx_suite.py --mode folded                              every input a constant: the evaluator's path
    python run_onnx_suite.py --mode evaluate                            no compiled code
    python run_onnx_suite.py --update                                   rewrites the list, keeps its reasons

The cases come with the package onnx: node, simple, pytorch-converted, pytorch-operator as folders, real as
models of constant weights, for which the runner makes the input. The list is expected_failures.txt: a name and a
reason a line. Any case that is not in it must pass, and any case that is in it must not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests
from onnx.backend.test.runner import Runner

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "expected_failures.txt")
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
MODES = ("given", "symbolic", "folded", "evaluate")


def read_expected(path):
    """{name: reason}; lines are "name  reason", # starts a comment."""
    expected = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.split("#", 1)[0].strip()
            if line:
                name, _, reason = line.partition(" ")
                expected[name] = reason.strip()
    return expected


def write_expected(path, failures, reasons):
    """Keeps the reasons that are there; a new name gets what check said."""
    head = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            head.append(line)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(head)
        for case in sorted(failures, key=lambda case: case["name"]):
            said = case["detail"].rpartition("error ")[2].replace("#", "")
            file.write(f"{case['name']}  {reasons.get(case['name'], said)}\n")


def make_real_case(case, folder):
    """A model of the light zoo with the input that onnx's runner makes, and the recorded output."""
    source = os.path.join(os.path.dirname(DATA_DIR), "data", "light", os.path.basename(case.url))
    os.makedirs(os.path.join(folder, "test_data_set_0"))
    os.symlink(source, os.path.join(folder, "model.onnx"))
    model = onnx.load(source)
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    for i, item in enumerate(inputs):
        data = numpy_helper.from_array(Runner.generate_dummy_data(item, seed=0, name=case.model_name, random=False))
        with open(os.path.join(folder, "test_data_set_0", f"input_{i}.pb"), "wb") as file:
            file.write(data.SerializeToString())
    os.symlink(source[:-len(".onnx")] + "_output_0.pb", os.path.join(folder, "test_data_set_0", "output_0.pb"))
    with open(os.path.join(folder, "data.json"), "w", encoding="utf-8") as file:
        json.dump({"rtol": case.rtol, "atol": case.atol}, file)


def make_symbolic(model):
    """Gives every dim of every tensor input a name of its own, but the length of lists of integers, which decides
    the rank of what they describe (shapes, axes, starts)."""
    for i, item in enumerate(model.graph.input):
        tensor = item.type.tensor_type
        if len(tensor.shape.dim) == 1 and tensor.elem_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
            continue
        if item.type.HasField("tensor_type") and item.type.tensor_type.HasField("shape"):
            for d, dim in enumerate(item.type.tensor_type.shape.dim):
                dim.dim_param = f"in{i}_dim{d}"
    for item in list(model.graph.output) + list(model.graph.value_info):
        if item.type.HasField("tensor_type"):
            item.type.tensor_type.ClearField("shape")
    return True


def make_folded(model, set_folder):
    """Turns the tensor inputs into initializers with the data set's values. False when there is none."""
    if not model.graph.input or any(not item.type.HasField("tensor_type") for item in model.graph.input):
        return False
    for i, item in enumerate(model.graph.input):
        path = os.path.join(set_folder, f"input_{i}.pb")
        if not os.path.exists(path):
            return False
        tensor = onnx.TensorProto()
        with open(path, "rb") as file:
            tensor.ParseFromString(file.read())
        tensor.name = item.name
        model.graph.initializer.append(tensor)
    del model.graph.input[:]
    return True


def make_variant(source, folder, mode):
    """A changed copy of a case folder; the data are linked. False when the mode does not apply."""
    model = onnx.load(os.path.join(source, "model.onnx"))
    sets = [name for name in sorted(os.listdir(source)) if name.startswith("test_data_set_")]
    if mode == "folded":
        sets = sets[:1]
        if not sets or not make_folded(model, os.path.join(source, sets[0])):
            return False
    elif not make_symbolic(model):
        return False
    os.makedirs(folder)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for name in sets:
        os.symlink(os.path.join(source, name), os.path.join(folder, name))
    return True


def collect(root, kinds, mode):
    """Makes a folder of case folders below root: links, or changed copies."""
    for kind in kinds:
        for case in load_model_tests(kind=kind):
            folder = os.path.join(root, kind, case.name)
            os.makedirs(os.path.dirname(folder), exist_ok=True)
            if kind == "real":
                if mode in ("given", "evaluate"):
                    make_real_case(case, folder)
            elif mode in ("given", "evaluate"):
                os.symlink(case.model_dir, folder)
            else:
                make_variant(case.model_dir, folder, mode)


def run_check(tamis, root, arguments):
    command = [tamis, "check", "--json", *arguments, root]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)}: no report, exit code {done.returncode}")
    return json.loads(done.stdout)["cases"]


def run_suite(tamis, kinds=KINDS, mode="given", arguments=()):
    """The list of {"name", "status", "detail", "seconds"} of all cases, names without the kind."""
    with tempfile.TemporaryDirectory(prefix="tamis-suite-") as root:
        collect(root, kinds, mode)
        extra = ["--evaluate"] if mode == "evaluate" else []
        cases = run_check(tamis, root, [*extra, *arguments])
    for case in cases:
        case["name"] = case["name"].rpartition("/")[2]
    return cases


def compare(cases, expected):
    """(names that fail and should pass, names that pass and are listed)."""
    failed = [case for case in cases if case["status"] != "pass" and case["name"] not in expected]
    passed = [case["name"] for case in cases if case["status"] == "pass" and case["name"] in expected]
    return failed, passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tamis", default=os.environ.get("TAMIS", "tamis"))
    parser.add_argument("--mode", choices=MODES, default="given")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--report", help="writes the cases as JSON")
    parser.add_argument("arguments", nargs="*", help="for tamis check, after --")
    options = parser.parse_args()
    cases = run_suite(options.tamis, options.kind or KINDS, options.mode, options.arguments)
    expected = read_expected(EXPECTED)
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            json.dump(cases, file, indent=1)
    failed, passed = compare(cases, expected)
    for case in failed:
        print(f"{case['status']}  {case['name']}  {case['detail']}")
    for name in passed:
        print(f"passes, but is listed as a failure: {name}")
    print(f"{options.mode}: {sum(case['status'] == 'pass' for case in cases)} of {len(cases)} pass")
    if options.update:
        write_expected(EXPECTED, [case for case in cases if case["status"] != "pass"], expected)
        return 0
    return 1 if failed or passed else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
