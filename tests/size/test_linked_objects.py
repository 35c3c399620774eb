# SPDX-License-Identifier: Apache-2.0
"""Objects for programs without a C library: what they ask for is the memory functions and a heap, and with nothing else
linked beside them they give the answers of the shared object."""

import ctypes
import os
import pathlib
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
NM = os.environ.get("LLVM_NM", "llvm-nm-19")
COMPILER = shutil.which("cc") or shutil.which("clang-19")
MEMORY = {"memcpy", "memmove", "memset"}
HEAP = {"aligned_alloc", "free"}
ASKED_WHERE_THERE_IS_ONE = {"getauxval", "__x86_get_cpuid_feature_leaf"}  # weak: NULL where it is not
WIDTH, HEADS, WORDS = 64, 4, 50

pytestmark = pytest.mark.skipif(TAMIS is None or COMPILER is None, reason="TAMIS is not set, or no C compiler")

# All that a program must bring along.
HOST = """
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n) {
    for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memmove(void *to, const void *from, size_t n) {
    if ((char *)to < (const char *)from) return memcpy(to, from, n);
    while (n-- > 0) ((volatile char *)to)[n] = ((const char *)from)[n];
    return to;
}
void *memset(void *to, int value, size_t n) {
    for (size_t i = 0; i < n; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}
static _Alignas(64) char heap[1 << 24];
static size_t used;
void *aligned_alloc(size_t alignment, size_t bytes) {
    used = (used + alignment - 1) / alignment * alignment + bytes;
    return used <= sizeof heap ? heap + used - bytes : NULL;
}
void free(void *memory) { (void)memory; }
"""
EXPORTS = """
#include "m.h"
__attribute__((visibility("default"))) int64_t bytes(%(dims)s) { return m_workspace_bytes(%(names)s); }
__attribute__((visibility("default"))) int32_t run(void *workspace, void *weights, %(dims)s, const void *x, void *y) {
    (void)weights;
    %(unpack)s
    return m_run(workspace, %(weights)s %(names)s, x, y);
}
"""


def tamis(*arguments):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def encoder(path):
    """Words to a sentence's vector as MiniLM does: tables, attention, layer norms, GELU, mean."""
    rng = np.random.default_rng(2)
    nodes, constants = [], {}

    def add(op, *inputs, **attributes):
        names = [constant(i) if isinstance(i, np.ndarray) else i for i in inputs]
        nodes.append(helper.make_node(op, names, [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    def constant(array):
        constants[f"c{len(constants)}"] = array
        return f"c{len(constants) - 1}"

    def linear(x, rows, columns):
        w = (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)
        return add("Add", add("MatMul", x, w), rng.normal(size=columns).astype(np.float32))

    def norm(x):
        return add("LayerNormalization", x, np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32), axis=-1)

    def heads(x, perm):
        return add("Transpose", add("Reshape", linear(x, WIDTH, WIDTH), np.array([0, 0, HEADS, -1])), perm=perm)

    x = norm(add("Gather", rng.normal(size=(WORDS, WIDTH)).astype(np.float32), "ids"))
    for _ in range(2):
        scores = add("MatMul", heads(x, [0, 2, 1, 3]), heads(x, [0, 2, 3, 1]))
        weights = add("Softmax", add("Mul", scores, np.array(0.25, np.float32)), axis=-1)
        mixed = add("Transpose", add("MatMul", weights, heads(x, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        x = norm(add("Add", x, linear(add("Reshape", mixed, np.array([0, 0, -1])), WIDTH, WIDTH)))
        x = norm(add("Add", x, linear(add("Gelu", linear(x, WIDTH, 4 * WIDTH)), 4 * WIDTH, WIDTH)))
    nodes.append(helper.make_node("ReduceMean", [x, constant(np.array([1]))], ["y"], keepdims=0))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "words"])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Name: input, dims as arguments, shape of the answer; the models are NAME.onnx."""
    path = tmp_path_factory.mktemp("objects")
    shutil.copy(SOURCE / "examples/t2/t2.onnx", path / "t2.onnx")
    np.save(path / "t2.npy", np.load(SOURCE / "examples/t2/eval.npz")["x"][:24].astype(np.float32))
    encoder(path / "encoder.onnx")
    np.save(path / "encoder.npy", np.random.default_rng(3).integers(0, WORDS, (3, 17)))
    for name in ("t2", "encoder"):
        tamis("quantize", path / f"{name}.onnx", f"--calib={path}/{name}.npy", "--quantize=int8,always",
              "-o", path / f"{name}-int8.onnx")
    return path


MODELS = {"t2": ("x", ["N"], [14]), "encoder": ("ids", ["n", "words"], [WIDTH])}
FORMS = {"float32": ("", []), "int8": ("-int8", []), "coded": ("", ["--weights=coded"]), "small": ("", ["-Os"]),
         "int8 coded": ("-int8", ["--weights=coded", "-Os"])}


def undefined(path):
    """Names, and whether each must be there."""
    listing = subprocess.run([NM, "--undefined-only", "--format=posix", path], capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1] == "U" for line in listing.stdout.splitlines()}


def link(folder, dims, coded):
    """The object and the host as one library that asks for nothing."""
    text = EXPORTS % {"dims": ", ".join(f"int64_t {name}" for name in dims), "names": ", ".join(dims),
                      "unpack": "if (m_unpack(weights) != 0) return -1;" if coded else "",
                      "weights": "weights," if coded else ""}
    (folder / "host.c").write_text(HOST + text)
    subprocess.run([COMPILER, "-std=c11", "-O1", "-fPIC", "-ffreestanding", "-fno-builtin", "-fvisibility=hidden", "-shared",
                    "-nostdlib", "-Wl,-z,defs", "-I", folder, folder / "host.c", folder / "m.o", "-o", folder / "linked.so"],
                   check=True)
    return ctypes.CDLL(str(folder / "linked.so"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MODELS)
def test_an_object_runs_without_a_c_library(folder, tmp_path, name, form):
    (suffix, options), (port, dims, shape) = FORMS[form], MODELS[name]
    model, x = folder / f"{name}{suffix}.onnx", np.load(folder / f"{name}.npy")
    coded = "--weights=coded" in options
    tamis("compile", model, "--name=m", *options, "-o", tmp_path / "m.o")
    tamis("compile", model, "--name=m", *options, "-o", tmp_path / "m.so")
    asked = undefined(tmp_path / "m.o")
    assert set(asked) <= MEMORY | HEAP | ASKED_WHERE_THERE_IS_ONE, asked
    assert not any(needed for symbol, needed in asked.items() if symbol in ASKED_WHERE_THERE_IS_ONE)
    assert set(undefined(tmp_path / "m.so")) <= MEMORY | ASKED_WHERE_THERE_IS_ONE
    library, sizes = link(tmp_path, dims, coded), [ctypes.c_int64(n) for n in x.shape[:len(dims)]]
    library.bytes.restype = ctypes.c_int64
    workspace = np.zeros(library.bytes(*sizes) + 64, np.uint8)
    weights = np.zeros(1 << 20, np.uint8)
    y = np.zeros([x.shape[0], *shape], np.float32)

    def aligned(array):
        return ctypes.c_void_p((array.ctypes.data + 63) // 64 * 64)
    assert library.run(aligned(workspace), aligned(weights), *sizes, ctypes.c_void_p(x.ctypes.data),
                       ctypes.c_void_p(y.ctypes.data)) == 0
    tamis("run", tmp_path / "m.so", "-i", f"{port}={folder}/{name}.npy", "-o", f"y={tmp_path}/y.npy", "--threads", "1")
    np.testing.assert_array_equal(y, np.load(tmp_path / "y.npy"))
