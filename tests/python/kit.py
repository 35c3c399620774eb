# SPDX-License-Identifier: Apache-2.0
"""What tests of the command share."""

import os
import subprocess

TAMIS = os.environ.get("TAMIS")


def tamis(*arguments, code=0):
    """Runs the command, which must end with this exit code; what it said: stdout, or stderr where it failed."""
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stderr
