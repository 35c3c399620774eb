# SPDX-License-Identifier: Apache-2.0
"""The machine's limits (peaks.c): built, and asked once for the report and in every round for shares."""

import json
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


def build(folder):
    """The program, or None without a C compiler. Without -march=native the compiler assumes the CPU."""
    program = folder / "peaks"
    for compiler in ("clang-19", "clang", "gcc", "cc"):
        if shutil.which(compiler) is None:
            continue
        for native in (["-march=native"], ["-mcpu=native"], []):
            command = [compiler, "-std=gnu17", "-O3", *native, str(HERE / "peaks.c"), "-o", str(program)]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return program
    return None


def all_peaks(program, clock):
    return json.loads(subprocess.run([program, clock], capture_output=True, text=True, check=True).stdout)


class Peak:
    """Takes part in rounds as an engine does; `ask("time", n)` gives the seconds of one operation."""

    def __init__(self, program, name, clock):
        self.name, self.clock = name, clock
        self.process = subprocess.Popen(
            [program, "--serve", clock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, _verb, _argument=None):
        self.process.stdin.write(self.name + "\n")
        self.process.stdin.flush()
        return {self.clock: 1 / float(self.process.stdout.readline())}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
