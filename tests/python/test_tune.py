# SPDX-License-Identifier: Apache-2.0
"""Measured schedules: `compile --tune`, the file it writes, `--schedules`, and the same from Python."""

import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tamis as module

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
NATIVE = os.uname().machine


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def port(name, shape, type_=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, type_, shape)


def save(path, nodes, inputs, outputs, weights):
    constants = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """model.onnx: products packed and in place, attention, a convolution, a depthwise one."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    weights = {"w": random.standard_normal((300, 50)), "v": random.standard_normal((50, 33)),
               "k": random.standard_normal((24, 16, 3, 3)), "d": random.standard_normal((24, 1, 3, 3))}
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]), node("MatMul", ["b", "v"], ["y"]),
             node("MatMul", ["p", "q"], ["pq"]), node("Attention", ["h", "h", "h"], ["att"]),
             node("Conv", ["image", "k"], ["c"]), node("Tanh", ["c"], ["t"]), node("Conv", ["t", "d"], ["u"], group=24),
             node("Relu", ["u"], ["z"])]
    inputs = [port("x", ["n", 300]), port("p", [3, 19, 17]), port("q", [3, 17, 29]), port("h", [1, 2, "n", 16]),
              port("image", [1, 16, 12, 12])]
    outputs = [port("y", ["n", 33]), port("pq", [3, 19, 29]), port("att", [1, 2, "n", 16]), port("z", [1, 24, 8, 8])]
    save("model.onnx", nodes, inputs, outputs, weights)
    feeds = {name: random.standard_normal(shape).astype(np.float32)
             for name, shape in {"x": (23, 300), "p": (3, 19, 17), "q": (3, 17, 29), "h": (1, 2, 23, 16),
                                 "image": (1, 16, 12, 12)}.items()}
    np.savez("in.npz", **feeds)
    return tmp_path


def answers(artifact):
    tamis("run", artifact, "--inputs", "in.npz", "--outputs", "out.npz")
    with np.load("out.npz") as found:
        return {name: found[name].tobytes() for name in found.files}


def write(path, entries, **others):
    target = f"{NATIVE}-linux-gnu"
    data = {"format": "tamis schedules 1", "target": target, "schedules": entries, **others}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file)


def highest_level():
    """The level that runs here, and its name in the file."""
    levels = [level for target in json.loads(tamis("targets", "--json")[0]) for level in target.get("levels", [])]
    assert levels
    tamis("compile", "model.onnx", "-o", "probe.so")
    name = json.loads(tamis("inspect", "probe.so", "--json")[0])["cpu_level"]
    return name, name.rsplit("-", 1)[-1]


def test_tune_writes_a_file_and_never_changes_an_answer(folder):
    """Every alternative that was tried is compiled again, and gives the same bits."""
    level, short = highest_level()
    tamis("compile", "model.onnx", f"-mcpu={level}", "-o", "plain.so")
    expected = answers("plain.so")
    _, words = tamis("compile", "model.onnx", f"-mcpu={level}", "--tune", "--size", "n=23", "-o", "tuned.so")
    assert "tune: " in words and "warning" not in words
    assert answers("tuned.so") == expected
    with open("model.tune.json", encoding="utf-8") as file:
        found = json.load(file)
    assert found["format"] == "tamis schedules 1" and found["sizes"] == {"n": 23} and found["cpu"]
    kinds = {entry["region"].split()[0] for entry in found["schedules"]}
    assert {"contract", "attention", "convolution", "window"} <= kinds
    assert all(entry["level"] == short and entry["default_us"] > 0 for entry in found["schedules"])
    assert any(len(entry["tried"]) > 5 for entry in found["schedules"])
    tamis("compile", "model.onnx", f"-mcpu={level}", "--schedules=model.tune.json", "-o", "again.so", "--name=tuned")
    tamis("compile", "model.onnx", f"-mcpu={level}", "--schedules=model.tune.json", "-o", "third.so", "--name=tuned")
    assert open("again.so", "rb").read() == open("third.so", "rb").read()
    most = max(len(entry["tried"]) for entry in found["schedules"])
    for i in range(min(most, 24)):
        trial = [{**entry, "schedule": list(entry["tried"])[i % len(entry["tried"])]}
                 for entry in found["schedules"] if entry["tried"]]
        write("trial.json", trial)
        _, words = tamis("compile", "model.onnx", f"-mcpu={level}", "--schedules", "trial.json", "-o", "trial.so")
        assert words == "" and answers("trial.so") == expected
        shown = json.loads(tamis("inspect", "trial.so", "--schedule", "--json")[0])["schedules"]
        for entry in trial:
            assert any(line.startswith(entry["region"]) and line.endswith(f" {short} {entry['schedule']}")
                       for line in shown), (entry, shown)


@pytest.mark.skipif(NATIVE != "x86_64", reason="names levels of x86-64")
def test_entries_that_do_not_fit_are_named(folder):
    write("some.json", [{"region": "contract ?x300x50 p64", "level": "v4", "schedule": "12x4 u1 96x64"},
                        {"region": "contract ?x1x2 p16", "level": "v4", "schedule": "8x1+1 u1 80x16"},
                        {"region": "attention 2x?x?x16", "level": "v5", "schedule": "q16"}])
    options = ["-mcpu=x86-64-v4", "--name=m", "-o"]
    tamis("compile", "model.onnx", *options, "plain.so")
    _, words = tamis("compile", "model.onnx", "--schedules=some.json", *options, "some.so")
    first, second = words.splitlines()
    assert first.startswith("some.json: warning: no region") and "'contract ?x1x2 p16' at v4" in first
    assert "'attention 2x?x?x16' at v5" in first and "300" not in first
    assert "'contract ?x300x50 p64' at v4 as '12x4 u1 96x64'" in second
    assert open("plain.so", "rb").read() == open("some.so", "rb").read()
    _, words = tamis("inspect", "model.onnx", "--schedule", "--schedules=some.json", "-mcpu=x86-64-v4")
    assert words.splitlines() == [first, second]


@pytest.mark.skipif(NATIVE != "x86_64", reason="compiles for another machine")
def test_a_file_holds_for_another_machine_and_model(folder):
    write("arm.json", [{"region": "contract ?x300x50 p64", "level": "generic", "schedule": "4x4+1 u1 96x64 d100"}],
          target="aarch64-linux-gnu")
    shown, words = tamis("inspect", "model.onnx", "--schedule", "--schedules=arm.json", "--target=aarch64")
    assert "contract ?x300x50 p64 generic 4x4+1 u1 96x64 d100" in shown and words == ""
    shown, words = tamis("inspect", "model.onnx", "--schedule", "--schedules=arm.json")
    assert words == ("arm.json: warning: the schedules are for aarch64-linux-gnu, not x86_64-linux-gnu: none is used\n")
    assert "4x4+1 u1 96x64 d100" not in shown
    _, words = tamis("compile", "model.onnx", "--tune", "--target=aarch64", "-o", "arm.so", code=69)
    assert "does not run artifacts for aarch64" in words and "E0401" in words and not os.path.exists("arm.so")


@pytest.mark.parametrize("text, fault", [
    ("", "byte 0"),
    ("{", "byte 1"),
    ("[1, 2]", '"format" is not'),
    ('{"format": "tamis schedules 2", "target": "x", "schedules": []}', '"format" is not'),
    ('{"format": "tamis schedules 1", "schedules": []}', '"target" is no text'),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": {}}', 'no list'),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": [3]}', "schedule 0 is no object"),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": [{"region": "r", "level": 3}]}', 'text for "level"'),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": [{"region": "r", "level": "v4", "schedule": "1x1"},'
     '{"region": "r", "level": "v4", "schedule": "2x1"}]}', "0 and 1 are for the same"),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": []} more', "something follows"),
    ('{"format": "tamis schedules 1", "target": "x", "schedules": [{"region": "' + 300 * "r" + '", "level": "v4", "schedule": "1x1"}]}',
     "longer than 256 bytes"),
])
def test_damaged_files_are_refused(folder, text, fault):
    with open("bad.json", "w", encoding="utf-8") as file:
        file.write(text)
    _, words = tamis("compile", "model.onnx", "--schedules=bad.json", "-o", "bad.so", code=65)
    assert "bad.json: error E0116" in words and fault in words and "hint: " in words
    assert not os.path.exists("bad.so")


def test_wrong_use(folder):
    assert "E0010" in tamis("compile", "model.onnx", "--schedules=none.json", code=66)[1]
    assert "exclude" in tamis("compile", "model.onnx", "--tune", "--schedules=x.json", code=2)[1]
    assert "no input has a dim named 'q'" in tamis("compile", "model.onnx", "--tune", "--size", "q=2", code=2)[1]
    assert not os.path.exists("model.tune.json")


def test_from_python(folder):
    save("small.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [port("x", ["n", 40])], [port("y", ["n", 24])],
         {"w": np.random.default_rng(2).standard_normal((40, 24))})
    module.compile("small.onnx", "small.so", tune=True, sizes={"n": 5}, cpu=highest_level()[0])
    with open("small.tune.json", encoding="utf-8") as file:
        assert [entry["region"] for entry in json.load(file)["schedules"]] == ["contract ?x40x24 p32"]
    module.compile("small.onnx", "again.so", schedules="small.tune.json")
    x = np.random.default_rng(3).standard_normal((7, 40)).astype(np.float32)
    np.testing.assert_array_equal(*(module.InferenceSession(path).run(None, {"x": x})[0]
                                    for path in ("small.so", "again.so")))
    write("other.json", [{"region": "contract ?x1x1 p16", "level": "v4", "schedule": "1x1 u1 1x16"}])
    with pytest.warns(UserWarning, match="no region of the model"):
        module.compile("small.onnx", "again.so", schedules="other.json")
    with pytest.raises(ValueError, match="level is 0, 1, 2 or 3"):
        module.compile("small.onnx", "again.so", level=9)
    with pytest.raises(ValueError, match="reads one"):
        module.compile("small.onnx", "again.so", schedules="other.json", tune=True)
