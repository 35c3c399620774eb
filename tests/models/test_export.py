# SPDX-License-Identifier: Apache-2.0
"""Models written as ONNX (`tamis compile --emit=onnx`): a sample of the official cases and of the zoo.

A written model must pass the checker, use each operator with types that the schema of its opset has, keep its interface,
give ONNX Runtime's answers for the source where ONNX Runtime runs it, and compile to the same bits. export_all.py beside
this file does the same with all cases there are.
"""

import os
import resource
import subprocess

import numpy as np
import onnx
import pytest
import tamis
from onnx import TensorProto, helper, numpy_helper

import export_all

USAGE, NO_OUTPUT, NO_SPACE = 2, 73, 74
LEVELS = [0, 2]
STEPS = {"node": 70, "zoo": 80}  # every so many-th case


@pytest.fixture(scope="module", params=["node", "zoo"])
def sample(request, tmp_path_factory):
    """(source folder, cases), and what the sources answer, once for all levels."""
    folder = export_all.folders()[request.param]
    if not os.path.isdir(folder):
        pytest.skip(f"no {folder}")
    names = export_all.cases(folder)[:: STEPS[request.param]]
    found = tmp_path_factory.mktemp("source")
    export_all.answers(folder, names, found)
    return folder, names, found


@pytest.mark.parametrize("level", LEVELS)
def test_written_models_are_the_same(sample, level, tmp_path):
    folder, names, found = sample
    faults = []
    for name in names:
        faults += export_all.export_case(folder, name, tmp_path / "models", level)
    faults += export_all.compare_runtime(folder, names, tmp_path / "models", {})
    export_all.answers(tmp_path / "models", names, tmp_path / "found")
    faults += export_all.compare_answers(found, tmp_path / "found")
    assert not faults, "\n".join(faults)


# ---- the command ----


def run(*arguments, **options):
    return subprocess.run([export_all.TAMIS, *map(str, arguments)], capture_output=True, text=True, errors="replace", **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Names with control bytes, one name for two nodes, a default of an input, weights above a page."""
    weights = np.arange(64 * 40, dtype=np.float32).reshape(64, 40)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a\nb", "w"], ["m\x01"], name="twice"),
         helper.make_node("Softmax", ["m\x01"], ["s"], name="twice"),
         helper.make_node("Add", ["s", "bias"], ["{\"y\": 1}"])],
        "g",
        [helper.make_tensor_value_info("a\nb", TensorProto.FLOAT, ["batch", 64]),
         helper.make_tensor_value_info("bias", TensorProto.FLOAT, [40])],
        [helper.make_tensor_value_info("{\"y\": 1}", TensorProto.FLOAT, ["batch", 40])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(weights[0], "bias")])
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]), path)
    return path


@pytest.mark.parametrize("options", [["-O0"], ["-O2"], ["-O2", "--external-data"]])
def test_names_and_weights_are_kept(model, tmp_path, options):
    output = tmp_path / "out.onnx"
    assert run("compile", model, "-o", output, *options).stderr == ""
    onnx.checker.check_model(str(output), full_check=True)
    written = onnx.load(str(output))
    assert [item.name for item in written.graph.input] == ["a\nb"]
    assert [item.name for item in written.graph.output] == ["{\"y\": 1}"]
    assert len({node.name for node in written.graph.node if node.name}) == sum(node.name != "" for node in written.graph.node)
    source = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(model)).graph.initializer}
    found = {item.name: numpy_helper.to_array(item) for item in written.graph.initializer}
    assert np.array_equal(found["w"], source["w"])
    assert (tmp_path / "out.onnx.data").exists() == ("--external-data" in options)
    again = tmp_path / "again.onnx"
    run("compile", model, "-o", again, *options)
    if "--external-data" not in options:
        assert again.read_bytes() == output.read_bytes()


def test_quantised_weights_stay(tmp_path):
    weights = {"q": np.arange(-32, 32, dtype=np.int8).reshape(8, 8), "s": np.float32(0.5), "z": np.int8(1)}
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]), helper.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
         helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"]), helper.make_node("MatMul", ["b", "w"], ["y"])],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "m.onnx")
    run("compile", tmp_path / "m.onnx", "-o", tmp_path / "out.onnx")
    written = onnx.load(str(tmp_path / "out.onnx")).graph
    assert sorted(node.op_type for node in written.node) == ["DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear"]
    assert {"q": TensorProto.INT8}.items() <= {item.name: item.data_type for item in written.initializer}.items()


def test_a_pinned_dim_is_a_number(model, tmp_path):
    output = tmp_path / "out.onnx"
    run("compile", model, "-o", output, "--dim", "batch=3")
    graph = onnx.load(str(output)).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_a_model_is_not_written_over_itself(model, tmp_path):
    place = tmp_path / "m.onnx"
    place.write_bytes(model.read_bytes())
    done = run("compile", place, "-o", place, "--external-data")
    assert done.returncode == USAGE and "an input of the command" in done.stderr
    assert place.read_bytes() == model.read_bytes() and os.listdir(tmp_path) == ["m.onnx"]


def test_without_an_output_nothing_is_overwritten(model, tmp_path):
    done = run("compile", model, "--emit=onnx", cwd=tmp_path)
    assert done.returncode == USAGE and "needs a file to write to" in done.stderr
    assert run("compile", model, "--emit=onnx", "-o", "-", cwd=tmp_path).returncode == USAGE
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(model, tmp_path):
    for output in ("/proc/none/out.onnx", tmp_path / "none" / "out.onnx", tmp_path):
        assert run("compile", model, "--emit=onnx", "-o", output).returncode == NO_OUTPUT
    (tmp_path / "out.onnx.data").mkdir()
    done = run("compile", model, "-o", tmp_path / "out.onnx", "--external-data")
    assert done.returncode == NO_OUTPUT and "out.onnx.data" in done.stderr
    assert os.listdir(tmp_path) == ["out.onnx.data"]


@pytest.mark.parametrize("options", [[], ["--external-data"]])
def test_nothing_is_left_of_a_file_without_room(model, tmp_path, options):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    (tmp_path / "out.onnx").write_bytes(b"before")
    done = run("compile", model, "-o", tmp_path / "out.onnx", *options, preexec_fn=limit)
    assert done.returncode == NO_SPACE and "writing failed" in done.stderr
    assert os.listdir(tmp_path) == ["out.onnx"]
    assert (tmp_path / "out.onnx").read_bytes() == b"before"


def test_operators_of_tamis_are_named(tmp_path):
    """DynamicQuantizeLSTM has another form in the IR."""
    ints = {"w": np.ones((1, 2, 8), np.int8), "r": np.ones((1, 2, 8), np.int8), "z": np.zeros(1, np.int8),
            "s": np.ones(1, np.float32)}
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLSTM", ["x", "w", "r", "", "", "", "", "", "s", "z", "s", "z"], ["y"],
                          domain="com.microsoft", hidden_size=2, name="the LSTM")],
        "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in ints.items()])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "m.onnx")
    done = run("compile", tmp_path / "m.onnx", "-o", tmp_path / "out.onnx")
    assert done.returncode == 69 and "'the LSTM'" in done.stderr and "E0202" in done.stderr
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_from_python(model, tmp_path):
    tamis.compile(model, tmp_path / "a.onnx", level=0)
    tamis.compile(model.read_bytes(), tmp_path / "b", emit="onnx", level=0, external_data=True)
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    assert sorted(os.listdir(tmp_path)) == ["a.onnx", "b", "b.data"]


