# SPDX-License-Identifier: Apache-2.0
"""Operators of com.microsoft that exports carry and ONNX Runtime runs on CPUs."""

import numpy

from elements import F32, I8, U8
from tables import entry

MS = "com.microsoft"


def rows(g, least=2, most=3):
    return g.take([F32], min_rank=least, max_rank=most, where=lambda v: v.size > 0, finite=True)


@entry("com.microsoft.Gelu", "com.microsoft.QuickGelu")
def gelu(g, op):
    attributes = {"alpha": g.pick([None, 1.702, 0.5])} if op.endswith("QuickGelu") else {}
    g.node(op.rpartition(".")[2], [g.take([F32])], domain=MS, **attributes)


@entry("com.microsoft.BiasGelu", "com.microsoft.FastGelu")
def biased_gelu(g, op):
    x = rows(g, 1)
    bias = [g.fresh(F32, x.shape[-1:])] if op.endswith("BiasGelu") or g.chance(0.5) else []
    g.node(op.rpartition(".")[2], [x, *bias], domain=MS)


@entry("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def skip_normalization(g, op):
    x = g.fresh(F32, [g.integer(1, 3), g.integer(1, 4), g.integer(1, 9)], special=0.0)
    width = x.shape[-1:]
    inputs = [x, g.fresh(F32, x.shape, special=0.0), g.fresh(F32, width, special=0.0)]
    if "Simplified" not in op:
        inputs.append(g.fresh(F32, width, special=0.0) if g.chance(0.6) else None)
    inputs.append(g.fresh(F32, width, special=0.0) if g.chance(0.5) else None)
    outputs = [True, False, False, True] if g.chance(0.4) else 1
    g.node(op.rpartition(".")[2], inputs, outputs, domain=MS, epsilon=g.pick([None, 1e-3]))


@entry("com.microsoft.FusedMatMul")
def fused_matmul(g):
    ta, tb = g.integer(0, 1), g.integer(0, 1)
    m, k, n = g.integer(1, 5), g.integer(1, 5), g.integer(1, 5)
    batch = g.shape(0, 2, 3)
    a = g.fresh(F32, batch + ([k, m] if ta else [m, k]))
    b = g.fresh(F32, g.broadcast(batch) + ([n, k] if tb else [k, n]))
    g.node("FusedMatMul", [a, b], domain=MS, transA=ta or None, transB=tb or None, alpha=g.pick([None, 0.5, 2.0]))


@entry("com.microsoft.MatMulIntegerToFloat", "com.microsoft.DynamicQuantizeMatMul")
def integer_matmul(g, op):
    k, n = g.integer(1, 6), g.integer(1, 6)
    kind = g.pick([I8, U8])
    b = g.fresh(kind, [k, n], -128, 255, special=0.0)
    scale = g.fresh(F32, g.pick([[], [1], [n]]), 0.01, 0.1, special=0.0)
    point = g.fresh(kind, scale.shape, 0, 20, special=0.0) if g.chance(0.5) else None
    bias = g.fresh(F32, [n], special=0.0) if g.chance(0.5) else None
    if op.endswith("DynamicQuantizeMatMul"):
        a = g.fresh(F32, g.shape(1, 2, 3) + [k], special=0.0)
        if a.size == 0:
            return
        g.node("DynamicQuantizeMatMul", [a, b, scale, point, bias], domain=MS)
        return
    a = g.fresh(U8, [g.integer(1, 3), k], 0, 255, special=0.0)
    first = g.fresh(U8, [], 0, 20, special=0.0) if g.chance(0.5) else None
    g.node("MatMulIntegerToFloat", [a, b, g.fresh(F32, [], 0.01, 0.1, special=0.0), scale, first, point, bias],
           domain=MS)


@entry("com.microsoft.QuantizeLinear", "com.microsoft.DequantizeLinear")
def quantize(g, op):
    scale = g.fresh(F32, [], 0.03, 0.2, special=0.0)
    kind = g.pick([I8, U8])
    point = g.fresh(kind, [], 0, 50, special=0.0)
    x = g.take([F32], exact=True, finite=True) if op.endswith(".QuantizeLinear") else g.fresh(kind, g.shape(), -128, 255)
    g.node(op.rpartition(".")[2], [x, scale, point], domain=MS)


@entry("SimplifiedLayerNormalization")
def simplified_layer_normalization(g):
    """Of ai.onnx in ONNX Runtime, though no standard has it."""
    x = rows(g, 1, 4)
    g.node("SimplifiedLayerNormalization", [x, g.fresh(F32, x.shape[-1:])], axis=-1, epsilon=g.pick([None, 1e-3]))


@entry("com.microsoft.Inverse")
def inverse(g):
    n = g.integer(1, 4)
    sample = g.random.uniform(-1, 1, (g.integer(1, 3), n, n)) + 3 * numpy.eye(n)
    g.node("Inverse", [g.place(sample.astype(numpy.float32))], domain=MS)


@entry("com.microsoft.RotaryEmbedding")
def rotary_embedding(g):
    batch, heads, length, half = g.integer(1, 2), g.integer(1, 3), g.integer(1, 4), g.pick([2, 4, 8])
    x = g.fixed(g.fresh(F32, [batch, heads, length, 2 * half], special=0.0))  # an odd size is left as it was in memory
    most = length + g.integer(0, 3)
    places = g.place(g.random.integers(0, most, size=(batch, length)))
    caches = [g.fresh(F32, [most, half], -1, 1, special=0.0) for _ in range(2)]
    g.node("RotaryEmbedding", [x, places, *caches], domain=MS, interleaved=g.pick([None, 0, 1]))


@entry("com.microsoft.MultiHeadAttention")
def multi_head_attention(g):
    batch, q, k, heads, size = g.integer(1, 2), g.integer(1, 4), g.integer(1, 5), g.integer(1, 3), g.integer(1, 4)
    values = [g.fresh(F32, [batch, n, heads * size], special=0.0) for n in (q, k, k)]
    g.node("MultiHeadAttention", values, domain=MS, num_heads=heads, scale=g.pick([None, 0.5]))


@entry("com.microsoft.Trilu")
def trilu(g):
    x = g.take([F32], min_rank=2)
    g.node("Trilu", [x, g.place(numpy.array(g.integer(-2, 2))) if g.chance(0.5) else None], domain=MS,
           upper=g.pick([None, 0, 1]))


@entry("com.microsoft.Unique")
def unique(g):
    x = g.take([F32], min_rank=1, max_rank=1, exact=True, finite=True, where=lambda v: v.size > 0)
    g.node("Unique", [x], 3, domain=MS)


@entry("com.microsoft.MatMulNBits")
def matmul_n_bits(g):
    k, n, block = g.pick([16, 32, 40, 64]), g.integer(1, 6), g.pick([16, 32])
    blocks = -(-k // block)
    packed = g.fresh(U8, [n, blocks, block // 2], 0, 255, special=0.0, constant=True)
    scales = g.fresh(F32, [n * blocks], 0.02, 0.1, special=0.0, constant=True)
    points = g.fresh(U8, [n * -(-blocks // 2)], 0, 255, special=0.0, constant=True) if g.chance(0.5) else None
    x = g.fresh(F32, [g.integer(1, 3), k], special=0.0)
    g.node("MatMulNBits", [x, packed, scales, points], domain=MS, K=k, N=n, bits=4, block_size=block)


@entry("com.microsoft.Attention")
def attention(g):
    batch, length, width, heads, size = g.integer(1, 2), g.integer(1, 4), g.integer(1, 5), g.integer(1, 3), g.integer(1, 4)
    x = g.fresh(F32, [batch, length, width], special=0.0)
    hidden = heads * size
    weights = [g.fresh(F32, [width, 3 * hidden], -1, 1, special=0.0), g.fresh(F32, [3 * hidden], special=0.0)]
    g.node("Attention", [x, *weights], domain=MS, num_heads=heads, unidirectional=g.pick([None, 0, 1]))


@entry("com.microsoft.GroupQueryAttention")
def group_query_attention(g):
    batch, length, kv, groups, size = g.integer(1, 2), g.integer(1, 4), g.integer(1, 2), g.integer(1, 2), 8 * g.integer(1, 2)
    past = g.pick([0, 0, 3])
    query = g.fresh(F32, [batch, length, kv * groups * size], special=0.0)
    pair = [g.fresh(F32, [batch, length, kv * size], special=0.0) for _ in range(2)]
    pasts = [g.fresh(F32, [batch, kv, past, size], special=0.0) for _ in range(2)] if past else [None, None]
    total = past + length
    last = g.constant(numpy.full(batch, total - 1, numpy.int32))
    whole = g.constant(numpy.array(total, numpy.int32))
    g.node("GroupQueryAttention", [query, *pair, *pasts, last, whole], 3, domain=MS, num_heads=kv * groups,
           kv_num_heads=kv)


@entry("com.microsoft.EmbedLayerNormalization")
def embed_layer_normalization(g):
    batch, length, width, words = g.integer(1, 2), g.integer(1, 4), g.integer(1, 6), g.integer(2, 6)
    ids = g.place(g.random.integers(0, words, size=(batch, length)).astype(numpy.int32))
    kinds = g.place(g.random.integers(0, 2, size=(batch, length)).astype(numpy.int32)) if g.chance(0.6) else None
    tables = [g.fresh(F32, [n, width], special=0.0) for n in (words, length + 1, 2)]
    if kinds is None:
        tables[2] = None
    scale = [g.fresh(F32, [width], special=0.0) for _ in range(2)]
    g.node("EmbedLayerNormalization", [ids, kinds, *tables, *scale], [True, False], domain=MS)


@entry("com.microsoft.QAttention")
def q_attention(g):
    batch, length, width, heads, size = g.integer(1, 2), g.integer(1, 4), 4 * g.integer(1, 2), g.integer(1, 2), g.integer(1, 4)
    hidden = heads * size
    x = g.fresh(U8, [batch, length, width], 0, 255, special=0.0)
    weights = g.fresh(I8, [width, 3 * hidden], -128, 127, special=0.0, constant=True)
    bias = g.fresh(F32, [3 * hidden], special=0.0)
    scales = [g.constant(numpy.array(s, numpy.float32)) for s in (0.02, 0.01)]
    points = [g.constant(numpy.array(128, numpy.uint8)), g.constant(numpy.array(0, numpy.int8))]
    g.node("QAttention", [x, weights, bias, *scales, None, *points], domain=MS, num_heads=heads,
           unidirectional=g.pick([None, 0, 1]))


@entry("com.microsoft.TransposeMatMul")
def transpose_matmul(g):
    ta, tb = g.integer(0, 1), g.integer(0, 1)
    m, k, n = g.integer(1, 5), g.integer(1, 5), g.integer(1, 5)
    a = g.fresh(F32, [k, m] if ta else [m, k])
    b = g.fresh(F32, [n, k] if tb else [k, n])
    g.node("TransposeMatMul", [a, b], domain=MS, transA=ta or None, transB=tb or None, alpha=g.pick([None, 0.5]))


@entry("com.microsoft.BiasAdd", "com.microsoft.BiasSplitGelu")
def image_bias(g, op):
    n, length, c = g.integer(1, 2), g.integer(1, 4), g.pick([320, 640]) if op.endswith("BiasAdd") else 2 * g.integer(1, 4)
    x, bias = g.fresh(F32, [n, length, c], special=0.0), g.fresh(F32, [c], special=0.0)
    inputs = [x, bias, g.fresh(F32, [n, length, c], special=0.0)] if op.endswith("BiasAdd") else [x, bias]
    g.node(op.rpartition(".")[2], inputs, domain=MS, ours=True)  # ONNX Runtime has them for GPUs only
