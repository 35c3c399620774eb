# SPDX-License-Identifier: Apache-2.0
"""Random models of what regions are made of, at -O2 for each level, against ONNX Runtime and against -O0.

A seed makes a model: several independent cases of one family, each with an output, so that one compilation
tests many. Dims are constants or symbols; every artifact runs with several sizes of the symbols, 0 and 1
among them. A second set of inputs holds infinities and NaN, where engines differ: those are compared with
-O0 alone.
TAMIS_SEEDS=FROM:TO looks further.
"""

import os
import subprocess

import numpy
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
SEEDS = range(*[int(n) for n in os.environ.get("TAMIS_SEEDS", "0:4").split(":")])
LEVELS = [[], ["-mcpu=x86-64-v3"], ["-mcpu=x86-64-v4"]]
OPSET = 23
CASES = 8
FEWER = {"block": 2, "long_attention": 3}
SIZES = [1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 32, 33, 50, 64, 65, 70]
# Rounding steps of float32, relative to the largest number of a tensor; the cases keep numbers small.
STEPS = 2048
TYPES = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
NUMPY = {"f": numpy.float32, "i": numpy.int64, "b": numpy.bool_}


def has_level(options):
    if options != ["-mcpu=x86-64-v4"]:
        return True
    with open("/proc/cpuinfo") as file:
        return "avx512vl" in file.read()


class Value:
    def __init__(self, name, kind, dims):
        self.name, self.kind, self.dims = name, kind, list(dims)
        self.finite = False  # of an input: no infinities and NaN


class Model:
    def __init__(self, seed):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.inputs, self.initializers, self.outputs = [], [], [], []
        self.symbols = []
        self.prefix = ""
        self.computed = {}  # outputs of Attention nodes: a function of the feeds

    def chance(self, p):
        return self.random.random() < p

    def pick(self, items):
        return items[int(self.random.integers(len(items)))]

    def dim(self, largest=70, symbolic=0.4):
        """A constant, or the name of a new symbol."""
        if self.chance(symbolic):
            self.symbols.append(f"d{len(self.symbols)}")
            return self.symbols[-1]
        return int(self.pick([s for s in SIZES if s <= largest]))

    def dims(self, rank, largest=17):
        return [self.dim(largest) for _ in range(rank)]

    def broadcast(self, dims):
        """Dims of an operand: some repeat, leading ones may be missing."""
        some = [1 if self.chance(0.3) else d for d in dims]
        while some and (self.chance(0.25) if some[0] != 1 else self.chance(0.5)):
            some = some[1:]
        return some

    def input(self, kind, dims):
        value = Value(f"x{len(self.inputs)}", kind, dims)
        self.inputs.append(value)
        return value

    def constant(self, array, kind="f"):
        array = numpy.asarray(array, NUMPY[kind])
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return Value(name, kind, array.shape)

    def weights(self, *dims):
        return self.constant(self.random.uniform(-1, 1, dims))

    def operand(self, dims, kind="f"):
        """What an elementwise node may read beside its main operand: an input, a constant, a scalar."""
        some = self.broadcast(dims)
        if kind == "f" and self.chance(0.2):
            return self.constant(self.random.uniform(0.25, 1.5))
        if kind == "f" and self.chance(0.3) and all(isinstance(d, int) for d in some):
            return self.weights(*some)
        return self.input(kind, some)

    def node(self, op, values, kind="f", dims=None, **attributes):
        """A node whose output has the dims of the first value, or those given."""
        name = f"{self.prefix}v{len(self.nodes)}"
        names = [v.name if v is not None else "" for v in values]
        self.nodes.append(helper.make_node(op, names, [name], **attributes))
        return Value(name, kind, dims if dims is not None else values[0].dims)

    def step(self, name):
        """For the nodes of a body: inputs and constants are those of this model, read from outside."""
        body = Model.__new__(Model)
        body.__dict__.update(self.__dict__)
        body.nodes, body.outputs, body.prefix = [], [], name + "_"
        return body

    def output(self, value):
        if value.name not in [v.name for v in self.outputs]:
            self.outputs.append(value)

    def make(self):
        return self.pack(self.nodes, self.inputs, self.outputs)

    def wanted(self, feeds):
        """The outputs by ONNX Runtime; those of Attention, of which it knows not every form, by NumPy."""
        made = {name: function(feeds) for name, function in self.computed.items()}
        given = [Value(name, "f", array.shape) for name, array in made.items()]
        nodes = [node for node in self.nodes if node.output[0] not in made]
        outputs = [v for v in self.outputs if v.name not in made]
        if outputs:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.intra_op_num_threads = 1
            model = self.pack(nodes, self.inputs + given, outputs).SerializeToString()
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            names = [v.name for v in outputs]
            made.update(zip(names, session.run(names, {**feeds, **made})))
        return {v.name: made[v.name] for v in self.outputs}

    def pack(self, nodes, inputs, outputs):
        info = [helper.make_tensor_value_info(v.name, TYPES[v.kind], v.dims) for v in inputs]
        results = [helper.make_tensor_value_info(v.name, TYPES[v.kind], None) for v in outputs]
        graph = helper.make_graph(nodes, "g", info, results, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def feeds(self, sizes, special):
        made = {}
        for value in self.inputs:
            dims = [d if isinstance(d, int) else sizes[d] for d in value.dims]
            if value.kind == "f":
                array = self.random.uniform(-2, 2, dims)
                if special and not value.finite:
                    odd = self.random.choice([numpy.inf, -numpy.inf, numpy.nan, -0.0], dims)
                    array = numpy.where(self.random.random(dims) < 0.03, odd, array)
            elif value.kind == "i":
                array = self.random.integers(-9, 10, dims)
            else:
                array = self.random.random(dims) < 0.7
                if array.ndim:  # never all False in a row: softmax of nothing is a special case
                    array[..., :1] = True
            made[value.name] = numpy.asarray(array, NUMPY[value.kind])
        return made


# ---- elementwise steps ----

UNARY = ["Neg", "Abs", "Relu", "Tanh", "Erf", "Sin", "Cos", "Sigmoid", "LeakyRelu", "HardSigmoid", "Gelu"]


def smooth(m, x):
    """One more elementwise node (or a few that belong together) on x, of the same dims."""
    choice = int(m.random.integers(12))
    if choice < 4:
        op = m.pick(UNARY)
        more = {"approximate": m.pick(["none", "tanh"])} if op == "Gelu" else {}
        return m.node(op, [x], **more)
    if choice < 7:
        other = m.operand(x.dims)
        pair = [x, other] if m.chance(0.6) else [other, x]
        return m.node(m.pick(["Add", "Sub", "Mul", "Max", "Min"]), pair, dims=x.dims)
    if choice == 7:
        return m.node("Where", [m.operand(x.dims, "b"), x, m.operand(x.dims)], dims=x.dims)
    if choice == 8:
        below, above = m.constant(-0.75), m.constant(0.8)
        return m.node("Clip", [x, below, above])
    if choice == 9:
        positive = m.node("Add", [m.node("Abs", [x]), m.constant(0.5)])
        op = m.pick(["Sqrt", "Log", "Reciprocal", "Pow", "Div"])
        if op == "Pow":
            return m.node("Pow", [positive, m.constant(m.pick([2, 3, 0.5, -0.5]))])
        return m.node(op, [x, positive] if op == "Div" else [positive])
    if choice == 10:
        gate = m.node("Sigmoid", [x])
        return m.node("Mul", [x, gate])
    return m.node("Exp", [m.node("Tanh", [x])])


def integers(m, dims):
    """A chain of i64 and bool nodes that ends as f32."""
    x = m.input("i", dims)
    for _ in range(int(m.random.integers(1, 4))):
        op = m.pick(["Add", "Sub", "Mul", "Neg", "Abs"])
        values = [x] if op in ("Neg", "Abs") else [x, m.input("i", m.broadcast(dims))]
        x = m.node(op, values, "i", dims)
    other = m.input("i", m.broadcast(dims))
    op = m.pick(["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
    test = m.node(op, [x, other], "b", dims)
    if m.chance(0.5):
        test = m.node(m.pick(["And", "Or"]), [test, m.input("b", m.broadcast(dims))], "b", dims)
    if m.chance(0.3):
        test = m.node("Not", [test], "b")
    if m.chance(0.5):
        return m.node("Cast", [m.node("Where", [test, x, other], "i", dims)], to=TensorProto.FLOAT)
    return m.node("Cast", [test], to=TensorProto.FLOAT)


def elementwise_case(m):
    dims = m.dims(int(m.random.integers(1, 5)))
    x = m.input("f", dims)
    if m.chance(0.3):
        x = m.node(m.pick(["Floor", "Ceil"]), [x])
    if m.chance(0.4):
        x = m.node("Add", [x, m.node("Tanh", [integers(m, dims)])])
    if m.chance(0.3):
        values = [m.input("f", dims), m.input("f", m.broadcast(dims))]
        compared = m.node(m.pick(["Less", "GreaterOrEqual"]), values, "b", dims)
        x = m.node("Where", [compared, x, m.constant(0.5)], dims=dims)
    if m.chance(0.2):
        x = m.node("Where", [m.node("IsNaN", [x], "b"), m.constant(0.25), x], dims=dims)
    for _ in range(int(m.random.integers(2, 9))):
        x = smooth(m, x)
        if m.chance(0.1):
            m.output(x)
    m.output(x)


# ---- products ----


def epilogue(m, y, length):
    for _ in range(int(m.random.integers(length))):
        y = smooth(m, y)
        if m.chance(0.1):
            m.output(y)
    return y


def matmul_case(m):
    k, n = int(m.random.integers(1, 71)), int(m.random.integers(1, 71))
    if m.chance(0.2):
        k = 1
    x = m.input("f", m.dims(int(m.random.integers(1, 4)), 33) + [k])
    if m.chance(0.3):
        x = smooth(m, x)
    scale = (1 / max(k, 1)) ** 0.5
    y = m.node("MatMul", [x, m.constant(m.random.uniform(-scale, scale, (k, n)))], dims=x.dims[:-1] + [n])
    if m.chance(0.6):
        y = m.node("Add", [y, m.weights(n)])
    y = epilogue(m, y, 6)
    if m.chance(0.3):
        other = int(m.random.integers(1, 71))
        scale = (1 / n) ** 0.5
        right = m.constant(m.random.uniform(-scale, scale, (n, other)))
        again = m.node("MatMul", [y, right], dims=y.dims[:-1] + [other])
        y = epilogue(m, again, 4) if other != n or m.chance(0.5) else m.node("Add", [again, y])
    m.output(y)


# ---- rows ----


def norm_case(m):
    rank = int(m.random.integers(1, 5))
    length = m.dim(70) if m.chance(0.8) else int(m.random.integers(71, 700))
    dims = m.dims(rank - 1, 8) + [length]
    x = m.input("f", dims)
    for _ in range(int(m.random.integers(3))):
        x = smooth(m, x)
    kept = None
    if m.chance(0.5):
        x = kept = m.node("Add", [x, m.input("f", dims)])
    op = m.pick(["Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization"])
    axis = -1
    if op == "Softmax" and m.chance(0.3):
        mask = m.input("b", m.broadcast(dims[:-1] + [None])[:-1] + [length])
        x = m.node("Where", [mask, x, m.constant(m.pick([-numpy.inf, -1e9]))], dims=dims)
    if op in ("LayerNormalization", "RMSNormalization"):
        if rank > 1 and m.chance(0.3):
            axis = -2
        parameters = [m.input("f", dims[axis:])]
        if op == "LayerNormalization" and m.chance(0.7):
            parameters.append(m.input("f", dims[axis:]))
        y = m.node(op, [x] + parameters, axis=axis, epsilon=m.pick([1e-5, 1e-3]))
    else:
        if rank > 1 and m.chance(0.15):
            axis = -2
        y = m.node(op, [x], axis=axis)
    if m.chance(0.5):
        for _ in range(int(m.random.integers(4))):
            y = smooth(m, y)
    if kept is not None and m.chance(0.7):
        way = int(m.random.integers(3))
        if way == 0:
            y = m.node("Add", [y, kept])
        elif way == 1:
            m.output(kept)
        else:
            m.output(m.node("Mul", [m.node("Tanh", [kept]), y]))
    m.output(y)


# ---- attention ----


def attention(q, k, v, mask, heads, kv_heads, causal, scale):
    flat = q.ndim == 3
    if flat:
        split = ((q, heads), (k, kv_heads), (v, kv_heads))
        q, k, v = (x.reshape(*x.shape[:2], n, -1).swapaxes(1, 2) for x, n in split)
    k, v = (numpy.repeat(x, heads // kv_heads, 1) for x in (k, v))
    scores = q.astype(float) @ k.swapaxes(2, 3) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = numpy.where(mask, scores, -numpy.inf) if mask.dtype == bool else scores + mask
    if causal:
        scores = numpy.where(numpy.tri(*scores.shape[2:], dtype=bool), scores, -numpy.inf)
    weights = numpy.exp(scores - scores.max(-1, keepdims=True))
    y = weights / weights.sum(-1, keepdims=True) @ v
    return (y.swapaxes(1, 2).reshape(y.shape[0], y.shape[2], -1) if flat else y).astype(numpy.float32)


def attention_case(m):
    most = 9 if m.chance(0.3) else 81  # heads of a few numbers have a loop of their own
    size, value_size = int(m.random.integers(1, most)), int(m.random.integers(1, most))
    if m.chance(0.4):
        value_size = size
    groups = m.pick([1, 1, 2, 3])
    kv_heads = m.pick([1, 2, 3])
    batch, queries, keys = m.dim(3), m.dim(70), m.dim(70 if m.chance(0.8) else 300)
    causal = m.chance(0.3)
    if m.chance(0.4):
        keys = queries
    if m.chance(0.3):  # so has the single query of a decoder's step, with heads of whole vectors
        size, value_size, queries = m.pick([8, 16, 48, 64]), m.pick([16, 32, 128]), 1
        groups = m.pick([groups, 4, 6, 7, 8, 11])
        keys = m.dim(70 if m.chance(0.7) else 700)
    attend(m, size, value_size, kv_heads * groups, kv_heads, batch, queries, keys, causal, m.chance(0.4))


def long_attention_case(m):
    """Heads and lengths for which tiles of keys are shared by many queries, columns of V packed, Q turned in parts."""
    size = m.pick([32, 64, 96, 128, 161, 192, 250, 256])
    value_size = size if m.chance(0.6) else m.pick([20, 64, 72, 100, 144, 256])
    flat = m.chance(0.6)
    kv_heads = m.pick([1, 2, max(1, 1024 // size)]) if flat else m.pick([1, 2])
    queries, keys = m.pick([33, 64, 130, 200]), m.pick([64, 129, 200, 256, 333])
    if m.chance(0.3):
        queries = keys = m.dim(70)
    elif m.chance(0.3):  # of sizes that are symbols, one is 1
        queries = m.dim(70, 1)
    attend(m, size, value_size, kv_heads * m.pick([1, 1, 2]), kv_heads, 1, queries, keys, m.chance(0.4), flat)


def attend(m, size, value_size, heads, kv_heads, batch, queries, keys, causal, flat):
    attributes = {"is_causal": 1} if causal else {}
    if m.chance(0.4):
        attributes["scale"] = float(m.random.uniform(0.2, 1))
    if flat:
        attributes.update(q_num_heads=heads, kv_num_heads=kv_heads)
        lines = [[queries, heads * size], [keys, kv_heads * size], [keys, kv_heads * value_size]]
        values = [m.input("f", [batch, *line]) for line in lines]
        dims = [batch, queries, heads * value_size]
    else:
        values = [m.input("f", [batch, heads, queries, size]), m.input("f", [batch, kv_heads, keys, size]),
                  m.input("f", [batch, kv_heads, keys, value_size])]
        dims = [batch, heads, queries, value_size]
    for value in values[1:]:  # a key that is masked out may be left out: its NaN is then not seen
        value.finite = True
    if m.chance(0.6):
        whole = [batch, heads, queries, keys]
        some = [d if m.chance(0.5) else 1 for d in whole[:-1]] + [keys]
        some = some[int(m.random.integers(0, 3)):]
        values.append(m.input(m.pick(["f", "b"]), some))
    y = m.node("Attention", values, dims=dims, **attributes)
    names = [v.name for v in values] + ["none"]
    m.computed[y.name] = lambda feeds: attention(*[feeds.get(name) for name in names[:4]], heads, kv_heads,
                                                 causal, attributes.get("scale"))
    if m.chance(0.3):
        y = smooth(m, y)
    m.output(y)


# ---- blocks: regions that read each other's results, whose memory is used again ----


def product(m, x, n, scale=1.0):
    k = x.dims[-1]
    limit = scale / k**0.5
    y = m.node("MatMul", [x, m.constant(m.random.uniform(-limit, limit, (k, n)))], dims=x.dims[:-1] + [n])
    return m.node("Add", [y, m.weights(n)]) if m.chance(0.7) else y


def normalized(m, x):
    width = x.dims[-1]
    if m.chance(0.5):
        return m.node("LayerNormalization", [x, m.weights(width), m.weights(width)])
    return m.node("RMSNormalization", [x, m.weights(width)])


def block_case(m):
    size, kv_heads, groups = m.pick([1, 2, 5, 8, 16]), m.pick([1, 2]), m.pick([1, 2])
    heads = kv_heads * groups
    width = m.pick([3, 8, 14, 32, 40])
    batch = m.pick([2, 40])
    if m.chance(0.7):
        m.symbols.append(f"d{len(m.symbols)}")
        batch = m.symbols[-1]
    length = m.dim(33)
    x = m.input("f", [batch, length, width])
    for _ in range(2):
        n = normalized(m, x) if m.chance(0.8) else x
        q, k, v = (product(m, n, h * size) for h in (heads, kv_heads, kv_heads))
        if m.chance(0.5):
            q = m.node("Mul", [q, m.node("Sigmoid", [q])])
        a = m.node("Attention", [q, k, v], q_num_heads=heads, kv_num_heads=kv_heads, dims=q.dims,
                   is_causal=int(m.chance(0.3)))
        x = m.node("Add", [x, product(m, a, width)])
        if m.chance(0.3):
            x = normalized(m, x)
        h = product(m, normalized(m, x), 2 * width)
        h = smooth(m, smooth(m, h))
        x = m.node("Add", [product(m, h, width), x])
    if m.chance(0.5):
        x = m.node("Softmax", [m.node("Mul", [x, m.constant(0.7)])])
    m.output(x)
    for value in m.inputs:  # they reach keys, as in attention_case
        value.finite = True


# ---- recurrences ----


def reduced(m, x):
    """x summed, averaged... along its last dim, which may stay."""
    keep = m.chance(0.5)
    last = m.constant(numpy.array([-1]), "i")
    op = m.pick(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"])
    return m.node(op, [x, last], dims=x.dims[:-1] + ([1] if keep else []), keepdims=int(keep))


def scan_case(m):
    dims = m.dims(int(m.random.integers(0, 3)), 8) + [m.dim(70)]
    steps = m.dim(9)
    name = f"s{len(m.nodes)}"
    body = m.step(name)
    slices, wholes, axes, directions = [], [], [], []

    def scanned(some):
        axis = int(m.random.integers(0, len(some))) if some else 0
        slices.append(Value(f"{name}_x{len(slices)}", "f", some))
        wholes.append(m.input("f", some[:axis] + [steps] + some[axis:]))
        axes.append(axis)
        directions.append(int(m.chance(0.3)))
        return slices[-1]

    states = [Value(f"{name}_h{i}", "f", dims) for i in range(int(m.random.integers(1, 3)))]
    results, outputs = [], []
    for state in states:
        gate = body.node("Sigmoid", [scanned(dims if m.chance(0.7) else body.broadcast(dims) or [1])])
        if m.chance(0.4) and len(dims) > 1:
            x = body.node("Unsqueeze", [scanned(dims[:-1]), body.constant(numpy.array([-1]), "i")], dims=dims[:-1] + [1])
        else:
            x = scanned(dims)
        kept = body.node("Mul", [state, gate], dims=dims)
        h = body.node("Add", [kept, x], dims=dims)
        if m.chance(0.4):  # not just any: rounding must not grow from step to step
            h = body.node(m.pick(["Tanh", "Relu", "Neg", "HardSigmoid"]), [h])
        results.append(h)
        y = smooth(body, h) if m.chance(0.7) else h
        if isinstance(dims[-1], int) and m.chance(0.5):
            y = reduced(body, y)
        outputs.append(body.node("Identity", [y]))
    if m.chance(0.3):
        results.reverse()
    results = [body.node("Identity", [h]) for h in results]
    info = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, v.dims) for v in states + slices]
    ends = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, None) for v in results + outputs]
    graph = helper.make_graph(body.nodes, name, info, ends)
    starts = [m.input("f", dims) for _ in states]
    places = [int(m.random.integers(0, len(v.dims) + 1)) for v in outputs]
    made = [Value(f"{name}_o{i}", "f", dims) for i in range(len(results) + len(outputs))]
    m.nodes.append(helper.make_node(
        "Scan", [v.name for v in starts + wholes], [v.name for v in made], body=graph, num_scan_inputs=len(slices),
        scan_input_axes=axes, scan_input_directions=directions, scan_output_axes=places,
        scan_output_directions=[int(m.chance(0.3)) for _ in outputs]))
    for value in made:
        m.output(value)


FAMILIES = {"elementwise": elementwise_case, "matmul": matmul_case, "norm": norm_case,
            "attention": attention_case, "block": block_case, "scan": scan_case,
            "long_attention": long_attention_case}

# ---- running ----


def compile_model(model, folder, name, options):
    output = folder / f"{name}.so"
    done = subprocess.run([TAMIS, "compile", str(model), "-o", str(output), *options], capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return output


def run_artifact(artifact, feeds, folder):
    numpy.savez(folder / "in.npz", **feeds)
    files = ["--inputs", str(folder / "in.npz"), "--outputs", str(folder / "out.npz")]
    done = subprocess.run([TAMIS, "run", str(artifact), *files], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.returncode, done.stderr)
    with numpy.load(folder / "out.npz") as made:
        return {name: made[name] for name in made.files}


def differences(made, wanted, what):
    found = []
    for name, want in wanted.items():
        have = made[name]
        if have.shape != want.shape or have.dtype != want.dtype:
            found.append(f"{what}: {name} is {have.dtype}{have.shape}, not {want.dtype}{want.shape}")
            continue
        if want.size == 0:
            continue
        if want.dtype != numpy.float32:
            same = have == want
        else:
            finite = numpy.isfinite(want)
            largest = numpy.abs(want[finite]).max(initial=1)
            with numpy.errstate(invalid="ignore"):
                near = numpy.abs(have - want) <= STEPS * numpy.finfo(numpy.float32).eps * largest
            same = numpy.where(finite, near, (have == want) | (numpy.isnan(have) & numpy.isnan(want)))
        if not same.all():
            at = tuple(int(i) for i in numpy.argwhere(~same)[0])
            found.append(f"{what}: {name}{list(want.shape)} at {at} is {have[at]}, not {want[at]}; "
                         f"{int((~same).sum())} differ")
    return found


def sizes_of(m):
    if not m.symbols:
        return [{}]
    fixed = [{s: 1 for s in m.symbols}, {s: 0 if m.chance(0.5) else 3 for s in m.symbols}]
    return [{s: int(m.pick(SIZES[:14])) for s in m.symbols} for _ in range(2)] + fixed


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_regions(family, seed, tmp_path):
    m = Model([seed, list(FAMILIES).index(family)])
    for _ in range(FEWER.get(family, CASES)):
        FAMILIES[family](m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    plain = compile_model(path, tmp_path, "plain", ["-O0"])
    levels = [level for level in LEVELS if has_level(level)]
    artifacts = {" ".join(level): compile_model(path, tmp_path, f"level{i}", ["-O2", *level])
                 for i, level in enumerate(levels)}
    found = []
    for sizes in sizes_of(m):
        for special in (False, True):
            feeds = m.feeds(sizes, special)
            wanted = {"-O0": run_artifact(plain, feeds, tmp_path)}
            empty = any(a.size == 0 for a in feeds.values())
            if not special and not empty:
                wanted["ONNX Runtime"] = m.wanted(feeds)
                found += differences(wanted["-O0"], wanted["ONNX Runtime"], f"-O0 with {sizes}")
            for level, artifact in artifacts.items():
                made = run_artifact(artifact, feeds, tmp_path)
                for other, want in wanted.items():
                    what = f"-O2 {level} against {other}, special {special}, {sizes}"
                    found += differences(made, want, what)
    assert not found, "\n".join(found[:20])
