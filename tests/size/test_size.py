# SPDX-License-Identifier: Apache-2.0
"""What the built libraries need and show, and how large they are.

The runtime must stay small and free of the compiler's libraries; a kernel archive may call nothing that an
artifact could not find on the target. Budgets are a little above today's sizes, to notice a jump.
"""

import os
import pathlib
import re
import subprocess

import pytest

BUILD = os.environ.get("TAMIS_BUILD")
NM = os.environ.get("LLVM_NM", "llvm-nm-19")
READELF = os.environ.get("LLVM_READELF", "llvm-readelf-19")
LEVELS = ["x86_64-linux-gnu/v3", "x86_64-linux-gnu/v4", "aarch64-linux-gnu/generic", "riscv64-linux-gnu/generic",
          "riscv64-linux-gnu/v"]
KERNELS_MAY_CALL = {"memcpy", "memmove", "memset"}
# The entry for programs that link a model directly brings its own host.
DIRECT_MAY_CALL = KERNELS_MAY_CALL | {"aligned_alloc", "free"}
# Only where there is one: on RISC-V, and glibc's on x86-64.
CPU_MAY_CALL = KERNELS_MAY_CALL | {"getauxval", "__x86_get_cpuid_feature_leaf"}
MAY_CALL = {"support_direct.o": DIRECT_MAY_CALL, "support_cpu.o": CPU_MAY_CALL, "support_units.o": CPU_MAY_CALL}

pytestmark = pytest.mark.skipif(not BUILD, reason="TAMIS_BUILD is not set")


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def library(name):
    return pathlib.Path(BUILD) / "lib" / name


def symbols(path, *options):
    lines = run(NM, "--format=just-symbols", "--quiet", *options, path).splitlines()
    return {line for line in lines if line and not line.endswith(":")}


def loaded_bytes(path):
    """Bytes of the sections that are loaded into memory."""
    total = 0
    for line in run(READELF, "--section-headers", "--wide", path).splitlines():
        match = re.match(r"\s*\[\s*\d+\]\s+\S+\s+\S+\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s+[0-9a-f]+\s+(\w*A\w*)\s", line)
        if match:
            total += int(match[1], 16)
    return total


@pytest.mark.parametrize("level", LEVELS)
def test_kernels_call_nothing_else(level):
    archive = library("tamis") / level / "libkernels.a"
    defined = symbols(archive, "--defined-only", "--extern-only")
    broken = []
    for line in run(NM, "--undefined-only", "--quiet", "-A", "--format=posix", archive).splitlines():
        member, symbol = re.match(r".*\[(.*?)\]: (\S+) ", line).groups()
        allowed = MAY_CALL.get(member, KERNELS_MAY_CALL)
        if symbol not in defined | allowed:
            broken.append(f"{member}: {symbol}")
    assert broken == []


@pytest.mark.parametrize("level", LEVELS)
def test_kernels_have_no_mutable_state(level):
    archive = library("tamis") / level / "libkernels.a"
    written = re.findall(r"\s(\.(?:data|bss|tdata|tbss)\S*)\s", run(READELF, "--sections", "--wide", archive))
    assert [section for section in written if not section.startswith(".data.rel.ro")] == []


@pytest.mark.parametrize("level", LEVELS)
def test_all_levels_have_the_same_kernels(level):
    def kernels(name):
        found = symbols(library("tamis") / name / "libkernels.a", "--defined-only", "--extern-only")
        return {symbol for symbol in found if symbol.startswith("tm_k_")}
    assert kernels(level) == kernels(LEVELS[0])


@pytest.mark.parametrize("name", ["libtamis.so", "libtamis_runtime.so"])
def test_only_public_names_are_exported(name):
    exported = symbols(library(name), "--dynamic", "--defined-only", "--extern-only")
    assert exported and all(symbol.startswith("tamis_") for symbol in exported)


def test_runtime_needs_libc_only():
    dynamic = run(READELF, "--dynamic", library("libtamis_runtime.so"))
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", dynamic))
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def test_runtime_is_small():
    assert loaded_bytes(library("libtamis_runtime.so")) <= 128 * 1024


def test_command_starts_without_the_compilers_libraries():
    """`tamis run` starts in milliseconds and where LLVM is not installed."""
    dynamic = run(READELF, "--dynamic", pathlib.Path(BUILD) / "bin/tamis")
    needed = re.findall(r"NEEDED.*\[(.*?)\]", dynamic)
    assert needed and not [name for name in needed if re.match(r"lib(LLVM|protobuf|openblas)", name)]


def test_large_weights_come_last(tmp_path):
    """Code reaches its tables by 32-bit distances, so what may be larger than 2 GiB stands behind all of them."""
    numpy = pytest.importorskip("numpy")
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(numpy.zeros((1024, 1280), numpy.float32), "w")  # 5 MiB
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.INT64, ["n"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 1280])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Gather", ["w", "rows"], ["y"])], "g", [rows], [result], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              tmp_path / "large.onnx")
    run(pathlib.Path(BUILD) / "bin/tamis", "compile", tmp_path / "large.onnx", "-o", tmp_path / "large.so")
    segments = [line.split() for line in run(READELF, "-lW", tmp_path / "large.so").splitlines() if " LOAD " in line]
    addresses = [int(segment[2], 16) for segment in segments]
    sizes = [int(segment[5], 16) for segment in segments]
    assert addresses == sorted(addresses)
    assert max(sizes) == sizes[-1] >= 5 << 20


def small_model(path, kind):
    numpy = pytest.importorskip("numpy")
    onnx = pytest.importorskip("onnx")
    shape, result, nodes, weights = {
        "dense": (["n", 16], ["n", 24], [("MatMul", ["x", "w"], ["h"]), ("Softmax", ["h"], ["y"])], {"w": (16, 24)}),
        "convolution": ([1, 3, 16, 16], [1, 16, 16, 16], [("Conv", ["x", "k"], ["h"]), ("Relu", ["h"], ["y"])],
                        {"k": (16, 3, 1, 1)}),
        "kernel": (["n", 16], ["n", 16], [("CumSum", ["x", "axis"], ["y"])], {"axis": ()})}[kind]
    arrays = [onnx.numpy_helper.from_array(numpy.ones(dims, numpy.int64 if name == "axis" else numpy.float32), name)
              for name, dims in weights.items()]
    port = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node(*node) for node in nodes], "g",
                                   [port("x", onnx.TensorProto.FLOAT, shape)],
                                   [port("y", onnx.TensorProto.FLOAT, result)], arrays)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("kind, kernels", [("dense", set()), ("kernel", {"tm_k_CumSum_f32"}),
                                           ("convolution", {"tm_k_Transpose_w4"})])  # channels last, and back
def test_linked_artifacts_have_what_they_use(tmp_path, kind, kernels):
    """No libc but the memory functions and a heap, no name that others could meet, no kernel that is not called."""
    small_model(tmp_path / "m.onnx", kind)
    for form in ("m.o", "m.so"):
        run(pathlib.Path(BUILD) / "bin/tamis", "compile", tmp_path / "m.onnx", "-o", tmp_path / form, "--name=m", "-g")
    needed = symbols(tmp_path / "m.o", "--undefined-only")
    assert needed <= DIRECT_MAY_CALL | CPU_MAY_CALL
    assert symbols(tmp_path / "m.o", "--defined-only", "--extern-only") == {"m_run", "m_workspace_bytes", "tamis_artifact_m"}
    assert {name for name in symbols(tmp_path / "m.so", "--defined-only") if name.startswith("tm_k_")} == kernels
