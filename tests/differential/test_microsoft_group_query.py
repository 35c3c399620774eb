# SPDX-License-Identifier: Apache-2.0
"""GroupQueryAttention and RotaryEmbedding of ONNX Runtime; microsoft_cases.py says how.

Caches grow, or are buffers of which a part is used; samples of a batch have different lengths.
"""

import numpy
import pytest
from microsoft_attend import attend, heads_of, rotate, rows_of
from microsoft_cases import C, Case, In, check_cases, check_definition, failure, integers, refusal

CASES = {}
I32 = numpy.int32


def case(name, *arguments, **more):
    assert name not in CASES
    CASES[name] = Case(*arguments, **more)


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
    return [rows_of(y), k, v, (weights if a.get("qk_output") == 2 else scores)[..., :total]]


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


def valid_chunk(i, array, sizes, arrays):
    """The same where query_seqlens says which queries are padding."""
    for b, (end, used) in enumerate(zip(arrays[5] + 1, arrays[16])):
        if i == 0:
            array[b, used:] = 0
        else:
            array[b, :, end:] = 0
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
grouped("weights of a buffer", FIXED, *STEP, outputs="1111", qk_output=2, valid=visible_scores)
grouped("weights and sink", FIXED, *STEP, None, None, None, None, In("4"), outputs="1111", qk_output=2,
        valid=visible_scores)
grouped("scores and sink", GROWING, *STEP, None, None, None, None, In("4"), outputs="1111", qk_output=1,
        valid=visible_scores)
grouped("not causal", FIXED, *STEP, causal=0)
grouped("norms of heads", FIXED, *STEP, COS, SIN, None, None, None, None, None, C("16"), C("16"), do_rotary=1,
        runtime=False)
grouped("padded chunk", [{"b": 2, "s": 4, "p": 16, "t": 9}], *STEP[:5],
        In("b", lambda d, s, r: [8, 5], I32), TOTAL, COS, SIN, None, None, None, None, None, None, None,
        In("b", lambda d, s, r: [4, 2], I32), do_rotary=1, valid=valid_chunk)
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


REFUSED = [
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


BAD_DATA = [
    ("an end behind the buffer", "GroupQueryAttention growing", {5: 40}),
    ("an end behind the past and the new keys", "GroupQueryAttention growing", {5: 40, 6: 41}),
    ("a negative end", "GroupQueryAttention buffer", {5: -9}),
    ("a position behind the table", "RotaryEmbedding rows", {1: 64}),
    ("a negative position", "RotaryEmbedding rows", {1: -1}),
]


@pytest.mark.parametrize("what, name, changes", BAD_DATA)
def test_bad_data(what, name, changes, tmp_path):
    """A run fails, and says where."""
    message = failure(CASES[name], changes, tmp_path)
    assert "node0" in message, message
