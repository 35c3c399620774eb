# SPDX-License-Identifier: Apache-2.0
"""The generator of docs/random.md, written down in NumPy, against compiled models on every target.

Uniform draws and choices must be the same bits. Normal draws are compared with NumPy's functions within rounding
and between targets bit by bit.
"""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
SEED = 7.25
GAMMA = 0x9E3779B97F4A7C15
N = 37
TARGETS = {
    "x86_64-linux-gnu": (["cc"], []),
    "aarch64-linux-gnu": (["aarch64-linux-gnu-gcc"], ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
    "riscv64-linux-gnu": (["riscv64-linux-gnu-gcc"], ["qemu-riscv64", "-L", "/usr/riscv64-linux-gnu"]),
}
MAIN = """
#include "random.h"
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    static float uniform[37], normal[37];
    static double wide[37];
    static uint8_t coins[37];
    static int64_t classes[40];
    int64_t bytes = random_workspace_bytes();
    void *workspace = aligned_alloc(64, ((size_t)bytes + 63) / 64 * 64 + 64);
    if (workspace == NULL || random_run(workspace, uniform, normal, wide, coins, classes) != 0)
        return 1;
    fwrite(uniform, sizeof uniform, 1, stdout);
    fwrite(normal, sizeof normal, 1, stdout);
    fwrite(wide, sizeof wide, 1, stdout);
    fwrite(coins, sizeof coins, 1, stdout);
    fwrite(classes, sizeof classes, 1, stdout);
    free(workspace);
    return 0;
}
"""


def mix(z):
    with np.errstate(over="ignore"):
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


def seed_key(seed):
    return mix((np.array([seed], np.float64).view(np.uint64) + np.uint64(GAMMA)))[0]


def uniform(key, i):
    with np.errstate(over="ignore"):
        z = key + (np.asarray(i, np.uint64) + np.uint64(1)) * np.uint64(GAMMA)
    return (mix(z) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def make_model(seeded):
    more = {"seed": SEED} if seeded else {}
    chances = np.linspace(-0.1, 1.1, N).astype(np.float32)
    weights = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    nodes = [
        helper.make_node("RandomUniform", [], ["uniform"], shape=[N], low=-2.0, high=3.0, **more),
        helper.make_node("RandomNormal", [], ["normal"], shape=[N], mean=1.0, scale=0.5, **more),
        helper.make_node("RandomNormal", [], ["wide"], shape=[N], dtype=TensorProto.DOUBLE, **more),
        helper.make_node("Bernoulli", ["chances"], ["coins"], dtype=TensorProto.BOOL, **more),
        helper.make_node("Multinomial", ["weights"], ["classes"], dtype=TensorProto.INT64, sample_size=10, **more),
    ]
    types = [TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.BOOL, TensorProto.INT64]
    shapes = [[N], [N], [N], [N], [4, 10]]
    outputs = [helper.make_tensor_value_info(node.output[0], type_, shape)
               for node, type_, shape in zip(nodes, types, shapes)]
    graph = helper.make_graph(nodes, "random", [], outputs,
                              [onnx.numpy_helper.from_array(chances, "chances"),
                               onnx.numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model, chances, weights


def reference(keys, chances, weights):
    """The outputs in order; keys gives the key of each node."""
    i = np.arange(N)
    normals = [np.sqrt(-2 * np.log(1 - uniform(key, 2 * i))) * np.cos(2 * np.pi * uniform(key, 2 * i + 1))
               for key in keys[1:3]]
    powers = np.exp(weights.astype(np.float64) - weights.astype(np.float64).max(1, keepdims=True))
    points = uniform(keys[4], np.arange(40)).reshape(4, 10) * powers.sum(1, keepdims=True)
    classes = (points[:, :, None] >= powers.cumsum(1)[:, None, :]).sum(2).clip(max=4)
    return ((-2 + 5 * uniform(keys[0], i)).astype(np.float32), (1 + 0.5 * normals[0]).astype(np.float32), normals[1],
            uniform(keys[3], i) < chances, classes)


def compare(found, wanted):
    assert found[0].tobytes() == wanted[0].tobytes()
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[2], wanted[2], rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(found[3], wanted[3])
    np.testing.assert_array_equal(found[4], wanted[4])


def run_on(target, folder):
    """The outputs as the target computes them, and their bytes."""
    compiler, emulator = TARGETS[target]
    for tool in (compiler[0], *emulator[:1]):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    model, chances, weights = make_model(seeded=True)
    onnx.save(model, folder / "random.onnx")
    (folder / "main.c").write_text(MAIN)
    commands = [[TAMIS, "compile", folder / "random.onnx", "-o", folder / "random.o", "--emit=obj", "--name=random",
                 f"--target={target}"],
                [*compiler, "-std=c11", "-I", folder, folder / "main.c", folder / "random.o", "-o", folder / "main"],
                [*emulator, folder / "main"]]
    for command in commands:
        done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
    data, arrays, at = done.stdout, [], 0
    for count, dtype in ((N, np.float32), (N, np.float32), (N, np.float64), (N, np.bool_), (40, np.int64)):
        arrays.append(np.frombuffer(data, dtype, count, at))
        at += arrays[-1].nbytes
    assert at == len(data)
    arrays[4] = arrays[4].reshape(4, 10)
    return arrays, data, reference([seed_key(SEED)] * 5, chances, weights)


@pytest.mark.parametrize("target", TARGETS)
def test_draws_are_those_of_the_page(target, tmp_path):
    arrays, data, wanted = run_on(target, tmp_path)
    compare(arrays, wanted)
    if target != "x86_64-linux-gnu":
        (tmp_path / "native").mkdir()
        assert run_on("x86_64-linux-gnu", tmp_path / "native")[1] == data


def test_state_of_a_session(tmp_path):
    tamis = pytest.importorskip("tamis")
    model, chances, weights = make_model(seeded=False)
    for seed in (0, 123456789):
        options = tamis.SessionOptions()
        options.seed = seed
        options.use_cache = False
        session = tamis.InferenceSession(model.SerializeToString(), options)
        state = np.uint64(seed)
        for _ in range(2):  # the second run goes on
            keys = []
            for _ in range(5):
                with np.errstate(over="ignore"):
                    state = state + np.uint64(GAMMA)
                keys.append(mix(np.array([state]))[0])
            compare(session.run(None, {}), reference(keys, chances, weights))
