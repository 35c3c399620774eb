# SPDX-License-Identifier: Apache-2.0
"""Products by bytes that are mostly zero leave the zeros out: the same bits as dense ones, at every level, and a smaller artifact."""

import subprocess

import levels as kit
import numpy as np
import pytest
from levels import OTHERS, Model, is_x86, run, run_elsewhere, runner  # noqa: F401
from test_integer import FORMS, TYPES, integer_product, levels, quantize, random_bytes, save_static

ROWS = [0, 1, 17, 65, 161]
SHAPES = [(5, 3), (130, 100), (259, 32)]
DENSE = "--disable=form_sparse_regions"

pytestmark = pytest.mark.skipif(not is_x86(), reason="levels of x86-64")


def mostly_zero(random, dtype, depth, columns, zeros=0.8):
    """Random bytes where a share of the groups of 4 terms of a column is what tiles hold as zero; column 1 is all zero, 2 has all groups."""
    w = random_bytes(random, dtype, depth, columns)
    keep = random.random((-(-depth // 4), columns)) >= zeros
    keep[:, 1], keep[:, 2] = False, True
    return np.where(np.repeat(keep, 4, axis=0)[:depth], w, dtype(128 if dtype == np.uint8 else 0)).astype(dtype)


def kinds(model, folder, *options):
    model.save(folder / "k.onnx")
    command = [kit.TAMIS, "compile", folder / "k.onnx", "-o", folder / "k.ir", *options]
    subprocess.run([str(part) for part in command], check=True)
    text = (folder / "k.ir").read_text()
    return {kind: text.count(f'kind = "{kind}"') for kind in ("sparse", "turn", "tiles")}


def check(runner, folder, model, x, columns, sparse, want=None):
    """Dense and sparse artifacts, all levels, rows and numbers of threads agree to the bit; `sparse` regions are there."""
    assert kinds(model, folder)["sparse"] == sparse and kinds(model, folder, DENSE)["sparse"] == 0
    dense = folder / "dense"
    dense.mkdir()
    answers = {}
    dense_artifact, artifact = model.compile(dense, DENSE), model.compile(folder)
    held = artifact.read_bytes()
    for level in levels():
        if level.encode() + b"\0" not in held:  # sparse products have no code of their own for matrix units
            assert level == "x86-64-v4-amx"
            continue
        for rows in ROWS:
            y = run(runner, artifact, level, x[:rows], pieces=3).reshape(rows, columns)
            assert y.tobytes() == run(runner, artifact, level, x[:rows]).reshape(rows, columns).tobytes(), (level, rows, "threads")
            if rows not in answers:
                answers[rows] = run(runner, dense_artifact, level, x[:rows]).reshape(rows, columns)
            assert y.tobytes() == answers[rows].tobytes(), (level, rows)
    if want is not None:
        np.testing.assert_allclose(answers[max(ROWS)], want, rtol=2e-6, atol=2e-6 * np.abs(want).max())


@pytest.mark.parametrize("left, right, z, w_zero", FORMS)
@pytest.mark.parametrize("depth, columns", SHAPES)
def test_static(tmp_path, runner, depth, columns, left, right, z, w_zero):
    random = np.random.default_rng(depth)
    w = mostly_zero(random, TYPES[right], depth, columns, zeros=1 if columns == 3 else 0.9)
    w_scale = (0.5 + random.random(columns)).astype(np.float32) / 64
    bias = random.standard_normal(columns).astype(np.float32)
    x = random.standard_normal((max(ROWS), depth)).astype(np.float32)
    model = Model([None, depth])
    model.add("Add", save_static(model, left, w, w_scale, z, w_zero, 0.02), bias)
    sums = integer_product(quantize(x, 0.02, z, TYPES[left]), z, w, w_zero)
    check(runner, tmp_path, model, x, columns, 1, sums.astype(np.float32) * (np.float32(0.02) * w_scale) + bias)


def test_block(tmp_path, runner):
    """Side by side products of one left side, an activation, a quantised hidden value and a residual sum, as in an encoder."""
    random = np.random.default_rng(1)
    width, hidden = 100, 164
    model = Model([None, width])
    sides = []
    d = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", np.float32(0.02), np.uint8(120)), np.float32(0.02), np.uint8(120))
    for _ in range(3):
        w = mostly_zero(random, np.int8, width, width)
        v = model.add("DequantizeLinear", w, (0.5 + random.random(width)).astype(np.float32) / 64, np.zeros(width, np.int8), axis=1)
        sides.append(model.add("Add", model.add("MatMul", d, v), random.standard_normal(width).astype(np.float32)))
    total = model.add("Concat", *sides, axis=-1)
    up = save_static(model, "u8", mostly_zero(random, np.int8, 3 * width, hidden), np.full(hidden, 0.001, np.float32), 128, 0, 0.5, total)
    down = save_static(model, "s8", mostly_zero(random, np.int8, hidden, width), np.full(width, 0.001, np.float32), -3, 0, 0.2, model.add("Relu", up))
    model.add("Add", down, "x")
    x = random.standard_normal((max(ROWS), width)).astype(np.float32)
    check(runner, tmp_path, model, x, width, 3)
    assert kinds(model, tmp_path)["turn"] == 2  # of x and of the three sides; the hidden values come turned


@pytest.mark.parametrize("out, columns", [("u8", 3), ("s8", 100), ("u8", 130)])
def test_bytes(tmp_path, runner, out, columns):
    """Bytes for readers other than products: the rows stay in the lanes up to them."""
    random = np.random.default_rng(columns)
    model = Model([None, 259])
    product = save_static(model, "u8", mostly_zero(random, np.int8, 259, columns), (0.5 + random.random(columns)).astype(np.float32) / 64, 120, 0, 0.02)
    model.add("Sigmoid", model.add("Add", product, random.standard_normal(columns).astype(np.float32)))
    zero = np.array(3, TYPES[out])
    y = model.add("Gather", model.add("QuantizeLinear", model.last, np.float32(0.004), zero), np.arange(columns)[::-1].copy(), axis=1)
    model.add("DequantizeLinear", y, np.float32(0.004), zero)
    x = random.standard_normal((max(ROWS), 259)).astype(np.float32)
    check(runner, tmp_path, model, x, columns, 1)
    kinds(model, tmp_path)
    assert f" {'ui'[out == 's8']}8[d0, {columns}] = tamis.Region" in (tmp_path / "k.ir").read_text()


def test_sides_of_bytes(tmp_path, runner):
    """Queries, keys and values as bytes, of one left side."""
    random = np.random.default_rng(7)
    model = Model([None, 100])
    d = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", np.float32(0.02), np.uint8(120)), np.float32(0.02), np.uint8(120))
    sides = []
    for zero in (0, 7, -9):
        v = model.add("DequantizeLinear", mostly_zero(random, np.int8, 100, 70), (0.5 + random.random(70)).astype(np.float32) / 64, np.zeros(70, np.int8), axis=1)
        side = model.add("Add", model.add("MatMul", d, v), random.standard_normal(70).astype(np.float32))
        side = model.add("Gather", model.add("QuantizeLinear", side, np.float32(0.03), np.array(zero, np.int8)), np.arange(70)[::-1].copy(), axis=1)
        sides.append(model.add("DequantizeLinear", side, np.float32(0.03), np.array(zero, np.int8)))
    model.add("Concat", *sides, axis=-1)
    check(runner, tmp_path, model, random.standard_normal((max(ROWS), 100)).astype(np.float32), 210, 1)


@pytest.mark.parametrize("widths", [(100, 164, 60), (64, 256, 64), (5, 3, 7)])
def test_chain(tmp_path, runner, widths):
    """Between sparse products nothing is turned."""
    random = np.random.default_rng(5)
    model = Model([None, widths[0]])
    y = "x"
    for depth, columns in zip(widths, widths[1:]):
        w = mostly_zero(random, np.int8, depth, columns, zeros=1 if depth < 9 else 0.8)
        w[0, 0] = 77
        y = save_static(model, "u8", w, np.full(columns, 0.002, np.float32), 128, 0, 0.05, y)
        y = model.add("Gelu", model.add("Add", y, random.standard_normal(columns).astype(np.float32)))
    check(runner, tmp_path, model, random.standard_normal((max(ROWS), widths[0])).astype(np.float32), widths[-1], len(widths) - 1)
    assert kinds(model, tmp_path)["turn"] == 1


def test_scale_for_each_row(tmp_path, runner):
    """Scales of rows are a vector where rows are in the lanes; the last ones are beyond the rows there are."""
    random = np.random.default_rng(6)
    depth, columns = 130, 40
    model = Model([None, depth])
    model.opset = 21
    s = model.add("Max", model.add("Mul", model.add("ReduceMax", model.add("Abs", "x"), np.array([-1])), np.float32(1 / 127)), np.float32(1e-30))
    block = {"axis": -1, "block_size": depth}
    d = model.add("DequantizeLinear", model.add("QuantizeLinear", "x", s, output_dtype=3, **block), s, **block)
    w = mostly_zero(random, np.int8, depth, columns)
    y = model.add("MatMul", d, model.add("DequantizeLinear", w, (0.5 + random.random(columns)).astype(np.float32) / 64, axis=1))
    save_static(model, "u8", mostly_zero(random, np.int8, columns, depth), np.full(depth, 0.002, np.float32), 128, 0, 0.1, model.add("Tanh", y))
    check(runner, tmp_path, model, random.standard_normal((max(ROWS), depth)).astype(np.float32), depth, 2)
    assert kinds(model, tmp_path)["turn"] == 1


def test_row_counts_known(tmp_path):
    """Lanes are rows, so a product of few known rows stays dense; and so does one with few zeros."""
    random = np.random.default_rng(2)
    for rows, zeros, sparse in [(4, 0.9, 0), (7, 0.9, 0), (8, 0.9, 1), (64, 0.9, 1), (64, 0.3, 0)]:
        model = Model([rows, 64])
        save_static(model, "u8", mostly_zero(random, np.int8, 64, 64, zeros), np.ones(64, np.float32), 0, 0, 0.02)
        model.save(tmp_path / "k.onnx", symbolic=False)
        subprocess.run([kit.TAMIS, "compile", tmp_path / "k.onnx", "-o", tmp_path / "k.ir"], check=True)
        assert (tmp_path / "k.ir").read_text().count('kind = "sparse"') == sparse, (rows, zeros)


def test_saturation(tmp_path, runner):
    """The largest sums that there are: an instruction that saturates pairs would show."""
    depth, columns = 1024, 33
    w = np.where(np.arange(depth * columns).reshape(depth, columns) % 3 == 0, -128, 127).astype(np.int8)
    w[np.arange(depth) // 4 % 3 > 0] = 0
    model = Model([None, depth])
    save_static(model, "u8", w, np.ones(1, np.float32), 0, 0, 1)
    x = np.full((max(ROWS), depth), 1e9, np.float32)
    check(runner, tmp_path, model, x, columns, 1, np.tile((255.0 * w.sum(0, dtype=np.int64)).astype(np.float32), (max(ROWS), 1)))


@pytest.mark.parametrize("options", [(), ("--weights=coded",)])
def test_size(tmp_path, options):
    """At four zeros of five the weights take about a quarter, and no more when they are coded."""
    random = np.random.default_rng(4)
    width = 1024
    model = Model([None, width])
    w = mostly_zero(random, np.int8, width, width)
    save_static(model, "u8", w, np.ones(1, np.float32), 0, 0, 1)
    sizes = []
    for name, extra in [("sparse", ()), ("dense", (DENSE,))]:
        (tmp_path / name).mkdir()
        sizes.append(model.compile(tmp_path / name, *options, *extra).stat().st_size)
    most = 0.30 * width * width + 70000 if not options else sizes[1] * 1.1
    assert sizes[0] <= most, sizes


@pytest.mark.parametrize("target", [*OTHERS, "aarch64-linux-gnu dotprod"])
def test_other_targets(tmp_path, runner, target):
    """The same bits as on this processor."""
    random = np.random.default_rng(3)
    depth, columns = 270, 40
    model = Model([None, depth])
    w = mostly_zero(random, np.uint8, depth, columns)
    product = save_static(model, "s8", w, (0.5 + random.random(columns)).astype(np.float32) / 64, -128, 131, 0.02)
    model.add("Add", product, random.standard_normal(columns).astype(np.float32))
    inputs = [random.standard_normal((rows, depth)).astype(np.float32) for rows in (1, 33, 130)]
    answers = list(run_elsewhere(tmp_path, target, model, depth, columns, inputs))
    artifact = model.compile(tmp_path)
    for x, y in answers:
        assert (run(runner, artifact, "x86-64-v3", x).reshape(y.shape) == y).all(), len(x)
