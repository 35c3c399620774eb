# SPDX-License-Identifier: Apache-2.0
"""ONNX's own test runner over tamis.backend: the figure that backends are compared by.

    PYTHONPATH=build/python python official_runner.py                       all kinds, all CPUs
    PYTHONPATH=build/python python official_runner.py --filter test_add     names with that text

Every case of every kind is run on the device CPU. Only the cases of EXCLUDED are left out, by name. Nothing is
ever declared "not supposed to be implemented", which the runner would count as passed. The light models come with
the package, so nothing is downloaded. Processes share the cases; one that a case takes down is replaced.
"""

import argparse
import collections
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import unittest

RANDOM = "random draw: the recorded answer is one of NumPy's generator"
EXCLUDED = {
    "test_bernoulli": RANDOM,
    "test_bernoulli_expanded": RANDOM,
    "test_bernoulli_double": RANDOM,
    "test_bernoulli_double_expanded": RANDOM,
    "test_bernoulli_seed": RANDOM,
    "test_bernoulli_seed_expanded": RANDOM,
}
CASES = {}


def load_cases():
    """{(kind, name): test} of the official runner, for the CPU."""
    import onnx.backend.test
    import tamis.backend

    runner = onnx.backend.test.BackendTest(tamis.backend, __name__)
    for name in EXCLUDED:
        runner.exclude(f"^{name}_(cpu|cuda)$")
    for class_name, tests in runner.test_cases.items():
        kind = class_name.removeprefix("OnnxBackend").removesuffix("Test")
        for name in unittest.defaultTestLoader.getTestCaseNames(tests):
            if name.endswith("_cpu"):
                CASES[kind, name.removesuffix("_cpu")] = tests(name)


def run_case(key):
    """(kind, name, status, the last line of the failure)."""
    result = unittest.TestResult()
    CASES[key].run(result)
    for status, entries in (("excluded", result.skipped), ("failed", result.failures), ("error", result.errors)):
        for _, text in entries:
            lines = [line for line in text.splitlines() if line.strip()]
            return (*key, status, lines[-1][:400] if lines else "")
    return (*key, "passed", "")


def run_cases(keys, connection):
    for key in keys:
        connection.send(run_case(key))
    connection.close()


def run_share(keys, out_results):
    """Runs cases in a process of their own; a case that ends it is an error, and another process goes on."""
    while keys:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=run_cases, args=(keys, sender))
        process.start()
        sender.close()
        done = 0
        try:
            while done < len(keys):
                out_results.append(receiver.recv())
                done += 1
        except EOFError:
            process.join()
            out_results.append((*keys[done], "error", f"the process ended with {process.exitcode}"))
            done += 1
        process.join()
        keys = keys[done:]


def print_totals(results):
    counts = collections.Counter((kind, status) for kind, _, status, _ in results)
    statuses = ("passed", "failed", "error", "excluded")
    print(f"{'kind':18}" + "".join(f"{status:>10}" for status in statuses))
    for kind in (*dict.fromkeys(row[0] for row in results), "all"):
        row = [sum(n for (k, s), n in counts.items() if s == status and kind in (k, "all")) for status in statuses]
        print(f"{kind:18}" + "".join(f"{n:10}" for n in row))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--filter", default="")
    parser.add_argument("--report", help="writes [kind, name, status, detail] of all cases as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tamis-onnx-") as home:
        os.environ["ONNX_HOME"] = home
        os.makedirs(os.path.join(home, "models", "light"))
        load_cases()
        keys = [key for key in CASES if options.filter in key[1]]
        results = []
        shares = [threading.Thread(target=run_share, args=(keys[i::options.jobs], results)) for i in range(options.jobs)]
        for share in shares:
            share.start()
        for share in shares:
            share.join()
        results.sort()
    for kind, name, status, detail in results:
        if status != "passed":
            print(f"{status:9} {kind} {name}  {EXCLUDED.get(name, detail)}")
    print_totals(results)
    if options.report:
        with open(options.report, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 1 if any(status in ("failed", "error") for _, _, status, _ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
