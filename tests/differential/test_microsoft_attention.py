# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's attention operators against their documented definition; microsoft_cases.py says how.

Lengths are 0, 1 and more, pasts 0 and more, and the samples of a batch have different lengths.
"""

import numpy
import pytest
from microsoft_attend import attend, causal, heads_of, padding, rotate, rows_of
from microsoft_cases import C, Case, In, check_cases, check_definition, integers, refusal

CASES = {}


def case(name, *arguments, **more):
    assert name not in CASES
    CASES[name] = Case(*arguments, **more)


def self_attention(q, k, v, mask, past, extra, used, attributes):
    """From projected q, k, v [b, s, n * h] on; past [2, b, n, p, h], of which `used` are filled if given."""
    heads = attributes["num_heads"]
    b, s = q.shape[:2]
    q, k, v = heads_of(q, heads), heads_of(k, heads), heads_of(v, heads)
    length = 0 if past is None else past.shape[3] if used is None else int(used.reshape(()))
    if attributes.get("do_rotary"):
        half = (attributes.get("rotary_embedding_dim") or q.shape[3]) // 2
        angles = (length + numpy.arange(s))[:, None] * 10000.0 ** (-numpy.arange(half) / half)
        at = numpy.arange(s)[None].repeat(b, 0)
        q, k = (rotate(x, numpy.cos(angles), numpy.sin(angles), at) for x in (q, k))
    present = numpy.stack([k, v]) if k.shape == v.shape else None
    if past is not None:
        k, v = (numpy.concatenate([past[i, :, :, :length], x], 2) for i, x in enumerate((k, v)))
        present = numpy.stack([k, v])
        if used is not None:
            present = numpy.concatenate([present, past[:, :, :, length + s:]], 3)
    t = k.shape[2]
    addend = padding(mask, b, s, t, length, attributes.get("mask_filter_value", -10000.0))
    if attributes.get("unidirectional"):
        addend = addend + causal(s, t, length)
    if extra is not None:
        addend = addend + extra
    y, _, _ = attend(q, k, v, addend, attributes.get("scale", 0))
    return [rows_of(y), present]


def define_attention(a, x, w, bias=None, mask=None, past=None, extra=None, used=None):
    product = x @ w + (0 if bias is None else bias)
    sizes = a.get("qkv_hidden_sizes", [product.shape[2] // 3] * 3)
    q, k, v = numpy.split(product, numpy.cumsum(sizes)[:2], 2)
    return self_attention(q, k, v, mask, past, extra, used, a)


def define_quantized_attention(a, x, w, bias, xs, ws, mask=None, xz=None, wz=None, past=None):
    product = (x - (0 if xz is None else xz)) @ (w - (0 if wz is None else wz)) * (xs * ws) + bias
    return self_attention(*numpy.split(product, 3, 2), mask, past, None, None, a)


def multi_head(a, q, k, v, bias, mask, extra, past_k, past_v, used):
    heads = a["num_heads"]
    if q.ndim == 5:
        q, k, v = (q[:, :, :, i].reshape(*q.shape[:2], -1) for i in range(3))
    elif v is None:
        k, v = (k[:, :, :, i].reshape(*k.shape[:2], -1) for i in range(2))
    apart = k.ndim == 4
    if bias is not None:
        d = q.shape[2]
        q = q + bias[:d]
        if not apart:
            k, v = k + bias[d:2 * d], v + bias[2 * d:]
    q = heads_of(q, heads)
    if not apart:
        k, v = heads_of(k, heads), heads_of(v, heads)
    b, _, s, _ = q.shape
    length, rest_k, rest_v = 0, k[:, :, :0], v[:, :, :0]
    if past_k is not None:
        length = past_k.shape[2] if used is None else int(used.reshape(()))
        rest_k, rest_v = (x[:, :, length + k.shape[2]:] if used is not None else x[:, :, :0]
                          for x in (past_k, past_v))
        k = numpy.concatenate([past_k[:, :, :length], k], 2)
        v = numpy.concatenate([past_v[:, :, :length], v], 2)
    t = k.shape[2]
    addend = padding(mask, b, s, t, length, a.get("mask_filter_value", -10000.0))
    if a.get("unidirectional"):
        addend = addend + causal(s, t, length)
    if extra is not None:
        addend = addend + extra
    y, scores, _ = attend(q, k, v, addend, a.get("scale", 0))
    return [rows_of(y), numpy.concatenate([k, rest_k], 2), numpy.concatenate([v, rest_v], 2), scores]


def define_multi_head(a, q, k=None, v=None, bias=None, mask=None, extra=None, past_k=None, past_v=None,
                      used=None):
    return multi_head(a, q, k, v, bias, mask, extra, past_k, past_v, used)


def define_decoder(a, q, k=None, v=None, mask=None, extra=None, past_k=None, past_v=None, used=None,
                   beam=None,
                   indirection=None, bias=None):
    if k is None:
        q, k, v = numpy.split(q, 3, 2)
    return multi_head(a, q, k, v, bias, mask, extra, past_k, past_v, used)


# ---- cases: Attention ----

SIZES = [{"b": 2, "s": 5, "p": 3}, {"b": 1, "s": 1, "p": 4}, {"b": 3, "s": 33, "p": 0}]


def lengths(dims, sizes, random):
    """At least 1, at most what there is."""
    return random.integers(1, sizes["s"] + sizes.get("p", 0) + 1, dims)


def ends_and_starts(dims, sizes, random):
    b, t = sizes["b"], sizes["s"] + sizes.get("p", 0)
    ends = random.integers(1, t + 1, [b])
    return numpy.concatenate([ends, [random.integers(0, e) for e in ends]])


X, W, B = In("b s 12"), C("12 48"), C("48")
PAST = In("2 b 4 p 4")


def zeros_and_ones(dims, sizes, random):
    """The first key is always seen: among scores of -10000 float32 has few digits left."""
    made = random.integers(0, 2, dims)
    made[..., :1] = 1
    return made


I32 = numpy.int32


def attention(name, *inputs, half=False, runtime=True, outputs="1", **attributes):
    case(f"Attention {name}", "Attention", list(inputs), define_attention, SIZES,
         {"num_heads": 4, **attributes},
         outputs, half=half, runtime=runtime)


attention("plain", X, W, B, half=True)
attention("without bias", X, W)
attention("lengths", X, W, B, In("b", lengths, I32), half=True)
attention("ends and starts", X, W, B, In("2*b", ends_and_starts, I32))
attention("mask of 2 dims", X, W, B, In("b s", zeros_and_ones, I32))
attention("mask of 3 dims", X, W, B, In("b s s", zeros_and_ones, I32))
attention("mask of 4 dims", X, W, B, In("b 1 40 40", zeros_and_ones, I32), PAST, outputs="11", runtime=False)
attention("other fill", X, W, B, In("b s", integers(0, 2), I32), mask_filter_value=-2.0)
attention("past", X, W, B, None, PAST, outputs="11", half=True)
attention("past and lengths", X, W, B, In("b", lengths, I32), PAST, outputs="11")
attention("past and mask", X, W, B, In("b p+s", zeros_and_ones, I32), PAST, outputs="11", unidirectional=1)
attention("past and mask of 3 dims", X, W, B, In("b s p+s", zeros_and_ones, I32), PAST, outputs="11")
attention("present without past", X, W, B, outputs="11")
attention("causal", X, W, B, unidirectional=1)
attention("causal with past", X, W, B, None, PAST, outputs="11", unidirectional=1, half=True)
attention("causal with lengths", X, W, B, In("b", lengths, I32), unidirectional=1)
attention("bias", X, W, B, None, None, In("b 4 s s"))
attention("bias for all", X, W, B, None, None, In("1 1 s s"), unidirectional=1)
attention("bias, mask and past", X, W, B, In("b p+s", zeros_and_ones, I32), PAST, In("b 1 s p+s"),
          outputs="11",
          runtime=False)
attention("scale", X, W, B, scale=0.3)
attention("other size of values", X, C("12 56"), C("56"), qkv_hidden_sizes=[16, 16, 24])
attention("weights that are computed", X, In("12 48"), In("48"))
attention("rotary", X, W, B, do_rotary=1, runtime=False, half=True)
attention("rotary with past", X, W, B, None, PAST, outputs="11", do_rotary=1, rotary_embedding_dim=2,
          unidirectional=1,
          runtime=False)
attention("buffer", X, W, B, None, In("2 b 4 40 4"), None,
          In("1", lambda dims, sizes, random: [sizes["p"]], I32), outputs="11", past_present_share_buffer=1,
          unidirectional=1, runtime=False)


def quantized(name, *inputs, **more):
    case(f"QAttention {name}", "QAttention", list(inputs), define_quantized_attention, SIZES,
         {"num_heads": 4, **more.pop("attributes", {})}, **more)


QX, QW = In("b s 12", integers(0, 256), numpy.uint8), C("12 48", integers(-128, 128), numpy.int8)
SCALE = C("", lambda dims, sizes, random: 0.01)
quantized("plain", QX, QW, B, SCALE, SCALE, None, C("", lambda *a: 120, numpy.uint8),
          C("", lambda *a: 3, numpy.int8))
quantized("columns", QX, QW, B, SCALE, C("48", lambda d, s, r: r.uniform(0.001, 0.01, d)),
          In("b", lengths, I32),
          C("", lambda *a: 120, numpy.uint8), C("48", lambda d, s, r: r.integers(-5, 5, d), numpy.int8))
quantized("past", QX, QW, B, SCALE, SCALE, In("b", lengths, I32), None, None, PAST, outputs="11",
          attributes={"unidirectional": 1})

# ---- cases: MultiHeadAttention ----

CROSS = [{"b": 2, "s": 5, "l": 7, "p": 3}, {"b": 1, "s": 1, "l": 1, "p": 4},
         {"b": 3, "s": 33, "l": 18, "p": 0}]
Q, K, V = In("b s 16"), In("b l 16"), In("b l 16")
PK, PV = In("b 4 p 4"), In("b 4 p 4")


def heads(name, *inputs, half=False, runtime=True, outputs="1", **attributes):
    # A past is one of self-attention.
    sizes = [{**s, "l": s["s"]} for s in CROSS] if len(inputs) > 6 else CROSS
    case(f"MultiHeadAttention {name}", "MultiHeadAttention", list(inputs), define_multi_head, sizes,
         {"num_heads": 4, **attributes}, outputs, half=half, runtime=runtime)


def key_lengths(dims, sizes, random):
    return random.integers(1, sizes["l"] + 1, dims)


heads("apart", Q, K, V, half=True)
heads("bias", Q, K, V, C("48"))
heads("packed", In("b s 4 3 4"), half=True, runtime=False)
heads("packed keys and values", Q, In("b l 4 2 4"), runtime=False)
heads("keys and values of 4 dims", Q, In("b 4 l 4"), In("b 4 l 4"))
heads("keys of 4 dims and bias", Q, In("b 4 l 4"), In("b 4 l 4"), C("48"))
heads("lengths", Q, K, V, None, In("b", key_lengths, I32))
heads("padding", Q, K, V, C("48"), In("b l", zeros_and_ones, I32), half=True)
heads("padding of 3 dims", Q, K, V, None, In("b s l", zeros_and_ones, I32))
heads("attention bias", Q, K, V, None, None, In("b 4 s l"))
heads("attention bias for all", Q, K, V, C("48"), In("b l", zeros_and_ones, I32), In("1 1 s l"))
heads("past", Q, K, V, C("48"), None, None, PK, PV, outputs="111", half=True)
heads("past and padding", Q, K, V, None, In("b p+s", zeros_and_ones, I32), None, PK, PV, outputs="111")
heads("causal", Q, In("b s 16"), In("b s 16"), unidirectional=1)
heads("causal with past", Q, K, V, None, None, None, PK, PV, outputs="111", unidirectional=1, half=True)
heads("present", Q, K, V, C("48"), outputs="111")
heads("scores", Q, K, V, C("48"), None, In("1 4 s l"), outputs="1001")
heads("scale", Q, K, V, scale=0.7)
heads("other size of values", Q, K, In("b l 24"), C("56"))
heads("buffer", Q, K, V, None, None, None, In("b 4 40 4"), In("b 4 40 4"),
      In("1", lambda dims, sizes, random: [sizes["p"]], I32), outputs="111", unidirectional=1)

# ---- cases: DecoderMaskedMultiHeadAttention ----

DECODE = [{"b": 2, "s": 1, "p": 3, "l": 4}, {"b": 1, "s": 1, "p": 7, "l": 1},
          {"b": 3, "s": 1, "p": 0, "l": 9}]


def decoder(name, *inputs, runtime=True, outputs="1", half=False, **attributes):
    case(f"DecoderMaskedMultiHeadAttention {name}", "DecoderMaskedMultiHeadAttention", list(inputs),
         define_decoder,
         DECODE, {"num_heads": 4, **attributes}, outputs, runtime=runtime, half=half)


Q1, USED = In("b 1 16"), In("1", lambda dims, sizes, random: [sizes["p"]], I32)
BUFFER = In("b 4 12 4")
decoder("buffer", Q1, Q1, Q1, None, None, BUFFER, BUFFER, USED, outputs="111", past_present_share_buffer=1,
        half=True)
decoder("packed", In("b 1 48"), None, None, None, None, BUFFER, BUFFER, USED, None, None, C("48"),
        outputs="111",
        past_present_share_buffer=1, runtime=False)
decoder("mask", Q1, Q1, Q1, In("b p+1", zeros_and_ones, I32), None, BUFFER, BUFFER, USED, outputs="111",
        past_present_share_buffer=1)
decoder("bias", Q1, Q1, Q1, None, In("1 4 1 p+1"), BUFFER, BUFFER, USED, outputs="111",
        past_present_share_buffer=1)
decoder("past", Q1, Q1, Q1, None, None, PK, PV, outputs="111", runtime=False)
decoder("keys of an encoder", Q1, In("b 4 l 4"), In("b 4 l 4"), In("b l", zeros_and_ones, I32))
decoder("scores", Q1, In("b 4 l 4"), In("b 4 l 4"), outputs="1001", output_qk=1)

# ---- cases: batches without padding ----


def offsets(counts, length):
    """Places of the tokens in [batch, length], then those of the padding."""
    places = numpy.arange(len(counts) * length)
    kept = places % length < numpy.repeat(counts, length)
    return numpy.concatenate([places[kept], places[~kept]]).reshape(len(counts), length)


def define_remove(a, x, counts):
    flat = x.reshape(-1, x.shape[2])
    made = offsets(counts, x.shape[1])
    return [flat[made.reshape(-1)[:counts.sum()]], made.astype(I32),
            numpy.concatenate([[0], counts.cumsum()]).astype(I32), numpy.array([counts.max()], I32)]


def define_restore(a, x, offset):
    y = numpy.zeros([offset.size, x.shape[1]])
    y[offset.reshape(-1)[:len(x)]] = x
    return [y.reshape(*offset.shape, x.shape[1])]


def packed_attend(a, q, k, v, offset, sums, extra):
    counts = numpy.diff(sums)
    q, k, v = (heads_of(define_restore(a, x, offset)[0], a["num_heads"]) for x in (q, k, v))
    addend = numpy.where(numpy.arange(k.shape[2]) < counts[:, None], 0, -numpy.inf)[:, None, None]
    y, _, _ = attend(q, k, v, addend + (0 if extra is None else extra), a.get("scale", 0))
    y = rows_of(y)
    return [y.reshape(-1, y.shape[2])[offset.reshape(-1)[:sums[-1]]]]


def define_packed_attention(a, x, w, bias, offset, sums, extra=None):
    sizes = a.get("qkv_hidden_sizes", [w.shape[1] // 3] * 3)
    return packed_attend(a, *numpy.split(x @ w + bias, numpy.cumsum(sizes)[:2], 1), offset, sums, extra)


def define_packed_heads(a, q, k, v, bias, offset, sums, extra=None):
    if q.ndim == 4:
        q, k, v = (q[:, :, i].reshape(len(q), -1) for i in range(3))
    if bias is not None:
        bq, bk, bv = numpy.split(bias, numpy.cumsum([q.shape[1], k.shape[1]]))
        q, k, v = q + bq, k + bk, v + bv
    return packed_attend(a, q, k, v, offset, sums, extra)


COUNTS = {(2, 5): [5, 3], (1, 1): [1], (3, 9): [2, 9, 1]}
PACKS = [{"b": b, "s": s, "t": sum(c)} for (b, s), c in COUNTS.items()]
PLACES = In("b s", lambda d, z, r: offsets(numpy.array(COUNTS[tuple(d)]), d[1]), I32)
SUMS = In("b+1", lambda d, z, r: numpy.cumsum([0, *COUNTS[z["b"], z["s"]]]), I32)
NUMBER_OF_HEADS = {"num_heads": 4}


def packs(name, op, inputs, define, outputs="1", **attributes):
    case(name, op, inputs, define, PACKS, attributes, outputs, runtime=False, half=True)


packs("RemovePadding", "RemovePadding",
      [In("b s 6"), In("b", lambda d, z, r: COUNTS[z["b"], z["s"]], I32)], define_remove, "1111")
packs("RestorePadding", "RestorePadding", [In("t 6"), PLACES], define_restore)
packs("PackedAttention", "PackedAttention", [In("t 12"), W, B, PLACES, SUMS], define_packed_attention,
      **NUMBER_OF_HEADS)
packs("PackedAttention bias", "PackedAttention",
      [In("t 12"), C("12 56"), C("56"), PLACES, SUMS, In("1 4 s s")], define_packed_attention,
      qkv_hidden_sizes=[16, 16, 24], scale=0.3, **NUMBER_OF_HEADS)
packs("PackedMultiHeadAttention", "PackedMultiHeadAttention",
      [In("t 16"), In("t 16"), In("t 24"), C("56"), PLACES, SUMS], define_packed_heads, **NUMBER_OF_HEADS)
packs("PackedMultiHeadAttention together", "PackedMultiHeadAttention",
      [In("t 4 3 4"), None, None, C("48"), PLACES, SUMS, In("b 1 s s")], define_packed_heads,
      **NUMBER_OF_HEADS)


@pytest.mark.parametrize("op", sorted({c.op for c in CASES.values()}))
def test_compiled(op, tmp_path):
    check_cases({name: c for name, c in CASES.items() if c.op == op}, tmp_path)


@pytest.mark.parametrize("name", [name for name, c in CASES.items() if c.runtime])
def test_definition(name):
    check_definition(CASES[name])


BEAMS = In("b 1 s", integers(0, 1), I32)
REFUSED = [
    ("reorder the cache between runs", "MultiHeadAttention", [Q, K, V, *[None] * 5, USED, BEAMS], {}),
    ("reorder the cache between runs", "DecoderMaskedMultiHeadAttention",
     [Q1, Q1, Q1, *[None] * 6, BEAMS], {}),
    ("give one of them", "MultiHeadAttention",
     [Q, In("b 4 l 4"), In("b 4 l 4"), None, None, None, PK, PV], {}),
    ("export it without shared buffers", "QAttention", [QX, QW, B, SCALE, SCALE, None, None, None, PAST],
     {"past_present_share_buffer": 1}),
    ("give rotary_embedding_dim", "Attention", [X, In("12 n")], {"do_rotary": 1}),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refused(number, tmp_path):
    text, op, inputs, attributes = REFUSED[number]
    message = refusal(Case(op, inputs, None, [], {"num_heads": 4, **attributes}), tmp_path)
    assert text in message and "E0202" in message, message
