# SPDX-License-Identifier: Apache-2.0
"""compile --weights-file: several artifacts have their weights in one file, equal ones once; other files are refused."""

import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit import TAMIS, tamis

SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(5)


def save(path, layers, last):
    """A chain of products, the last one by a matrix of its own."""
    names = [*layers, "last"]
    nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", name], ["y" if name == "last" else f"h{i + 1}"])
             for i, name in enumerate(names)]
    arrays = {**layers, "last": last}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", last.shape[1]])],
                              [numpy_helper.from_array(array, name) for name, array in arrays.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def run(artifact, folder, x):
    np.save(folder / "x.npy", x)
    tamis("run", artifact, "-i", f"x={folder / 'x.npy'}", "-o", f"y={folder / 'y.npy'}")
    return np.load(folder / "y.npy")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32) / 8


@pytest.fixture(name="models")
def models_fixture(tmp_path):
    layers = {f"w{i}": normal(64, 64) for i in range(6)}
    lasts = {"a": normal(64, 16), "b": normal(64, 48), "c": normal(64, 16)}
    for name, last in lasts.items():
        save(tmp_path / f"{name}.onnx", layers, last)
    return tmp_path


def share(folder, *names):
    for name in names:
        tamis("compile", folder / f"{name}.onnx", "-o", folder / f"{name}.so", "--weights-file=shared.weights")


def test_equal_weights_are_stored_once(models):
    x = normal(3, 64)
    share(models, "a")
    one = (models / "shared.weights").stat().st_size
    share(models, "b", "c")
    three = (models / "shared.weights").stat().st_size
    assert one < 6 * 64 * 64 * 4 + 64 * 16 * 4 + 4096
    assert three - one < (64 * 48 + 64 * 16) * 4 + 4096
    for name in "abc":
        tamis("compile", models / f"{name}.onnx", "-o", models / f"{name}-own.so")
        assert (models / f"{name}.so").stat().st_size + 6 * 64 * 64 * 4 < (models / f"{name}-own.so").stat().st_size
        np.testing.assert_array_equal(run(models / f"{name}.so", models, x), run(models / f"{name}-own.so", models, x))
        facts = json.loads(tamis("inspect", "--json", models / f"{name}.so"))
        assert facts["weights_file"] == "shared.weights" and facts["manifest"]["weights"] == "shared"
    before = (models / "shared.weights").read_bytes(), (models / "b.so").read_bytes()
    share(models, "b")
    assert before[0] == (models / "shared.weights").read_bytes()
    assert sorted(path.name for path in models.iterdir() if "part" in path.name) == []


def test_slots_may_be_in_the_file(models):
    """c is a with another last layer: a with that in the place of the slot answers as c, and alone as a."""
    x = normal(2, 64)
    expected = {}
    for name in "ac":
        tamis("compile", models / f"{name}.onnx", "-o", models / f"{name}-own.so", "--slot=last")
        expected[name] = run(models / f"{name}-own.so", models, x)
        tamis("compile", models / f"{name}.onnx", "-o", models / f"{name}.so", "--weights-file=shared.weights", "--slot=last")
    last = {i.name: i for i in onnx.load(models / "c.onnx").graph.initializer}["last"]
    np.save(models / "w.npy", numpy_helper.to_array(last))
    tamis("run", models / "a.so", "-i", f"x={models / 'x.npy'}", "--set", f"last={models / 'w.npy'}", "-o",
          f"y={models / 'set.npy'}")
    assert not np.array_equal(expected["a"], expected["c"])
    np.testing.assert_array_equal(np.load(models / "set.npy"), expected["c"])
    for name in "ac":
        np.testing.assert_array_equal(run(models / f"{name}.so", models, x), expected[name])


def test_other_files_are_refused(models):
    share(models, "a", "b")
    good = (models / "shared.weights").read_bytes()
    (models / "shared.weights").unlink()
    missing = tamis("inspect", models / "a.so", code=66)
    assert "shared.weights" in missing and "hint" in missing
    share(models, "c")  # c's constants stand where a's did
    for name in "ab":
        assert "constants" in tamis("inspect", models / f"{name}.so", code=65)
    for bad in (b"", good[:40], good[:-8], b"\0" * len(good)):
        (models / "shared.weights").write_bytes(bad)
        assert "weights file" in tamis("inspect", models / "b.so", code=65)
        assert "--weights-file" in tamis("compile", models / "c.onnx", "-o", models / "d.so",
                                         "--weights-file=shared.weights", code=73)
        assert not (models / "d.so").exists() and (models / "shared.weights").read_bytes() == bad
    (models / "shared.weights").write_bytes(good)
    tamis("inspect", models / "b.so")


@pytest.mark.parametrize("options", [["--weights=coded"], ["--emit=obj"], ["--storage=float16"]])
def test_what_does_not_fit_together(models, options):
    words = tamis("compile", models / "a.onnx", "-o", models / "a.so", "--weights-file=w", *options, code=2)
    assert "--weights-file" in words
    assert "folder" in tamis("compile", models / "a.onnx", "-o", models / "a.so", "--weights-file=../w", code=2)


@pytest.mark.parametrize("offset", [0, 8, 68, -64])
def test_places_of_constants_are_checked(models, offset):
    share(models, "a")
    file = models / "shared.weights"
    data = bytearray(file.read_bytes())
    data[-24:-16] = offset.to_bytes(8, "little", signed=True)  # of the last constant
    file.write_bytes(data)
    told = tamis("compile", models / "b.onnx", "-o", models / "b.so", "--weights-file=shared.weights", code=73)
    assert "its index is wrong" in told
    assert file.read_bytes() == data


def test_artifact_is_no_weights_file(models):
    (models / "m.so").write_bytes(b"before")
    told = tamis("compile", models / "a.onnx", "-o", models / "m.so", "--weights-file=m.so", code=2)
    assert "is the artifact itself" in told
    assert (models / "m.so").read_bytes() == b"before"


def test_compilers_at_once_add_one_after_the_other(models):
    jobs = [subprocess.Popen([TAMIS, "compile", models / f"{name}.onnx", "-o", models / f"{name}.so",
                              "--weights-file=shared.weights"]) for name in "abc"]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    for name in "abc":
        tamis("inspect", models / f"{name}.so")


def with_weights_of(step, prefill):
    """The zoo's models were made by different seeds: the step gets the prefill's weights, by name or by shape in order."""
    given = [tensor for tensor in prefill.graph.initializer if len(tensor.dims) > 1]
    for tensor in step.graph.initializer:
        fit = [other for other in given if other.dims == tensor.dims and other.data_type == tensor.data_type]
        fit = [other for other in fit if other.name == tensor.name] or fit
        if len(tensor.dims) > 1 and fit:
            given.remove(fit[0])
            tensor.raw_data = numpy_helper.to_array(fit[0]).tobytes()
            tensor.ClearField("float_data")
    return step


@pytest.mark.parametrize("decoder", ["llama", "gla"])
def test_prefill_and_step_share(tmp_path, decoder):
    zoo = SOURCE.parent / "shared" / "zoo"
    if not (zoo / "llama-prefill").is_dir():
        pytest.skip(f"no {zoo}")
    prefill, step = (onnx.load(zoo / f"{decoder}-{part}" / "model.onnx") for part in ("prefill", "step"))
    onnx.save(prefill, tmp_path / "prefill.onnx")
    onnx.save(with_weights_of(step, prefill), tmp_path / "step.onnx")
    sizes = []
    for part in ("prefill", "step"):
        tamis("compile", tmp_path / f"{part}.onnx", "-o", tmp_path / f"{part}.so", "--weights-file=both.weights")
        tamis("compile", tmp_path / f"{part}.onnx", "-o", tmp_path / f"{part}-own.so")
        sizes.append((tmp_path / "both.weights").stat().st_size)
    weights = json.loads(tamis("inspect", "--json", tmp_path / "step-own.so"))["weights_bytes"]
    assert sizes[1] - sizes[0] < weights / 3, (sizes, weights)  # of gla, some weights have other shapes in the two
    feeds = zoo / f"{decoder}-step" / "test_data_set_0"
    for name in ("step", "step-own"):
        tamis("run", tmp_path / f"{name}.so", "--inputs", feeds, "--outputs", tmp_path / f"{name}.npz")
    own, shared = (np.load(tmp_path / f"{name}.npz") for name in ("step-own", "step"))
    for name in own:
        np.testing.assert_array_equal(own[name], shared[name])


@pytest.mark.parametrize("form", ["onnx", "ir", "s", "o"])
def test_only_shared_objects_share_weights(models, form):
    for more in ([], ["--quantize=int8-dynamic"]):
        said = tamis("compile", models / "a.onnx", "-o", models / f"out.{form}", "--weights-file=shared.weights", *more,
                     code=2)
        assert "--weights-file: it is for shared objects" in said and "hint" in said
        assert not (models / f"out.{form}").exists() and not (models / "shared.weights").exists()
