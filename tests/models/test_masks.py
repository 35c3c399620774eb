# SPDX-License-Identifier: Apache-2.0
"""NaN and infinity in Q, K and V of spelled-out attention.

With --math=strict they reach exactly the answers that the spelled-out nodes let them reach. By default masks
with finite fills and guards of empty rows are rewritten, which is equal for finite numbers (docs/limits.md).
"""

import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
TIME, SIZE = 40, 8


def spelled_out(form):
    """Where(mask, scores, fill) before the softmax, or a guard behind it."""
    nodes = [helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]), helper.make_node("MatMul", ["q", "kt"], ["s"])]
    inits = [numpy_helper.from_array(np.array(v, np.float32), n)
             for n, v in (("low", -1e4), ("none", -np.inf), ("zero", 0))]
    if form in ("fill", "infinite"):
        nodes.append(helper.make_node("Where", ["mask", "s", "low" if form == "fill" else "none"], ["m"]))
    else:
        nodes += [helper.make_node("Where", ["mask", "zero", "none"], ["a"]), helper.make_node("Add", ["s", "a"], ["m"])]
    nodes.append(helper.make_node("Softmax", ["m"], ["p"], axis=-1))
    if form == "guard":
        nodes += [helper.make_node("IsNaN", ["p"], ["bad"]), helper.make_node("Where", ["bad", "zero", "p"], ["g"])]
    nodes.append(helper.make_node("MatMul", ["g" if form == "guard" else "p", "v"], ["y"]))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, TIME, SIZE]) for n in "qkv"]
    ports.append(helper.make_tensor_value_info("mask", TensorProto.BOOL, [1, 1, TIME, TIME]))
    graph = helper.make_graph(nodes, "g", ports, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def expected(form, q, k, v, mask):
    with np.errstate(all="ignore"):
        s = q.astype(np.float64) @ np.swapaxes(k, 2, 3).astype(np.float64)
        m = np.where(mask, s, {"fill": -1e4, "infinite": -np.inf}.get(form)) if form != "guard" else s + np.where(mask, 0, -np.inf)
        e = np.exp(m - m.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        if form == "guard":
            p = np.where(np.isnan(p), 0, p)
        return p @ v.astype(np.float64)


def data(bad):
    generator = np.random.default_rng(3)
    q, k, v = (generator.standard_normal((1, 2, TIME, SIZE)).astype(np.float32) for _ in range(3))
    mask = np.broadcast_to(np.tril(np.ones((TIME, TIME), bool)), (1, 1, TIME, TIME)).copy()
    mask[0, 0, 5] = False
    name, number = bad
    if name is not None:
        {"q": q, "k": k, "v": v}[name][0, 1, 17, 3] = number
    return {"q": q, "k": k, "v": v, "mask": mask}


def answer(folder, inputs):
    np.savez(folder / "in.npz", **inputs)
    subprocess.run([TAMIS, "run", folder / "m.so", "--inputs", folder / "in.npz", "-o", f"y={folder}/y.npy"], check=True,
                   timeout=60)
    return np.load(folder / "y.npy")


BAD = [(None, 0)] + [(name, number) for name in "qkv" for number in (np.nan, np.inf, -np.inf)]


@pytest.mark.parametrize("form", ["fill", "infinite", "guard"])
@pytest.mark.parametrize("math", ["strict", "fast"])
def test_masks(tmp_path, form, math):
    onnx.save(spelled_out(form), tmp_path / "m.onnx")
    subprocess.run([TAMIS, "compile", f"--math={math}", tmp_path / "m.onnx", "-o", tmp_path / "m.so"], check=True, timeout=60)
    text = subprocess.run([TAMIS, "compile", f"--math={math}", tmp_path / "m.onnx", "--emit=ir", "-o", "-"], check=True,
                          capture_output=True, text=True).stdout
    assert ("Softmax" in text) == (math == "strict")
    for bad in BAD if math == "strict" else BAD[:1]:
        inputs = data(bad)
        np.testing.assert_allclose(answer(tmp_path, inputs), expected(form, **inputs), rtol=2e-5, atol=2e-6, err_msg=str(bad))


# ---- masks that hide whole tiles of keys, which are left out unless a row sees nothing else ----

LONG = 300


def added(pattern):
    """True where a key is seen; some rows of `holes` see none."""
    query, key = np.arange(LONG)[:, None], np.arange(LONG)[None]
    seen = {"causal": key <= query, "band": (key <= query) & (key > query - 40), "padded": (key < 70) | (query < 0),
            "blocks": key // 100 == query // 100, "holes": (key > query) & (query % 7 != 3)}[pattern]
    return np.broadcast_to(seen, (LONG, LONG))


@pytest.mark.parametrize("fill", [-1e9, float(np.finfo(np.float32).min), -np.inf])
@pytest.mark.parametrize("size", [8, 64, 192])
def test_hidden_tiles(tmp_path, fill, size):
    nodes, wanted = [], {}
    generator = np.random.default_rng(size)
    q, k, v = (generator.standard_normal((1, 2, LONG, size)).astype(np.float32) for _ in range(3))
    feeds = {"q": q, "k": k, "v": v}
    scores = q.astype(np.float64) @ np.swapaxes(k, 2, 3).astype(np.float64) * size**-0.5
    for name in ("causal", "band", "padded", "blocks", "holes"):
        nodes.append(helper.make_node("Attention", ["q", "k", "v", name], [f"y_{name}"]))
        feeds[name] = np.where(added(name), np.float32(0), np.float32(fill))
        with np.errstate(all="ignore"):
            m = (scores.astype(np.float32) + feeds[name]).astype(np.float64)
            e = np.exp(m - m.max(axis=-1, keepdims=True))
            y = e / e.sum(axis=-1, keepdims=True) @ v.astype(np.float64)
            wanted[f"y_{name}"] = np.where(np.isnan(y), 0, y)  # what Attention makes of rows that are -inf throughout
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in feeds.items()]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in wanted]
    graph = helper.make_graph(nodes, "g", ports, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "m.onnx")
    np.savez(tmp_path / "in.npz", **feeds)
    for options in ([], ["--math=strict"], ["-mcpu=x86-64-v3"]):
        subprocess.run([TAMIS, "compile", *options, tmp_path / "m.onnx", "-o", tmp_path / "m.so"], check=True, timeout=60)
        subprocess.run([TAMIS, "run", tmp_path / "m.so", "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"],
                       check=True, timeout=60)
        with np.load(tmp_path / "out.npz") as made:
            for name, want in wanted.items():
                np.testing.assert_allclose(made[name], want, rtol=2e-5, atol=2e-6, err_msg=f"{name} {options}")
