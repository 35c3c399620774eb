# SPDX-License-Identifier: Apache-2.0
"""Further operators of com.microsoft: fused nodes, images, text, batches without padding, experts. What ONNX Runtime
has for GPUs only, or computes in another way than documented, is voted on without it (`ours`)."""

import numpy

from elements import BOOL, F32, F64, I8, I16, I32, I64, U8, U32, U64
from tables import entry

MS = "com.microsoft"


def plain(g, shape, low=-2.0, high=2.0, **how):
    return g.fresh(F32, shape, low, high, special=0.0, **how)


def activation(g):
    """A name and its parameters, as FusedConv has them."""
    return g.pick([("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]), ("Clip", [-1.0, 1.5]),
                   ("HardSigmoid", [0.2, 0.5])])


# ---- fused nodes ----


@entry("com.microsoft.FusedConv", "com.microsoft.NhwcFusedConv", "com.microsoft.NhwcConv")
def convolution(g, op):
    group, last = g.pick([1, 1, 2]), "Nhwc" in op
    per, out, n, h, w = g.integer(1, 3), g.integer(1, 3), g.integer(1, 2), g.integer(3, 6), g.integer(3, 6)
    x = plain(g, [n, h, w, group * per] if last else [n, group * per, h, w])
    inputs = [x, plain(g, [group * out, per, 2, 3], constant=g.chance(0.7)),
              plain(g, [group * out], constant=g.chance(0.7)) if g.chance(0.6) else None]
    attributes = {"group": group, "pads": [g.integer(0, 1) for _ in range(4)], "strides": [g.integer(1, 2)] * 2}
    if op.endswith("NhwcConv"):
        return g.node("NhwcConv", inputs, domain=MS, ours=True, **attributes)
    name, parameters = activation(g)
    if g.chance(0.4):
        pads, stride = attributes["pads"], attributes["strides"][0]
        h, w = ((d + p + q - k) // stride + 1 for d, p, q, k in zip((h, w), pads, pads[2:], (2, 3)))
        if inputs[2] is None:  # ONNX Runtime wants a bias beside the addend
            inputs[2] = plain(g, [group * out])
        inputs.append(plain(g, [n, h, w, group * out] if last else [n, group * out, h, w]))
    return g.node(op.rpartition(".")[2], inputs, domain=MS, ours=last, activation=name, activation_params=parameters,
                  **attributes)


@entry("com.microsoft.NhwcMaxPool")
def max_pool(g):
    x = g.fresh(g.pick([I8, U8]), [g.integer(1, 2), g.integer(2, 6), g.integer(2, 6), g.integer(1, 4)], -128, 255,
                special=0.0)
    kernel = [g.integer(1, 2) for _ in range(2)]
    g.node("NhwcMaxPool", [x], domain=MS, kernel_shape=kernel, strides=[g.integer(1, 2) for _ in kernel],
           pads=[g.integer(0, k - 1) for k in kernel * 2])


@entry("com.microsoft.ConvTransposeWithDynamicPads")
def transposed(g):
    c, out = g.integer(1, 3), g.integer(1, 3)
    x, w = plain(g, [1, c, g.integer(2, 4), g.integer(2, 4)]), plain(g, [c, out, 3, 3])
    pads = g.place(numpy.array([g.integer(0, 1) for _ in range(4)]))
    g.node("ConvTransposeWithDynamicPads", [x, w, pads, plain(g, [out]) if g.chance(0.5) else None], domain=MS,
           strides=[g.integer(1, 2)] * 2)


@entry("com.microsoft.FusedGemm", "com.microsoft.FusedMatMulActivation")
def activated_product(g, op):
    m, k, n, ta, tb = g.integer(1, 5), g.integer(1, 6), g.integer(1, 20), g.integer(0, 1), g.integer(0, 1)
    a, b = plain(g, [k, m] if ta else [m, k]), plain(g, [n, k] if tb else [k, n], constant=g.chance(0.6))
    name, alpha = g.pick([("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", 0.25)])
    common = {"activation": name, "activation_alpha": alpha, "transA": ta, "transB": tb, "alpha": g.pick([None, 0.5])}
    if op.endswith("FusedGemm"):
        c = plain(g, g.pick([[n], [m, n], [1, n], []])) if g.chance(0.7) else None
        return g.node("FusedGemm", [a, b, c], domain=MS, beta=g.pick([None, 1.5]), **common)
    return g.node("FusedMatMulActivation", [a, b], domain=MS, ours=True, **common)


@entry("com.microsoft.GemmFastGelu")
def gemm_fast_gelu(g):
    k, n = g.integer(1, 6), g.integer(1, 6)
    x = plain(g, g.shape(1, 2, 4) + [k])
    g.node("GemmFastGelu", [x, plain(g, [k, n]), plain(g, [n]) if g.chance(0.6) else None], domain=MS, ours=True)


@entry("com.microsoft.GroupNorm", "com.microsoft.SkipGroupNorm")
def group_norm(g, op):
    groups = g.integer(1, 3)
    n, c, h, w, last = g.integer(1, 2), groups * g.integer(1, 3), g.integer(1, 4), g.integer(1, 4), g.integer(0, 1)
    shape = [n, h, w, c] if last else [n, c, h, w]
    inputs = [plain(g, shape), plain(g, [c]), plain(g, [c])]
    outputs = 1
    if op.endswith("SkipGroupNorm"):
        inputs.append(plain(g, g.pick([shape, [n, c]])))
        inputs.append(plain(g, [c]) if g.chance(0.5) else None)
        outputs = g.integer(1, 2)
    g.node(op.rpartition(".")[2], inputs, outputs, domain=MS, ours=True, groups=groups, activation=g.integer(0, 1),
           channels_last=last, epsilon=g.pick([None, 1e-3]))


@entry("com.microsoft.BiasDropout", "com.microsoft.BitmaskDropout", "com.microsoft.BitmaskBiasDropout")
def dropout(g, op):
    x = plain(g, [g.integer(1, 4), g.integer(1, 40)])
    more = [plain(g, x.shape[-1:]), plain(g, x.shape) if g.chance(0.5) else None] if "Bias" in op else []
    ratio = g.scalar(0.5, F32) if g.chance(0.5) else None
    g.node(op.rpartition(".")[2], [x, *more, ratio], g.integer(1, 2), domain=MS, ours=True)


# ---- images, text, movement ----


@entry("com.microsoft.CropAndResize")
def crop_and_resize(g):
    x = plain(g, [g.integer(1, 2), g.integer(1, 3), g.integer(2, 6), g.integer(2, 6)])
    count = g.integer(1, 3)
    boxes = g.place(g.random.uniform(-0.2, 1.2, (count, 4)).astype(numpy.float32))
    images = g.place(g.random.integers(x.shape[0], size=count).astype(numpy.int32))
    size = g.ints([g.integer(1, 4), g.integer(1, 4)], I32)
    g.node("CropAndResize", [x, boxes, images, size], domain=MS, mode=g.pick([None, "bilinear", "nearest"]),
           extrapolation_value=g.pick([None, 0.25]))


@entry("com.microsoft.MurmurHash3")
def murmur_hash(g):
    x = g.take([I32, U32, I64, U64, F32, F64], max_rank=3, exact=True, where=lambda v: v.size > 0)
    g.node("MurmurHash3", [x], domain=MS, seed=g.pick([None, 0, 42]), positive=g.pick([None, 0, 1]))


@entry("com.microsoft.NGramRepeatBlock")
def n_gram_repeat_block(g):
    batch, length, words = g.integer(1, 3), g.integer(2, 7), g.integer(2, 6)
    ids = g.place(g.random.integers(0, words, size=(batch, length)))
    g.node("NGramRepeatBlock", [ids, plain(g, [batch, words])], domain=MS, ngram_size=g.integer(1, min(3, length)),
           ours=g.chance(0.5))  # node() mostly refuses infinities


@entry("com.microsoft.Rfft", "com.microsoft.Irfft")
def fourier(g, op):
    rank = g.integer(1, 2)
    x = plain(g, [g.integer(1, 2)] + [g.pick([2, 3, 4, 6, 8]) for _ in range(rank)] + ([2] if "Irfft" in op else []))
    g.node(op.rpartition(".")[2], [x], domain=MS, ours=True, signal_ndim=rank, onesided=1, normalized=0)


@entry("com.microsoft.CDist")
def distances(g):
    kind, n = g.pick([F32, F64]), g.integer(1, 8)
    a, b = (g.fresh(kind, [g.integer(1, 5), n], special=0.0) for _ in range(2))
    g.node("CDist", [a, b], domain=MS, metric="sqeuclidean")  # the root of what cancels is ill-conditioned


@entry("com.microsoft.GatherND")
def gather_nd(g):
    x = g.take([F32, I64, I32], min_rank=1, max_rank=3, where=lambda v: v.size > 0)
    depth = g.integer(1, x.rank)
    places = numpy.stack([g.random.integers(0, d, size=3) for d in x.shape[:depth]], -1)
    g.node("GatherND", [x, g.place(places)], domain=MS)


@entry("com.microsoft.GridSample")
def grid_sample(g):
    x = plain(g, [g.integer(1, 2), g.integer(1, 3), g.integer(2, 5), g.integer(2, 5)])
    grid = plain(g, [x.shape[0], g.integer(1, 3), g.integer(1, 3), 2], -1.2, 1.2)
    g.node("GridSample", [x, grid], domain=MS, mode=g.pick([None, "bilinear"]), align_corners=g.pick([None, 0, 1]),
           padding_mode=g.pick([None, "zeros", "border", "reflection"]))


@entry("com.microsoft.Pad")
def pad(g):
    x = g.take([F32], min_rank=1, max_rank=3, where=lambda v: v.size > 0)
    pads = numpy.array([g.integer(0, 2) for _ in range(2 * x.rank)])
    value = g.place(numpy.array([1.5], numpy.float32)) if g.chance(0.5) else None
    g.node("Pad", [x, g.place(pads[None] if g.chance(0.3) else pads, True), value], domain=MS, exact=x.exact,
           mode=g.pick([None, "constant", "edge"]))


@entry("com.microsoft.Range")
def range_(g):
    kind = g.pick([F32, F64, I16, I32, I64])
    start, count, step = g.integer(-3, 3), g.integer(0, 5), g.pick([1, 2, -1])
    parts = [start, start + count * step] + ([step] if step != 1 or g.chance(0.5) else [])
    g.node("Range", [g.fixed(g.place(numpy.array(v, g.scalar(0, kind).sample.dtype), g.chance(0.6))) for v in parts],
           domain=MS, exact=True)


@entry("com.microsoft.ExpandDims")
def expand_dims(g):
    x = g.take([F32, I64, I32, BOOL], max_rank=4)
    g.node("ExpandDims", [x, g.place(numpy.array(g.integer(-x.rank - 1, x.rank), numpy.int32), True)], domain=MS,
           exact=x.exact)


@entry("com.microsoft.SampleOp")
def sample_op(g):
    g.node("SampleOp", [g.take([F32])], domain=MS)


@entry("com.microsoft.TorchEmbedding")
def torch_embedding(g):
    words = plain(g, [g.integer(2, 6), g.integer(1, 5)])
    places = g.place(g.random.integers(0, words.shape[0], size=g.shape(1, 2, 4)))
    g.node("TorchEmbedding", [words, places, g.scalar(1, I64) if g.chance(0.4) else None], domain=MS, ours=True)


@entry("com.microsoft.IsAllFinite")
def is_all_finite(g):
    parts = [g.take([F32], max_rank=3, exact=True) for _ in range(g.integer(1, 3))]
    g.node("IsAllFinite", parts, domain=MS, ours=True, **g.pick([{}, {"isnan_only": 1}, {"isinf_only": 1}]))


# ---- batches without padding, attention of one query ----


def token_offsets(counts, length):
    """Places of the tokens in [batch, length], then those of the padding; and the sums of the counts."""
    places = numpy.arange(len(counts) * length)
    kept = places % length < numpy.repeat(counts, length)
    offsets = numpy.concatenate([places[kept], places[~kept]]).reshape(len(counts), length)
    return offsets.astype(numpy.int32), numpy.concatenate([[0], numpy.cumsum(counts)]).astype(numpy.int32)


def ragged(g):
    batch, length = g.integer(1, 3), g.integer(1, 4)
    counts = numpy.array([g.integer(1, length) for _ in range(batch)])
    counts[0] = length
    return batch, length, counts


@entry("com.microsoft.RemovePadding", "com.microsoft.RestorePadding")
def padding(g, op):
    batch, length, counts = ragged(g)
    width = g.integer(1, 5)
    if op.endswith("RemovePadding"):
        x = plain(g, [batch, length, width])
        return g.node("RemovePadding", [x, g.place(counts.astype(numpy.int32))], 4, domain=MS, ours=True)
    x = plain(g, [int(counts.sum()), width])
    return g.node("RestorePadding", [x, g.place(token_offsets(counts, length)[0])], domain=MS, ours=True)


@entry("com.microsoft.PackedAttention", "com.microsoft.PackedMultiHeadAttention")
def packed_attention(g, op):
    batch, length, counts = ragged(g)
    tokens, heads, size, width = int(counts.sum()), g.integer(1, 2), g.integer(1, 4), g.integer(1, 5)
    hidden = heads * size
    tail = [g.fixed(g.place(a)) for a in token_offsets(counts, length)]
    if g.chance(0.3):
        tail.append(plain(g, [batch, heads, length, length]))
    if op.endswith("PackedAttention"):
        first = [plain(g, [tokens, width]), plain(g, [width, 3 * hidden], -1, 1), plain(g, [3 * hidden])]
    else:
        first = [plain(g, [tokens, hidden]) for _ in range(3)] + [plain(g, [3 * hidden]) if g.chance(0.5) else None]
    g.node(op.rpartition(".")[2], [*first, *tail], domain=MS, ours=True, num_heads=heads, scale=g.pick([None, 0.5]))


@entry("com.microsoft.DecoderMaskedMultiHeadAttention")
def decoder_attention(g):
    batch, heads, size, past, room = g.integer(1, 2), g.integer(1, 3), g.pick([2, 4, 8]), g.integer(1, 5), g.integer(1, 4)
    parts = [plain(g, [batch, 1, heads * size]) for _ in range(3)]
    caches = [plain(g, [batch, heads, past + room, size]) for _ in range(2)]
    used = g.place(numpy.array([past], numpy.int32), True)
    bias = plain(g, [1, heads, 1, past + 1]) if g.chance(0.4) else None
    g.node("DecoderMaskedMultiHeadAttention", [*parts, None, bias, *caches, used], 3, domain=MS, num_heads=heads,
           past_present_share_buffer=1, scale=g.pick([None, 0.5]), ours=True)  # buffers: behind the used part is anything


# ---- experts ----


def mixture(g):
    """Sizes and attributes of a mixture. Where logits are equal, ONNX Runtime's MoE takes the last expert."""
    experts = g.integer(2, 4)
    kind = g.pick(["relu", "gelu", "silu", "identity", "swiglu"])
    how = {"activation_type": kind, "k": g.integer(1, experts), "normalize_routing_weights": 1}
    if kind == "swiglu":
        how |= {"swiglu_fusion": 1, "activation_alpha": 1.702, "activation_beta": 1.0, "swiglu_limit": g.pick([1.0, 7.0])}
    tokens = [g.integer(1, 2), g.integer(1, 3)] if g.chance(0.5) else [g.integer(1, 5)]
    router = g.place(g.random.permuted(numpy.linspace(-2, 2, experts * int(numpy.prod(tokens)), dtype=numpy.float32))
                     .reshape(-1, experts))
    return experts, tokens, router, 2 if kind == "swiglu" else 1, how


@entry("com.microsoft.MoE")
def mixture_of_experts(g):
    experts, tokens, router, gates, how = mixture(g)
    hidden, inner = g.integer(1, 8), g.integer(1, 8)
    how["normalize_routing_weights"] = g.integer(0, 1)
    biases = [plain(g, [experts, n], constant=g.chance(0.7)) if g.chance(0.7) or gates == 2 else None
              for n in (gates * inner, hidden)]
    first, second = (plain(g, [experts, *dims], -1, 1, constant=g.chance(0.7)) for dims in ([gates * inner, hidden],
                                                                                              [hidden, inner]))
    g.node("MoE", [plain(g, [*tokens, hidden]), router, first, biases[0], second, biases[1]], domain=MS, **how)


@entry("com.microsoft.QMoE")
def quantized_experts(g):
    experts, tokens, router, gates, how = mixture(g)
    hidden, inner, bits, block = g.pick([32, 64]), 32, g.pick([4, 4, 8]), g.pick([0, 16])
    if bits == 8:
        block = 0  # ONNX Runtime rounds the activations there
    layers = []
    for rows, columns in ((gates * inner, hidden), (hidden, inner)):
        scales = [experts, rows] + ([columns // block] if block else [])
        layers += [g.fresh(U8, [experts, rows, columns * bits // 8], 0, 255, special=0.0, constant=True),
                   plain(g, scales, 0.001, 0.01, constant=True),
                   plain(g, [experts, rows], constant=True) if g.chance(0.7) or gates == 2 else None]
    g.node("QMoE", [plain(g, [*tokens, hidden]), router, *layers], domain=MS, expert_weight_bits=bits,
           block_size=block or None, **how)
