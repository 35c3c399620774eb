# SPDX-License-Identifier: Apache-2.0
"""compile --slot: weights replaced without compiling again give the answers of a model compiled with them."""

import json
import subprocess

import numpy as np
import onnx
import pytest
import tamis as package
from onnx import TensorProto, helper, numpy_helper

from kit import TAMIS, tamis

pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(11)
FLOAT = TensorProto.FLOAT


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def save(path, nodes, inputs, outputs, constants):
    info = [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in inputs.items()]
    out = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "g", info, out,
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def run(artifact, folder, feeds, outputs, weights=None):
    arguments = ["run", artifact]
    for name, array in feeds.items():
        np.save(folder / f"in_{name}.npy", array)
        arguments += ["-i", f"{name}={folder / f'in_{name}.npy'}"]
    for name, array in (weights or {}).items():
        np.save(folder / f"w_{name}.npy", array)
        arguments += ["--set", f"{name}={folder / f'w_{name}.npy'}"]
    for name in outputs:
        arguments += ["-o", f"{name}={folder / f'out_{name}.npy'}"]
    tamis(*arguments)
    return [np.load(folder / f"out_{name}.npy") for name in outputs]


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def lora():
    """A layer and its adapter, as exporters write them: factors transposed, scaled, added."""
    nodes = [node("MatMul", ["x", "w"], ["base"]), node("Transpose", ["lora_A"], ["at"], perm=[1, 0]),
             node("MatMul", ["x", "at"], ["down"]), node("MatMul", ["down", "lora_B"], ["up"]),
             node("Mul", ["up", "scale"], ["scaled"]), node("Add", ["base", "scaled"], ["y"])]
    weights = {"w": normal(40, 50), "lora_A": normal(8, 40), "lora_B": np.zeros((8, 50), np.float32),
               "scale": np.float32(2)}
    return nodes, {"x": ["n", 40]}, ["y"], weights


def dense():
    """All that a slot may be read as: transposed and not, with bias, twice, as a table, and in a narrow product."""
    nodes = [node("Gemm", ["x", "w1", "b1"], ["a"], transB=1), node("Relu", ["a"], ["r"]),
             node("Gemm", ["r", "w2", "b2"], ["c"]), node("MatMul", ["c", "w1"], ["d"]),
             node("Gather", ["w1", "rows"], ["g"]), node("MatMul", ["r", "narrow"], ["e"]),
             node("Add", ["d", "e"], ["f"]), node("ReduceSum", ["g", "axes"], ["s"], keepdims=0),
             node("Add", ["f", "s"], ["y"])]
    weights = {"w1": normal(48, 24), "b1": normal(48), "w2": normal(48, 48), "b2": normal(48), "narrow": normal(48, 1),
               "rows": np.array([0, 3]), "axes": np.array([0])}
    return nodes, {"x": [3, 24]}, ["y"], weights


def convolutions():
    nodes = [node("Conv", ["x", "k1", "b1"], ["a"], pads=[1, 1, 1, 1]), node("Relu", ["a"], ["r"]),
             node("Conv", ["r", "k2"], ["c"], pads=[1, 1, 1, 1], group=2),
             node("Conv", ["c", "depthwise"], ["d"], pads=[1, 1, 1, 1], group=32),
             node("Conv", ["d", "point"], ["e"]), node("GlobalAveragePool", ["e"], ["p"]),
             node("Conv", ["p", "last"], ["y"])]
    weights = {"k1": normal(32, 3, 3, 3), "b1": normal(32), "k2": normal(32, 16, 3, 3), "depthwise": normal(32, 1, 3, 3),
               "point": normal(48, 32, 1, 1), "last": normal(20, 48, 1, 1)}
    return nodes, {"x": [2, 3, 12, 12]}, ["y"], weights


def norms():
    nodes = [node("LayerNormalization", ["x", "gain", "shift"], ["a"]), node("MatMul", ["a", "w"], ["b"]),
             node("BatchNormalization", ["b", "s", "t", "mean", "var"], ["y"])]
    weights = {"gain": normal(32), "shift": normal(32), "w": normal(32, 16), "s": normal(16), "t": normal(16),
               "mean": normal(16), "var": np.abs(normal(16)) + 1}
    return nodes, {"x": ["n", 32]}, ["y"], weights


MODELS = {"lora": lora, "dense": dense, "convolutions": convolutions, "norms": norms}


def concrete(dims):
    return [5 if isinstance(dim, str) else dim for dim in dims]


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("kept", ["mapped", "coded"])
@pytest.mark.parametrize("model", MODELS)
def test_replaced_weights_answer_as_compiled_ones(tmp_path, model, kept, level):
    nodes, inputs, outputs, old = MODELS[model]()
    new = {name: np.abs(normal(*array.shape)) + np.float32(0.5) if name == "var" else np.asarray(normal(*array.shape))
           for name, array in old.items() if np.asarray(array).dtype == np.float32}
    feeds = {name: normal(*concrete(dims)) for name, dims in inputs.items()}
    save(tmp_path / "old.onnx", nodes, inputs, outputs, old)
    save(tmp_path / "new.onnx", nodes, inputs, outputs, {**old, **new})
    options = [f"-O{level}", f"--weights={kept}"]
    tamis("compile", tmp_path / "old.onnx", "-o", tmp_path / "old.so", "--slot=*", *options)
    tamis("compile", tmp_path / "new.onnx", "-o", tmp_path / "new.so", "--slot=*", *options)
    tamis("compile", tmp_path / "new.onnx", "-o", tmp_path / "fixed.so", *options)
    expected, = run(tmp_path / "new.so", tmp_path, feeds, outputs)
    fixed, = run(tmp_path / "fixed.so", tmp_path, feeds, outputs)
    np.testing.assert_allclose(expected, fixed, rtol=2e-4, atol=2e-3)
    before, = run(tmp_path / "old.so", tmp_path, feeds, outputs)
    assert not np.allclose(before, expected, rtol=1e-2)
    found, = run(tmp_path / "old.so", tmp_path, feeds, outputs, new)
    np.testing.assert_array_equal(found, expected)
    again, = run(tmp_path / "new.so", tmp_path, feeds, outputs, {name: old[name] for name in new})
    np.testing.assert_array_equal(again, before)


def test_products_by_slots_are_packed(tmp_path):
    """They are regions with panels, as they would be without slots; so no run rearranges anything."""
    nodes, inputs, outputs, weights = lora()
    save(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    text = tamis("compile", tmp_path / "m.onnx", "-o", "-", "--emit=ir", "--slot=w", "--slot=lora_*")
    body = text.split("main", 1)[1]
    assert body.count('"contract"') == 3 and "Transpose" not in body


def test_slots_are_listed(tmp_path):
    nodes, inputs, outputs, weights = lora()
    save(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--slot=*.nothing", code=2)
    tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--slot=lora_?", "--slot", "scale")
    facts = json.loads(tamis("inspect", "--json", tmp_path / "m.so"))
    assert [(slot["name"], slot["type"], slot["dims"]) for slot in facts["slots"]] == [
        ("lora_A", "f32", ["8", "40"]), ("lora_B", "f32", ["8", "50"]), ("scale", "f32", [])]
    assert [port["name"] for port in facts["inputs"]] == ["x"]


def test_refusals(tmp_path):
    nodes, inputs, outputs, weights = lora()
    save(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    unknown = tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--slot=lora_C", code=2)
    assert "lora_C" in unknown and "hint" in unknown
    assert "--slot" in tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", "--slot=lora_A", code=2)
    tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--slot=lora_A")
    np.save(tmp_path / "x.npy", normal(2, 40))
    for name, array, words in (("lora_A", normal(9, 40), ["w.npy", "dims", "f32[8, 40]", "f32[9, 40]"]),
                               ("lora_A", normal(8), ["rank", "f32[8, 40]"]),
                               ("lora_A", np.zeros((8, 40)), ["f32", "f64"]),
                               ("lora_B", normal(8, 50), ["no slot 'lora_B'", "--slot"])):
        np.save(tmp_path / "w.npy", array)
        done = subprocess.run([TAMIS, "run", tmp_path / "m.so", "-i", f"x={tmp_path / 'x.npy'}", "--set",
                               f"{name}={tmp_path / 'w.npy'}"], capture_output=True, check=False, text=True)
        assert done.returncode != 0 and all(word in done.stderr for word in words), done.stderr
    said = tamis("run", tmp_path / "m.so", "-i", f"x={tmp_path / 'x.npy'}", "--set", "lora_A=", code=2)
    assert "--set: 'lora_A=' names no file" in said and "--set NAME=FILE" in said
    said = tamis("run", tmp_path / "m.onnx", "--evaluate", "--set", f"lora_A={tmp_path / 'w.npy'}", code=2)
    assert "evaluator has no slots" in said and "leave --evaluate out" in said


@pytest.mark.parametrize("change", ["--quantize=int8-dynamic", "--prune=zeros", "--palette=16"])
def test_slots_of_changed_weights_are_refused_before_the_work(tmp_path, change):
    nodes, inputs, outputs, weights = lora()
    save(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    said = tamis("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so", "--slot=w", change, code=2)
    assert f"--slot and {change.split('=')[0]} exclude each other" in said and "CHANGED.onnx" in said
    assert "constants" not in said and not (tmp_path / "m.so").exists()
    verb = "quantize" if "quantize" in change else "compress"
    said = tamis(verb, tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", "--slot=w", change, code=2)
    assert "--slot is of artifacts" in said and not (tmp_path / "o.onnx").exists()


def test_sessions_and_requests_have_adapters_of_their_own(tmp_path):
    nodes, inputs, outputs, weights = lora()
    save(tmp_path / "m.onnx", nodes, inputs, outputs, weights)
    package.compile(tmp_path / "m.onnx", tmp_path / "m.so", slots=["lora_*", "scale"])
    session = package.InferenceSession(tmp_path / "m.so")
    other = package.InferenceSession(tmp_path / "m.so")
    assert [slot.name for slot in session.get_slots()] == ["lora_A", "lora_B", "scale"]
    x = normal(3, 40)

    def check(found, w):
        """What a model compiled with these weights, and the same slots, answers."""
        save(tmp_path / "w.onnx", nodes, inputs, outputs, {**weights, **w})
        package.compile(tmp_path / "w.onnx", tmp_path / "w.so", slots=["lora_*", "scale"])
        np.testing.assert_array_equal(found[0], package.InferenceSession(tmp_path / "w.so").run(None, {"x": x})[0])

    users = [{"lora_A": normal(8, 40), "lora_B": normal(8, 50)} for _ in range(3)]
    adapters = [session.adapter(user) for user in users]
    for _ in range(2):
        check(session.run(None, {"x": x}), {})
        for user, adapter in zip(users, adapters):
            check(session.run(None, {"x": x}, adapter=adapter), user)
    session.set_weights(users[1])
    check(session.run(None, {"x": x}), users[1])
    check(session.run(None, {"x": x}, adapter=adapters[2]), users[2])
    check(other.run(None, {"x": x}), {})
    session.set_weights({"lora_B": users[0]["lora_B"]})
    check(session.run(None, {"x": x}), {"lora_B": users[0]["lora_B"]})
    session.set_weights({})
    check(session.run(None, {"x": x}), {})
    with pytest.raises(ValueError, match="no slot 'w'"):
        session.adapter({"w": weights["w"]})
    with pytest.raises(package.Error, match="another model"):
        other.run(None, {"x": x}, adapter=adapters[0])
    with pytest.raises(package.Error, match="wrong dims"):
        session.set_weights({"lora_A": normal(7, 40)})
    del session
    check(other.run(None, {"x": x}), {})


def test_slices_of_a_batch_see_the_adapter(tmp_path):
    """A batch with a workspace larger than a slice runs in several frames."""
    names = [f"w{i}" for i in range(4)]
    nodes = [node("MatMul", ["x" if i == 0 else f"h{i}", name], [f"m{i}"]) for i, name in enumerate(names)]
    nodes = [part for i, product in enumerate(nodes) for part in
             (product, node("Tanh", [f"m{i}"], ["y" if i == 3 else f"h{i + 1}"]))]
    old, new = ({name: normal(64, 64) / 8 for name in names} for _ in range(2))
    for name, weights in (("old", old), ("new", new)):
        save(tmp_path / f"{name}.onnx", nodes, {"x": ["n", 50, 64]}, ["y"], weights)
        tamis("compile", tmp_path / f"{name}.onnx", "-o", tmp_path / f"{name}.so", "--slot=w*")
    x = {"x": normal(300, 50, 64)}
    expected, = run(tmp_path / "new.so", tmp_path, x, ["y"])
    found, = run(tmp_path / "old.so", tmp_path, x, ["y"], new)
    np.testing.assert_array_equal(found, expected)
