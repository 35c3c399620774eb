# SPDX-License-Identifier: Apache-2.0
"""compile --palette: weights as entries of tables, in the file, in the artifact, and in other engines."""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(13)
SAMPLES = RNG.normal(size=(20, 3, 8, 8)).astype(np.float32)


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def weights(*shape):
    return (RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A convolution, a table, products in both directions."""
    path = tmp_path_factory.mktemp("palette")
    constants = {"k": weights(64, 3, 3, 3), "w": weights(64, 96), "b": weights(96), "v": weights(40, 96), "t": weights(50, 40),
                 "pick": np.array([3, 7, 7, 49])}
    nodes = [helper.make_node("Conv", ["x", "k"], ["a"], name="filters"), helper.make_node("Relu", ["a"], ["c"]),
             helper.make_node("ReduceMean", ["c", "axes"], ["d"], keepdims=0), helper.make_node("MatMul", ["d", "w"], ["e"], name="up"),
             helper.make_node("Add", ["e", "b"], ["f"]), helper.make_node("Relu", ["f"], ["g"]),
             helper.make_node("Gemm", ["g", "v"], ["h"], name="down", transB=1), helper.make_node("Gather", ["t", "i"], ["r"], name="table"),
             helper.make_node("ReduceMean", ["r", "zero"], ["s"], keepdims=0), helper.make_node("Add", ["h", "s"], ["u"]),
             helper.make_node("Softmax", ["u"], ["y"])]
    del constants["pick"]
    constants |= {"axes": np.array([2, 3]), "zero": np.array([0])}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8]),
                                           helper.make_tensor_value_info("i", TensorProto.INT64, ["m"])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 40])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path / "model.onnx")
    np.save(path / "x.npy", SAMPLES)
    np.save(path / "i.npy", np.array([3, 7, 7, 49]))
    np.savez(path / "calib.npz", x=SAMPLES[:, None], i=np.tile(np.array([3, 7, 7, 49]), (len(SAMPLES), 1)))
    return path


def answers(folder, model):
    tamis("run", model, "-i", f"x={folder}/x.npy", "-i", f"i={folder}/i.npy", "-o", f"y={folder}/y.npy")
    return np.load(folder / "y.npy")


def stored(artifact):
    return json.loads(tamis("inspect", "--json", artifact).stdout)["stored_bytes"]


@pytest.mark.parametrize("words, entries", [("16", 16), ("64,group=32", 64)])
def test_the_file_the_artifact_and_another_engine_agree(folder, words, entries):
    done = tamis("compile", folder / "model.onnx", f"--palette={words}", "-o", folder / "small.onnx")
    assert "palettes: 4 of 4 layers" in done.stderr
    onnx.checker.check_model(folder / "small.onnx", full_check=True)
    model = onnx.load(folder / "small.onnx")
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    numbers = [a for a in arrays.values() if a.dtype == np.uint8]
    assert sorted(a.size for a in numbers) == sorted([64 * 27, 64 * 96, 40 * 96, 50 * 40]) and max(a.max() for a in numbers) < entries
    assert not [name for name, a in arrays.items() if a.dtype == np.float32 and a.size > 256]
    session = ort.InferenceSession(folder / "small.onnx", providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": SAMPLES, "i": np.array([3, 7, 7, 49])})[0]
    tamis("compile", folder / "model.onnx", f"--palette={words}", "-o", folder / "direct.so")
    tamis("compile", folder / "small.onnx", "--weights=coded", "-o", folder / "again.so")
    for name in ("direct.so", "again.so"):
        np.testing.assert_allclose(answers(folder, folder / name), expected, rtol=1e-4, atol=1e-6)
        assert stored(folder / name) < 1.05 * (sum(a.size for a in numbers) * np.log2(entries) / 8) + (3600 if "group" in words else 2600)


def test_written_again_it_stays_small(folder):
    tamis("compile", folder / "model.onnx", "--palette=16", "-o", folder / "small.onnx")
    tamis("compile", folder / "small.onnx", "-o", folder / "again.onnx")
    assert os.path.getsize(folder / "again.onnx") < 1.1 * os.path.getsize(folder / "small.onnx")


def test_more_entries_lose_less(folder):
    errors = [float(tamis("compile", folder / "model.onnx", f"--palette={n}", "-o", folder / "x.so").stderr.split()[-1]) for n in (4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True)
    # Lloyd's bounds for a normal distribution: root of 0.1175 and of 0.0095, less for the few elements of a table
    assert 0.9 * np.sqrt(0.1175) < errors[0] < 1.02 * np.sqrt(0.1175) and 0.9 * np.sqrt(0.0095) < errors[1] < 1.02 * np.sqrt(0.0095)


def test_budget(folder):
    done = tamis("compile", folder / "model.onnx", "--palette=256", f"--calib={folder}/calib.npz", "--budget=kl:1e-4", "-o", folder / "x.so")
    assert "against float, 20 samples" in done.stderr and "refused" not in done.stderr
    done = tamis("compile", folder / "model.onnx", "--palette=2", f"--calib={folder}/calib.npz", "--budget=kl:1e-6", "-o", folder / "x.so")
    assert "refused, the model stays as it is: palettes of 2 entries" in done.stderr
    tamis("compile", folder / "model.onnx", "-o", folder / "float.so")
    np.testing.assert_array_equal(answers(folder, folder / "x.so"), answers(folder, folder / "float.so"))


def test_layers_may_be_kept(folder):
    done = tamis("compile", folder / "model.onnx", "--palette=16,keep=up,keep=table", "-o", folder / "x.onnx")
    assert "palettes: 2 of 4 layers" in done.stderr
    names = {t.name for t in onnx.load(folder / "x.onnx").graph.initializer}
    assert {"w", "t"} <= names and "k" not in names


@pytest.mark.parametrize("words, message", [("1", "2 to 256 entries"), ("300", "2 to 256 entries"), ("16,group=x", "'group=x' is none of group=0.."), ("16,keep=nosuch", "no layer has this"),
                                            ("sixteen", "'sixteen': a palette has 2 to 256"), ("16,keep=", "'keep=' is none of keep=PART")])
def test_wrong_words(folder, words, message):
    assert message in tamis("compile", folder / "model.onnx", f"--palette={words}", "-o", folder / "x.so", code=2).stderr


def test_exclusive_options(folder):
    assert "excludes" in tamis("compile", folder / "model.onnx", "--palette=16", "--quantize=int8-weights", "-o", folder / "x.so", code=2).stderr
