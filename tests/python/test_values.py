# SPDX-License-Identifier: Apache-2.0
"""Values other than tensors through the session and the command: sequences, optionals, maps; the map operators of
ai.onnx.ml against ONNX Runtime and the text of the standard."""

import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import tamis

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
X = np.array([[.1, .2, .7], [.5, .25, .25]], np.float32)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def tensor(name, element, shape=None):
    return helper.make_tensor_value_info(name, element, shape)


def map_of(key, element, shape=()):
    return helper.make_map_type_proto(key, helper.make_tensor_type_proto(element, shape))


def port(name, type_proto):
    return helper.make_value_info(name, type_proto)


def make_model(nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def ml(op, **attributes):
    return helper.make_node(op, ["x"], ["y"], domain="ai.onnx.ml", **attributes)


def session_of(model):
    return tamis.InferenceSession(model.SerializeToString())


def both(model, feeds):
    """The answers of tamis and of ONNX Runtime."""
    return (session_of(model).run(None, feeds),
            onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds))


# ---- maps ----

@pytest.mark.parametrize("key, labels", [(T.INT64, {"classlabels_int64s": [3, -1, 2]}),
                                         (T.STRING, {"classlabels_strings": ["c", "", "ä"]})])
@pytest.mark.parametrize("x", [X, X[:0], X[0]], ids=["rows", "none", "one"])
def test_zip_map(key, labels, x):
    model = make_model([ml("ZipMap", **labels)], [tensor("x", T.FLOAT, [None] * (x.ndim - 1) + [3])],
                       [port("y", helper.make_sequence_type_proto(map_of(key, T.FLOAT)))])
    (ours,), (theirs,) = both(model, {"x": x})
    assert ours == theirs
    assert all(type(entry) is float for row in ours for entry in row.values())


def test_classifier_with_zip_map():
    """The graph that sklearn-onnx writes: labels, and a list of dicts."""
    random = np.random.default_rng(0)
    nodes = [helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                              classlabels_strings=["cat", "dog", "eel"], post_transform="SOFTMAX",
                              coefficients=random.normal(size=12).astype(np.float32), intercepts=[.1, .2, .3]),
             helper.make_node("Normalizer", ["scores"], ["normal"], domain="ai.onnx.ml", norm="L1"),
             helper.make_node("ZipMap", ["normal"], ["probabilities"], domain="ai.onnx.ml",
                              classlabels_strings=["cat", "dog", "eel"])]
    model = make_model(nodes, [tensor("x", T.FLOAT, ["n", 4])],
                       [tensor("label", T.STRING, ["n"]),
                        port("probabilities", helper.make_sequence_type_proto(map_of(T.STRING, T.FLOAT)))])
    x = random.normal(size=(5, 4)).astype(np.float32)
    (labels, rows), (their_labels, their_rows) = both(model, {"x": x})
    assert labels.tolist() == their_labels.tolist()
    assert len(rows) == 5
    for row, their_row in zip(rows, their_rows, strict=True):
        assert row.keys() == their_row.keys()
        np.testing.assert_allclose([row[key] for key in their_row], list(their_row.values()), rtol=1e-5)
    assert session_of(model).get_outputs()[1].type == "seq(map(string,tensor(float)))"


@pytest.mark.parametrize("key, vocabulary, x", [
    (T.STRING, {"string_vocabulary": ["a", "c", "b", "z"]}, {"a": 4.0, "c": 8.0}),
    (T.STRING, {"string_vocabulary": ["a", "c", "a"]}, {"a": 4.0, "unknown": 8.0}),
    (T.INT64, {"int64_vocabulary": [5, -7]}, {-7: 1.5, 8: 2.0}),
])
def test_dict_vectorizer(key, vocabulary, x):
    model = make_model([ml("DictVectorizer", **vocabulary)], [port("x", map_of(key, T.FLOAT))], [tensor("y", T.FLOAT)])
    (ours,), (theirs,) = both(model, {"x": x})
    np.testing.assert_array_equal(ours, theirs)
    assert session_of(model).run(None, {"x": {}})[0].tolist() == np.zeros_like(theirs).tolist()


@pytest.mark.parametrize("key, element, vocabulary, x, y", [
    (T.INT64, T.STRING, {"int64_vocabulary": [5, 7]}, {7: "hi"}, [["", "hi"]]),
    (T.STRING, T.INT64, {"string_vocabulary": ["a", "b"]}, {"b": 2 ** 60 + 1, "a": -3}, [[-3, 2 ** 60 + 1]]),
    (T.STRING, T.DOUBLE, {"string_vocabulary": ["a", "b"]}, {"b": 0.1}, [[0, 0.1]]),
    (T.INT64, T.DOUBLE, {"int64_vocabulary": [1]}, {1: 0.1}, [[0.1]]),
])
def test_dict_vectorizer_of_types_that_onnx_runtime_takes_from_c_only(key, element, vocabulary, x, y):
    model = make_model([ml("DictVectorizer", **vocabulary)], [port("x", map_of(key, element))], [tensor("y", element)])
    assert session_of(model).run(None, {"x": x})[0].tolist() == y


NUMBERS = {5: 1.5, 1: -2.75, 3: 1e6, 0: 0.1, 4: 1e-5, 2: -0.0}


@pytest.mark.parametrize("to, element", [("TO_FLOAT", T.FLOAT), ("TO_INT64", T.INT64), ("TO_STRING", T.STRING)])
@pytest.mark.parametrize("form", [{}, {"map_form": "SPARSE", "max_map": 9}], ids=["dense", "sparse"])
def test_cast_map(to, element, form):
    model = make_model([ml("CastMap", cast_to=to, **form)], [port("x", map_of(T.INT64, T.FLOAT))], [tensor("y", element)])
    for x in (NUMBERS, {7: 123456792.0, 2: 3.4028235e38, 6: 2.5e-7, 4: -1e-45}):
        if to == "TO_INT64":
            x = {key: entry for key, entry in x.items() if abs(entry) < 1e18}
        (ours,), (theirs,) = both(model, {"x": x})
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()


def test_cast_map_of_strings():
    def run(to, element, x):
        model = make_model([ml("CastMap", cast_to=to)], [port("x", map_of(T.INT64, T.STRING))], [tensor("y", element)])
        return session_of(model).run(None, {"x": x})[0].tolist()
    x = {9: "12", -4: "-7", 0: "3.5"}
    assert run("TO_STRING", T.STRING, x) == [["-7", "3.5", "12"]]
    assert run("TO_FLOAT", T.FLOAT, x) == [[-7, 3.5, 12]]
    assert run("TO_INT64", T.INT64, {1: "12", 0: "-9223372036854775808"}) == [[-2 ** 63, 12]]
    with pytest.raises(tamis.Error):
        run("TO_FLOAT", T.FLOAT, {1: "twelve"})


def test_a_sparse_map_has_no_keys_beyond_its_end():
    model = make_model([ml("CastMap", map_form="SPARSE", max_map=4)], [port("x", map_of(T.INT64, T.FLOAT))],
                       [tensor("y", T.FLOAT)])
    session = session_of(model)
    for key in (4, -1):
        with pytest.raises(tamis.Error, match="out of range"):
            session.run(None, {"x": {key: 1.0}})


@pytest.mark.parametrize("x", [np.array(["a", "b", "q"], object), np.array([[1, 2], [7, 1]])], ids=["text", "number"])
@pytest.mark.parametrize("defaults", [{}, {"default_int64": 9, "default_string": "?"}])
def test_category_mapper(x, defaults):
    types = (T.STRING, T.INT64) if x.dtype == object else (T.INT64, T.STRING)
    model = make_model([ml("CategoryMapper", cats_int64s=[1, 2, 1, 3], cats_strings=["a", "b", "c", "a"], **defaults)],
                       [tensor("x", types[0], ["n"] * x.ndim)], [tensor("y", types[1])])
    (ours,), (theirs,) = both(model, {"x": x})
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("node, inputs, message", [
    (ml("ZipMap"), [tensor("x", T.FLOAT, [2, 3])], "give either"),
    (ml("ZipMap", classlabels_int64s=[1, 2]), [tensor("x", T.FLOAT, [2, 3])], "class labels"),
    (ml("ZipMap", classlabels_int64s=[1, 2, 1]), [tensor("x", T.FLOAT, [2, 3])], "'1' twice"),
    (ml("DictVectorizer", int64_vocabulary=[1]), [port("x", map_of(T.STRING, T.FLOAT))], "keys of i64"),
    (ml("CastMap", cast_to="TO_BOOL"), [port("x", map_of(T.INT64, T.FLOAT))], "TO_BOOL"),
    (ml("CastMap"), [port("x", map_of(T.INT64, T.FLOAT, [2]))], "scalars"),
    (ml("CategoryMapper", cats_int64s=[1]), [tensor("x", T.INT64, [2])], "differ in length"),
    (helper.make_node("Neg", ["x"], ["y"]), [port("x", map_of(T.INT64, T.FLOAT))], "not a tensor"),
    (helper.make_node("Optional", [], ["y"]), [], "needs a type"),
])
def test_refusals_name_the_fault(node, inputs, message):
    with pytest.raises(tamis.Error, match=message):
        session_of(make_model([node], inputs, [tensor("y", T.FLOAT)]))


def test_maps_pass_through_everything():
    """A map and a sequence of maps as inputs and outputs, through If and Loop."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
        g (bool c, int64 n, seq(map(int64, float)) s) => (seq(map(int64, float)) t, int64 size) {
          u = If (c) <then_branch = a () => (seq(map(int64, float)) s) { },
                      else_branch = b () => (seq(map(int64, float)) v) { v = Identity (s) }>
          t = Loop (n, , u) <body = l (int64 i, bool d, seq(map(int64, float)) w) => (bool d, seq(map(int64, float)) w) { }>
          size = SequenceLength (t)
        }"""
    session = session_of(onnx.parser.parse_model(text))
    rows = [{1: 0.5, 2: 0.25}, {}, {-7: 4.0}]
    for c in (False, True):
        assert session.run(None, {"c": np.array(c), "n": np.array(2), "s": rows}) == [rows, 3]
    with pytest.raises(TypeError, match="a list of dicts"):
        session.run(None, {"c": np.array(True), "n": np.array(0), "s": {}})
    with pytest.raises(TypeError, match="a dict"):
        session.run(None, {"c": np.array(True), "n": np.array(0), "s": [1.0]})
    assert session.get_inputs()[2].type == "seq(map(int64,tensor(float)))"


def test_a_map_of_tensors():
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], [port("x", map_of(T.STRING, T.FLOAT, [2]))],
                       [port("y", map_of(T.STRING, T.FLOAT, [2]))])
    session = session_of(model)
    y, = session.run(None, {"x": {"a": X[0, :2], "b": X[1, :2]}})
    assert list(y) == ["a", "b"]
    np.testing.assert_array_equal(y["b"], X[1, :2])
    with pytest.raises(tamis.Error, match="wrong type or dims"):
        session.run(None, {"x": {"a": X[0]}})


# ---- sequences and optionals ----

def optional_of(inner):
    return helper.make_optional_type_proto(inner)


FLOATS = helper.make_tensor_type_proto(T.FLOAT, ["n"])


@pytest.mark.parametrize("inner, element", [(FLOATS, X[0]), (helper.make_sequence_type_proto(FLOATS), [X[0], X[1, :1]])])
def test_optionals_in_and_out(inner, element):
    model = make_model([helper.make_node("Identity", ["x"], ["y"]), helper.make_node("OptionalHasElement", ["x"], ["has"])],
                       [port("x", optional_of(inner))], [port("y", optional_of(inner)), tensor("has", T.BOOL, [])])
    session = session_of(model)
    assert session.run(None, {"x": None}) == [None, False]
    assert session.run(None, {}) == [None, False]
    y, has = session.run(None, {"x": element})
    assert has
    assert isinstance(y, list) == isinstance(element, list)
    for ours, given in zip(y if isinstance(y, list) else [y], element if isinstance(element, list) else [element]):
        np.testing.assert_array_equal(ours, given)
    if isinstance(element, list):
        assert session.run(None, {"x": []}) == [[], True]


def test_an_empty_optional_has_no_element():
    model = make_model([helper.make_node("OptionalGetElement", ["x"], ["y"])], [port("x", optional_of(FLOATS))],
                       [tensor("y", T.FLOAT, ["n"])])
    with pytest.raises(tamis.Error, match="the optional has no element"):
        session_of(model).run(None, {"x": None})


def test_items_must_have_the_declared_dims():
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(T.FLOAT, ["n", 2]))
    model = make_model([helper.make_node("SequenceAt", ["x", "i"], ["y"])], [port("x", sequence), tensor("i", T.INT64, [])],
                       [tensor("y", T.FLOAT, ["n", 2])])
    session = session_of(model)
    i = np.array(0)
    assert session.run(None, {"x": [X[:, :2]], "i": i})[0].shape == (2, 2)
    for wrong in ([X], [X[0]], [X[:, :2].astype(np.float64)]):
        with pytest.raises((tamis.Error, TypeError)):
            session.run(None, {"x": wrong, "i": i})


@pytest.mark.parametrize("feed", [None, [1.0, None], [[None]]])
def test_none_is_no_number(feed):
    model = make_model([helper.make_node("Neg", ["x"], ["y"])], [tensor("x", T.FLOAT, ["n"])], [tensor("y", T.FLOAT, ["n"])])
    with pytest.raises(TypeError):
        session_of(model).run(None, {"x": feed})


@pytest.mark.parametrize("source", [3, None, 2.5])
def test_a_session_is_of_a_path_or_bytes(source):
    with pytest.raises(TypeError):
        tamis.InferenceSession(source)


# ---- data files ----

def test_run_and_check_take_every_kind(tmp_path):
    maps = helper.make_sequence_type_proto(map_of(T.STRING, T.FLOAT))
    optional = optional_of(helper.make_sequence_type_proto(FLOATS))
    model = make_model([helper.make_node("Identity", ["a"], ["b"]), helper.make_node("Identity", ["c"], ["d"])],
                       [port("a", maps), port("c", optional)], [port("b", maps), port("d", optional)])
    data = tmp_path / "case" / "test_data_set_0"
    os.makedirs(data)
    onnx.save(model, tmp_path / "case" / "model.onnx")
    rows = onnx.SequenceProto(elem_type=onnx.SequenceProto.MAP)
    for row in ({"a": 1.5, "b": 2.5}, {"c": -1.0}):
        item = rows.map_values.add(key_type=T.STRING, string_keys=[key.encode() for key in row])
        item.values.elem_type = onnx.SequenceProto.TENSOR
        item.values.tensor_values.extend(numpy_helper.from_array(np.float32(entry)) for entry in row.values())
    for prefix in ("input", "output"):
        (data / f"{prefix}_0.pb").write_bytes(rows.SerializeToString())
        (data / f"{prefix}_1.pb").write_bytes(numpy_helper.from_optional([X[0], X[1]], "c").SerializeToString())
    for mode in ([], ["--evaluate"]):
        done = subprocess.run([TAMIS, "check", *mode, tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    subprocess.run([TAMIS, "run", tmp_path / "case" / "model.onnx", "--inputs", data, "--outputs", tmp_path / "out"], check=True)
    back = onnx.SequenceProto.FromString((tmp_path / "out" / "output_0.pb").read_bytes())
    assert [list(item.string_keys) for item in back.map_values] == [[b"a", b"b"], [b"c"]]
    assert numpy_helper.to_array(back.map_values[0].values.tensor_values[1]) == np.float32(2.5)
    optional_back = onnx.OptionalProto.FromString((tmp_path / "out" / "output_1.pb").read_bytes())
    np.testing.assert_array_equal(numpy_helper.to_optional(optional_back)[1], X[1])
    text = subprocess.run([TAMIS, "run", tmp_path / "case" / "model.onnx", "--inputs", data], check=True,
                          capture_output=True, text=True).stdout
    assert "map of 2: string to f32" in text and "item 1 keys: \"c\"" in text
    # A wrong answer in a map is found.
    rows.map_values[0].values.tensor_values[0].CopyFrom(numpy_helper.from_array(np.float32(7)))
    (data / "output_0.pb").write_bytes(rows.SerializeToString())
    done = subprocess.run([TAMIS, "check", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "found 1.5, expected 7" in done.stdout


def test_inspect_names_the_kinds(tmp_path):
    maps = helper.make_sequence_type_proto(map_of(T.INT64, T.FLOAT))
    onnx.save(make_model([helper.make_node("Identity", ["a"], ["b"])], [port("a", maps)], [port("b", maps)]),
              tmp_path / "m.onnx")
    text = subprocess.run([TAMIS, "inspect", tmp_path / "m.onnx"], check=True, capture_output=True, text=True).stdout
    assert "a: sequence of map from i64 to f32[]" in text
    subprocess.run([TAMIS, "verify", tmp_path / "m.onnx"], check=True)
