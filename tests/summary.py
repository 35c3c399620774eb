# SPDX-License-Identifier: Apache-2.0
"""summary.py CTEST_REPORT.xml: prints "PASSED FAILED", counting cases rather than programs.

CMocka, pytest and our scripts close with their own counts; a program without one counts as one case, and
a program that failed counts as at least one failure, whatever it said before it died.
"""

import re
import sys
import xml.etree.ElementTree


def counts(output):
    passed = [int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output)]
    failed = [int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output)]
    if not passed:
        lines = [line for line in output.splitlines() if re.search(r"\d+ (passed|failed)\b", line)]
        last = lines[-1] if lines else ""
        passed = [int(n) for n in re.findall(r"(\d+) passed", last)]
        failed = [int(n) for n in re.findall(r"(\d+) failed", last)]
    return sum(passed), sum(failed)


def main(path):
    total_passed = total_failed = 0
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        fine = case.get("status") == "run"
        passed, failed = counts(case.findtext("system-out") or "")
        if passed + failed == 0:
            passed = int(fine)
        total_passed += passed
        total_failed += failed if fine else max(failed, 1)
    print(total_passed, total_failed)


main(sys.argv[1])
