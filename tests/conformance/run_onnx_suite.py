# SPDX-License-Identifier: Apache-2.0
"""Runs the official ONNX backend cases through `tamis check` and compares with the expected list.

    python run_onnx_suite.py --tamis build/bin/tamis                    as given
    python run_onnx_suite.py --mode symbolic                            every input dim a symbol of its own
    python run_onnx_suite.py --mode folded                              every input a constant: the evaluator's path
    python run_onnx_suite.py --mode evaluate                            no compiled code
    python run_onnx_suite.py --data FOLDER                              cases of another version of onnx
    python run_onnx_suite.py --update                                   rewrites the list, keeps its reasons

cases.py says what the modes change. The list is expected_failures.txt: a name, the modes in which the case does
not pass (all when none is given), a reason.

    test_bernoulli  random draw: the recorded answer is one of NumPy's generator
    test_foo  [symbolic]  the rank depends on the value of an input

Any case that is not in the list must pass, and any case that is in it must not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter

import cases as suite_cases

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "expected_failures.txt")
KINDS = suite_cases.KINDS
MODES = ("given", "symbolic", "folded", "evaluate")


def read_expected(path=EXPECTED, mode="given"):
    """{name: reason} of a mode; lines are "name  [modes]  reason", # starts a comment."""
    expected = {}
    for name, modes, reason in read_lines(path):
        if modes is None or mode in modes:
            expected[name] = reason
    return expected


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            name, _, rest = line.partition(" ")
            modes, rest = None, rest.strip()
            if rest.startswith("["):
                listed, _, rest = rest[1:].partition("]")
                modes = listed.split()
            yield name, modes, rest.strip()


def write_expected(path, mode, cases):
    """Rewrites what the list says of one mode. Reasons that are there stay; a new name gets what check said."""
    with open(path, encoding="utf-8") as file:
        head = [line for line in file if line.startswith("#")]
    listed = {name: (set(modes or MODES), reason) for name, modes, reason in read_lines(path)}
    for case in cases:
        modes, reason = listed.get(case["name"], (set(), case["detail"].rpartition("error ")[2].replace("#", "")))
        modes = modes - {mode} if case["status"] == "pass" else modes | {mode}
        listed[case["name"]] = (modes, reason)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(head)
        for name, (modes, reason) in sorted(listed.items()):
            which = "" if len(modes) == len(MODES) else f"[{' '.join(m for m in MODES if m in modes)}]  "
            if modes:
                file.write(f"{name}  {which}{reason}\n")


def run_check(tamis, root, arguments):
    command = [tamis, "check", "--json", *arguments, root]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)}: no report, exit code {done.returncode}")
    return json.loads(done.stdout)["cases"]


def run_suite(tamis, kinds=KINDS, mode="given", arguments=(), data=None):
    """The list of {"kind", "name", "status", "detail", "seconds"} of all cases."""
    with tempfile.TemporaryDirectory(prefix="tamis-suite-") as root:
        variant = mode if mode in suite_cases.VARIANTS else None
        absent = suite_cases.make_cases(root, data or suite_cases.package_data(), kinds, variant)
        extra = ["--evaluate"] if mode == "evaluate" else []
        cases = run_check(tamis, root, [*extra, *arguments])
    for case in cases:
        case["kind"], _, case["name"] = case["name"].rpartition("/")
    cases += [{"kind": "real", "name": name, "status": "absent", "detail": "the data folder has no model", "seconds": 0}
              for name in absent]
    return cases


def compare(cases, expected):
    """(cases that fail and should pass, names that pass and are listed)."""
    failed = [case for case in cases if case["status"] not in ("pass", "absent") and case["name"] not in expected]
    passed = [case["name"] for case in cases if case["status"] == "pass" and case["name"] in expected]
    return failed, passed


def totals(cases):
    """A line for each kind and one for all."""
    passed = Counter(case["kind"] for case in cases if case["status"] == "pass")
    every = Counter(case["kind"] for case in cases)
    absent = sum(case["status"] == "absent" for case in cases)
    lines = [f"  {kind:18} {passed[kind]:5} of {every[kind]:5}" for kind in KINDS if every[kind]]
    lines.append(f"  {'all':18} {passed.total():5} of {every.total():5}" + (f", {absent} without a model" * (absent > 0)))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tamis", default=os.environ.get("TAMIS", "tamis"))
    parser.add_argument("--mode", choices=MODES, default="given")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--data", help="a data folder in place of the package's")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--report", help="writes the cases as JSON")
    parser.add_argument("arguments", nargs="*", help="for tamis check, after --")
    options = parser.parse_args()
    cases = run_suite(options.tamis, options.kind or KINDS, options.mode, options.arguments, options.data)
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            json.dump(cases, file, indent=1)
    failed, passed = compare(cases, read_expected(EXPECTED, options.mode))
    for case in failed:
        print(f"{case['status']}  {case['name']}  {case['detail']}")
    for name in passed:
        print(f"passes, but is listed as a failure: {name}")
    print(f"{options.mode}:\n{totals(cases)}")
    if options.update:
        write_expected(EXPECTED, options.mode, cases)
        return 0
    return 1 if failed or passed else 0


if __name__ == "__main__":
    sys.exit(main())
