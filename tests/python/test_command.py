# SPDX-License-Identifier: Apache-2.0
"""The tamis command: verbs, files in and out, exit codes, messages."""

import json
import os
import re
import stat
import shutil
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")


def tamis(*arguments, stdin=None, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], input=stdin, capture_output=True, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout.decode(), done.stderr.decode()


def make_model(nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def value(name, type_=TensorProto.FLOAT, shape=("n", 3)):
    return helper.make_tensor_value_info(name, type_, shape)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with add.onnx (y = x + w) and its data as test_data_set_0, as the current one."""
    model = make_model([helper.make_node("Add", ["x", "w"], ["y"])], [value("x"), value("w", shape=(3,))], [value("y")])
    onnx.save(model, tmp_path / "model.onnx")
    x, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([10, 20, 30], np.float32)
    os.mkdir(tmp_path / "test_data_set_0")
    for name, array in [("input_0", x), ("input_1", w), ("output_0", x + w)]:
        (tmp_path / "test_data_set_0" / f"{name}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())
    np.savez(tmp_path / "in.npz", x=x, w=w)
    np.savez_compressed(tmp_path / "deflated.npz", x=x, w=w)
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    np.save(tmp_path / "w.npy", w)
    monkeypatch.chdir(tmp_path)
    return x + w


def test_compile_then_run_on_every_kind_of_file(folder):
    tamis("compile", "model.onnx", "-o", "model.so")
    for inputs in (["--inputs", "in.npz"], ["--inputs=deflated.npz"], ["--inputs", "test_data_set_0"],
                   ["-i", "x=x.npy", "-i", "w=w.npy"], ["--inputs", "."]):
        tamis("run", "model.so", *inputs, "--outputs", "out.npz")
        np.testing.assert_array_equal(np.load("out.npz")["y"], folder)
    tamis("run", "model.so", "--inputs", "in.npz", "--outputs", "out", "-o", "y=y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), folder)
    tensor = onnx.TensorProto.FromString(open("out/output_0.pb", "rb").read())
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), folder)
    out, _ = tamis("run", "model.so", "--inputs", "in.npz")
    assert out == "y: f32[2, 3]\n  10 21 32 13 24 35\n"


def test_run_compiles_a_model_from_stdin_too(folder):
    out, _ = tamis("run", "-", "--inputs", "in.npz", stdin=open("model.onnx", "rb").read())
    assert "y: f32[2, 3]" in out
    out, _ = tamis("run", "model.onnx", "--evaluate", "--inputs", "in.npz", "-o", "y=-")
    assert "10 21 32 13 24 35" in out


@pytest.mark.parametrize("name,dtype", [("FLOAT16", "f2"), ("DOUBLE", "f8"), ("INT8", "i1"), ("UINT16", "u2"), ("BOOL", "?"),
                                        ("COMPLEX64", "c8"), ("STRING", "U3")])
def test_types_pass_through_npy(name, dtype, tmp_path):
    type_ = getattr(TensorProto, name)
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], [value("x", type_, (4,))], [value("y", type_, (4,))])
    onnx.save(model, tmp_path / "m.onnx")
    x = np.array(["a", "", "bcd", "é"]) if name == "STRING" else np.array([0, 1, 2, 3]).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    tamis("run", tmp_path / "m.onnx", "-i", f"x={tmp_path}/x.npy", "-o", f"y={tmp_path}/y.npy")
    y = np.load(tmp_path / "y.npy")
    assert y.dtype.kind == x.dtype.kind
    np.testing.assert_array_equal(y, x)


def test_check(folder):
    out, _ = tamis("check", ".")
    assert out.endswith("1 cases: 1 pass, 0 FAIL, 0 unsupported, 0 crash\n")
    for more in (["--evaluate"], ["--static"], ["-O0"], ["--rtol", "1e-9"]):
        tamis("check", ".", *more)
    wrong = folder.copy()
    wrong[1, 2] += 1
    open("test_data_set_0/output_0.pb", "wb").write(numpy_helper.from_array(wrong, "y").SerializeToString())
    out, _ = tamis("check", ".", code=1)
    assert "set 0 output 0 'y': 1 of 6 wrong, max abs 1" in out and "[1, 2]: found 35, expected 36" in out
    report = json.loads(tamis("check", ".", "--json", code=1)[0])
    assert report["summary"]["FAIL"] == 1 and report["cases"][0]["status"] == "FAIL"
    tamis("check", ".", "--atol", "2")
    open("data.json", "w", encoding="ascii").write('{"atol": 2}')
    tamis("check", ".")


def test_check_writes_what_it_found(folder):
    right = folder.copy()
    folder[0, 0] += 1
    open("test_data_set_0/output_0.pb", "wb").write(numpy_helper.from_array(folder, "y").SerializeToString())
    for options in ([], ["--evaluate"]):
        tamis("check", ".", "--outputs", "found", *options, code=1)
        written = open("found/./test_data_set_0/output_0.pb", "rb").read()
        np.testing.assert_array_equal(numpy_helper.to_array(onnx.TensorProto.FromString(written)), right)
        shutil.rmtree("found")


def test_opt_names_the_rewrites(tmp_path):
    path = tmp_path / "chain.ir"
    path.write_text("main(%x: f32[n]) {\n  %a: f32[n] = Neg(%x)\n  %b: f32[n] = Abs(%a)\n  return %b\n}\n")
    assert tamis("opt", path, "-O2", "--print-rewrites")[1] == "; rewrite 1: form_map_regions\n"
    assert tamis("opt", path, "-O2", "--print-rewrites", "--opt-bisect-limit=0")[1] == ""


def test_check_goes_on_after_a_bad_model(folder):
    os.mkdir("bad")
    open("bad/model.onnx", "wb").write(b"\xff\xff\xff")
    os.mkdir("good")
    for name in ("model.onnx", "test_data_set_0"):
        os.rename(name, f"good/{name}")
    out, _ = tamis("check", "bad", "good", code=1)
    lines = out.splitlines()
    assert lines[0].startswith("FAIL") and lines[1].startswith("pass")


def test_verify_and_bench(folder):
    out, _ = tamis("verify", "model.onnx", "--runs", 3, "--size", "n=5")
    assert out.count("same ") == 3
    figures = json.loads(tamis("bench", "model.onnx", "--seconds", "0.05", "--size", "n=2", "--json")[0])
    assert figures["median_us"] > 0 and figures["calls"] > 0


def test_inspect(folder):
    facts = json.loads(tamis("inspect", "model.onnx", "--json")[0])
    assert facts["inputs"][0] == {"name": "x", "kind": "tensor", "type": "f32", "dims": ["n", "3"]}
    assert facts["ops"] == {"Add": 1} and facts["unsupported"] == []
    tamis("compile", "model.onnx", "-o", "model.so")
    facts = json.loads(tamis("inspect", "model.so", "--json")[0])
    assert facts["producer"].startswith("tamis ") and facts["outputs"][0]["name"] == "y"
    assert "x: f32[n, 3]" in tamis("inspect", "model.so")[0]


def test_inspect_schedule(folder):
    """How loops are cut: of a model, and the same from the artifact."""
    weights = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(np.ones((5, 4), np.float32)))
    nodes = [weights, helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["a", "b"], ["z"])]
    inputs = [value("x", shape=("n", 5)), value("a", shape=(7, 33, 17)), value("b", shape=(7, 17, 29))]
    model = make_model(nodes, inputs, [value("y", shape=("n", 4)), value("z", shape=(7, 33, 29))])
    onnx.save(model, "products.onnx")
    options = ["--target=x86_64", "-mcpu=x86-64-v3,x86-64-v4"]
    found = json.loads(tamis("inspect", "products.onnx", "--schedule", "--json", *options)[0])["schedules"]
    assert [entry.split(" v3 ")[0] for entry in found] == ["contract ?x5x4 p16", "contract 33x17x29"]
    assert re.fullmatch(r"contract \?x5x4 p16 v3 \d+x\d\+1 u1 \d+x16 v4 \d+x1\+1 u1 \d+x16", found[0])
    tamis("compile", "products.onnx", "-o", "products.so", *options)
    assert json.loads(tamis("inspect", "products.so", "--schedule", "--json")[0])["schedules"] == found
    assert "contract ?x5x4 p16 v3" in tamis("inspect", "products.so", "--schedule")[0]
    assert "schedules: none" in tamis("inspect", "model.onnx", "--schedule")[0]


def test_inspect_schedule_of_every_kind(folder):
    """Attention, its tiles and those of products in bfloat16, convolutions, windows, bottlenecks; equal ones once."""
    generator = np.random.default_rng(0)
    weights = {"w": (64, 64), "v": (64, 64), "k": (32, 16, 3, 3), "e": (96, 32, 1, 1), "d": (96, 1, 3, 3)}
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["b"]), node("MatMul", ["b", "v"], ["y"]),
             node("Attention", ["h", "h", "h"], ["att"]), node("Conv", ["image", "k"], ["c"]), node("Relu", ["c"], ["r"]),
             node("Conv", ["r", "e"], ["f"]), node("Relu", ["f"], ["g"]), node("Conv", ["g", "d"], ["z"], group=96),
             node("MaxPool", ["z"], ["m"], kernel_shape=[2, 2], strides=[2, 2])]
    inputs = [value("x", shape=("n", 64)), value("h", shape=(1, 2, "n", 64)), value("image", shape=(1, 16, 58, 58))]
    outputs = [value("y", shape=("n", 64)), value("att", shape=(1, 2, "n", 64)), value("m", shape=(1, 96, 27, 27))]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [
        numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        for name, shape in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), "kinds.onnx")
    found = json.loads(tamis("inspect", "kinds.onnx", "--schedule", "--json", "--target=x86_64")[0])["schedules"]
    assert [entry.split(" v3 ")[0] for entry in found] == [
        "contract ?x64x64 p32 x2", "attention 2x?x?x64", "convolution 56x56x32 3x3x16 p32",
        "bottleneck 56x56x96 1x1x32 p32 54x54x96 3x3x1", "window max 27x27x96 2x2/2"]
    bf16 = json.loads(tamis("inspect", "kinds.onnx", "--schedule", "--json", "--target=x86_64", "--precision=bf16")[0])
    tiles = [entry for entry in bf16["schedules"] if entry.startswith("tiles")]
    assert re.fullmatch(r"tiles \?x64x64 bf16 x2 v3 \S+ a\d+ v4 \S+ a\d+ v4_dot \S+ a\d+ v4_amx 32x2 a\d+", tiles[0])
    assert " v4_dot 8x2+4+1 " in tiles[0]
    tamis("compile", "kinds.onnx", "--precision=bf16", "--target=x86_64", "-o", "kinds.so")
    attention = [entry for entry in bf16["schedules"] if entry.startswith("attention")]
    assert attention[0].endswith(" v4_amx q128 k64")


def test_opt_and_text_forms(folder):
    out, _ = tamis("opt", "model.onnx")
    assert "Add(" in out
    open("a.ir", "w", encoding="utf-8").write(out)
    assert tamis("opt", "a.ir")[0] == out
    assert "dead_code" in tamis("opt", "--list")[0]
    assert "Add" in tamis("compile", "model.onnx", "--emit=ir", "-o", "-")[0]
    assert "define" in tamis("compile", "model.onnx", "--emit=llvm", "-o", "-")[0]


def test_help_and_explain():
    overview = tamis("help")[0]
    assert "tamis compile" in overview and max(map(len, overview.splitlines())) <= 80
    verbs = re.findall(r"^  tamis (\w+) ", overview, re.MULTILINE)
    assert "quantize" in verbs and verbs.pop() == "help"
    for verb in verbs:
        out, _ = tamis("help", verb)
        assert out.count("\n") <= 24 and max(map(len, out.splitlines())) <= 80
        assert tamis(verb, "--help")[0] == out
    assert "--palette" in tamis("help", "compress")[0]
    assert "unsupported operator" in tamis("explain", "E0200")[0]
    assert all(words in tamis("explain", "E0400")[0] for words in ("damaged", "weights file"))
    assert "E0402" in tamis("explain")[0]
    assert any(level["host"] for level in json.loads(tamis("targets", "--json")[0]))


def test_header_is_c_whatever_the_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    end = "*/ int evil; /*"
    model = make_model([helper.make_node("Add", ["x", end], ["a b"]), helper.make_node("Neg", ["a b"], ["a_b"])],
                       [value("x", shape=("x", "try")), value(end, shape=("x", end))],
                       [value(name, shape=("x", None)) for name in ("x", "a b", "a_b", "a_b", "dim0")])
    model.graph.node.append(helper.make_node("Abs", ["a_b"], ["dim0"]))
    onnx.save(model, "m.onnx")
    tamis("compile", "m.onnx", "-o", "m.o")
    model.graph.input[1].name = model.graph.node[0].input[1] = "up\x1b[2J\n"
    onnx.save(model, "escape.onnx")
    assert "  up\\x1b[2J\\n: f32[" in tamis("inspect", "escape.onnx")[0]
    header = open("m.h").read()
    assert "evil" not in re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    run = re.search(r"int32_t m_run\((.*)\);", header).group(1)
    names = [re.search(r"\w+$", parameter).group() for parameter in run.split(",")]
    assert len(set(names)) == len(names) == 11 and "try" not in names


@pytest.mark.parametrize("arguments,code", [
    (["frob"], 2),
    (["help", "frob"], 2),
    (["compile"], 2),
    (["compile", "--frob", "m.onnx"], 2),
    (["compile", "m.onnx", "-O7"], 2),
    (["compile", "m.onnx", "--dim", "n"], 2),
    (["compile", "m.onnx", "--dim", "n=5..2"], 2),
    (["bench", "m.onnx", "--seconds", "nan"], 2),
    (["bench", "m.onnx", "--seconds", "-1"], 2),
    (["compile", "missing.onnx", "-o", "x.so"], 66),
    (["run", "missing.onnx"], 66),
    (["explain", "E9999"], 2),
    (["check", "missing"], 66),
    (["check", "missing", "--atol", "nan"], 2),
    (["check", "missing", "--rtol", "-1"], 2),
    (["verify", "m.onnx", "--rtol", "inf"], 2),
    (["verify", "m.onnx", "--atol", "-0.5"], 2),
])
def test_usage_errors(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, message = tamis(*arguments, code=code)
    assert out == "" and "error E" in message


def test_other_exit_codes(folder):
    open("bad.onnx", "wb").write(b"\xff\xff\xff")
    assert "bad.onnx" in tamis("compile", "bad.onnx", "-o", "x.so", code=65)[1]
    assert not os.path.exists("x.so")
    tamis("compile", "model.onnx", "-o", "missing/x.so", code=73)
    tamis("compile", "model.onnx", "-o", "/proc/x.so", code=73)
    tamis("compile", "model.onnx", "-o", "x.so", "--disable=frob", code=2)
    tamis("compile", "model.onnx", "-o", "x.so", "--print-after=frob", code=2)
    tamis("compile", "model.onnx", "-o", "x.so", "--name=a b", code=2)
    assert "'q'" in tamis("verify", "model.onnx", "--size", "q=3", code=2)[1]
    np.save("x.npy", np.zeros((2, 3)))
    _, message = tamis("run", "model.onnx", "-i", "x=x.npy", "-i", "w=w.npy", code=65)
    assert "expected f32\n" in message and "found    f64\n" in message
    np.save("x.npy", np.zeros((2, 4), np.float32))
    _, message = tamis("run", "model.onnx", "-i", "x=x.npy", "-i", "w=w.npy", code=65)
    assert "expected f32[n, 3]" in message
    open("in.npz", "wb").write(b"PK")
    tamis("run", "model.onnx", "--inputs", "in.npz", code=65)
    onnx.save(make_model([helper.make_node("NoSuchOperator", ["x"], ["y"])], [value("x")], [value("y")]), "u.onnx")
    assert "NoSuchOperator" in tamis("compile", "u.onnx", "-o", "x.so", code=69)[1]


def test_an_artifact_takes_no_options_of_compilation(folder):
    tamis("compile", "model.onnx", "-o", "x.so")
    for options in (["--evaluate"], ["--dim", "n=2"], ["--slot=w"], ["--weights-file=x.weights"]):
        assert "compiled already" in tamis("run", "x.so", *options, code=2)[1]


def test_devices_and_pipes_stay_what_they_are(folder):
    os.mkfifo("pipe")
    assert "no regular file" in tamis("compile", "model.onnx", "-o", "pipe", "--emit=so", code=73)[1]
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE)
    tamis("opt", "model.onnx", "-o", "pipe")
    assert b"main(" in reader.communicate()[0]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


def test_a_dim_is_given_once(folder):
    facts = lambda *values: [part for value in values for part in ("--dim", value)]
    assert "given twice" in tamis("compile", "model.onnx", "-o", "d.so", *facts("n=2", "n=3"), code=2)[1]
    tamis("compile", "model.onnx", "-o", "d.so", *facts("n=2", "n=2"))


def test_scale_of_a_norm_may_be_one_number(folder):
    """The symbol s against 5: known to be 5 or 1 when the model runs."""
    model = make_model([helper.make_node("LayerNormalization", ["x", "w"], ["y"])],
                       [value("x", shape=(2, 5)), value("w", shape=("s",))], [value("y", shape=(2, 5))])
    onnx.save(model, "norm.onnx")
    tamis("compile", "norm.onnx", "-o", "norm.so")
    np.save("x.npy", np.ones((2, 5), np.float32))
    for size, code in ((5, 0), (1, 0), (3, 65)):
        np.save("w.npy", np.ones(size, np.float32))
        tamis("run", "norm.so", "-i", "x=x.npy", "-i", "w=w.npy", code=code)


def test_a_decided_broadcast_is_still_checked(folder):
    """5 against s is 5 at compile time; at run time s must be 5 or 1, or the kernel would read too far."""
    model = make_model([helper.make_node("Add", ["x", "w"], ["y"])], [value("x", shape=(5,)), value("w", shape=("s",))],
                       [value("y", shape=(5,))])
    onnx.save(model, "b.onnx")
    tamis("compile", "b.onnx", "-o", "b.so")
    np.save("x.npy", np.ones(5, np.float32))
    for size, code in ((5, 0), (1, 0), (3, 65), (7, 65)):
        np.save("w.npy", np.ones(size, np.float32))
        _, message = tamis("run", "b.so", "-i", "x=x.npy", "-i", "w=w.npy", code=code)
        assert ("do not fit together" in message) == (code != 0)


def test_an_unknown_suffix_is_an_error(folder):
    for name in ("a.xyz", "model", "model.dll"):
        _, message = tamis("compile", "model.onnx", "-o", name, code=2)
        assert all(part in message for part in (name, ".so (so)", ".o (obj)", ".a (lib)", ".s (asm)", ".ll (llvm)",
                                                ".ir (ir)", "--emit=so"))
        assert not os.path.exists(name)
        tamis("compile", "model.onnx", "--emit=so", "-o", name)
        os.remove(name)
    for name in ("a.so", "a.o", "a.a", "a.s", "a.ll", "a.ir"):
        tamis("compile", "model.onnx", "-o", name)


def test_the_hash_is_that_of_the_bytes(folder):
    """From a file and from a pipe, the same bytes give the same artifact."""
    tamis("compile", "model.onnx", "-o", "a.so")
    tamis("compile", "-", "--name=a", "-o", "b.so", stdin=open("model.onnx", "rb").read())
    assert open("a.so", "rb").read() == open("b.so", "rb").read()
    described = json.loads(tamis("inspect", "--json", "a.so")[0])
    assert int(str(described["model_hash"]), 16) != 0
    with open("model.onnx", "ab") as file: # an unknown field more: another file, the same graph
        file.write(b"\xf8\x3f\x01")
    tamis("compile", "model.onnx", "-o", "c.so")
    other = json.loads(tamis("inspect", "--json", "c.so")[0])
    assert other["model_hash"] != described["model_hash"] and other["weights_hash"] == described["weights_hash"]
