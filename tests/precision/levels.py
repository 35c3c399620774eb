# SPDX-License-Identifier: Apache-2.0
"""Artifacts at every level of x86-64, for the tests of products in narrow types.

A program of its own (level_runner.c) runs an artifact at a level of the test's choice; where the CPU has no matrix
unit, or no dot products in vectors of 256 bits, it carries out those instructions itself.
"""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("TAMIS_BUILD", SOURCE / "build"))
TAMIS = os.environ.get("TAMIS", "build/bin/tamis")


def is_x86():
    return os.uname().machine == "x86_64"


def has_v4():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return "avx512vl" in file.read()


def levels(*names):
    """Those of the names that this CPU can try."""
    return [name for name in names if has_v4() or name.startswith("x86-64-v3")]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    compiler = next((tool for tool in ("clang-19", "clang", "gcc", "cc") if shutil.which(tool)), None)
    program = tmp_path_factory.mktemp("runner") / "level_runner"
    command = [compiler, "-O3", "-ffp-contract=off", "-march=x86-64-v3", "-std=gnu11", "-I", SOURCE / "include", SOURCE / "tests/precision/level_runner.c",
               BUILD / "lib/libtamis_runtime.a", "-lm", "-lpthread", "-ldl", "-o", program]
    subprocess.run([str(part) for part in command], check=True)
    return program


def run(program, artifact, level, x, pieces=1):
    folder = artifact.parent
    x.tofile(folder / "x.f32")
    command = [program, artifact, level, pieces, folder / "x.f32", folder / "y.f32", *x.shape]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(f"the CPU lacks instructions of {level}")
    assert done.returncode == 0, done.stderr
    return np.fromfile(folder / "y.f32", np.float32)


class Model:
    """Nodes from x, with a constant for every array that is given for an input."""

    def __init__(self, dims):
        self.nodes, self.constants, self.dims, self.last = [], [], dims, "x"

    def add(self, op, *inputs, **attributes):
        names = []
        for value in inputs:
            if not isinstance(value, str):
                self.constants.append(numpy_helper.from_array(value, f"c{len(self.constants)}"))
                value = self.constants[-1].name
            names.append(value)
        self.nodes.append(helper.make_node(op, names, [f"v{len(self.nodes)}"], **attributes))
        self.last = self.nodes[-1].output[0]
        return self.last

    opset = 20
    options = ()  # of each compilation

    def save(self, path, symbolic=True):
        dims = [f"d{i}" if symbolic and i + 1 < len(self.dims) else d for i, d in enumerate(self.dims)]
        graph = helper.make_graph(self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
                                  [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)], self.constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10), path)

    def compile(self, folder, *options, symbolic=True):
        self.save(folder / "m.onnx", symbolic)
        subprocess.run([TAMIS, "compile", folder / "m.onnx", "-o", folder / "m.so", *self.options, *options], check=True)
        return folder / "m.so"


OTHERS = {
    "aarch64-linux-gnu": ["qemu-aarch64", "-cpu", "max,sve=off", "-L", "/usr/aarch64-linux-gnu"],
    "aarch64-linux-gnu sve256": ["qemu-aarch64", "-cpu", "max,sve256=on", "-L", "/usr/aarch64-linux-gnu"],
    "aarch64-linux-gnu sve512": ["qemu-aarch64", "-cpu", "max,sve512=on", "-L", "/usr/aarch64-linux-gnu"],
    "riscv64-linux-gnu": ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"],
}


def run_elsewhere(folder, target, model, depth, columns, inputs):
    """The model [rows, depth] -> [rows, columns] on another processor, under an emulator: pairs of input and answer."""
    cortex = ["qemu-aarch64", "-cpu", "cortex-a76", "-L", "/usr/aarch64-linux-gnu"]  # no products of mixed signs
    emulator = OTHERS.get(target, cortex)
    levels = ["-mcpu=armv8-a,armv8.2-a+sve512"] if target.endswith("sve512") else []
    target = target.split()[0]
    compiler = f"{target}-gcc"
    for tool in (compiler, emulator[0]):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    model.save(folder / "m.onnx")
    command = [TAMIS, "compile", folder / "m.onnx", "-o", folder / "model.o", *model.options, f"--target={target}", "--name=model", *levels]
    subprocess.run(command, check=True)
    subprocess.run([compiler, "-O1", "-std=c11", f"-DDEPTH={depth}", f"-DCOLUMNS={columns}", "-I", folder,
                    SOURCE / "tests/precision/object_runner.c", folder / "model.o", "-o", folder / "runner"], check=True)
    for x in inputs:
        x.tofile(folder / "x.f32")
        subprocess.run([*emulator, folder / "runner", str(len(x)), folder / "x.f32", folder / "y.f32"], check=True)
        yield x, np.fromfile(folder / "y.f32", np.float32).reshape(len(x), columns)
