# SPDX-License-Identifier: Apache-2.0
"""tamis quantize and compile --quantize: answers near float's, samples in every form, reports, clear messages."""

import json
import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(5)
SAMPLES = RNG.normal(size=(24, 6, 32)).astype(np.float32)


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stderr


def weights(*shape):
    return (RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def value(name, shape, type_=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, type_, shape)


def save(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "g", inputs, outputs,
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A norm, two products with a Relu between them, and a Gemm: model.onnx, and its samples in every form."""
    path = tmp_path_factory.mktemp("quantize")
    nodes = [helper.make_node("LayerNormalization", ["x", "g", "h"], ["n"], axis=-1),
             helper.make_node("MatMul", ["n", "w1"], ["p"], name="first"),
             helper.make_node("Add", ["p", "b1"], ["q"]), helper.make_node("Relu", ["q"], ["r"]),
             helper.make_node("MatMul", ["r", "w2"], ["s"], name="second"), helper.make_node("Add", ["s", "x"], ["t"]),
             helper.make_node("ReduceMean", ["t", "axes"], ["u"], keepdims=0),
             helper.make_node("Gemm", ["u", "w3", "b3"], ["v"], name="head", transB=1),
             helper.make_node("Softmax", ["v"], ["y"])]
    save(path / "model.onnx", nodes, [value("x", ["n", 6, 32])], [value("y", ["n", 10])],
         {"g": np.linspace(0.2, 6, 32, dtype=np.float32), "h": weights(32), "w1": weights(32, 128), "b1": weights(128),
          "w2": weights(128, 32), "axes": np.array([1]), "w3": 3 * weights(10, 32), "b3": weights(10)})
    np.save(path / "x.npy", SAMPLES)
    np.savez(path / "stored.npz", x=SAMPLES)
    np.savez_compressed(path / "deflated.npz", x=SAMPLES)
    np.save(path / "extra.npy", SAMPLES[:, None])
    for i, sample in enumerate(SAMPLES):
        os.makedirs(path / "pb" / f"test_data_set_{i:02}")
        (path / "pb" / f"test_data_set_{i:02}" / "input_0.pb").write_bytes(
            numpy_helper.from_array(sample[None], "x").SerializeToString())
    os.mkdir(path / "named")
    np.save(path / "named" / "x.npy", SAMPLES)
    os.mkdir(path / "many")
    np.savez(path / "many" / "a.npz", x=SAMPLES[:10])
    np.save(path / "many" / "b.npy", SAMPLES[10:])
    np.save(path / "labels.npy", answers(path, path / "model.onnx").argmax(1))
    return path


def answers(folder, model):
    tamis("run", model, "--inputs", folder / "stored.npz", "--outputs", folder / "out.npz", "--threads", 1)
    return np.load(folder / "out.npz")["y"]


def report_of(folder, form, *arguments, calib="x.npy"):
    calibration = ["--calib", folder / calib] if calib else []
    tamis("quantize", folder / "model.onnx", "-o", folder / "out.onnx", f"--quantize={form},threads=1", "--report",
          folder / "report.json", *calibration, *arguments)
    with open(folder / "report.json", encoding="utf-8") as file:
        return json.load(file)


@pytest.mark.parametrize("form, most", [
    ("int8", 2e-3), ("int8,s8,bias", 2e-3), ("int8,observer=mse,smooth=0.5", 2e-3), ("int8,percentile=99.9", 1e-2),
    ("int8,equalize,gptq", 2e-3), ("int8-dynamic", 2e-3), ("int8-weights", 5e-4), ("int4,block=32", 0.3),
    ("int4,block=32,hqq", 0.3), ("int4,block=32,gptq,smooth=0.5,bias", 0.1)])
def test_answers_are_near_those_of_float(folder, form, most):
    report = report_of(folder, form + ",always,sweep=0")
    assert all(layer["quantized"] for layer in report["layers"])
    assert 0 < report["divergence"]["kl"] < most
    assert report["bytes"] < report["float_bytes"] / 2


@pytest.mark.parametrize("form", ["int8", "int4,block=32,gptq"])
def test_the_file_written_is_what_was_measured(folder, form):
    report = report_of(folder, form + ",always,sweep=0")
    onnx.checker.check_model(onnx.load(folder / "out.onnx"), full_check=True)
    expected, found = answers(folder, folder / "model.onnx"), answers(folder, folder / "out.onnx")
    kl = (expected * np.log(expected / found)).sum(1).mean()
    np.testing.assert_allclose(kl, report["divergence"]["kl"], rtol=1e-2, atol=1e-6)
    size, small = ((folder / name).stat().st_size for name in ["model.onnx", "out.onnx"])
    assert size - small > 0.9 * (report["float_bytes"] - report["bytes"])


@pytest.mark.parametrize("form", ["int8", "int8-dynamic"])
def test_layers_are_products_of_integers(folder, tmp_path, form):
    """The file that is written compiles to products of bytes, also where its scales are stored as float16."""
    report_of(folder, form + ",always,sweep=0")
    kinds = {constant.data_type for constant in onnx.load(folder / "out.onnx").graph.initializer}
    assert TensorProto.FLOAT16 in kinds
    tamis("compile", folder / "out.onnx", "-o", tmp_path / "out.ir")
    text = (tmp_path / "out.ir").read_text()
    assert text.count("= MatMulInteger(") == 3 and "= MatMul(" not in text and "= Gemm(" not in text


def test_smaller_steps_are_nearer(folder):
    def harm(form):
        return report_of(folder, form + ",always,sweep=0")["divergence"]["kl"]

    assert harm("int8-weights") < harm("int4,block=16") < harm("int4,block=128,nearest")
    assert harm("int4,block=32,gptq") < harm("int4,block=32,nearest")


@pytest.mark.parametrize("calib", ["stored.npz", "deflated.npz", "extra.npy", "pb", "named", "many"])
def test_samples_are_the_same_in_every_form(folder, calib):
    expected = report_of(folder, "int8,always,sweep=0")
    found = report_of(folder, "int8,always,sweep=0", calib=calib)
    assert found["samples"] == len(SAMPLES)
    assert [layer["scale"] for layer in found["layers"]] == [layer["scale"] for layer in expected["layers"]]
    assert found["divergence"] == expected["divergence"]


def test_scales_are_those_of_the_samples(folder):
    layers = {layer["name"]: layer for layer in report_of(folder, "int8,always,sweep=0")["layers"]}
    x = SAMPLES.astype(np.float64)
    model = onnx.load(folder / "model.onnx")
    constants = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in model.graph.initializer}
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * constants["g"] + constants["h"]
    hidden = np.maximum(normal @ constants["w1"] + constants["b1"], 0)
    for name, seen in [("first", normal), ("second", hidden)]:
        low, high = min(seen.min(), 0), max(seen.max(), 0)
        np.testing.assert_allclose([layers[name]["low"], layers[name]["high"]], [low, high], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layers[name]["scale"], (high - low) / 255, rtol=1e-4)


def test_the_choice_keeps_what_harms_in_float(folder):
    free = report_of(folder, "int8,always")
    harms = {layer["name"]: layer["alone"]["kl"] for layer in free["layers"]}
    limit = sorted(harms.values())[-1] * 0.9
    tight = report_of(folder, "int8,always", f"--budget=kl:{limit}")
    assert tight["budget"].startswith("met")
    assert tight["divergence"]["kl"] <= limit
    worst = [layer for layer in tight["layers"] if layer["name"] == max(harms, key=harms.get)][0]
    assert worst["form"] != "int8, static" and "of the budget" in worst["reason"]
    assert any(layer["quantized"] for layer in tight["layers"])
    assert all("for the sake of the budget" in layer["reason"] for layer in tight["layers"] if not layer["quantized"])
    none = report_of(folder, "int8,always", "--budget=kl:0")
    assert none["divergence"]["kl"] == 0 and none["budget"].startswith("met")


def test_under_a_budget_layers_take_the_form_that_fits(folder):
    """Between what static scales and weights alone cost; of 4 bits, what 8 bits cost."""
    for form, less, fallback in [("int8,nearest", "int8-weights", "int8, dynamic|int8, weights only"),
                                 ("int4,nearest", "int8-weights", "int8, weights only")]:
        high = report_of(folder, form + ",always,sweep=0")["divergence"]["kl"]
        low = report_of(folder, less + ",always,sweep=0")["divergence"]["kl"]
        report = report_of(folder, form + ",always", f"--budget=kl:{(low * high) ** 0.5}")
        assert report["divergence"]["kl"] <= (low * high) ** 0.5 and report["budget"].startswith("met")
        assert any(layer["form"] in fallback.split("|") for layer in report["layers"])


def test_speed_is_held(folder):
    """Layers this small gain nothing: what is in integers is no slower than float, and the report says what was done."""
    report = report_of(folder, "int8,sweep=0")
    integers = [layer for layer in report["layers"] if layer["form"] in ("int8, static", "int8, dynamic")]
    assert all(layer["ns"] <= 1.02 * layer["float_ns"] for layer in integers)
    assert not integers or report["ns"] <= 1.1 * report["float_ns"]
    report = report_of(folder, "int8,sweep=0,always")
    assert report["ns"] is None and report["speed"] is None


def test_times_for_another_machine_are_estimated(folder, tmp_path):
    message = tamis("compile", folder / "model.onnx", "-o", tmp_path / "q.so", "--quantize=int8,threads=1,sweep=0",
                    "-mcpu=x86-64-v3", "--calib", folder / "x.npy", "--report", folder / "report.json")
    layers = {layer["name"]: layer for layer in json.loads((folder / "report.json").read_text())["layers"]}
    tiles = 2 * 6 * 64 * 128 / 300
    assert layers["first"]["float_ns"] == pytest.approx(2 * 6 * 32 * 128 / 100)
    assert layers["first"]["ns"] == pytest.approx(tiles + 6 * 32 / 8 + 200)
    assert "slower" in layers["head"]["reason"] and "a call takes" not in message


def test_reports_and_labels(folder):
    report = report_of(folder, "int8,keep=head", "--labels", folder / "labels.npy")
    assert report["divergence"]["accuracy_float"] == 1
    assert report["divergence"]["accuracy"] >= 0.8
    assert 0 < report["divergence"]["log_loss_float"] < report["divergence"]["log_loss"] * 1.1 < 3
    head = [layer for layer in report["layers"] if layer["name"] == "head"][0]
    assert not head["quantized"] and head["reason"] == "kept by an option"
    for layer in report["layers"]:
        assert layer["quantized"] or layer["reason"]
    message = tamis("quantize", folder / "model.onnx", "-o", folder / "out.onnx", "--calib", folder / "x.npy",
                    "--quantize=int8,threads=1", "--report", folder / "report.html")
    page = (folder / "report.html").read_text()
    assert "int8, static" in message and "KL" in message
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>") and "http" not in page
    assert page.count("<tr class=") == 3


def test_without_samples_it_says_what_was_not_checked(folder):
    report = report_of(folder, "int8-weights", calib=None)
    assert report["divergence"] is None and "no samples" in report["unchecked"]
    assert all(layer["quantized"] for layer in report["layers"])


def test_compile_takes_the_same_options(folder):
    message = tamis("compile", folder / "model.onnx", "-o", folder / "q.so", "--quantize=int8,always,threads=1",
                    "--calib", folder / "x.npy")
    assert "3 of 3 layers" in message
    tamis("quantize", folder / "model.onnx", "-o", folder / "q.onnx", "--quantize=int8,always,threads=1", "--calib",
          folder / "x.npy")
    np.testing.assert_array_equal(answers(folder, folder / "q.so"), answers(folder, folder / "q.onnx"))


def test_convolutions_and_tables(tmp_path):
    save(tmp_path / "model.onnx",
         [helper.make_node("Gather", ["table", "i"], ["e"], name="words"),
          helper.make_node("Transpose", ["e"], ["t"], perm=[0, 2, 1]),
          helper.make_node("Conv", ["t", "w", "b"], ["y"], name="conv", pads=[1, 1])],
         [value("i", ["n", 8], TensorProto.INT64)], [value("y", ["n", 6, 8])],
         {"table": weights(50, 16), "w": weights(6, 16, 3), "b": weights(6)})
    indices = RNG.integers(0, 50, (12, 8))
    np.savez(tmp_path / "stored.npz", i=indices)
    for form, rows in [("int8", 2), ("int8-weights", 2), ("int8-weights,notables", 1), ("int8,tables=4", 2), ("int4", 2),
                       ("int4,nearest", 2), ("int4,tables=8", 2)]:
        tamis("quantize", tmp_path / "model.onnx", "-o", tmp_path / "out.onnx", f"--quantize={form},always,threads=1",
              "--calib", tmp_path / "stored.npz", "--report", tmp_path / "r.json")
        report = json.loads((tmp_path / "r.json").read_text())
        assert sum(layer["quantized"] for layer in report["layers"]) == rows
        four = [layer["form"] for layer in report["layers"] if layer["name"] == "words"] == ["int4, weights only"]
        assert four == (form in ("int8,tables=4", "int4", "int4,nearest"))
        assert report["divergence"]["cosine"] > (0.98 if four else 0.999)
        expected, found = answers(tmp_path, tmp_path / "model.onnx"), answers(tmp_path, tmp_path / "out.onnx")
        assert 0 < np.abs(expected - found).max() < (0.3 if four else 0.05) * np.abs(expected).max()


def test_the_file_has_few_bytes_beside_the_weights(tmp_path):
    bias = weights(512)
    nodes = [helper.make_node("Gather", ["table", "i"], ["e"]), helper.make_node("Gather", ["offsets", "i"], ["o"]),
             helper.make_node("MatMul", ["e", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["n"]),
             helper.make_node("MatMul", ["n", "v"], ["y"], name="kept"), helper.make_node("Add", ["y", "big"], ["z"])]
    save(tmp_path / "model.onnx", nodes, [value("i", ["n"], TensorProto.INT64)],
         [value("z", ["n", 64]), value("o", ["n"], TensorProto.INT64)],
         {"table": weights(1024, 512), "w": weights(512, 512), "b": bias, "v": weights(512, 64),
          "offsets": np.arange(0, 2048, 2), "big": np.linspace(-1e5, 1e5, 64, dtype=np.float32)})
    tamis("quantize", tmp_path / "model.onnx", "-o", tmp_path / "out.onnx", "--quantize=int8-weights,keep=kept")
    constants = {}
    for constant in onnx.load(tmp_path / "out.onnx").graph.initializer:
        constants.setdefault(constant.data_type, []).append(numpy_helper.to_array(constant))
    assert sorted(scale.size for scale in constants[TensorProto.UINT8]) == [512, 1024]
    assert [half.tolist() for half in constants[TensorProto.FLOAT16]] == [bias.astype(np.float16).tolist()]
    assert [short.size for short in constants[TensorProto.INT16]] == [1024]
    assert sorted(plain.size for plain in constants[TensorProto.FLOAT] if plain.size > 1) == [64, 512 * 64]
    kept = 4 * 512 * 64 + 4 * 64
    size, small = ((tmp_path / name).stat().st_size for name in ("model.onnx", "out.onnx"))
    assert (size - kept) / (small - kept) > 3.95
    tamis("compile", tmp_path / "out.onnx", "-o", tmp_path / "out.so")
    np.savez(tmp_path / "i.npz", i=np.arange(64) * 16)
    tamis("run", tmp_path / "out.so", "--inputs", tmp_path / "i.npz", "--outputs", tmp_path / "y.npz")
    found, engine = np.load(tmp_path / "y.npz"), onnxruntime.InferenceSession(tmp_path / "out.onnx")
    wanted = dict(zip(["z", "o"], engine.run(None, {"i": np.arange(64) * 16})))
    assert np.array_equal(found["o"], wanted["o"]) and np.abs(found["z"] - wanted["z"]).max() < 1e-2


def transformer(path, width=32, heads=4):
    """Two blocks of attention with a mask of padding, scores scaled before and behind their product, and a head of classes."""
    size, nodes = width // heads, []
    constants = {"split": np.array([0, 0, heads, size]), "merge": np.array([0, 0, width])}

    def add(op, *inputs, name=None, **attributes):
        output = f"v{len(nodes)}"
        inputs = list(inputs)
        for i, x in enumerate(inputs):
            if not isinstance(x, str):
                inputs[i] = f"c{len(constants)}"
                constants[inputs[i]] = x
        nodes.append(helper.make_node(op, inputs, [output], name=name or output, **attributes))
        return output

    mask = add("Mul", add("Sub", np.float32(1), add("Unsqueeze", "m", np.array([1, 2]))), np.float32(-1e9))
    x = "x"
    for block in range(2):
        n = add("LayerNormalization", x, np.ones(width, np.float32), weights(width), axis=-1)
        q, k, v = (add("Transpose", add("Reshape", add("Add", add("MatMul", n, 2 * weights(width, width)), weights(width)), "split"), perm=perm)
                   for perm in ([0, 2, 1, 3], [0, 2, 3, 1] if block else [0, 2, 1, 3], [0, 2, 1, 3]))
        if block == 0:
            q, k = add("Mul", q, np.float32(size**-0.5)), add("Transpose", k, perm=[0, 1, 3, 2])
        scores = add("MatMul", q, k)
        if block == 1:
            scores = add("Div", scores, np.float32(size**0.5))
        probabilities = add("Softmax", add("Add", scores, mask), axis=-1)
        y = add("Reshape", add("Transpose", add("MatMul", probabilities, v, name=f"mix{block}"), perm=[0, 2, 1, 3]), "merge")
        x = add("Add", x, add("MatMul", y, weights(width, width)))
    pooled = add("ReduceMean", x, np.array([1]), keepdims=0)
    nodes.append(helper.make_node("Softmax", [add("MatMul", pooled, weights(width, 10))], ["y"]))
    save(path / "model.onnx", nodes, [value("x", ["n", "s", width]), value("m", ["n", "s"])], [value("y", ["n", 10])], constants)
    lengths = RNG.integers(5, 17, 24)
    np.savez(path / "stored.npz", x=RNG.normal(size=(24, 16, width)).astype(np.float32),
             m=(np.arange(16) < lengths[:, None]).astype(np.float32))


@pytest.fixture(scope="module")
def attention_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("attention")
    transformer(path)
    return path


def attentions(report):
    return [layer for layer in report["layers"] if layer["op"] == "Attention"]


def byte_regions(folder, model="out.onnx"):
    tamis("compile", folder / model, "-o", folder / "out.ir")
    return (folder / "out.ir").read_text().count('kind = "attention_bytes"')


def test_attention_is_computed_in_integers(attention_folder):
    report = report_of(attention_folder, "int8,always,sweep=0,attention", calib="stored.npz")
    found = attentions(report)
    assert [layer["name"] for layer in found] == ["mix0", "mix1"]
    assert all(layer["quantized"] and layer["form"] == "int8, static" for layer in found)
    model = onnx.load(attention_folder / "out.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert byte_regions(attention_folder) == 2
    scales = {c.name: float(numpy_helper.to_array(c)) for c in model.graph.initializer if c.data_type == TensorProto.FLOAT and not c.dims}
    assert sum(np.float32(s) == np.float32(1 / 255) for s in scales.values()) >= 1
    for layer in found:
        for operand in ("queries", "keys", "values"):
            seen = layer[operand]
            assert seen["scale"] == pytest.approx((seen["high"] - seen["low"]) / 255)
            assert any(s == pytest.approx(seen["scale"]) for s in scales.values())
    ours, plain = answers(attention_folder, attention_folder / "out.onnx"), answers(attention_folder, attention_folder / "model.onnx")
    inputs = dict(np.load(attention_folder / "stored.npz"))
    theirs = onnxruntime.InferenceSession(attention_folder / "out.onnx", providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    assert np.abs(ours - theirs).mean() < 5e-3
    assert np.abs(ours - plain).mean() < 1.5 * np.abs(theirs - plain).mean()


def test_attention_stays_float_where_it_is_not_asked_for(attention_folder):
    report = report_of(attention_folder, "int8,always,sweep=0", calib="stored.npz")
    assert not attentions(report) and byte_regions(attention_folder) == 0
    report = report_of(attention_folder, "int8,always,sweep=0,attention,keep=mix1", calib="stored.npz")
    assert [layer["quantized"] for layer in attentions(report)] == [True, False]
    assert attentions(report)[1]["reason"] == "kept by an option" and byte_regions(attention_folder) == 1
    message = tamis("quantize", attention_folder / "model.onnx", "-o", attention_folder / "out.onnx",
                    "--quantize=int8-dynamic,attention", "--calib", attention_folder / "stored.npz", code=2)
    assert "no use for 'attention'" in message and "it is of int8" in message


def test_a_budget_takes_attention_back_by_its_harm(attention_folder):
    """With the layers in float: their names have a v."""
    free = report_of(attention_folder, "int8,always,attention,keep=v", calib="stored.npz")
    harms = [layer["alone"]["kl"] for layer in attentions(free)]
    limit = 0.5 * min(harms) + 0.5 * max(harms)
    assert 0 < limit < free["divergence"]["kl"] < 1e-2
    tight = report_of(attention_folder, "int8,always,attention,keep=v", f"--budget=kl:{limit}", calib="stored.npz")
    assert tight["budget"].startswith("met") and tight["divergence"]["kl"] <= limit
    worst = attentions(tight)[int(np.argmax(harms))]
    assert not worst["quantized"] and "for the sake of the budget" in worst["reason"]


def test_attention_of_heads_that_do_not_fit_stays_float(tmp_path):
    transformer(tmp_path, width=24, heads=4)
    report = report_of(tmp_path, "int8,always,sweep=0,attention", calib="stored.npz")
    assert all(not layer["quantized"] and "multiple of 4" in layer["reason"] for layer in attentions(report))
    assert len(attentions(report)) == 2 and byte_regions(tmp_path) == 0


def bad_samples(folder):
    broken = SAMPLES.copy()
    broken[7, 2, 3] = np.nan
    np.save(folder / "nan.npy", broken)
    np.save(folder / "double.npy", SAMPLES.astype(np.float64))
    np.save(folder / "wide.npy", np.zeros((4, 6, 33), np.float32))
    np.save(folder / "fortran.npy", np.asfortranarray(SAMPLES))
    np.save(folder / "none.npy", SAMPLES[:0])
    np.savez(folder / "other.npz", z=SAMPLES)
    np.save(folder / "objects.npy", np.array([1, "a", None], object), allow_pickle=True)
    np.save(folder / "records.npy", np.zeros(3, [("a", "f4"), ("b", "i4")]))
    for name, pack in [("harmed.npz", np.savez), ("squeezed.npz", np.savez_compressed)]:
        pack(folder / name, x=SAMPLES)
        data = bytearray((folder / name).read_bytes())
        at = data.find(SAMPLES[5].tobytes()[:64]) if pack is np.savez else data.rfind(b"PK\1\2") + 16
        data[at] ^= 1   # an element; the checksum in the directory
        (folder / name).write_bytes(data)
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-100])
    (folder / "text.npy").write_text("no array")
    (folder / "text.txt").write_text("no array")
    os.makedirs(folder / "empty", exist_ok=True)


@pytest.mark.parametrize("calib, code, words", [
    ("nan.npy", 65, ["nan.npy", "sample 7", "element 67", "NaN"]),
    ("double.npy", 65, ["double.npy", "f64[24, 6, 32]", "f32[n, 6, 32]", "astype"]),
    ("wide.npy", 65, ["f32[4, 6, 33]", "f32[n, 6, 32]"]),
    ("fortran.npy", 65, ["ascontiguousarray"]),
    ("none.npy", 65, ["no sample"]),
    ("objects.npy", 65, ["objects.npy", "Python objects", "dtype"]),
    ("records.npy", 65, ["records.npy", "structured"]),
    ("harmed.npz", 65, ["harmed.npz", "checksum"]),
    ("squeezed.npz", 65, ["squeezed.npz", "checksum"]),
    ("other.npz", 65, ["other.npz", "no array 'x'", "inspect"]),
    ("cut.npy", 65, ["cut.npy", "cut short"]),
    ("text.npy", 65, ["text.npy", "no NumPy array"]),
    ("text.txt", 65, ["text.txt", ".npz"]),
    ("empty", 65, ["empty", "no samples"]),
    ("missing.npy", 66, ["missing.npy", "no such file"])])
def test_bad_samples_are_named(folder, calib, code, words):
    bad_samples(folder)
    message = tamis("quantize", folder / "model.onnx", "-o", folder / "bad.onnx", "--quantize=int8,threads=1", "--calib",
                    folder / calib, code=code)
    for word in words:
        assert word in message, message
    assert not (folder / "bad.onnx").exists()


@pytest.mark.parametrize("arguments, words", [
    (["--quantize=int3"], ["int3", "int8-dynamic"]), (["--quantize=int8,observer=best"], ["observer=best"]),
    (["--quantize=int4,block=48"], ["block=48", "block=16..256 (a power of two)"]), (["--quantize=int8"], ["samples", "--calib"]),
    (["--quantize=int4,block=512"], ["block=512", "16..256"]), (["--quantize=int8,sweep=1.5"], ["sweep=1.5", "whole"]),
    (["--quantize=int8,smooth=50%"], ["smooth=50%", "smooth=0..1"]), (["--quantize=int8,s8=1"], ["s8=1", "no value"]),
    (["--quantize=int8,often"], ["'often' is no option", "observer=minmax|percentile|entropy|mse", "percentile=50..100"]),
    (["--quantize=int8,block=64"], ["block", "4-bit"]), (["--quantize=int8-weights,s8"], ["int8-weights has no use for 's8'", "it is of int8"]),
    (["--quantize=int8-dynamic,observer=mse"], ["int8-dynamic has no use for 'observer'"]),
    (["--quantize=int4,nearest,gptq"], ["nearest and gptq exclude each other"]),
    (["--quantize=int8,notables,tables=4"], ["exclude each other"]), (["--quantize=int4,block=16,block=32"], ["block", "twice"]),
    (["--quantize=int8,observer=mse,percentile=99"], ["percentile=", "another observer"]),
    (["--quantize=int8,keep=nosuch", "--calib", "x.npy"], ["keep=nosuch: no layer", "'first'"]),
    (["--quantize=int8", "--calib", "x.npy", "--budget=kl:1e-3%"], ["kl:1e-3%", "without %"]),
    (["--quantize=int8", "--calib", "x.npy", "--budget=flips:200%"], ["flips:200%", "0%..100%"]),
    (["--quantize=int8", "--calib", "x.npy", "--budget=kl:1,kl:2"], ["'kl' is given twice"]),
    (["--quantize=int8", "--calib="], ["--calib: the name of the file is empty"]),
    (["--quantize=int8", "--calib", "x.npy", "-o", "q.so"], ["-o q.so", "tamis compile --quantize"]),
    (["--quantize=int4,gptq"], ["gptq", "--calib"]), (["--quantize=int8-weights", "--budget=kl:1"], ["--budget"]),
    (["--quantize=int8", "--calib", "x.npy", "--budget=speed:1"], ["speed:1", "kl:"]),
    (["--quantize=int8", "--calib", "x.npy", "--report=r.txt"], ["r.txt", ".html"])])
def test_wrong_options_are_named(folder, arguments, words, monkeypatch):
    monkeypatch.chdir(folder)
    message = tamis("quantize", "model.onnx", "-o", "bad.onnx", *arguments, code=2)
    for word in words:
        assert word in message, message


def test_labels_are_one_for_each_row(folder):
    np.save(folder / "few.npy", np.zeros(3, np.int64))
    rows = len(np.load(folder / "labels.npy"))
    message = tamis("quantize", folder / "model.onnx", "-o", folder / "bad.onnx", "--quantize=int8,threads=1", "--calib",
                    folder / "x.npy", "--labels", folder / "few.npy", code=65)
    assert f"3 labels, but the samples give {rows} rows" in message


def test_always_times_nothing(folder):
    for layer in report_of(folder, "int8,always,sweep=0")["layers"]:
        assert layer["ns"] is None and layer["float_ns"] is None


def test_inputs_are_never_written_over(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model.onnx", "x.npy", "labels.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    os.link("model.onnx", "hard.onnx")
    os.symlink("model.onnx", "soft.onnx")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for output in ("model.onnx", "./model.onnx", "hard.onnx", "soft.onnx"):
        for verb in (["quantize", "--quantize=int8-weights"], ["compress"], ["compile", "--emit=onnx"], ["compile", "--emit=so"],
                     ["opt"], ["compile", "--emit=ir", "--quantize=int8-weights"]):
            message = tamis(verb[0], "model.onnx", "-o", output, *verb[1:], code=2)
            assert f"{output}: error" in message and "input of the command" in message
    for output in ("x.npy", "labels.npy"):
        message = tamis("quantize", "model.onnx", "-o", output, "--emit=onnx", "--quantize=int8,sweep=0,threads=1", "--calib", "x.npy",
                        "--labels", "labels.npy", code=2)
        assert "input of the command" in message
    assert "input of the command" in tamis("run", "model.onnx", "-i", "x=x.npy", "-o", "y=model.onnx", code=2)
    np.savez("in.npz", x=SAMPLES)
    assert "input of the command" in tamis("run", "model.onnx", "--inputs", "in.npz", "--outputs", "in.npz", code=2)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_what_cannot_be_quantised(folder, tmp_path):
    save(tmp_path / "add.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], [value("x", ["n", 2])],
         [value("y", ["n", 2])], {})
    message = tamis("quantize", tmp_path / "add.onnx", "-o", tmp_path / "o.onnx", "--quantize=int8-weights", code=2)
    assert "nothing to quantise" in message and "add.onnx" in message
    tamis("quantize", folder / "model.onnx", "-o", tmp_path / "once.onnx", "--quantize=int8-weights")
    message = tamis("quantize", tmp_path / "once.onnx", "-o", tmp_path / "o.onnx", "--quantize=int8-weights", code=2)
    assert "quantised already" in message
    message = tamis("compile", folder / "model.onnx", "-o", tmp_path / "o.so", "--calib", folder / "x.npy", code=2)
    assert "nothing is quantised or compressed" in message
