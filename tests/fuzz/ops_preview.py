# SPDX-License-Identifier: Apache-2.0
"""FlexAttention, by onnx's reference evaluator, with bodies that change scores and probabilities."""

import numpy

from elements import F16, F32, T
from tables import entry

DOMAIN = "ai.onnx.preview"


def modifier(g, kind, shape, name):
    """A body of a few elementwise nodes, or None."""
    if g.chance(0.4):
        return None, None
    body = g.body()
    x = first = body.add(g.random.uniform(0, 1, shape).astype(kind), exact=False)
    for _ in range(g.integer(1, 3)):
        way = g.pick(["scale", "cap", "shift", "mask", "square"])
        number = body.constant(numpy.array(g.pick([0.5, 1.5, 2.0]), kind))
        if way == "scale":
            x = body.node("Mul", [x, number])
        elif way == "cap":
            x = body.node("Tanh", [x])
        elif way == "shift":
            x = body.node("Add", [x, body.constant(g.random.uniform(-1, 1, shape[-2:]).astype(kind))])
        elif way == "mask":
            kept = g.random.random(shape[-2:]) < 0.7
            kept[..., 0] = True
            low = body.constant(numpy.array(-100 if name == "score" else 0, kind))
            x = body.node("Where", [body.constant(kept), x, low])
        else:
            x = body.node("Mul", [x, x])
    return body, body.body_proto([first], [x], name)


@entry("FlexAttention", since=26)
def flex_attention(g):
    g.root.opsets[DOMAIN] = 1
    kind = g.pick([F32, F32, F16])  # float64: how much of it is computed in float32, the standard leaves open
    batch, heads, share, q, k = g.integer(1, 2), g.integer(1, 2), g.integer(1, 3), g.integer(1, 4), g.integer(1, 5)
    size, other = g.integer(1, 8), g.integer(1, 5)
    values = [g.fresh(kind, s, special=0.0) for s in ([batch, heads * share, q, size], [batch, heads, k, size],
                                                      [batch, heads, k, other])]
    precise = g.pick([None, None, T.FLOAT])
    made = {n: modifier(g, numpy.float32, [batch, heads * share, q, k], n) for n in ("score", "prob")}
    g.node("FlexAttention", values, domain=DOMAIN, reference=True, bodies=[b for b, _ in made.values() if b is not None],
           scale=g.pick([None, 0.5]), softmax_precision=precise, score_mod=made["score"][1], prob_mod=made["prob"][1])
