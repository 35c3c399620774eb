# SPDX-License-Identifier: Apache-2.0
"""Recurrences and attention."""

import numpy

from elements import BOOL, F16, F32
from tables import entry

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@entry("LSTM", "GRU", "RNN")
def recurrent(g, op):
    length, batch, width, hidden = g.integer(1, 5), g.integer(1, 3), g.integer(1, 4), g.integer(1, 4)
    direction = g.pick(["forward", "reverse", "bidirectional"])
    d = 2 if direction == "bidirectional" else 1
    layout = g.pick([0, 0, 0, 1]) if g.opset >= 14 else 0
    gates = GATES[op]
    x = g.fresh(F32, [length, batch, width] if not layout else [batch, length, width], special=0.0)
    w = g.fresh(F32, [d, gates * hidden, width], -1, 1, special=0.0)
    r = g.fresh(F32, [d, gates * hidden, hidden], -1, 1, special=0.0)
    bias = g.fresh(F32, [d, 2 * gates * hidden], -1, 1, special=0.0) if g.chance(0.6) else None
    # after no step, ONNX Runtime gives a state of zeros in place of the first state; the text does not say
    lengths = g.place(g.random.integers(1, length + 1, size=batch).astype(numpy.int32)) \
        if g.chance(0.4) else None
    state = [d, batch, hidden] if not layout else [batch, d, hidden]
    initial = [g.fresh(F32, state, special=0.0) if g.chance(0.4) else None for _ in range(2 if op == "LSTM" else 1)]
    peepholes = [g.fresh(F32, [d, 3 * hidden], special=0.0) if g.chance(0.3) else None] if op == "LSTM" else []
    attributes = {"hidden_size": hidden, "direction": direction if d == 2 or g.chance(0.7) else None,
                  "layout": layout or None, "clip": g.pick([None, None, 1.0])}
    if attributes["direction"] is None and direction == "reverse":
        attributes["direction"] = "reverse"
    if op == "GRU":
        attributes["linear_before_reset"] = g.pick([None, 0, 1])
    if op == "LSTM":
        attributes["input_forget"] = g.pick([None, None, 1])
    if g.chance(0.3):
        some = ["Sigmoid", "Tanh", "Relu"] + (["HardSigmoid", "Softsign"] if g.chance(0.5) else [])
        attributes["activations"] = [g.pick(some) for _ in range({"LSTM": 3, "GRU": 2, "RNN": 1}[op] * d)]
    outputs = [g.chance(0.7) for _ in range(3 if op == "LSTM" else 2)]
    if not any(outputs):
        outputs[0] = True
    g.node(op, [x, w, r, bias, lengths, *initial, *peepholes], outputs + [False] * (2 - len(outputs)), **attributes)


@entry("Attention", since=23)
def attention(g):
    batch, kv, groups = g.integer(1, 2), g.integer(1, 2), g.integer(1, 2)
    q, k = g.integer(1, 5), g.integer(1, 6)
    size, value = g.integer(1, 4), g.integer(1, 4)
    heads = kv * groups
    causal = g.chance(0.4)
    if causal and g.chance(0.7):
        k = q
    flat = g.chance(0.4)
    if flat:
        shapes = [[batch, q, heads * size], [batch, k, kv * size], [batch, k, kv * value]]
        attributes = {"q_num_heads": heads, "kv_num_heads": kv}
    else:
        shapes = [[batch, heads, q, size], [batch, kv, k, size], [batch, kv, k, value]]
        attributes = {}
    kind = g.pick([F32, F32, F16])
    values = [g.fresh(kind, s, -1.5, 1.5, special=0.0) for s in shapes]
    past = g.integer(1, 3) if g.chance(0.25) else 0
    mask = None
    if g.chance(0.5):
        whole = [batch, heads, q, k + past]
        some = whole[2:] if g.chance(0.5) else [1 if g.chance(0.3) else d for d in whole[:2]] + whole[2:]
        mask = g.fresh(g.pick([BOOL, kind]), some, special=0.0)
        if mask.type == BOOL:  # a row that is masked out has no answer
            sample = mask.sample.copy()
            sample[..., 0] = True
            mask = g.place(sample)
    pasts = []
    outputs = 1
    if past:
        pasts = [g.fresh(kind, [batch, kv, past, size], special=0.0),
                 g.fresh(kind, [batch, kv, past, value], special=0.0)]
        outputs = 3
    # Causal rows start behind the past; ONNX Runtime aligns the last query with the last key.
    g.node("Attention", [*values, mask, *pasts], outputs, is_causal=int(causal) or None,
           reference=bool(causal and past and k != q),
           scale=g.pick([None, 0.5]), softcap=g.pick([None, None, 2.0]),
           **attributes)  # float64 is computed partly in float32 by both oracles


@entry("RotaryEmbedding", since=23)
def rotary_embedding(g):
    batch, heads, length, half = g.integer(1, 2), g.integer(1, 3), g.integer(1, 4), g.integer(1, 3)
    flat = g.chance(0.4)
    x = g.fresh(F32, [batch, length, heads * 2 * half] if flat else [batch, heads, length, 2 * half])
    part = g.integer(1, half) if g.chance(0.3) else half
    if g.chance(0.6):
        most = length + g.integer(0, 3)
        caches = [g.fresh(F32, [most, part], -1, 1) for _ in range(2)]
        places = [g.place(g.random.integers(0, most, size=(batch, length)))]
    else:
        caches = [g.fresh(F32, [batch, length, part], -1, 1) for _ in range(2)]
        places = []
    g.node("RotaryEmbedding", [x, *caches, *places], interleaved=g.pick([None, 0, 1]),
           num_heads=heads if flat else None, rotary_embedding_dim=2 * part if part < half else None)


@entry("LinearAttention", since=27)
def linear_attention(g):
    batch, heads, length, k, v = g.integer(1, 2), g.integer(1, 2), g.integer(1, 4), g.integer(1, 3), g.integer(1, 3)
    q = g.fresh(F32, [batch, length, heads * k], special=0.0)
    key = g.fresh(F32, [batch, length, heads * k], -1, 1, special=0.0)
    value = g.fresh(F32, [batch, length, heads * v], special=0.0)
    rule = g.pick(["linear", "gated", "delta", "gated_delta"])
    decay = g.fresh(F32, [batch, length, heads], -1, 0, special=0.0) if "gated" in rule else None
    beta = g.fresh(F32, [batch, length, heads], 0, 1, special=0.0) if "delta" in rule else None
    g.node("LinearAttention", [q, key, value, None, decay, beta], 2, q_num_heads=heads, kv_num_heads=heads,
           update_rule=rule, reference=True)
