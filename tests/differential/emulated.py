# SPDX-License-Identifier: Apache-2.0
"""Runs a model on another processor: an object, linked with a small program, under the emulator of a CPU.

The dims of the model are fixed; inputs and outputs are tensors of any type that NumPy has.
"""

import shutil
import subprocess

import numpy
import pytest
import test_regions as regions

# A CPU for each vector length. NEON alone, and SVE with registers as long as NEON's, for which NEON is chosen.
SVE = {"none": ["max,sve=off", []], "128": ["max,sve128=on", []], "256": ["max,sve256=on", []],
       "512": ["max,sve512=on", ["-mcpu=armv8-a,armv8.2-a+sve512"]]}

MAIN = """
#include "model.h"
#include <stdio.h>
#include <stdlib.h>
static void *buffer(long bytes, const char *path) {
    void *data = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64 + 64);
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    if (file != NULL)
        (void)!fread(data, 1, (size_t)bytes, file);
    return data;
}
int main(void) {
%s
    void *workspace = buffer(model_workspace_bytes() + 64, NULL);
    if (model_run(workspace, %s) != 0)
        return 1;
%s
    return 0;
}
"""


def run_on_aarch64(path, feeds, wanted, folder, sve="none", options=()):
    """The outputs of the model at `path`; `wanted` gives their shapes and types."""
    for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    cpu, levels = SVE[sve]
    lines, ends = [], []
    for i, array in enumerate(feeds.values()):
        array.tofile(folder / f"in{i}")
        lines.append(f'    void *in{i} = buffer({array.nbytes}, "{folder}/in{i}");')
    for i, array in enumerate(wanted.values()):
        lines.append(f"    void *out{i} = buffer({array.nbytes}, NULL);")
        ends.append(f"    fwrite(out{i}, 1, {array.nbytes}, stdout);")
    arguments = ", ".join([*(f"in{i}" for i in range(len(feeds))), *(f"out{i}" for i in range(len(wanted)))])
    (folder / "main.c").write_text(MAIN % ("\n".join(lines), arguments, "\n".join(ends)))
    target = ["--emit=obj", "--name=model", "--target=aarch64-linux-gnu", *levels, *options]
    subprocess.run([regions.TAMIS, "compile", str(path), "-o", str(folder / "model.o"), *target], check=True, timeout=600)
    subprocess.run(["aarch64-linux-gnu-gcc", "-std=c11", "-I", str(folder), str(folder / "main.c"),
                    str(folder / "model.o"), "-o", str(folder / "main"), "-lm"], check=True, timeout=600)
    done = subprocess.run(["qemu-aarch64", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", str(folder / "main")],
                          capture_output=True, timeout=600, check=True)
    made, at = {}, 0
    for name, array in wanted.items():
        made[name] = numpy.frombuffer(done.stdout, array.dtype, array.size, at).reshape(array.shape)
        at += array.nbytes
    assert at == len(done.stdout)
    return made
