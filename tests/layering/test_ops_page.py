# SPDX-License-Identifier: Apache-2.0
"""docs/ops.md says what the op table, the kernels and the importer say."""

import os
import subprocess
import sys

import pytest

SOURCE = os.environ.get("TAMIS_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.environ.get("TAMIS_BUILD", "")


@pytest.mark.skipif(not os.path.exists(os.path.join(BUILD, "generated", "kernel_table.c")), reason="there is no build")
def test_page_is_current():
    script = os.path.join(SOURCE, "docs", "generate_ops.py")
    done = subprocess.run([sys.executable, script, "--build", BUILD, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
