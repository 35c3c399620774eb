# SPDX-License-Identifier: Apache-2.0
"""`tamis bench --profile`: what each step of a model took, as text, JSON and Chrome trace."""

import json
import os
import re
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def save(path, nodes, inputs, outputs, weights=()):
    constants = [numpy_helper.from_array(array, name) for name, array in weights]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


def port(name, shape, type_=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, type_, shape)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """y = softmax(relu(x @ w) @ v): names of nodes as PyTorch gives them."""
    monkeypatch.chdir(tmp_path)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="/up/MatMul"),
        helper.make_node("Relu", ["a"], ["b"], name="/act/Relu"),
        helper.make_node("MatMul", ["b", "v"], ["c"], name="/down/MatMul"),
        helper.make_node("Softmax", ["c"], ["y"], name="/head/Softmax"),
    ]
    generator = np.random.default_rng(1)
    weights = [
        ("w", generator.standard_normal((32, 64)).astype(np.float32)),
        ("v", generator.standard_normal((64, 48)).astype(np.float32)),
    ]
    save("model.onnx", nodes, [port("x", ["n", 32])], [port("y", ["n", 48])], weights)
    return "model.onnx"


def profile(*arguments):
    return json.loads(tamis("bench", "--json", "--seconds", "0.05", "--profile", *arguments)[0])["profile"]


def test_steps_have_flops_bytes_and_names(model):
    found = profile("--size", "n=10", model)
    assert found["peak_flops_per_second"] > 1e8 and found["runs"] >= 3
    steps = {step["sources"][0]: step for step in found["steps"]}
    up, down = steps["MatMul /up/MatMul"], steps["MatMul /down/MatMul"]
    assert up["sources"] == ["MatMul /up/MatMul", "Relu /act/Relu"] and up["kind"] == "contract"
    assert up["flops"] == 2 * 10 * 32 * 64 + 10 * 64
    assert up["bytes"] == 4 * (10 * 32 + 32 * 64 + 10 * 64)
    assert down["flops"] == 2 * 10 * 64 * 48
    assert [step for step in steps if step.endswith("/head/Softmax")]
    for step in found["steps"]:
        assert step["calls"] == 1 and step["seconds"] > 0
        rate = step["flops"] / step["seconds"] / found["peak_flops_per_second"]
        assert step["share_of_peak"] == pytest.approx(rate)
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"]))


def test_flops_follow_the_dims_of_the_run(model):
    tamis("compile", "--profile", model, "-o", "model.so")
    flops = [sum(step["flops"] for step in profile("--size", f"n={n}", "model.so")["steps"]) for n in (1, 7)]
    assert flops[1] == 7 * flops[0]


def test_text_lists_the_slowest_first(model):
    text, _ = tamis("bench", "--seconds", "0.05", "--profile", "--size", "n=500", model)
    lines = text.split("nodes\n")[1].splitlines()
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times, reverse=True)
    assert "MatMul /up/MatMul and 1 more" in text


def test_trace_holds_one_run(model):
    tamis("bench", "--seconds", "0.05", "--trace", "trace.json", model)
    with open("trace.json") as file:
        events = json.load(file)["traceEvents"]
    names = [event["name"] for event in events]
    assert names.index("MatMul /up/MatMul") < names.index("MatMul /down/MatMul")
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)
    for event, following in zip(events, events[1:], strict=False):
        assert event["ts"] + event["dur"] <= following["ts"] + 1e-6
    assert events[names.index("MatMul /up/MatMul")]["args"]["sources"][1] == "Relu /act/Relu"


def test_models_of_several_objects(tmp_path, monkeypatch):
    """Code of long models is written in parts, which all tell the same profiler."""
    monkeypatch.chdir(tmp_path)
    nodes, weights, widths = [], [], list(range(30, 54, 2))
    for i, (into, out) in enumerate(zip(widths, widths[1:], strict=False)):
        weights.append((f"w{i}", np.zeros((into, out), np.float32)))
        nodes += [
            helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], name=f"product {i}"),
            helper.make_node("Softmax", [f"m{i}"], [f"x{i + 1}"], name=f"softmax {i}"),
        ]
    ends = [port("x0", ["n", widths[0]])], [port(f"x{len(widths) - 1}", ["n", widths[-1]])]
    save("deep.onnx", nodes, *ends, weights)
    found = profile("deep.onnx")["steps"]
    assert sum(len(step["sources"]) for step in found) >= len(nodes)


def test_steps_in_a_loop_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("CumSum", ["s", "axis"], ["t"], name="sum"),
        ],
        "body",
        [port("i", [], TensorProto.INT64), port("go", [], TensorProto.BOOL), port("s", [3])],
        [port("still", [], TensorProto.BOOL), port("t", [3])],
    )
    nodes = [helper.make_node("Loop", ["trips", "", "s0"], ["y"], body=body)]
    inputs = [port("trips", [], TensorProto.INT64), port("s0", [3])]
    save("loop.onnx", nodes, inputs, [port("y", [3])], [("axis", np.array(0, np.int64))])
    np.savez("in.npz", trips=np.array(5, np.int64), s0=np.ones(3, np.float32))
    steps = profile("--inputs", "in.npz", "loop.onnx")["steps"]
    sums = next(step for step in steps if step["sources"] == ["CumSum sum"])
    assert sums["calls"] == 5 and sums["flops"] == 15


def test_only_profiled_artifacts_have_it(model):
    tamis("compile", model, "-o", "plain.so")
    tamis("compile", "--profile", model, "-o", "profiled.so")
    with open("plain.so", "rb") as plain, open("profiled.so", "rb") as profiled:
        plain, profiled = plain.read(), profiled.read()
    assert b"tamis_set_profiler" in profiled and b"tamis_set_profiler" not in plain
    assert len(plain) <= len(profiled)
    _, message = tamis("bench", "--profile", "--seconds", "0.05", "plain.so", code=2)
    assert "compile it with --profile" in message
    _, message = tamis("compile", "--profile", model, "-o", "plain.o", code=2)
    assert "shared object" in message
    # one without a profiler set gives the same answers
    x = np.random.default_rng(2).standard_normal((4, 32)).astype(np.float32)
    np.savez("x.npz", x=x)
    for name in ("plain", "profiled"):
        tamis("run", f"{name}.so", "--inputs", "x.npz", "--outputs", f"{name}.npz")
    np.testing.assert_array_equal(np.load("plain.npz")["y"], np.load("profiled.npz")["y"])


def test_symbols_name_nodes(tmp_path, monkeypatch):
    """Two equal layers share a function, but not with -g, where each has the name of its node."""
    monkeypatch.chdir(tmp_path)
    names = ["/layer.0/MatMul", "/layer.1/MatMul"]
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"], name=names[i]) for i in range(2)]
    weights = [("w", np.eye(32, dtype=np.float32))]
    save("model.onnx", nodes, [port("x0", ["n", 32])], [port("x2", ["n", 32])], weights)
    tamis("compile", "-g", "model.onnx", "-o", "named.so")
    tamis("compile", "model.onnx", "-o", "plain.so")
    with open("named.so", "rb") as file:
        named = file.read()
    for name in names:
        assert f"MatMul {name}\0".encode() in named
    with open("plain.so", "rb") as file:
        assert b"tm_region" not in file.read()
    np.savez("x.npz", x0=np.ones((3, 32), np.float32))
    tamis("run", "named.so", "--inputs", "x.npz", "--outputs", "y.npz")
    np.testing.assert_array_equal(np.load("y.npz")["x2"], np.ones((3, 32), np.float32))


def code_lines(path):
    """Of each function of the artifact, the lines of the list of nodes that its instructions have."""
    nm = os.environ.get("LLVM_NM", "llvm-nm-19")
    table = subprocess.run([nm.replace("llvm-nm", "llvm-dwarfdump"), "--debug-line", path], capture_output=True,
                           text=True, check=True).stdout
    assert f'name: "{path.removesuffix(".so")}.nodes"' in table
    rows = [(int(a, 16), int(line)) for a, line in re.findall(r"^(0x[0-9a-f]+) +([0-9]+) ", table, re.M)]
    symbols = subprocess.run([nm, "--defined-only", "--print-size", path], capture_output=True, text=True, check=True).stdout
    return {name: {line for address, line in rows if int(start, 16) <= address < int(start, 16) + int(size, 16)} - {0}
            for start, size, name in re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [tT] (.*)$", symbols, re.M)}


def test_lines_are_nodes(tmp_path, monkeypatch):
    """Instructions have the lines of their nodes in the list beside the artifact, those of an epilogue their own."""
    monkeypatch.chdir(tmp_path)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"], name="/dense/MatMul"),
             helper.make_node("Add", ["m", "b"], ["a"], name="/dense/Add"),
             helper.make_node("Sigmoid", ["a"], ["s"], name="/act/Sigmoid"),
             helper.make_node("CumSum", ["s", "axis"], ["c"], name="/sum/CumSum"),
             helper.make_node("Exp", ["c"], ["y"], name="/last/Exp")]
    weights = [("w", np.eye(64, dtype=np.float32)), ("b", np.ones(64, np.float32)), ("axis", np.array(0, np.int64))]
    save("model.onnx", nodes, [port("x", ["n", 64])], [port("y", ["n", 64])], weights)
    tamis("compile", "-g", "model.onnx", "-o", "named.so")
    with open("named.nodes") as file:
        listed = file.read().splitlines()
    found = code_lines("named.so")
    names = {function: {listed[line - 1].split('"')[1] for line in lines if '"' in listed[line - 1]}
             for function, lines in found.items()}
    products = {function: lines for function, lines in names.items() if "contract" in function and "_v" in function and "_finish" not in function}
    assert len(products) == 2
    finish = set().union(*(lines for function, lines in names.items() if "contract" in function))
    assert finish == {"/dense/MatMul", "/dense/Add", "/act/Sigmoid"}
    assert all("/dense/MatMul" in lines for lines in products.values())
    assert names["tm_model_execute"] == {"/sum/CumSum", "/last/Exp"}
    tamis("compile", "model.onnx", "-o", "plain.so")
    with open("plain.so", "rb") as file:
        assert b".debug_line" not in file.read()
    assert not os.path.exists("plain.nodes")
    for form, name in (("obj", "part.o"), ("llvm", "part.ll")):
        tamis("compile", "-g", f"--emit={form}", "model.onnx", "-o", name)
        with open("part.nodes") as file:
            assert file.read().splitlines() == listed
