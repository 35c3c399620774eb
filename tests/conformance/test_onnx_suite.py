# SPDX-License-Identifier: Apache-2.0
"""The official ONNX backend cases through the compiled path, against the list of expected failures."""

import os

import pytest

import run_onnx_suite as suite

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")


@pytest.mark.parametrize("mode", ["given", "evaluate"])
def test_suite(mode):
    failed, passed = suite.compare(suite.run_suite(TAMIS, mode=mode), suite.read_expected(suite.EXPECTED))
    assert not failed, "\n".join(f"{case['status']} {case['name']} {case['detail']}" for case in failed)
    assert not passed, f"listed as failures, but pass: {passed}"


@pytest.mark.parametrize("mode", ["symbolic", "folded"])
def test_answers_of_variants(mode):
    """A variant may be refused (a rank or size that only the given dims tell), but not answer wrongly."""
    wrong = [case for case in suite.run_suite(TAMIS, ("node", "simple"), mode) if case["status"] in ("FAIL", "crash")]
    wrong = [case for case in wrong if case["name"] not in suite.read_expected(suite.EXPECTED)]
    assert not wrong, "\n".join(f"{case['status']} {case['name']} {case['detail']}" for case in wrong)
