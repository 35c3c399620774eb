# SPDX-License-Identifier: Apache-2.0
"""tamis.InferenceSession and tamis.compile: names, arrays in every form, errors, threads, the cache."""

import os
import threading

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tamis


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    old = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if old is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = old


def make_model(nodes, inputs, outputs, opset=21):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def value(name, type_=TensorProto.FLOAT, shape=("n", 3)):
    return helper.make_tensor_value_info(name, type_, shape)


def session_of(model):
    return tamis.InferenceSession(model.SerializeToString())


@pytest.fixture(scope="module")
def add():
    return session_of(make_model([helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
                                 [value("x")], [value("y"), value("z")]))


def test_describes_itself(add):
    x, = add.get_inputs()
    assert (x.name, x.type, x.shape) == ("x", "tensor(float)", ["n", 3])
    assert [port.name for port in add.get_outputs()] == ["y", "z"]
    assert add.about["producer"].startswith("tamis ")


def test_runs_and_selects_outputs(add):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y, z = add.run(None, {"x": x})
    np.testing.assert_array_equal(y, x + x)
    np.testing.assert_array_equal(z, -x)
    z, = add.run(["z"], {"x": x})
    np.testing.assert_array_equal(z, -x)
    z, y = add.run(["z", "y"], {"x": x})
    np.testing.assert_array_equal(y, x + x)
    assert add.run([], {"x": x})[0].shape == (2, 3)


def test_outputs_own_their_memory(add):
    x = np.ones((2, 3), np.float32)
    first, _ = add.run(None, {"x": x})
    add.run(None, {"x": 5 * x})
    np.testing.assert_array_equal(first, 2 * x)
    assert first.flags.owndata and first.flags.writeable


@pytest.mark.parametrize("convert", [
    lambda x: x.tolist(),
    np.asfortranarray,
    lambda x: np.repeat(x, 2, axis=0)[::2],
    lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    lambda x: memoryview(x),
], ids=["list", "fortran", "strided", "unaligned", "memoryview"])
def test_takes_arrays_in_any_layout(add, convert):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(add.run(["y"], {"x": convert(x)})[0], x + x)


def test_read_only_and_empty_inputs(add):
    x = np.ones((1, 3), np.float32)
    x.flags.writeable = False
    assert add.run(["y"], {"x": x})[0].sum() == 6
    assert add.run(["y"], {"x": np.zeros((0, 3), np.float32)})[0].shape == (0, 3)


def test_refuses_what_does_not_fit(add):
    x = np.ones((2, 3), np.float32)
    with pytest.raises(TypeError, match="expected an array of tensor.float., found dtype.'float64'"):
        add.run(None, {"x": x.astype(np.float64)})
    with pytest.raises(tamis.Error, match=r"expected f32\[n, 3\]") as caught:
        add.run(None, {"x": np.ones((2, 4), np.float32)})
    assert caught.value.code == 402
    with pytest.raises(tamis.Error, match="wrong rank"):
        add.run(None, {"x": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match="input 'x' is missing"):
        add.run(None, {})
    with pytest.raises(ValueError, match="not an input"):
        add.run(None, {"x": x, "w": x})
    with pytest.raises(ValueError, match="no output 'q'"):
        add.run(["q"], {"x": x})


NUMPY_TYPES = ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_numpy_types_pass_through(name):
    dtype = np.dtype(name)
    type_ = helper.np_dtype_to_tensor_dtype(dtype)
    session = session_of(make_model([helper.make_node("Transpose", ["x"], ["y"])], [value("x", type_, (2, 3))],
                                    [value("y", type_, (3, 2))]))
    x = np.arange(6).reshape(2, 3).astype(dtype)
    y, = session.run(None, {"x": x})
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4", "uint4"])
def test_other_types_pass_through(name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    type_ = helper.np_dtype_to_tensor_dtype(dtype)
    session = session_of(make_model([helper.make_node("Transpose", ["x"], ["y"])], [value("x", type_, (2, 3))],
                                    [value("y", type_, (3, 2))]))
    x = np.arange(6).reshape(2, 3).astype(dtype)
    y, = session.run(None, {"x": x})
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(np.float32), x.T.astype(np.float32))


def test_strings_pass_through():
    session = session_of(make_model([helper.make_node("Identity", ["x"], ["y"])], [value("x", TensorProto.STRING, ("n",))],
                                    [value("y", TensorProto.STRING, ("n",))]))
    x = np.array(["a", "", "grüße"], dtype=object)
    y, = session.run(None, {"x": x})
    assert y.tolist() == x.tolist()


def test_one_string():
    session = session_of(make_model([helper.make_node("Identity", ["x"], ["y"])], [value("x", TensorProto.STRING, ())],
                                    [value("y", TensorProto.STRING, ())]))
    y, = session.run(None, {"x": np.array("grüße", dtype=object)})
    assert y.shape == () and y.item() == "grüße"


def test_sequences():
    model = make_model([helper.make_node("SequenceInsert", ["s", "x"], ["t"])],
                       [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None), value("x", shape=(2,))],
                       [helper.make_tensor_sequence_value_info("t", TensorProto.FLOAT, None)])
    session = session_of(model)
    assert session.get_inputs()[0].type == "seq(tensor(float))"
    one, two = np.ones(2, np.float32), np.full(2, 2, np.float32)
    result, = session.run(None, {"s": [one, two], "x": 3 * one})
    assert [item.tolist() for item in result] == [[1, 1], [2, 2], [3, 3]]
    result, = session.run(None, {"s": [], "x": one})
    assert len(result) == 1


def test_late_output():
    session = session_of(make_model([helper.make_node("NonZero", ["x"], ["y"])], [value("x", shape=("n",))],
                                    [value("y", TensorProto.INT64, (1, "m"))]))
    for n in (5, 3, 8):
        x = np.zeros(n, np.float32)
        x[1] = x[2] = 1
        assert session.run(None, {"x": x})[0].tolist() == [[1, 2]]


def test_output_that_is_an_input_or_a_constant():
    constant = helper.make_tensor("c", TensorProto.FLOAT, [2], [7, 8])
    session = session_of(make_model([helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Constant", [], ["z"], value=constant)],
                                    [value("x")], [value("y"), value("z", shape=(2,))]))
    x = np.ones((2, 3), np.float32)
    y, z = session.run(None, {"x": x})
    y[0, 0] = 9
    z[0] = 9
    assert x[0, 0] == 1
    assert session.run(None, {"x": x})[1].tolist() == [7, 8]


def test_many_threads(add):
    wrong = []

    def work(seed):
        x = np.full((50, 3), seed, np.float32)
        for _ in range(200):
            if not np.array_equal(add.run(["y"], {"x": x})[0], x + x):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compile_and_load(tmp_path):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], [value("x")], [value("y")])
    onnx.save(model, tmp_path / "m.onnx")
    tamis.compile(tmp_path / "m.onnx", tmp_path / "m.so", dims={"n": 2})
    session = tamis.InferenceSession(tmp_path / "m.so")
    assert session.get_inputs()[0].shape == [2, 3]
    x = np.array([[-1, 0, 1], [2, -3, 4]], np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.maximum(x, 0))
    data = (tmp_path / "m.so").read_bytes()
    assert tamis.InferenceSession(data).run(None, {"x": x})[0].max() == 4
    with pytest.raises(tamis.Error, match="artifact refused"):
        tamis.InferenceSession(b"\x7fELF" + bytes(100))
    for cut in range(64, len(data), 97):
        with pytest.raises(tamis.Error, match="cut short"):
            tamis.InferenceSession(data[:cut])
    with pytest.raises(tamis.Error):
        tamis.compile(b"not a model", tmp_path / "x.so")
    assert not (tmp_path / "x.so").exists()
    with pytest.raises(OSError):
        tamis.InferenceSession(tmp_path / "missing.onnx")


def test_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = make_model([helper.make_node("Abs", ["x"], ["y"])], [value("x")], [value("y")]).SerializeToString()
    tamis.InferenceSession(data)
    files = list((tmp_path / "tamis").iterdir())
    assert len(files) == 1
    before = files[0].stat().st_mtime_ns
    tamis.InferenceSession(data)
    assert files[0].stat().st_mtime_ns == before
    options = tamis.SessionOptions()
    options.optimization_level = 0
    tamis.InferenceSession(data, options)
    assert len(list((tmp_path / "tamis").iterdir())) == 2
    monkeypatch.setattr(tamis.compiler._tamis, "ABI_VERSION", 0)  # what another version left there is not taken
    tamis.InferenceSession(data)
    assert len(list((tmp_path / "tamis").iterdir())) == 3


def test_the_suffix_tells_the_form(tmp_path):
    model = make_model([helper.make_node("Neg", ["x"], ["y"])], [value("x")], [value("y")]).SerializeToString()
    tamis.compile(model, str(tmp_path / "m.ll"))
    assert "define" in (tmp_path / "m.ll").read_text()
    tamis.compile(model, str(tmp_path / "m.o"))
    assert (tmp_path / "m.o").read_bytes()[16] == 1 and (tmp_path / "m.h").exists()  # relocatable


def test_options_have_names():
    with pytest.raises(AttributeError):
        tamis.SessionOptions().inter_op_num_threads = 2
