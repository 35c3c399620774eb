# SPDX-License-Identifier: Apache-2.0
"""The official ONNX backend cases through the compiled path, against the list of expected failures."""

import os

import pytest

import run_onnx_suite as suite

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")


@pytest.mark.parametrize("mode", suite.MODES)
def test_suite(mode):
    failed, passed = suite.compare(suite.run_suite(TAMIS, mode=mode), suite.read_expected(suite.EXPECTED, mode))
    assert not failed, "\n".join(f"{case['status']} {case['name']} {case['detail']}" for case in failed)
    assert not passed, f"listed as failures, but pass: {passed}"
