# SPDX-License-Identifier: Apache-2.0
"""Optimisers against their formulas in NumPy, Gradient against differences, FlexAttention against its definition."""

import os
import sys

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, parser

sys.path.insert(0, os.path.dirname(__file__))
from nodes import Batch, session_of  # noqa: E402

PREVIEW = "ai.onnx.preview"
TRAINING = "ai.onnx.preview.training"


def batch_of():
    batch = Batch(opset=24)
    batch.opsets |= {PREVIEW: 1, TRAINING: 1}
    return batch


# ---- optimisers ----

def adagrad(r, t, tensors, norm_coefficient=0.0, decay_factor=0.0, epsilon=1e-6):
    r = r / (1 + t * decay_factor)
    answers = []
    for x, g, h in tensors:
        g = norm_coefficient * x + g
        h = h + g * g
        answers.append((x - r * g / (numpy.sqrt(h) + epsilon), h))
    return answers


def adam(r, t, tensors, alpha=0.9, beta=0.999, epsilon=1e-6, norm_coefficient=0.0, norm_coefficient_post=0.0):
    answers = []
    for x, g, v, h in tensors:
        g = norm_coefficient * x + g
        v = alpha * v + (1 - alpha) * g
        h = beta * h + (1 - beta) * g * g
        rate = r * numpy.sqrt(1 - beta**t) / (1 - alpha**t) if t > 0 else r
        answers.append(((1 - norm_coefficient_post) * (x - rate * v / (numpy.sqrt(h) + epsilon)), v, h))
    return answers


def momentum(r, t, tensors, alpha, beta, norm_coefficient, mode):
    answers = []
    for x, g, v in tensors:
        g = norm_coefficient * x + g
        v = alpha * v + (beta if t > 0 else 1) * g
        answers.append((x - r * (g + alpha * v if mode == "nesterov" else v), v))
    return answers


OPTIMISERS = [
    ("Adagrad", adagrad, 3, [{}, dict(norm_coefficient=0.25, decay_factor=0.5, epsilon=0.125)]),
    ("Adam", adam, 4, [{}, dict(alpha=0.75, beta=0.5, epsilon=0.125, norm_coefficient=0.25, norm_coefficient_post=0.5)]),
    ("Momentum", momentum, 3, [dict(alpha=0.5, beta=0.25, norm_coefficient=n, mode=m) for n in (0.0, 0.125)
                               for m in ("standard", "nesterov")]),
]


@pytest.mark.parametrize("op, formula, groups, cases", OPTIMISERS)
def test_optimisers(op, formula, groups, cases):
    random = numpy.random.default_rng(5)
    batch = batch_of()
    for attributes in cases:
        for t in (0, 1, 7):
            for dtype, rate_type, dims in (("float32", "float32", [(3, 4)]), ("float64", "float32", [(2,), (), (0, 3)]),
                                           ("float32", "float64", [(5,), (2, 1)])):
                tensors = [tuple(abs(random.standard_normal(d)).astype(dtype) for _ in range(groups)) for d in dims]
                r = 0.1
                wide = [tuple(p.astype(float) for p in parts) for parts in tensors]
                answers = formula(float(numpy.array(r, rate_type)), t, wide, **attributes)
                inputs = [numpy.array(r, rate_type), numpy.array(t, "int64")]
                inputs += [parts[g] for g in range(groups) for parts in tensors]
                wants = [numpy.asarray(parts[g], dtype) for g in range(groups - 1) for parts in answers]
                batch.add(op, inputs, outputs=len(wants), domain=TRAINING, answers=wants, tolerance=2e-6, **attributes)
    batch.check()


# ---- Gradient ----

def gradient_model(body, inputs, outputs, xs, y, zs=(), call=None):
    """`body` in ONNX's text form, with a Gradient at its end."""
    graph = parser.parse_graph(f"g ({inputs}) => ({', '.join('double ' + o for o in outputs)}) {{ {body} }}")
    gradients = [o for o in outputs if o.startswith("d")]
    graph.node.append(helper.make_node("Gradient", list(call or [*xs, *zs]), gradients, domain=TRAINING, xs=list(xs), y=y,
                                       **({"zs": list(zs)} if zs else {})))
    for output in graph.output:
        output.type.Clear()
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(TRAINING, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def differences(function, values, which):
    """The gradient of the sum of function(values) by central differences."""
    result = numpy.zeros_like(values[which])
    for at in numpy.ndindex(result.shape):
        sums = []
        for step in (1e-6, -1e-6):
            moved = [v.copy() for v in values]
            moved[which][at] += step
            sums.append(function(moved).sum())
        result[at] = (sums[0] - sums[1]) / 2e-6
    return result


BODIES = [
    ("y = Add(a, b)", (3, 4), (3, 4)),
    ("c = Add(a, b) y = Mul(c, a)", (3, 4), (4,)),
    ("c = Sub(a, b) y = Div(c, b)", (2, 1, 4), (3, 1)),
    ("c = MatMul(a, b) d = Tanh(c) y = Sigmoid(d)", (3, 4), (4, 2)),
    ("c = Exp(a) d = Log(b) e = Sqrt(b) f = Mul(c, d) y = Mul(f, e)", (5,), (5,)),
    ("c = Relu(a) d = Neg(c) e = Identity(d) y = Add(e, b)", (6,), (6,)),
    ("c = Mul(a, b) y = ReduceSum<keepdims = 0>(c)", (3, 2), (3, 2)),
    ("axes = Constant<value_ints = [1]>() c = Mul(a, b) d = ReduceSum<keepdims = 0>(c, axes) y = Mul(d, d)", (3, 2), (3, 2)),
]


@pytest.mark.parametrize("body, a, b", BODIES)
def test_gradients(body, a, b):
    random = numpy.random.default_rng(6)
    values = [random.uniform(0.5, 2, dims) for dims in (a, b)]
    inputs = f"double{list(a)} a, double{list(b)} b"
    forward = session_of(gradient_model(body, inputs, ["y", "da", "db"], ["a", "b"], "y"))
    y, da, db = forward.run(["y", "da", "db"], dict(zip("ab", values)))

    def function(moved):
        return forward.run(["y"], dict(zip("ab", moved)))[0]

    numpy.testing.assert_allclose(da, differences(function, values, 0), rtol=1e-6, atol=1e-7)
    numpy.testing.assert_allclose(db, differences(function, values, 1), rtol=1e-6, atol=1e-7)
    only, = session_of(gradient_model(body, inputs, ["db"], ["b"], "y", zs=["a"])).run(None, dict(zip("ab", values)))
    numpy.testing.assert_array_equal(only, db)


def test_gradient_at_other_values():
    body = "c = Mul(a, b) y = Mul(c, a)"
    inputs = "double[n] a, double[n] b, double[n] p, double[n] q"
    model = gradient_model(body, inputs, ["y", "da", "db"], ["a", "b"], "y", call=["p", "q"])
    a, b, p, q = numpy.arange(12.0).reshape(4, 3)
    y, da, db = session_of(model).run(["y", "da", "db"], dict(a=a, b=b, p=p, q=q))
    numpy.testing.assert_array_equal(y, a * b * a)
    numpy.testing.assert_array_equal(da, 2 * p * q)
    numpy.testing.assert_array_equal(db, p * p)


def test_gradient_of_a_gradient():
    graph = parser.parse_graph("g (double[n] a) => (double[n] y) { b = Mul(a, a) y = Mul(b, a) }")
    for source, result in (("y", "first"), ("first", "second")):
        graph.node.append(helper.make_node("Gradient", ["a"], [result], domain=TRAINING, xs=["a"], y=source))
        graph.output.append(onnx.ValueInfoProto(name=result))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(TRAINING, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    a = numpy.array([1.0, 2, -3])
    y, first, second = session_of(model).run(None, {"a": a})
    numpy.testing.assert_allclose(y, a**3)
    numpy.testing.assert_allclose(first, 3 * a**2)
    numpy.testing.assert_allclose(second, 6 * a)


@pytest.mark.parametrize("body, dims, reason", [
    ("y = Cosh(a)", "n", "Gradient of Cosh; tamis differentiates"), ("y = MatMul(a, a)", "2, n, n", "other ranks"),
    ("s = Sin(a)\nt = Mul(s, a)\nu = Sin(t)\ny = Cos(u)", "n", "Gradient of Sin, Cos; tamis differentiates"),
    ("y = Add(a, b)", "n", "not known to be equal or 1"), ("x = Neg(a)", "n", "makes y"),
])
def test_refused_gradients(body, dims, reason):
    model = gradient_model(body, f"double[{dims}] a, double[m] b", ["da"], ["a"], "y", zs=["b"])
    with pytest.raises(Exception, match=reason):
        session_of(model)


# ---- FlexAttention ----

def softmax(x):
    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def flex(q, k, v, scale=None, score=lambda s: s, probability=lambda p: p):
    k, v = (numpy.repeat(t, q.shape[1] // t.shape[1], 1) for t in (k, v))
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1]**-0.5 if scale is None else scale)
    return probability(softmax(score(scores))) @ v


def modifier(body, kind="float"):
    return parser.parse_graph(f"m ({kind}[B, H, L, S] s) => ({kind}[B, H, L, S] t) {{ {body} }}")


@pytest.mark.parametrize("dtype, kind, tolerance", [("float32", "float", 1e-6), ("float64", "double", 1e-6),
                                                    ("float16", "float", 1e-3)])
def test_flex_attention(dtype, kind, tolerance):
    random = numpy.random.default_rng(7)
    q, k, v = (random.standard_normal(d).astype(dtype) for d in ((2, 6, 3, 8), (2, 2, 5, 8), (2, 2, 5, 4)))
    wide = [t.astype(float) for t in (q, k, v)]
    batch = batch_of()
    batch.tolerance = tolerance
    double = modifier("t = Add(s, s)", kind)
    cap = modifier("u = Tanh(s) t = Neg(u)", kind)
    for scale in (None, 0.5):
        for score, probability in ((None, None), (double, None), (None, cap), (cap, double)):
            mods = {"score_mod": score, "prob_mod": probability}
            forms = {id(double): lambda s: 2 * s, id(cap): lambda s: -numpy.tanh(s), id(None): lambda s: s}
            want = flex(*wide, scale, forms[id(score)], forms[id(probability)]).astype(dtype)
            batch.add("FlexAttention", [q, k, v], domain=PREVIEW, answers=[want], scale=scale, **mods)
    batch.check()


def test_flex_attention_captures():
    """A modifier reads a value from outside, and the node stands in a branch."""
    body = parser.parse_graph("m (float[B, H, L, S] s) => (float[B, H, L, S] t) { t = Add(s, bias) }")
    node = helper.make_node("FlexAttention", ["q", "q", "q"], ["z"], domain=PREVIEW, score_mod=body)
    q = helper.make_tensor_value_info("q", TensorProto.FLOAT, ["b", 2, "n", 4])
    bias = helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["n", "n"])
    z, w = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 2, "n", 4]) for name in "zw")
    yes = helper.make_graph([node], "yes", [], [z])
    no = helper.make_graph([helper.make_node("Identity", ["q"], ["w"])], "no", [], [w])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=no)
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    graph = helper.make_graph([choice], "g", [q, bias, condition], [onnx.ValueInfoProto(name="y")])
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid(PREVIEW, 1)]
    session = session_of(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    random = numpy.random.default_rng(8)
    q, bias = random.standard_normal((1, 2, 3, 4), "float32"), random.standard_normal((3, 3), "float32")
    y, = session.run(None, {"q": q, "bias": bias, "c": numpy.array(True)})
    numpy.testing.assert_allclose(y, flex(q, q, q, score=lambda s: s + bias), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dims, attributes, reason", [
    ((2, 3, 4), {}, "rank"), ((1, 2, 3, 4), dict(softmax_precision=TensorProto.INT64), "softmax_precision"),
    ((1, 2, 3, 4), dict(score_mod=1), "score_mod"),
])
def test_refused_flex_attention(dims, attributes, reason):
    batch = batch_of()
    x = numpy.zeros(dims, "float32")
    batch.add("FlexAttention", [x, x, x], domain=PREVIEW, **attributes)
    with pytest.raises(Exception, match=reason):
        session_of(batch.model(batch.nodes, ["y0_0"]))
