# SPDX-License-Identifier: Apache-2.0
"""Models made sparse, clustered, of low rank or of shared weights on purpose: the inspector finds each, and each becomes
smaller than the same model with weights that have nothing in them, and is not slower.

Speed is the fastest of many short calls, measured alternately: what else the machine does only adds to a call, and in some
it does nothing. Rounds go on until the model is no slower than the other by more than the margin; one of twice as many
layers must be slower after all of them.
"""

import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
WIDTH, LAYERS = 96, 4
ROWS, ROUNDS, MARGIN = 64, 24, 1.1


def tamis(*arguments):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def save(path, weights):
    """Layers of MatMul, Add, Relu."""
    nodes, constants, x = [], {}, "x"
    for i, w in enumerate(weights):
        constants[f"w{i}"], constants[f"b{i}"] = w, np.full(WIDTH, 0.1 * i, np.float32)
        nodes += [helper.make_node("MatMul", [x, f"w{i}"], [f"m{i}"], name=f"layer{i}"),
                  helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"]), helper.make_node("Relu", [f"a{i}"], [f"r{i}"])]
        x = f"r{i}"
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
                              [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", WIDTH])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def dense(rng):
    return (rng.normal(size=(LAYERS, WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32)


def sparse(rng):
    return np.where(rng.random((LAYERS, WIDTH, WIDTH)) < 0.2, dense(rng), np.float32(0))


def clustered(rng):
    return rng.normal(size=16).astype(np.float32)[rng.integers(0, 16, (LAYERS, WIDTH, WIDTH))] / np.float32(WIDTH)


def low_rank(rng):
    thin = rng.normal(size=(2, LAYERS, WIDTH, 6))
    return (thin[0] @ thin[1].transpose(0, 2, 1) / WIDTH).astype(np.float32)


def shared(rng):
    return np.repeat(dense(rng)[:1], LAYERS, 0)


def is_found(kind, tensor, first):
    if kind == "sparse":
        return tensor["zeros"] > 0.7 * WIDTH * WIDTH and "zeros stored as numbers" in tensor["stored"]
    if kind == "clustered":
        return tensor["distinct"] == 16
    if kind == "low_rank":
        return tensor["rank"] == 6 and tensor["forecast"]["low_rank"] <= 4 * 6 * 2 * WIDTH
    return first or tensor["same_as"] == "w0"


def fastest_call(path):
    return json.loads(tamis("bench", "--json", "--seconds", "0.04", "--threads", "1", "--size", f"n={ROWS}", path))["min_us"]


def is_slower(path, reference):
    """Found slower after each round; the first few do not count."""
    best = [np.inf, np.inf]
    for i in range(ROUNDS):
        best = [min(known, fastest_call(artifact)) for known, artifact in zip(best, (path, reference))]
        if i >= 3 and best[0] <= MARGIN * best[1]:
            return False
    return True


def stored_bytes(path, *options):
    tamis("compile", path, "--weights=coded", *options, "-o", path.with_suffix(".so"))
    return json.loads(tamis("inspect", "--json", path.with_suffix(".so")))["stored_bytes"]


# kind: share of the dense model's bytes that it must come down to. Ranks are multiples of 16, a third of 96 by 96.
KINDS = {"sparse": (sparse, 0.26), "clustered": (clustered, 0.2), "low_rank": (low_rank, 0.36), "shared": (shared, 0.3)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_weights_is_found_and_makes_the_model_smaller_and_not_slower(kind, tmp_path):
    make, share = KINDS[kind]
    save(tmp_path / "dense.onnx", dense(np.random.default_rng(1)))
    save(tmp_path / "model.onnx", make(np.random.default_rng(2)))
    report = json.loads(tamis("inspect", "--compress", "--json", tmp_path / "model.onnx"))
    matrices = [tensor for tensor in report["tensors"] if tensor["name"].startswith("w")]
    assert len(matrices) == LAYERS
    assert all(is_found(kind, tensor, i == 0) for i, tensor in enumerate(matrices)), matrices
    path = tmp_path / "model.onnx"
    if kind == "low_rank":
        np.save(tmp_path / "x.npy", np.random.default_rng(3).normal(size=(128, WIDTH)).astype(np.float32))
        path = tmp_path / "small.onnx"
        tamis("compress", tmp_path / "model.onnx", "-o", path, "--prune=flops:0.35,lowrank", "--calib", tmp_path / "x.npy")
    assert stored_bytes(path) <= share * stored_bytes(tmp_path / "dense.onnx")
    tamis("compile", tmp_path / "dense.onnx", "-o", tmp_path / "reference.so")
    assert not is_slower(path.with_suffix(".so"), tmp_path / "reference.so")


def test_what_is_slower_is_found_so(tmp_path):
    for name, layers in (("twice", dense(np.random.default_rng(1))), ("once", dense(np.random.default_rng(1))[:LAYERS // 2])):
        save(tmp_path / f"{name}.onnx", layers)
        tamis("compile", tmp_path / f"{name}.onnx", "-o", tmp_path / f"{name}.so")
    assert is_slower(tmp_path / "twice.so", tmp_path / "once.so")
