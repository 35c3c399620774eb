# SPDX-License-Identifier: Apache-2.0
"""Compiling a model by the command, as a user would, with what it took."""

import os
import pathlib
import subprocess
import tempfile
import time
import typing

import engines
from worker import EngineError


class Compiled(typing.NamedTuple):
    path: pathlib.Path
    seconds: float
    cpu_seconds: float  # of all threads; on a busy machine the better figure
    memory: int  # the most resident bytes
    bytes: int  # of the artifact


def compile_model(model, artifact, *options):
    command = [engines.TAMIS_COMMAND, "compile", str(model), "-o", str(artifact), *options]
    with tempfile.TemporaryFile("w+") as messages:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            messages.seek(0)
            raise EngineError((messages.readline() or f"exit code {process.returncode}").strip())
    size = pathlib.Path(artifact).stat().st_size
    return Compiled(
        pathlib.Path(artifact), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, size
    )
