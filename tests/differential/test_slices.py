# SPDX-License-Identifier: Apache-2.0
"""Batches that are run in slices (runtime/support_slices.c): the same bits as sample by sample, and ONNX Runtime's answers
where a node mixes samples, so that slices would be wrong. Each model needs far more than a slice's workspace.
"""

import ctypes
import subprocess

import numpy
import onnx
import onnxruntime
import pytest

import tamis

BATCH = 301
WIDE = 2048

# The body of a graph float[N, 2048] x -> y; `kept`: its samples do not meet.
KEPT = {
    "norm": "e = Exp(x) y = Softmax<axis = -1>(e)",
    "product": "w = Constant<value = float[1] {0.01}>() n = Constant<value = int64[2] {2048, 16}>() m = Expand(w, n) "
               "t = Tanh(x) y = MatMul(t, m)",
    "packed": "w = Constant<value = int8[1] {3}>() n = Constant<value = int64[2] {2048, 16}>() m = Expand(w, n) "
              "s = Constant<value = float {0.01}>() d = DequantizeLinear(m, s) t = Tanh(x) y = MatMul(t, d)",
    "views": "s = Constant<value = int64[3] {0, 64, 32}>() r = Reshape(x, s) t = Transpose<perm = [0, 2, 1]>(r) "
             "e = Exp(t) f = Constant<value = int64[2] {0, -1}>() y = Reshape(e, f)",
    "joined": "e = Exp(x) c = Concat<axis = 1>(x, e) a = Constant<value = int64[1] {1}>() y = ReduceMax<keepdims = 0>(c, a)",
    "inner_sum": "a = Constant<value = int64 {1}>() e = Exp(x) y = CumSum(e, a)",
    "bytes": "c = Cast<to = 3>(x) e = Cast<to = 1>(c) y = Softmax(e)",
    "view_last": "e = Exp(x) s = Constant<value = int64[4] {0, 2, 32, 32}>() y = Reshape(e, s)",
}
MIXED = {
    "half_bytes": "f = Floor(x) c = Cast<to = 22>(f) e = Cast<to = 1>(c) y = Softmax(e)",  # an odd sample would start within a byte
    "softmax": "e = Exp(x) y = Softmax<axis = 0>(e)",
    "softmax_from_the_end": "e = Exp(x) y = Softmax<axis = -2>(e)",
    "sum": "a = Constant<value = int64 {0}>() e = Exp(x) y = CumSum(e, a)",
    "mean": "a = Constant<value = int64[1] {0}>() e = Exp(x) m = ReduceMean(e, a) y = Sub(e, m)",
    "reversed": "b = Constant<value = int64[1] {-1}>() z = Constant<value = int64[1] {-1000000}>() "
                "a = Constant<value = int64[1] {0}>() e = Exp(x) y = Slice(e, b, z, a, b)",
    "captured": "a = Constant<value = int64[1] {0}>() w = Constant<value = int64 {7}>() e = Exp(x) r = ReduceMax(x) "
                "z = Constant<value = float {-100}>() c = Greater(r, z) "
                "m = If(c)<then_branch = t () => (float[p, 2048] u) { u = ReduceMean(e, a) }, "
                "else_branch = f () => (float[q, 2048] v) { v = ReduceMin(e, a) }> d = Sub(e, m) y = Softmax(d)",
    "size": "h = Shape<end = 1>(x) f = Cast<to = 1>(h) e = Exp(x) d = Div(e, f) c = Concat<axis = 1>(d, e) "
            "a = Constant<value = int64[1] {1}>() y = ReduceSum(c, a)",
    "gram": "e = Tanh(x) t = Transpose(e) g = MatMul(t, e) a = Constant<value = int64[1] {0}>() "
            "m = ReduceMax(g, a) y = Add(e, m)",
    "first": "z = Constant<value = int64 {0}>() e = Exp(x) f = Gather<axis = 0>(e, z) y = Sub(e, f)",
    "unrolled": "s = Constant<value = int64[2] {-1, 4096}>() e = Exp(x) r = Reshape(e, s) t = Softmax(r) "
                "u = Constant<value = int64[2] {-1, 2048}>() y = Reshape(t, u)",
}


def model_of(body):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 2048] x) => (float[] y) {' + body + "}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model.SerializeToString()


def session(model, threads):
    options = tamis.SessionOptions()
    options.intra_op_num_threads = threads
    return tamis.InferenceSession(model, options)


def samples(count):
    return numpy.random.default_rng(count).standard_normal((count, WIDE)).astype(numpy.float32)


@pytest.mark.parametrize("name", KEPT)
def test_same_bits_as_sample_by_sample(name):
    model, x = model_of(KEPT[name]), samples(BATCH)
    whole, = session(model, 1).run(None, {"x": x})
    one = session(model, 1)
    numpy.testing.assert_array_equal(whole, numpy.concatenate([one.run(None, {"x": x[i:i + 1]})[0] for i in range(BATCH)]))
    two = session(model, 2)
    for count in (BATCH, 2, BATCH - 1):  # and the batch may change from run to run
        numpy.testing.assert_array_equal(whole[:count], two.run(None, {"x": x[:count]})[0])


@pytest.mark.parametrize("name", {**KEPT, **MIXED})
def test_against_onnx_runtime(name):
    model, x = model_of({**KEPT, **MIXED}[name]), samples(BATCH - 1)
    plain = onnxruntime.SessionOptions()  # else it rounds the left side of products by bytes to bytes
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    want, = onnxruntime.InferenceSession(model, plain).run(None, {"x": x})
    have, = session(model, 2).run(None, {"x": x})
    numpy.testing.assert_allclose(have, want, rtol=2e-5, atol=1e-6 * numpy.abs(want).max())


@pytest.mark.parametrize("name", {**KEPT, **MIXED})
def test_typed_functions(name, tmp_path):
    """The same through the functions of a generated header, whose workspace tells whether there are slices."""
    tamis.compile(model_of({**KEPT, **MIXED}[name]), str(tmp_path / "m.o"), name="m")
    subprocess.run(["cc", "-shared", "-o", tmp_path / "m.so", tmp_path / "m.o"], check=True)
    library = ctypes.CDLL(str(tmp_path / "m.so"))
    library.m_workspace_bytes.restype = ctypes.c_int64
    size = library.m_workspace_bytes(ctypes.c_int64(BATCH - 1))
    assert (size < 1.2 * 2**20) == (name in KEPT)
    x = samples(BATCH - 1)
    want, = session(model_of({**KEPT, **MIXED}[name]), 1).run(None, {"x": x})
    have = numpy.empty_like(want)
    workspace = numpy.empty(size + 64, numpy.uint8)
    at = -workspace.ctypes.data % 64
    code = library.m_run(ctypes.c_void_p(workspace.ctypes.data + at), ctypes.c_int64(BATCH - 1), x.ctypes, have.ctypes)
    assert code == 0
    numpy.testing.assert_array_equal(have, want)


def test_random_numbers_are_drawn_once():
    model = model_of("r = RandomUniform<shape = [1, 2048], seed = 1.0>() e = Exp(x) s = Add(e, r) y = Softmax(s)")
    y, = session(model, 2).run(None, {"x": numpy.zeros((BATCH, WIDE), numpy.float32)})
    assert (y == y[0]).all()


def test_a_failure_names_its_node():
    model = model_of("i = Cast<to = 7>(x) c = Constant<value = float[3] {1, 2, 3}>() y = Gather(c, i)")
    x = samples(BATCH) * 0
    x[BATCH // 2, 7] = 5
    with pytest.raises(tamis.Error, match="Gather.*\n?.*5"):
        session(model, 2).run(None, {"x": x})
