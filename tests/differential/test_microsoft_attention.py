# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's attention operators against their documented definition; microsoft_cases.py says how.

Lengths are 0, 1 and more, pasts 0 and more, and the samples of a batch have different lengths.
"""

import numpy
import pytest
from microsoft_cases import C, Case, In, check_cases, check_definition, integers, refusal

CASES = {}


def case(name, *arguments, **more):
    assert name not in CASES
    CASES[name] = Case(*arguments, **more)


# ---- definitions ----


def softmax(x, sink=None):
    top = x.max(-1, keepdims=True, initial=-numpy.inf)
    if sink is not None:
        top = numpy.maximum(top, sink)
    e = numpy.exp(x - top)
    return e / (e.sum(-1, keepdims=True) + (0 if sink is None else numpy.exp(sink - top)))


def heads_of(x, heads):
    b, s, d = x.shape
    return x.reshape(b, s, heads, d // heads if d else 0).transpose(0, 2, 1, 3)


def rows_of(x):
    b, n, s, h = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, s, n * h)


def attend(q, k, v, addend=0.0, scale=0.0, softcap=0.0, sink=None):
    """q [b, n, s, h], k and v [b, m, t, h]; returns the result and the scores before and after softmax."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat(groups, 1), v.repeat(groups, 1)
    scores = q @ k.transpose(0, 1, 3, 2) * (scale or 1 / q.shape[3] ** 0.5)
    if softcap:
        scores = softcap * numpy.tanh(scores / softcap)
    scores = scores + addend
    weights = softmax(scores, sink)
    return weights @ v, scores, weights


def padding(mask, b, s, t, past, fill):
    """The addend of a padding mask of any rank, [b, 1, s or 1, t]."""
    j = numpy.arange(t)
    if mask is None:
        return numpy.zeros([1, 1, 1, 1])
    if mask.ndim == 1:
        seen = j < mask[:b, None]
        if mask.size == 2 * b:
            seen &= j >= mask[b:, None]
        seen = seen[:, None, None]
    elif mask.ndim == 4:
        seen = mask[:, :, past:past + s, :t] > 0
    else:
        seen = (mask[:, None, None] if mask.ndim == 2 else mask[:, None]) > 0
    return numpy.where(seen, 0, fill)


def causal(s, t, past):
    return numpy.where(numpy.arange(t) <= past + numpy.arange(s)[:, None], 0, -numpy.inf)


def rotate(x, cos, sin, positions, interleaved=False):
    """x [b, n, s, h]; tables [positions, half]; positions [b, s]."""
    half = cos.shape[1]
    c, d = cos[positions][:, None], sin[positions][:, None]
    turned = x.copy()
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (slice(0, half),
                                                                                        slice(half, 2 * half))
    turned[..., first] = x[..., first] * c - x[..., second] * d
    turned[..., second] = x[..., first] * d + x[..., second] * c
    return turned


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
zeros_and_ones = integers(0, 2)
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
attention("other fill", X, W, B, In("b s", zeros_and_ones, I32), mask_filter_value=-2.0)
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
    sizes = [{**s, "l": s["s"]} if any(i and "p" in i.dims for i in inputs) else s for s in CROSS]
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
      In("1", lambda dims, sizes, random: [sizes["p"]], I32), outputs="111", unidirectional=1, runtime=False)

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

# ---- cases: GroupQueryAttention ----


def group_query(a, q, k, v, past_k, past_v, ends, total, cos, sin, positions, extra, sink, q_norm, k_norm,
                used):
    heads, kv_heads = a["num_heads"], a["kv_num_heads"]
    b, s = q.shape[:2]
    if k is None:
        size = q.shape[2] // (heads + 2 * kv_heads)
        q, k, v = numpy.split(q, [heads * size, (heads + kv_heads) * size], 2)
    q, k, v = heads_of(q, heads), heads_of(k, kv_heads), heads_of(v, kv_heads)
    if q_norm is not None:
        q, k = (x / numpy.sqrt((x * x).mean(-1, keepdims=True) + a.get("qk_norm_epsilon", 1e-6)) * w
                for x, w in ((q, q_norm), (k, k_norm)))
    ends, total = ends + 1, int(total.reshape(()))
    starts = ends - used if used is not None else numpy.zeros_like(ends) if total == s else ends - s
    rows = starts[:, None] + numpy.arange(s)
    if a.get("do_rotary"):
        at = rows if positions is None else positions
        if positions is not None and total == s:  # of a whole sequence only the first position counts
            at = positions[0, 0] + numpy.arange(s)[None].repeat(b, 0)
        q, k = (rotate(x, cos, sin, at, a.get("rotary_interleaved")) for x in (q, k))
    if past_k is not None:
        present = []
        for past, fresh in ((past_k, k), (past_v, v)):
            whole = numpy.zeros([b, kv_heads, max(total, past.shape[2]), past.shape[3]])
            whole[:, :, :past.shape[2]] = past
            for i, start in enumerate(starts):
                whole[i, :, start:start + s] = fresh[i]
            present.append(whole)
        k, v = present
    j = numpy.arange(k.shape[2])
    if a.get("causal", 1):
        seen = j <= rows[:, :, None]
        if a.get("local_window_size", -1) > 0:
            seen &= j > rows[:, :, None] - a["local_window_size"]
    else:
        seen = (j < ends[:, None])[:, None].repeat(s, 1)
    addend = numpy.where(seen, 0, -numpy.inf)[:, None]
    if extra is not None:
        addend = addend + numpy.pad(extra, ((0, 0), (0, 0), (0, 0), (0, k.shape[2] - total)))
    if sink is None and a.get("smooth_softmax"):
        sink = numpy.zeros(heads)
    sink = None if sink is None else sink[:, None, None]
    y, scores, weights = attend(q, k, v, addend, a.get("scale", 0), a.get("softcap", 0), sink)
    return [rows_of(y), k, v, weights if a.get("qk_output") == 2 else scores]


def define_group_query(a, q, k, v, past_k, past_v, ends, total, cos=None, sin=None, positions=None,
                       extra=None,
                       sink=None, k_scale=None, v_scale=None, q_norm=None, k_norm=None, used=None):
    return group_query(a, q, k, v, past_k, past_v, ends, total, cos, sin, positions, extra, sink, q_norm,
                       k_norm,
                       used)


# t is total_sequence_length. A prompt (s = t, samples padded at the right), then steps of one token with
# samples of different lengths, then a step of several for one sample.
PROMPT = [{"b": 2, "s": 5, "p": 0, "t": 5}, {"b": 1, "s": 1, "p": 0, "t": 1},
          {"b": 3, "s": 33, "p": 0, "t": 33}]
GROWING = [{"b": 2, "s": 1, "p": 3, "t": 4}, {"b": 1, "s": 4, "p": 5, "t": 9},
           {"b": 1, "s": 1, "p": 30, "t": 31},
           {"b": 3, "s": 6, "p": 0, "t": 6}]
FIXED = [{"b": 2, "s": 1, "p": 12, "t": 7}, {"b": 1, "s": 4, "p": 16, "t": 9},
         {"b": 2, "s": 5, "p": 16, "t": 5},
         {"b": 1, "s": 16, "p": 16, "t": 16}]


def last_keys(dims, sizes, random):
    """seqlens_k: one sample is as long as all, the others are shorter."""
    b, s, t = sizes["b"], sizes["s"], sizes["t"]
    made = random.integers(1 if s == t else s, t + 1, [b])
    made[0] = t
    return (made if s == t or s == 1 else numpy.full([b], t)) - 1


def valid_rows(i, array, sizes, arrays):
    """Padded queries are not defined; nor are cache entries behind a sample's length."""
    ends = arrays[5] + 1
    array = numpy.where(numpy.isinf(array), 0, array)
    for b, end in enumerate(ends):
        first = 0 if sizes["s"] == sizes["t"] else end - sizes["s"]
        if i == 0:
            array[b, end - first:] = 0
        elif i < 3:
            array[b, :, end:] = 0
        else:
            array[b, :, end - first:] = 0
    return array


def visible_scores(i, array, sizes, arrays):
    """Of scores, those of keys that a query sees."""
    array = valid_rows(i, array, sizes, arrays)
    if i == 3:
        first = sizes["t"] - sizes["s"]
        array[..., sizes["t"]:] = 0
        array = array * (numpy.arange(array.shape[3]) <= first + numpy.arange(sizes["s"])[:, None])
    return array


ENDS, TOTAL = In("b", last_keys, I32), In("", lambda dims, sizes, random: sizes["t"], I32)
GQ, GK, GP = In("b s 64"), In("b s 32"), In("b 2 p 16")
PACKED = In("b s 128")


def table(function, half):
    return C(f"64 {half}", lambda *_: function(numpy.arange(64)[:, None] / 7.0 ** numpy.arange(half)))


COS, SIN = table(numpy.cos, 8), table(numpy.sin, 8)
SHORT_COS, SHORT_SIN = table(numpy.cos, 4), table(numpy.sin, 4)


def grouped(name, sizes, *inputs, valid=valid_rows, outputs="111", runtime=True, half=False, **attributes):
    case(f"GroupQueryAttention {name}", "GroupQueryAttention", list(inputs), define_group_query, sizes,
         {"num_heads": 4, "kv_num_heads": 2, **attributes}, outputs, runtime=runtime, half=half, valid=valid)


STEP = (GQ, GK, GK, GP, GP, ENDS, TOTAL)
PSTEP = (PACKED, None, None, GP, GP, ENDS, TOTAL)
grouped("prompt", PROMPT, GQ, GK, GK, None, None, ENDS, TOTAL, half=True)
grouped("prompt, packed and rotary", PROMPT, PACKED, None, None, None, None, ENDS, TOTAL, COS, SIN,
        do_rotary=1)
grouped("growing", GROWING, *STEP, half=True)
grouped("growing and rotary", GROWING, *STEP, COS, SIN, do_rotary=1)
grouped("buffer", FIXED, *STEP, half=True)
grouped("buffer, packed and rotary", FIXED, *PSTEP, COS, SIN, do_rotary=1, half=True)
grouped("interleaved", FIXED, *PSTEP, COS, SIN, do_rotary=1, rotary_interleaved=1)
grouped("rotary of a part", FIXED, GQ, GK, GK, In("b 1 p 32"), In("b 1 p 32"), ENDS, TOTAL, COS, SIN,
        do_rotary=1,
        num_heads=2, kv_num_heads=1)
grouped("window", FIXED + GROWING, *STEP, local_window_size=3)
grouped("softcap", FIXED, *STEP, softcap=1.5, scale=1.0)
grouped("smooth softmax", FIXED, *STEP, smooth_softmax=1)
grouped("sink", FIXED + GROWING, *STEP, None, None, None, None, In("4"), half=True)
grouped("sink, window and softcap", FIXED, *PSTEP, COS, SIN, None, None, In("4"), do_rotary=1,
        local_window_size=4,
        softcap=2.0)
grouped("positions", FIXED, *STEP, COS, SIN, In("b s", integers(0, 40), numpy.int64), do_rotary=1)
grouped("bias", FIXED + GROWING, *STEP, None, None, None, In("b 4 s t"))
grouped("bias for all", GROWING, *STEP, None, None, None, In("1 1 s t"), scale=0.25)
grouped("scores", GROWING, *STEP, outputs="1111", qk_output=1, valid=visible_scores)
grouped("weights", GROWING, *STEP, outputs="1111", qk_output=2, valid=visible_scores)
grouped("not causal", FIXED, *STEP, causal=0)
grouped("norms of heads", FIXED, *STEP, COS, SIN, None, None, None, None, None, C("16"), C("16"), do_rotary=1,
        runtime=False)
grouped("padded chunk", [{"b": 2, "s": 4, "p": 16, "t": 9}], *STEP[:5],
        In("b", lambda d, s, r: [8, 5], I32), TOTAL, COS, SIN, None, None, None, None, None, None, None,
        In("b", lambda d, s, r: [4, 2], I32), do_rotary=1, runtime=False)
grouped("only the output", PROMPT, *STEP, outputs="1")

# ---- cases: RotaryEmbedding ----


def define_rotary(a, x, positions, cos, sin):
    flat = x.ndim == 3
    if flat:
        x = heads_of(x, a.get("num_heads") or x.shape[2] // (2 * cos.shape[1]))
    s = x.shape[2]
    if positions.ndim == 1:
        positions = (positions + numpy.arange(s))[None].repeat(x.shape[0], 0)
    y = rotate(x, cos, sin, positions, a.get("interleaved"))
    return [rows_of(y) if flat else y]


def rotary(name, *inputs, half=False, **attributes):
    case(f"RotaryEmbedding {name}", "RotaryEmbedding", [*inputs, SHORT_COS, SHORT_SIN], define_rotary,
         [{"b": 2, "s": 5}, {"b": 1, "s": 1}, {"b": 3, "s": 33}], attributes, half=half)


I64 = numpy.int64
rotary("rows", In("b s 32"), In("b s", integers(0, 64), I64), half=True)
rotary("one position", In("b s 32"), In("1", integers(0, 30), I64))
rotary("interleaved", In("b s 32"), In("b s", integers(0, 64), I64), interleaved=1)
rotary("heads apart", In("b 3 s 8"), In("b s", integers(0, 64), I64))
rotary("heads apart from one position", In("b 3 s 8"), In("1", integers(0, 30), I64), interleaved=1)
rotary("part of a head", In("b s 40"), In("b s", integers(0, 64), I64), num_heads=4, rotary_embedding_dim=8)
rotary("ragged", In("b s 32"), In("b s", integers(0, 64), I64), is_packed_batching=1)
rotary("scale", In("b s 32"), In("b s", integers(0, 64), I64), scale=0.5)



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
    ("cache of the type of its activations", "GroupQueryAttention", [*STEP, *[None] * 5, In("1"), In("1")],
     {"kv_num_heads": 2}),
    ("cache of the whole sequence", "GroupQueryAttention", [*STEP],
     {"kv_num_heads": 2, "sliding_window_cache": 1, "local_window_size": 3}),
    ("declare its dims", "GroupQueryAttention", [*STEP, In("m h"), In("m h")],
     {"kv_num_heads": 2, "do_rotary": 1}),
    ("set num_heads", "RotaryEmbedding", [In("b s d"), In("b s", None, I64), In("m h"), In("m h")],
     {"num_heads": 0}),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refused(number, tmp_path):
    text, op, inputs, attributes = REFUSED[number]
    message = refusal(Case(op, inputs, None, [], {"num_heads": 4, **attributes}), tmp_path)
    assert text in message and "E0202" in message, message
