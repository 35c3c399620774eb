# SPDX-License-Identifier: Apache-2.0
"""tamis compress --tokens: packed tokens have the answers that they had and padding is zero, by ONNX Runtime and compiled;
models in which padding counts are refused; top-k and eviction do what their rules say, within a budget."""

import functools
import json
import os
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
ZOO = SOURCE.parent / "shared" / "zoo"
WIDTH, HEADS = 16, 2


def tamis(*arguments, code=0):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, check=False, text=True)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stderr


class Net:
    """An encoder over `x` [batch, length, WIDTH] or `ids`, with a mask."""

    def __init__(self, **inputs):
        self.rng = np.random.default_rng(5)
        self.nodes, self.constants, self.inputs, self.count = [], {}, inputs, 0

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def __call__(self, op, *inputs, outputs=1, **attributes):
        names = [f"t{self.count + i}" for i in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def weights(self, *shape):
        return self.constant((self.rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32))

    def linear(self, x, rows=WIDTH, columns=WIDTH):
        return self("Add", self("MatMul", x, self.weights(rows, columns)), self.weights(columns))

    def ints(self, *values):
        return self.constant(np.array(values, np.int64))

    def hidden(self, mask="mask"):
        """What is added to scores: minus 1e9 at padding."""
        m = self("Cast", self("Unsqueeze", mask, self.ints(1, 2)), to=TensorProto.FLOAT)
        return self("Mul", self("Sub", self.constant(np.float32(1)), m), self.constant(np.float32(-1e9)))

    def layer(self, x, hidden):
        def heads(t, perm):
            return self("Transpose", self("Reshape", t, self.ints(0, 0, HEADS, WIDTH // HEADS)), perm=perm)
        q, k, v = (heads(self.linear(x), perm) for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        scores = self("MatMul", q, k)
        p = self("Softmax", self("Add", scores, hidden) if hidden else scores, axis=-1)
        y = self("Reshape", self("Transpose", self("MatMul", p, v), perm=[0, 2, 1, 3]), self.ints(0, 0, WIDTH))
        x = self("LayerNormalization", self("Add", self.linear(y), x), self.weights(WIDTH), self.weights(WIDTH), axis=2)
        gate, up = self("Split", self.linear(x, WIDTH, 2 * WIDTH), axis=-1, num_outputs=2, outputs=2)
        return self("Add", x, self.linear(self("Mul", self("Sigmoid", gate), up)))

    def pool(self, x, mask="mask"):
        m = self("Cast", self("Unsqueeze", mask, self.ints(2)), to=TensorProto.FLOAT)
        return self("Div", self("ReduceSum", self("Mul", x, m), self.ints(1), keepdims=0),
                    self("Max", self("ReduceSum", m, self.ints(1), keepdims=0), self.constant(np.float32(1e-9))))

    def save(self, path, *outputs):
        types = {"x": TensorProto.FLOAT, "ids": TensorProto.INT64}
        graph = helper.make_graph(
            self.nodes, "g",
            [helper.make_tensor_value_info(k, v[0] if isinstance(v, tuple) else types.get(k, TensorProto.INT64),
                                           v[1] if isinstance(v, tuple) else v) for k, v in self.inputs.items()],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
        onnx.save(model, path)


def run(path, feed, compiled=False):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    if not compiled:
        return dict(zip(names, session.run(None, feed)))
    folder = path.parent
    np.savez(folder / "in.npz", **feed)
    tamis("compile", path, "-o", folder / "m.so")
    tamis("run", folder / "m.so", "--inputs", folder / "in.npz",
          *(word for i, name in enumerate(names) for word in ("-o", f"{name}={folder}/{i}.npy")))
    return {name: np.load(folder / f"{i}.npy") for i, name in enumerate(names)}


def check(before, after, feed, mask, compiled=True, bits=False):
    """Equal at real tokens and where no tokens are counted, with `bits` to the bit in compiled models; zero at padding."""
    onnx.checker.check_model(onnx.load(after))
    real = np.broadcast_to(mask, next(iter(feed.values())).shape[:2]).astype(bool)
    for ours in (False, True)[:1 + compiled]:
        found = run(after, feed, ours)
        for name, answer in run(before, feed, ours).items():
            tokens = answer.shape[:2] == real.shape
            close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
            same = np.testing.assert_array_equal if bits and ours else close
            same(found[name][real] if tokens else found[name], answer[real] if tokens else answer, err_msg=name)
            assert not tokens or not found[name][~real].any(), name


MASKS = {
    "suffix": [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]],
    "prefix": [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1]],
    "holes": [[0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1]],
    "full": [[1] * 6] * 3,
    "one": [[1, 0, 0, 0, 0, 0]],
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Token table, positions as wide as sequences, two layers, a pool that the mask weighs, tokens as an output."""
    folder = tmp_path_factory.mktemp("encoder")
    net = Net(ids=("ids", ["batch", "length"]), mask=("mask", ["batch", "length"]))
    net.inputs = {"ids": (TensorProto.INT64, ["batch", "length"]), "mask": (TensorProto.INT64, ["batch", "length"])}
    length = net("Shape", "ids", start=1, end=2)
    places = net("Slice", net.constant(np.arange(32)), net.ints(0), length)
    x = net("Add", net("Gather", net.weights(50, WIDTH), "ids"), net("Gather", net.weights(32, WIDTH), places))
    hidden = net.hidden()
    x = net.layer(net.layer(x, hidden), hidden)
    net.save(folder / "m.onnx", x, net.pool(x), net("Softmax", net.linear(x, WIDTH, 5), axis=-1))
    text = tamis("compress", folder / "m.onnx", "-o", folder / "p.onnx", "--tokens=packed")
    assert "13 of 13 products" in text and "refused" not in text, text
    return folder


@pytest.mark.parametrize("kind", MASKS)
def test_answers_at_real_tokens_stay(encoder, kind):
    mask = np.array(MASKS[kind], np.int64)
    feed = {"ids": np.random.default_rng(1).integers(0, 50, mask.shape), "mask": mask}
    check(encoder / "m.onnx", encoder / "p.onnx", feed, mask, bits=True)


@pytest.mark.parametrize("shape", [(2, 4), (0, 4), (2, 0)])
def test_a_batch_without_tokens_runs(encoder, shape):
    feed = {"ids": np.zeros(shape, np.int64), "mask": np.zeros(shape, np.int64)}
    found = run(encoder / "p.onnx", feed, True)
    assert all(not answer.any() for answer in found.values() if answer.shape[:2] == shape)


def test_attention_runs_where_tokens_were_and_products_on_rows(encoder):
    model = onnx.shape_inference.infer_shapes(onnx.load(encoder / "p.onnx"))
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in model.graph.value_info}
    constants = {i.name for i in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants]
    assert len(products) == 13 and all(ranks[n.output[0]] == 2 for n in products)


def save_float(path, mask_type, mask_batch, flat):
    net = Net()
    net.inputs = {"x": (TensorProto.FLOAT, ["batch", "length", WIDTH]), "seen": (mask_type, [mask_batch, "length"])}
    hidden, x = net.hidden("seen"), "x"
    if flat:
        rows = net("Reshape", x, net.ints(-1, WIDTH))
        rows = net("Relu", net("Gemm", rows, net.weights(WIDTH, WIDTH), net.weights(WIDTH), transB=1))
        x = net("Reshape", rows, net("Shape", "x"))
    net.save(path, net.layer(x, hidden))


@pytest.mark.parametrize("kind, batch, flat", [("float32", "batch", True), ("bool", "batch", False), ("int64", 1, True),
                                               ("int32", "masks", False)])
def test_kinds_of_masks(tmp_path, kind, batch, flat):
    """Also one mask for all sequences, and rows of all tokens in one axis."""
    save_float(tmp_path / "m.onnx", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), batch, flat)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=packed:seen")
    assert f"{7 if flat else 6} of " in text and "refused" not in text, text
    mask = np.array(MASKS["suffix"][1:2] if batch == 1 else MASKS["suffix"]).astype(kind)
    x = np.random.default_rng(2).normal(size=(3, 6, WIDTH)).astype(np.float32)
    check(tmp_path / "m.onnx", tmp_path / "p.onnx", {"x": x, "seen": mask}, mask)


def test_padding_that_counts_is_refused(tmp_path):
    """A mean over all tokens, attention without the mask, a product over all tokens."""
    for unmasked in ("pool", "attention", "infinity"):
        net = Net()
        net.inputs = {"ids": (TensorProto.INT64, ["batch", "length"]), "mask": (TensorProto.INT64, ["batch", "length"])}
        x = net.layer(net("Gather", net.weights(50, WIDTH), "ids"), net.hidden() if unmasked != "attention" else None)
        if unmasked == "pool":
            x = net("ReduceMean", x, net.ints(1))
        elif unmasked == "infinity":  # of zeros at padding
            x = net("Log", net("ReduceProd", net("Abs", x), net.ints(1)))
        net.save(tmp_path / "m.onnx", x)
        text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=packed")
        assert "refused, the model stays as it is: padding has an influence" in text
        assert not any(n.op_type == "NonZero" for n in onnx.load(tmp_path / "p.onnx").graph.node)


def test_models_without_tokens_are_errors(tmp_path):
    net = Net()
    net.inputs = {"x": (TensorProto.FLOAT, ["batch", WIDTH]), "mask": (TensorProto.INT64, ["batch", "length"]),
                  "word": (TensorProto.INT64, ["batch"])}
    net.save(tmp_path / "m.onnx", net.linear("x"))
    for option, words in [("packed", "no product of"), ("packed:word", "'word' is no mask"), ("packed:", "not understood"),
                          ("topping", "not understood"), ("packed:none", "none of that name")]:
        text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", f"--tokens={option}", code=2)
        assert words in text and "hint" in text, (option, text)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=packed", "--prune=zeros", code=2)
    assert "--tokens excludes" in text


def test_samples_are_measured(encoder, tmp_path):
    """A folder of tensors is a batch, rows of an array are samples of one sequence."""
    for i, kind in enumerate(("suffix", "holes")):
        (tmp_path / "s" / str(i)).mkdir(parents=True)
        mask = np.array(MASKS[kind], np.int64)
        for k, array in enumerate((np.full(mask.shape, i + 1), mask)):
            (tmp_path / "s" / str(i) / f"input_{k}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
    text = tamis("compress", encoder / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=packed", f"--calib={tmp_path}/s",
                 "--budget=kl:1e-6", f"--report={tmp_path}/r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["samples"] == 2 and abs(report["fill"] - 22 / 36) < 1e-9 and report["kl"] < 1e-6
    assert report["packed_products"] == 13 and report["mask"] == "mask" and report["ns"] > 0
    assert "\n61 % real tokens" in text and report["budget"].startswith("met")
    assert report["refused"] is None or "not faster" in report["refused"]  # so small a model need not be


def recorded(name):
    """Recorded inputs, with sequences of unequal lengths."""
    folder = ZOO / name / "test_data_set_0"
    tensors = [onnx.load_tensor(folder / f"input_{i}.pb") for i in range(len(list(folder.glob("input_*.pb"))))]
    feed = {i.name: numpy_helper.to_array(t) for i, t in zip(onnx.load(ZOO / name / "model.onnx").graph.input, tensors)}
    mask = next(name for name in feed if "mask" in name)
    batch, length = feed[mask].shape
    feed[mask] = (np.arange(length) < [[length - length * i // 3] for i in range(batch)]).astype(feed[mask].dtype)
    return feed, feed[mask]


@pytest.mark.parametrize("name", [
    "albert-fralbert", "axformer-bert", "bart-encoder", "bert-pooled-span", "bert-ts", "bytetransformer-bert", "distilbert",
    "electra", "fred-t5-encoder", "gemma3-prefill", "muscle-lora", "roberta", "sentence-minilm", "sentence-mpnet"])
def test_zoo(tmp_path, name):
    if not (ZOO / name).exists():
        pytest.skip("the zoo is not there")
    text = tamis("compress", ZOO / name / "model.onnx", "-o", tmp_path / "p.onnx", "--tokens=packed")
    assert "refused" not in text, text
    feed, mask = recorded(name)
    check(ZOO / name / "model.onnx", tmp_path / "p.onnx", feed, mask, name in ("roberta", "gemma3-prefill"))


# ---- top-k ----


def save_step(path, guarded, queries=1, past="past"):
    """A decoder's step over a cache, which it hands on; scores are apart enough for few keys to matter."""
    net = Net()
    cache = ["batch", HEADS, past, WIDTH // HEADS]
    net.inputs = {"x": (TensorProto.FLOAT, ["batch", queries, WIDTH]), "keys": (TensorProto.FLOAT, cache),
                  "values": (TensorProto.FLOAT, cache)}
    q, k, v = (net("Transpose", net("Reshape", net.linear("x"), net.ints(0, 0, HEADS, WIDTH // HEADS)), perm=[0, 2, 1, 3])
               for _ in range(3))
    keys, values = net("Concat", "keys", k, axis=2), net("Concat", "values", v, axis=2)
    scores = net("Mul", net("MatMul", q, net("Transpose", keys, perm=[0, 1, 3, 2])), net.constant(np.float32(3)))
    p = net("Softmax", scores, axis=-1)
    if guarded:
        p = net("Where", net("IsNaN", p), net.constant(np.float32(0)), p)
    y = net("Reshape", net("Transpose", net("MatMul", p, values), perm=[0, 2, 1, 3]), net.ints(0, 0, WIDTH))
    net.save(path, net.linear(y), keys, values)


def step_samples(path, past, queries=1):
    rng = np.random.default_rng(8)
    cache = (2, HEADS, past, WIDTH // HEADS)
    feed = {"x": rng.normal(size=(2, queries, WIDTH)), "keys": rng.normal(size=cache), "values": rng.normal(size=cache)}
    feed = {name: array.astype(np.float32) for name, array in feed.items()}
    np.savez(path, **feed)
    return feed


def attention_by_hand(model, feed, keys):
    """The first output with the `keys` largest scores of each head only."""
    constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    products = [n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in constants]
    biases = [constants[next(n for n in model.graph.node if p.output[0] in n.input).input[1]] for p in products]
    w = [constants[p.input[1]] for p in products]
    q, k, v = (np.swapaxes((feed["x"] @ w[i] + biases[i]).reshape(2, 1, HEADS, -1), 1, 2) for i in range(3))
    k, v = np.concatenate([feed["keys"], k], 2), np.concatenate([feed["values"], v], 2)
    scores = 3 * q @ np.swapaxes(k, 2, 3)
    scores[scores < np.sort(scores, axis=-1)[..., -keys:][..., :1]] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    y = np.swapaxes(p / p.sum(-1, keepdims=True) @ v, 1, 2).reshape(2, 1, WIDTH)
    return y @ w[3] + biases[3]


@pytest.mark.parametrize("guarded", [False, True])
def test_topk_reads_the_largest_scores(tmp_path, guarded):
    """A cache so long, and a model so small, that it is 1.8 times as fast."""
    save_step(tmp_path / "m.onnx", guarded)
    feed = step_samples(tmp_path / "s.npz", 16384)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=topk:4", f"--calib={tmp_path}/s.npz",
                 "--budget=cosine:0.1", f"--report={tmp_path}/r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert "1 of 1 attentions" in text and report["changed_attentions"] == 1 and report["fill"] is None
    model = onnx.load(tmp_path / "p.onnx")
    onnx.checker.check_model(model)
    assert report["refused"] is None and any(n.op_type == "TopK" for n in model.graph.node)
    expected = attention_by_hand(onnx.load(tmp_path / "m.onnx"), feed, 4)
    for compiled in (False, True):
        found = run(tmp_path / "p.onnx", feed, compiled)
        np.testing.assert_allclose(next(iter(found.values())), expected, rtol=1e-3, atol=1e-4)


def test_topk_over_the_budget_or_slow_is_refused(tmp_path):
    save_step(tmp_path / "m.onnx", False)
    step_samples(tmp_path / "s.npz", 200)
    for keys, budget, words in ((1, "cosine:0.999999", "over the budget"), (150, "cosine:0.5", "not faster")):
        text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", f"--tokens=topk:{keys}",
                     f"--calib={tmp_path}/s.npz", f"--budget={budget}")
        assert f"refused, the model stays as it is: it is {words}" in text
        assert not any(n.op_type == "TopK" for n in onnx.load(tmp_path / "p.onnx").graph.node)


@pytest.mark.parametrize("queries, past, option, words", [
    (3, "past", "topk:4", "of 1 attentions"), (1, 7, "topk:8", "of 1 attentions"), (1, "past", "topk:0", "not understood"),
    (1, "past", "topk:many", "not understood")])
def test_topk_without_use_is_an_error(tmp_path, queries, past, option, words):
    save_step(tmp_path / "m.onnx", False, queries, past)
    step_samples(tmp_path / "s.npz", 7, queries)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", f"--tokens={option}",
                 f"--calib={tmp_path}/s.npz", "--budget=cosine:0.5", code=2)
    assert words in text and "hint" in text


@pytest.mark.parametrize("option", ["topk:2", "evict:2"])
def test_what_cannot_be_measured_is_refused(tmp_path, option):
    """The first output is of integers."""
    save_step(tmp_path / "m.onnx", False)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.node.append(helper.make_node("ArgMax", [model.graph.output[0].name], ["word"], name="word", axis=-1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("word", TensorProto.INT64, None))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "m.onnx")
    step_samples(tmp_path / "s.npz", 40)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", f"--tokens={option}",
                 f"--calib={tmp_path}/s.npz", "--budget=cosine:0.5")
    assert "no output that changes has float32 numbers to measure by" in text


def test_topk_is_measured_by_what_depends_on_it(tmp_path):
    """The caches first: they stay as they are, and say nothing of what is lost."""
    save_step(tmp_path / "m.onnx", False)
    model = onnx.load(tmp_path / "m.onnx")
    outputs = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend([*outputs[1:], outputs[0]])
    onnx.save(model, tmp_path / "caches_first.onnx")
    step_samples(tmp_path / "s.npz", 16384)
    found = []
    for name in ("m", "caches_first"):
        text = tamis("compress", tmp_path / f"{name}.onnx", "-o", tmp_path / "p.onnx", "--tokens=topk:1",
                     f"--calib={tmp_path}/s.npz", "--budget=cosine:0.9999999", f"--report={tmp_path}/r.json")
        report = json.loads((tmp_path / "r.json").read_text())
        found.append((report["kl"], report["cosine"], report["max_error"]))
        assert "over the budget" in text and report["cosine"] < 0.9999999
    assert found[0] == found[1]


def test_topk_needs_samples_and_a_budget(tmp_path):
    save_step(tmp_path / "m.onnx", False)
    assert "needs samples and a budget" in tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx",
                                                 "--tokens=topk:4", code=2)


# ---- eviction ----


def steps(folder, count, past, masked):
    """The steps of one sequence: folders, for the caches and the mask grow."""
    rng = np.random.default_rng(9)
    feeds = []
    for i in range(count):
        cache = (1, HEADS, past + i, WIDTH // HEADS)
        feed = {"x": rng.normal(size=(1, 1, WIDTH)), "keys": rng.normal(size=cache), "values": rng.normal(size=cache)}
        feed = {name: array.astype(np.float32) for name, array in feed.items()}
        if masked:
            feed["mask"] = np.ones((1, past + i + 1), np.int64)
        (folder / f"{i:02}").mkdir(parents=True)
        for k, array in enumerate(feed.values()):
            (folder / f"{i:02}" / f"input_{k}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())
        feeds.append(feed)
    return feeds


def save_cached(path, masked):
    net = Net()
    cache = ["batch", HEADS, "past", WIDTH // HEADS]
    net.inputs = {"x": (TensorProto.FLOAT, ["batch", 1, WIDTH]), "keys": (TensorProto.FLOAT, cache),
                  "values": (TensorProto.FLOAT, cache)}
    if masked:
        net.inputs["mask"] = (TensorProto.INT64, ["batch", "total"])
    q, k, v = (net("Transpose", net("Reshape", net.linear("x"), net.ints(0, 0, HEADS, WIDTH // HEADS)), perm=[0, 2, 1, 3])
               for _ in range(3))
    keys, values = net("Concat", "keys", k, axis=2), net("Concat", "values", v, axis=2)
    scores = net("Mul", net("MatMul", q, net("Transpose", keys, perm=[0, 1, 3, 2])), net.constant(np.float32(0.5)))
    p = net("Softmax", net("Add", scores, net.hidden()) if masked else scores, axis=-1)
    y = net("Reshape", net("Transpose", net("MatMul", p, values), perm=[0, 2, 1, 3]), net.ints(0, 0, WIDTH))
    net.save(path, net.linear(y), keys, values)
    return keys, values


def evicted_by_hand(scores_of, keys, values, weights, most):
    """What stays, by the rule: the newest half, and of the others those with the most attention."""
    weights = np.concatenate([weights, np.zeros((1, HEADS, 1), np.float32)], 2) + scores_of(keys)
    length = keys.shape[2]
    order = weights.copy()
    order[..., max(length - (most + 1) // 2, 0):] += 1e30
    stay = np.sort(np.argsort(-order, axis=-1, kind="stable")[..., :most], axis=-1)
    return [np.take_along_axis(t, stay[..., None], 2) for t in (keys, values)] + [np.take_along_axis(weights, stay, 2)]


@pytest.mark.parametrize("masked", [False, True])
def test_eviction_keeps_what_had_attention(tmp_path, masked):
    present = save_cached(tmp_path / "m.onnx", masked)
    feeds = steps(tmp_path / "s", 12, 3, masked)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:6", f"--calib={tmp_path}/s",
                 "--budget=cosine:0.1", f"--report={tmp_path}/r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["refused"] is None and (report["keys_before"], report["keys"]) == (15, 6), text
    assert report["samples"] == 12 and 0.1 < report["cosine"] < 1
    onnx.checker.check_model(onnx.load(tmp_path / "p.onnx"))
    names = [*present, present[0] + ".weights"]
    plain = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    state = {"keys": feeds[0]["keys"], "values": feeds[0]["values"], "keys.weights": np.zeros((1, HEADS, 3), np.float32)}
    for i, feed in enumerate(feeds):
        feed = {**feed, **state}
        if masked:
            feed["mask"] = feed["mask"][:, :feed["keys"].shape[2] + 1]
        found = run(tmp_path / "p.onnx", feed, i in (0, 11))
        whole = plain.run(None, {k: v for k, v in feed.items() if k != "keys.weights"})
        np.testing.assert_allclose(next(iter(found.values())), whole[0], rtol=1e-4, atol=1e-5)
        constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "m.onnx").graph.initializer}
        q = np.swapaxes((feed["x"] @ constants["c0"] + constants["c1"]).reshape(1, 1, HEADS, -1), 1, 2)

        def attention(keys, q=q):
            scores = 0.5 * (q @ np.swapaxes(keys, 2, 3))[:, :, 0]
            p = np.exp(scores - scores.max(-1, keepdims=True))
            return p / p.sum(-1, keepdims=True)
        expected = evicted_by_hand(attention, whole[1], whole[2], feed["keys.weights"], 6)
        for name, array in zip(names, expected):
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=f"step {i}, {name}")
        state = dict(zip(("keys", "values", "keys.weights"), (found[name] for name in names)))


def test_a_query_that_sees_no_key_adds_no_attention(tmp_path):
    """Its softmax is NaN; what the keys had before counts on."""
    save_cached(tmp_path / "m.onnx", True)
    model = onnx.load(tmp_path / "m.onnx")
    for constant in model.graph.initializer:
        if numpy_helper.to_array(constant).size == 1 and numpy_helper.to_array(constant) == np.float32(-1e9):
            constant.CopyFrom(numpy_helper.from_array(np.float32(-3e38), constant.name))
    hidden = next(n for n in model.graph.node if n.op_type == "Softmax").input[0]
    add = next(n for n in model.graph.node if n.output[0] == hidden)
    at = list(model.graph.node).index(add)  # twice -3e38 is minus infinity
    model.graph.node.insert(at, helper.make_node("Add", [add.input[1], add.input[1]], ["twice"], name="twice"))
    add.input[1] = "twice"
    onnx.save(model, tmp_path / "m.onnx")
    feeds = steps(tmp_path / "s", 12, 3, True)
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:6", f"--calib={tmp_path}/s",
                 "--budget=cosine:0.1")
    assert "refused" not in text, text
    weights = np.random.default_rng(3).random((1, HEADS, 5)).astype(np.float32)
    feed = {**feeds[2], "mask": np.zeros((1, 6), np.int64), "keys.weights": weights}
    for compiled in (False, True):
        found = run(tmp_path / "p.onnx", feed, compiled)
        name = next(name for name in found if name.endswith(".weights"))
        np.testing.assert_array_equal(found[name], np.concatenate([weights, np.zeros((1, HEADS, 1), np.float32)], 2))


def test_eviction_of_one_cache_of_keys_and_values(tmp_path):
    """It has one input and one output, and weights."""
    save_cached(tmp_path / "m.onnx", False)
    model = onnx.load(tmp_path / "m.onnx")
    keys, values = (o.name for o in model.graph.output[1:])
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] == values:
            node.input[1] = keys
    unused = next(n for n in model.graph.node if n.output[0] == values)
    model.graph.node.remove(unused)
    del model.graph.output[2], model.graph.input[2]
    onnx.save(model, tmp_path / "m.onnx")
    feeds = steps(tmp_path / "s", 12, 3, False)
    for i in range(12):
        (tmp_path / "s" / f"{i:02}" / "input_2.pb").unlink()
    text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:6", f"--calib={tmp_path}/s",
                 "--budget=cosine:0.1", f"--report={tmp_path}/r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["refused"] is None and (report["keys_before"], report["keys"]) == (15, 6), text
    graph = onnx.load(tmp_path / "p.onnx").graph
    assert [i.name for i in graph.input] == ["x", "keys", "keys.weights"]
    assert [o.name for o in graph.output][1:] == [keys, keys + ".weights"]
    feed = {"x": feeds[11]["x"], "keys": feeds[11]["keys"], "keys.weights": np.zeros((1, HEADS, 14), np.float32)}
    found = run(tmp_path / "p.onnx", feed, True)
    assert found[keys].shape[2] == found[keys + ".weights"].shape[2] == 6


def test_eviction_where_outputs_begin_with_caches(tmp_path):
    """They have fewer rows than they had, so the answer behind them is compared, as if it were the first."""
    save_cached(tmp_path / "m.onnx", False)
    steps(tmp_path / "s", 12, 3, False)
    reports = []
    for _ in range(2):
        tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:6", f"--calib={tmp_path}/s",
              "--budget=cosine:0.1", f"--report={tmp_path}/r.json")
        reports.append(json.loads((tmp_path / "r.json").read_text()))
        model = onnx.load(tmp_path / "m.onnx")
        model.graph.output.append(model.graph.output.pop(0))
        onnx.save(model, tmp_path / "m.onnx")
    for name in ("cosine", "kl", "max_error", "keys", "refused"):
        assert reports[0][name] == reports[1][name], name
    assert reports[1]["refused"] is None


def test_eviction_is_refused(tmp_path):
    save_cached(tmp_path / "m.onnx", False)
    steps(tmp_path / "s", 12, 3, False)
    for keys, budget, words in ((2, "cosine:0.9999", "over the budget"), (64, "cosine:0.5", "none was evicted")):
        text = tamis("compress", tmp_path / "m.onnx", "-o", tmp_path / "p.onnx", f"--tokens=evict:{keys}",
                     f"--calib={tmp_path}/s", f"--budget={budget}")
        assert "refused, the model stays as it is" in text and words in text
        assert len(onnx.load(tmp_path / "p.onnx").graph.input) == 3


def test_eviction_without_caches_is_an_error(encoder, tmp_path):
    (tmp_path / "s").mkdir()
    np.savez(tmp_path / "s" / "0.npz", ids=np.zeros((1, 3), np.int64), mask=np.ones((1, 3), np.int64))
    text = tamis("compress", encoder / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:4", f"--calib={tmp_path}/s",
                 "--budget=cosine:0.5", code=2)
    assert "none of 2 attentions" in text
    assert "not understood" in tamis("compress", encoder / "m.onnx", "-o", tmp_path / "p.onnx", "--tokens=evict:1", code=2)
