# SPDX-License-Identifier: Apache-2.0
"""inspect --compress: what was put into weights on purpose is found, and what is nearly that is not."""

import json
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit import TAMIS, tamis

pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(11)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def save(path, nodes, constants, outputs=()):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    graph = helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def inspect(tmp_path, **constants):
    """Each constant is read by a node of its own: the report, and tensors by name."""
    nodes = [helper.make_node("MatMul", ["x", name], [f"y_{name}"], name=f"of_{name}")
             if array.ndim == 2 and array.shape[0] == 64 and array.dtype == np.float32 else helper.make_node("Identity", [name], [f"y_{name}"])
             for name, array in constants.items()]
    save(tmp_path / "model.onnx", nodes, constants, [f"y_{name}" for name in constants])
    report = json.loads(tamis("inspect", "--compress", "--json", tmp_path / "model.onnx"))
    return report, {tensor["name"]: tensor for tensor in report["tensors"]}


def test_statistics(tmp_path):
    a = normal(64, 50)
    a[3, 4:9] = 0
    a[0, 0] = 40
    a[1, :2] = np.nan
    a[2, 0] = 1e-41
    _, tensors = inspect(tmp_path, a=a, few=np.float32([1, 2, 2, 3, 3, 3, 3, 3]))
    found = tensors["a"]
    assert (found["zeros"], found["not_finite"], found["subnormal"], found["elements"], found["bytes"]) == (5, 2, 1, 3200, 12800)
    assert found["distinct"] == len(np.unique(a.view(np.uint32))) and found["most"] == 40
    assert found["outliers"] == 1 and found["outlier"] > 20
    assert found["reader"] == "MatMul 'of_a'"
    counts = np.float64([1, 2, 5]) / 8
    assert tensors["few"]["word_bits"] == pytest.approx(-(counts * np.log2(counts)).sum())
    assert tensors["few"]["distinct"] == 3


def test_entropies(tmp_path):
    a = normal(64, 512)
    _, tensors = inspect(tmp_path, a=a)
    exponents = np.unique(a.view(np.uint32) >> 23 & 255, return_counts=True)[1] / a.size
    rounded = np.unique(np.rint(a / np.abs(a).max(0) * 127), return_counts=True)[1] / a.size
    assert tensors["a"]["exponent_bits"] == pytest.approx(-(exponents * np.log2(exponents)).sum())
    assert tensors["a"]["int8_bits"] == pytest.approx(-(rounded * np.log2(rounded)).sum(), abs=0.01)
    coded = tensors["a"]["forecast"]
    assert 0.8 < coded["coded"] / a.nbytes < 0.86
    assert coded["float16"] < 0.46 * a.nbytes and coded["int8_coded"] < coded["int8"] < 0.27 * a.nbytes


def test_low_rank(tmp_path):
    low = (normal(64, 5) @ normal(5, 80)).astype(np.float32)
    near = low + 1e-3 * normal(64, 80)
    _, tensors = inspect(tmp_path, low=low, near=near, full=normal(64, 80))
    assert tensors["low"]["rank"] == 5 and tensors["low"]["rank_999"] <= 5
    assert tensors["low"]["forecast"]["low_rank"] <= 4 * 5 * (64 + 80)
    assert tensors["near"]["rank"] == 64 and tensors["near"]["rank_999"] <= 5
    values = np.linalg.svd(tensors_full := normal(64, 72), compute_uv=False) ** 2
    _, tensors = inspect(tmp_path, full=tensors_full)
    assert tensors["full"]["rank"] == 64
    assert tensors["full"]["rank_99"] == 1 + np.searchsorted(np.cumsum(values), 0.99 * values.sum())
    assert tensors["full"]["forecast"]["low_rank"] is None


def test_large_spectra_are_sketched(tmp_path):
    low = (normal(1100, 6) @ normal(6, 1080)).astype(np.float32)
    _, tensors = inspect(tmp_path, low=low)
    assert tensors["low"]["sketched"] and tensors["low"]["rank"] == 6 and tensors["low"]["rank_999"] <= 6


def test_zeros_and_their_patterns(tmp_path):
    def where(keep):
        return np.where(keep, normal(64, 48), np.float32(0))
    rows = normal(64, 48)
    rows[[3, 9]] = 0
    rows[:, 5] = 0
    keep = RNG.random((64, 48)) < 0.3
    two_of_four = np.zeros((64, 48), bool)
    for column in range(48):
        for row in range(0, 64, 4):
            two_of_four[row + RNG.choice(4, 2, replace=False), column] = True
    broken = two_of_four.copy()
    broken[0:4, 0] = True
    blocks = np.repeat(RNG.random((16, 48)) < 0.3, 4, 0)
    _, tensors = inspect(tmp_path, rows=rows, random=where(keep), pairs=where(two_of_four), broken=where(broken), blocks=where(blocks),
                         turned=where(np.repeat(RNG.random((64, 12)) < 0.3, 4, 1)))
    assert (tensors["rows"]["zero_rows"], tensors["rows"]["zero_columns"]) == (2, 1)
    assert tensors["rows"]["forecast"]["slices"] == 4 * 62 * 47
    assert tensors["random"]["pattern"] is None and tensors["random"]["blocks_4x1"] < 0.6
    assert "zeros stored as numbers" in tensors["random"]["stored"]
    assert tensors["random"]["forecast"]["coded"] < 0.36 * rows.nbytes
    assert tensors["pairs"]["pattern"] == "2:4 along columns" and tensors["broken"]["pattern"] is None
    assert tensors["blocks"]["blocks_4x1"] == 1 and tensors["blocks"]["blocks_1x4"] < 0.6
    assert tensors["turned"]["blocks_1x4"] == 1 and tensors["turned"]["blocks_4x1"] < 0.6
    assert tensors["rows"]["stored"] is None


def sines(rows, columns, base=10000.0, single=False):
    f = base ** (-np.arange(columns // 2) / (columns // 2))
    if single:
        angles = np.arange(rows, dtype=np.float32)[:, None] * f.astype(np.float32)
        return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(rows, columns)
    angles = np.arange(rows)[:, None] * f
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(rows, columns).astype(np.float32)


def test_generated_tables(tmp_path):
    table = sines(100, 32)
    moved = table.copy()
    moved[50, 3] += 1e-3
    count = np.arange(600, dtype=np.int64)
    jump = count.copy()
    jump[300] = 0
    mask = np.where(np.tril(np.ones((40, 40), bool)), np.float32(0), np.float32(-1e9))
    hole = mask.copy()
    hole[30, 4] = -1e9
    eye = np.eye(24, dtype=np.float32)
    _, tensors = inspect(tmp_path, table=table, single=sines(64, 64, single=True), other=sines(80, 32, base=1234.5), moved=moved, count=count,
                         jump=jump, fill=np.full(80, 0.1, np.float32), mask=mask, hole=hole, eye=eye, noise=normal(40, 40))
    assert "base 10000" in tensors["table"]["generated"] and tensors["table"]["generated_error"] == 0
    assert "formula" in tensors["table"]["stored"]
    assert "float32" in tensors["single"]["generated"] and 0 < tensors["single"]["generated_error"] < 1e-5
    assert tensors["count"]["generated"].startswith("0 + 1 * ")
    assert tensors["fill"]["generated"] == "constant 0.1"
    assert tensors["mask"]["generated"].startswith("triangle: 0 where column <= row+0, else -1e+09")
    assert tensors["eye"]["generated"] == "diagonal: 1, else 0"
    for name in ("other", "moved", "jump", "hole", "noise"):
        assert tensors[name]["generated"] is None, name


def test_values_that_came_from_less(tmp_path):
    scales = np.abs(normal(48)) + 0.01
    q = RNG.integers(-127, 128, (64, 48)).astype(np.float32)
    quantized = (q * scales).astype(np.float32)
    nearly = quantized.copy()
    nearly[7, 7] = np.nextafter(nearly[7, 7], np.float32(9))
    palette = normal(16)[RNG.integers(0, 16, (64, 48))]
    many = normal(300)[RNG.integers(0, 300, (64, 48))]
    _, tensors = inspect(tmp_path, quantized=quantized, nearly=nearly, palette=palette, many=many,
                         half=normal(64, 48).astype(np.float16).astype(np.float32),
                         half_type=normal(64, 48).astype(np.float16), noise=normal(64, 48))
    assert tensors["quantized"]["values"] == "integers (int8) times 48 scales"
    assert "stored as float32" in tensors["quantized"]["stored"]
    assert tensors["palette"]["values"] == "a palette of 16 values" and tensors["palette"]["distinct"] == 16
    assert tensors["half"]["values"] == "float16 numbers"
    assert tensors["quantized"]["forecast"]["coded"] < 0.28 * q.nbytes and tensors["palette"]["forecast"]["coded"] < 0.16 * q.nbytes
    for name in ("nearly", "many", "noise"):
        assert tensors[name]["values"] is None and tensors[name]["stored"] is None, name
    assert tensors["half_type"]["stored"] is None


def test_copies(tmp_path):
    a = normal(64, 40)
    near = a.copy()
    near[5, 5] = np.nextafter(near[5, 5], np.float32(9))
    scaled = (a * np.float32(0.35)).astype(np.float32)
    half_scaled = scaled.copy()
    half_scaled[:, 3] *= np.float32(1.001)
    report, tensors = inspect(tmp_path, a=a, b=a.copy(), near=near, turned=np.ascontiguousarray(a.T), scaled=scaled, half_scaled=half_scaled,
                              shape=a.reshape(32, 80), other=normal(64, 40))
    assert (tensors["b"]["same_as"], tensors["b"]["relation"]) == ("a", "same bytes")
    assert (tensors["turned"]["same_as"], tensors["turned"]["relation"]) == ("a", "transposed")
    assert tensors["scaled"]["same_as"] == "a" and tensors["scaled"]["relation"].startswith("times 0.35")
    assert tensors["shape"]["relation"] == "same bytes, other dims"
    for name in ("a", "half_scaled", "other"):
        assert tensors[name]["same_as"] is None, name
    assert tensors["near"]["relation"] == "equal but for rounding"
    assert report["duplicate_bytes"] >= 4 * a.nbytes
    assert report["forecast"]["coded"] < 0.87 * (report["bytes"] - 2 * a.nbytes)


def test_constants_that_the_graph_computes(tmp_path):
    base, a, b = normal(64, 48), normal(64, 4), normal(4, 48)
    nodes = [helper.make_node("MatMul", ["a", "b"], ["ab"]), helper.make_node("Mul", ["ab", "s"], ["delta"]),
             helper.make_node("Add", ["base", "delta"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"]),
             helper.make_node("Mul", ["x", "s"], ["z"])]
    save(tmp_path / "model.onnx", nodes, {"base": base, "a": a, "b": b, "s": np.float32(0.5)}, ["y", "z"])
    found = json.loads(tamis("inspect", "--compress", "--json", tmp_path / "model.onnx"))["foldable"]
    assert [(f["output"], f["nodes"], f["adapter"], f["bytes_out"]) for f in found] == [("w", 3, True, base.nbytes)]
    assert found[0]["bytes_in"] == base.nbytes + a.nbytes + b.nbytes + 4


def test_other_types_and_shapes(tmp_path):
    report, tensors = inspect(tmp_path, scalar=np.float32(3), empty=np.zeros((0, 5), np.float32), flags=np.array([True, False] * 40),
                              small=RNG.integers(-8, 8, (9, 9)).astype(np.int8), wide=RNG.normal(size=(20, 20)),
                              deep=normal(2, 3, 4, 5), nothing=np.float32([np.nan, np.inf]))
    assert tensors["empty"]["elements"] == 0 and tensors["scalar"]["elements"] == 1
    assert tensors["flags"]["zeros"] == 40 and tensors["small"]["exponent_bits"] is None
    assert tensors["nothing"]["not_finite"] == 2
    assert report["bytes"] == sum(tensor["bytes"] for tensor in tensors.values())


def heads(tmp_path, kv_heads):
    """Four heads of 8 by shapes that the graph computes, an MLP with GELU spelled out. Head 1 hardly says anything, head 2 looks
    at two directions only."""
    w = {"q": normal(64, 32), "k": normal(64, 8 * kv_heads), "v": normal(64, 8 * kv_heads), "o": normal(32, 64),
         "up": normal(64, 40), "down": normal(40, 64)}
    w["o"][8:16] *= 0.01
    w["q"][:, 18:24] *= 1e-4
    w["up"][:, :10] *= 1e-3
    nodes, one = [], {"one": np.float32(1), "scale": np.float32(0.4), "half": np.float32(0.5), "minus": np.int64([-1]),
                      "zero": np.int64([0]), "axis": np.int64(0)}

    def add(op, *inputs, to, **attributes):
        nodes.append(helper.make_node(op, list(inputs), [to], name=to, **attributes))

    add("Unsqueeze", "x", "zero", to="batch")
    for name, count in (("q", 4), ("k", kv_heads), ("v", kv_heads)):
        one[f"sizes_{name}"] = np.int64([count, 8])
        one[f"bias_{name}"] = normal(8 * count)
        add("MatMul", "batch", name, to=f"{name}1")
        add("Add", f"bias_{name}", f"{name}1", to=f"{name}2")
        add("Shape", f"{name}2", to=f"{name}3")
        add("Slice", f"{name}3", "zero", "minus", to=f"{name}4")
        add("Concat", f"{name}4", f"sizes_{name}", to=f"{name}5", axis=0)
        add("Reshape", f"{name}2", f"{name}5", to=f"{name}6")
        add("Transpose", f"{name}6", to=f"{name}7", perm=[0, 2, 3, 1] if name == "k" else [0, 2, 1, 3])
    last = {name: f"{name}7" for name in "qkv"}
    if kv_heads < 4:
        one["repeat"], one["two"] = np.int64([1, 1, 4 // kv_heads, 1, 1]), np.int64([2])
        for name in "kv":
            one[f"joined_{name}"] = np.int64([0, 4, 8, -1] if name == "k" else [0, 4, -1, 8])
            add("Unsqueeze", f"{name}7", "two", to=f"{name}8")
            add("Expand", f"{name}8", "repeat", to=f"{name}9")
            add("Reshape", f"{name}9", f"joined_{name}", to=f"{name}10")
            last[name] = f"{name}10"
    add("MatMul", last["q"], last["k"], to="s")
    add("Mul", "s", "scale", to="s2")
    add("Softmax", "s2", to="p", axis=-1)
    add("MatMul", "p", last["v"], to="y")
    one["joined"] = np.int64([0, -1, 32])
    add("Transpose", "y", to="y2", perm=[0, 2, 1, 3])
    add("Shape", "y2", to="asked")
    add("Reshape", "y2", "joined", to="y3")
    add("MatMul", "y3", "o", to="attention")
    add("Add", "attention", "batch", to="stream")
    add("MatMul", "stream", "up", to="h")
    add("Div", "h", "scale", to="h1")
    add("Erf", "h1", to="h2")
    add("Add", "h2", "one", to="h3")
    add("Mul", "h", "h3", to="h4")
    add("Mul", "h4", "half", to="h5")
    add("MatMul", "h5", "down", to="z")
    save(tmp_path / "model.onnx", nodes, {**w, **one}, ["z"])
    return w


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_heads_and_channels(tmp_path, kv_heads):
    w = heads(tmp_path, kv_heads)
    found = json.loads(tamis("inspect", "--compress", "--json", tmp_path / "model.onnx"))["axes"]
    assert [(axis["name"], axis["kind"], axis["slices"], axis["width"]) for axis in found] == [
        ("MatMul 'attention'", "heads", 4, 8), ("MatMul 'z'", "channels", 40, 1)]
    for h in range(4):
        q, kv = slice(8 * h, 8 * h + 8), slice(8 * (h * kv_heads // 4), 8 * (h * kv_heads // 4) + 8)
        for energy, rank, product in (("energy", "rank_99", w["v"][:, kv].astype("f8") @ w["o"][q]),
                                      ("scores_energy", "scores_rank_99", w["q"][:, q].astype("f8") @ w["k"][:, kv].T)):
            values = np.linalg.svd(product, compute_uv=False) ** 2
            assert found[0][energy][h] == pytest.approx(values.sum(), rel=1e-5)
            assert found[0][rank][h] == 1 + np.argmax(values.cumsum() >= 0.99 * values.sum())
    assert found[0]["scores_rank_99"][2] == 2 and found[0]["weak_1"] == 1
    energy = (w["up"].astype("f8") ** 2).sum(0) * (w["down"].astype("f8") ** 2).sum(1)
    assert found[1]["energy"] == pytest.approx(energy, rel=1e-6) and found[1]["weak_1"] >= 10
    assert found[1]["weak_10"] == (np.sort(energy).cumsum() <= 0.1 * energy.sum()).sum()
    text = tamis("inspect", "--compress", tmp_path / "model.onnx")
    assert "4 heads of 8; the weakest is 1 with 0.0 %" in text and "queries and keys 2 to" in text and "40 channels; the" in text


def test_text_and_page(tmp_path):
    inspect(tmp_path, a=sines(100, 32), b=normal(64, 48))
    text = tamis("inspect", "--compress", tmp_path / "model.onnx", "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "generated: sin and cos in pairs" in text and "forecast" in text and "int8, coded" in text
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and page.count("<tr>") >= 12
    assert "sin and cos in pairs" in page and "MatMul 'of_b'" in page
    message = tamis("inspect", "--html", tmp_path / "page.html", tmp_path / "model.onnx", code=2)
    assert "--compress" in message


def test_sizes_of_an_artifact(tmp_path):
    inspect(tmp_path, w=normal(64, 48))
    tamis("compile", tmp_path / "model.onnx", "-o", tmp_path / "model.so")
    tamis("compile", tmp_path / "model.onnx", "-g", "-o", tmp_path / "symbols.so")
    size = json.loads(tamis("inspect", "--size", "--json", tmp_path / "model.so"))
    assert size["bytes"] == os.path.getsize(tmp_path / "model.so") == sum(size["sections"].values())
    assert size["tables"]["weights"] == size["sections"][".tamis.weights"] >= 64 * 48 * 4 and size["symbols"] == {}
    symbols = json.loads(tamis("inspect", "--size", "--json", tmp_path / "symbols.so"))["symbols"]
    assert "tamis_artifact" in symbols and len(symbols) > 5
    text = tamis("inspect", "--size", tmp_path / "model.so")
    assert "sections:" in text and "symbols: none; --map=FILE" in text


def layers(path, sizes):
    """Products with a bias and an activation, named after their place; those that the same code computes share it."""
    nodes, constants, x = [], {}, "x"
    for i, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        constants[f"w{i}"], constants[f"b{i}"] = normal(rows, columns), normal(columns)
        nodes += [helper.make_node("MatMul", [x, f"w{i}"], [f"m{i}"], name=f"/layer.{i}/MatMul"),
                  helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"]), helper.make_node("Relu", [f"a{i}"], [f"r{i}"])]
        x = f"r{i}"
    nodes.append(helper.make_node("Softmax", [x], ["y"], name="/last/Softmax"))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", sizes[0]])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", sizes[-1]])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("options", [[], ["-Os"], ["--weights=coded"]])
def test_sizes_by_symbol_and_region_without_symbols(tmp_path, options):
    """By the linker's map: nothing in the artifact is for it. The model alone gives the same report."""
    layers(tmp_path / "model.onnx", [24, 40, 40, 40, 9])
    tamis("compile", tmp_path / "model.onnx", *options, "-o", tmp_path / "model.so")
    plain = (tmp_path / "model.so").read_bytes()
    tamis("compile", tmp_path / "model.onnx", *options, "--map", tmp_path / "model.map", "-o", tmp_path / "model.so")
    assert (tmp_path / "model.so").read_bytes() == plain
    size = json.loads(tamis("inspect", "--size", "--json", "--map", tmp_path / "model.map", tmp_path / "model.so"))
    of_model = json.loads(tamis("inspect", "--size", "--json", *options, tmp_path / "model.onnx"))
    assert of_model == {**size, "file": str(tmp_path / "model.onnx")} and size["bytes"] == len(plain)
    names = {name.split(" ", 1)[1]: bytes for name, bytes in size["regions"].items()}
    assert set(names) == {"contract MatMul /layer.0/MatMul", "contract MatMul /layer.3/MatMul", "row Softmax /last/Softmax"}
    in_regions = sum(bytes for name, bytes in size["symbols"].items() if name.startswith("tm_region_") and name[10].isdigit())
    assert sum(names.values()) == in_regions > 0 and min(names.values()) > 100
    code = size["sections"].get(".text", len(plain))
    assert in_regions < code and size["symbols"]["tamis_weights_model"] == size["tables"]["weights"]
    text = tamis("inspect", "--size", *options, tmp_path / "model.onnx")
    assert "regions, with all their functions:" in text and "contract MatMul /layer.0/MatMul" in text


def test_sizes_of_an_object(tmp_path):
    layers(tmp_path / "model.onnx", [24, 40, 9])
    tamis("compile", tmp_path / "model.onnx", "--map", tmp_path / "model.map", "-o", tmp_path / "model.o")
    size = json.loads(tamis("inspect", "--size", "--json", tmp_path / "model.o"))
    assert size["bytes"] == os.path.getsize(tmp_path / "model.o") and size["tables"] == {} and len(size["regions"]) == 3
    assert "contract MatMul /layer.1/MatMul" in (tmp_path / "model.map").read_text()
    (tmp_path / "bad.o").write_bytes((tmp_path / "model.o").read_bytes()[:3000])
    assert "damaged" in tamis("inspect", "--size", tmp_path / "bad.o", code=65)


def test_a_map_of_something_else_is_refused(tmp_path):
    for name, sizes in (("a", [24, 40, 9]), ("b", [24, 40, 40, 9])):
        layers(tmp_path / f"{name}.onnx", sizes)
        tamis("compile", tmp_path / f"{name}.onnx", "--map", tmp_path / f"{name}.map", "-o", tmp_path / f"{name}.so")
    message = tamis("inspect", "--size", "--map", tmp_path / "a.map", tmp_path / "b.so", code=2)
    assert "not the map of that artifact" in message
    message = tamis("inspect", "--size", "--map", tmp_path / "a.onnx", tmp_path / "a.so", code=2)
    assert "not the map of that artifact" in message
    message = tamis("compile", "--map", tmp_path / "a.map", tmp_path / "a.onnx", "-o", tmp_path / "a.ll", code=2)
    assert "what is not linked has no map" in message and not (tmp_path / "a.ll").exists()
