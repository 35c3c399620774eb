# SPDX-License-Identifier: Apache-2.0
"""Loops over time that are Scans, recurrences that become regions, products by packed weights."""

import numpy

from elements import F32, I8, T, U8
from graph import Refused
from patterns import Pattern
from tables import entry


def fresh(g, shape, **how):
    return g.fresh(F32, shape, -1, 1, special=0.0, **how)


def index_of_round(p, body, iteration, count):
    """The number of the round, or that counted from the end; now and then another one."""
    if p.twist():
        return body.constant(numpy.array(0))
    if p.twist():
        return body.node("Mul", [iteration, body.constant(numpy.array(1))])
    if p.g.chance(0.3):
        return body.node("Sub", [body.constant(numpy.array(count - 1)), iteration])
    return body.node("Identity", [iteration]) if p.g.chance(0.3) else iteration


@entry("loop_to_scan", since=13)
def loop_to_scan(g):
    """Each round gathers its slice; the results are collected by the loop or in a sequence."""
    p = Pattern(g, "loop_to_scan")
    count, shape = g.integer(1, 5), [g.integer(1, 4) for _ in range(g.integer(1, 2))]
    axis = g.integer(0, len(shape))
    whole = [*shape[:axis], count, *shape[axis:]]
    slices = [g.fresh(F32, whole, special=0.0) for _ in range(g.integer(1, 2))]
    state = fresh(g, shape)
    collected = g.chance(0.4)
    trips = count
    if p.twist():
        trips = g.integer(0, count)  # not all slices
    if collected and trips == 0:
        raise Refused("a join of nothing")
    start = g.node("SequenceEmpty", []) if collected else None

    body = g.body()
    body.pool = []
    iteration, condition = body.add(numpy.array(0)), body.add(numpy.array(True))
    h = body.add(state.sample, exact=state.exact)
    sequence = body.add([state.sample], exact=False) if collected else None
    y = h
    for x in slices:
        at = index_of_round(p, body, iteration, count)
        part = body.node("Gather", [x, at], axis=axis - len(whole) if g.chance(0.3) else axis)
        y = body.node(g.pick(["Add", "Mul"]), [y, part])
    y = body.node(g.pick(["Tanh", "Sigmoid", "Identity"]), [y])
    if p.twist():
        y = body.node("Add", [y, body.node("Cast", [iteration], to=F32)])
    test = condition if g.chance(0.5) else body.constant(numpy.array(True))
    if p.twist():
        test = body.node("Less", [iteration, body.constant(numpy.array(g.integer(0, count)))])
    test = body.node("Identity", [test])
    follow = body.node("Identity", [y])
    item = y if g.chance(0.5) else body.node("Neg", [y])
    outputs = [test, follow]
    if collected:
        where = body.constant(numpy.array(0)) if p.twist() else None
        outputs.append(body.node("SequenceInsert", [sequence, item, where]))
    else:
        outputs.append(body.node("Identity", [item]))
    inputs = [iteration, condition, h, *([sequence] if collected else [])]
    proto = body.body_proto(inputs, outputs)
    limit = g.input(numpy.array(trips)) if p.twist() else g.place(numpy.array(trips), True)
    if g.chance(0.3) and trips == count:
        limit = g.node("Gather", [g.node("Shape", [slices[0]]), g.constant(numpy.array(axis))])
    begin = g.constant(numpy.array(True)) if g.chance(0.4) else None
    last, result = g.node("Loop", [limit, begin, state, *([start] if collected else [])], 2, bodies=[body], body=proto,
                          exact=False)
    if not collected:
        return result
    rank = result.sample[0].ndim if result.sample else 0
    if rank == 0:
        raise Refused("no axis")
    stacked = g.integer(0, 1)
    joined = g.node("ConcatFromSequence", [result], axis=g.integer(0, rank - 1 + stacked), new_axis=stacked)
    if p.twist():
        g.node("SequenceLength", [result])
    return joined


@entry("form_scan_regions", since=13)
def form_scan_regions(g):
    """A plain recurrence: gates, views of one element, a sum over the last axis; with twists, a step that is not."""
    p = Pattern(g, "form_scan_regions")
    length, b, d, n = g.integer(1, 5), g.integer(1, 3), g.integer(1, 4), g.pick([1, 3, 8, 17])
    state = fresh(g, [b, d, n])
    x = fresh(g, [length, b, d])
    a = g.fresh(F32, [length, b, d, n], 0.1, 0.9, special=0.0)
    outer = fresh(g, g.pick([[d, n], [n], [], [1, d, 1]]))

    body = g.body()
    body.pool = []
    h = body.add(state.sample)
    items = [body.add(v.sample[0]) for v in (a, x)]
    fed = body.node("Unsqueeze", [items[1], body.constant(numpy.array([-1 if not p.twist() else 0]))]) \
        if b == d or g.chance(0.9) else items[1]
    step = body.node("Mul", [items[0], h] if g.chance(0.5) else [h, items[0]])
    step = body.node("Add", [step, fed])
    if g.chance(0.5):
        step = body.node(g.pick(["Mul", "Add", "Sub"]), [step, outer])
    if g.chance(0.4):
        step = body.node(g.pick(["Tanh", "Sigmoid", "Relu", "Neg", "Abs"]), [step])
    if p.twist():
        step = body.node("Transpose", [step], perm=[1, 0, 2] if b == d else [0, 1, 2])
    if p.twist():
        step = body.node("MatMul", [step, body.constant(numpy.eye(n, dtype=numpy.float32) * 0.5)])
    axes = body.constant(numpy.array([-1 if not p.twist() else g.integer(0, 2)]))
    made = []
    if g.chance(0.6):
        made.append(body.node("ReduceSum", [step, axes], keepdims=g.integer(0, 1)))
    if not made or g.chance(0.4):
        made.append(body.node("Mul", [step, step]))
    follow = body.node("Identity", [step])
    if follow.shape != state.shape:
        raise Refused("a state that changes its dims")
    proto = body.body_proto([h, *items], [follow, *made])
    how = {"num_scan_inputs": 2}
    if g.chance(0.3):
        how["scan_input_directions"] = [g.integer(0, 1)] * 2
    if g.chance(0.3):
        how["scan_output_directions"] = [g.integer(0, 1) for _ in made]
    if g.chance(0.3):
        how["scan_output_axes"] = [g.integer(-1, v.rank) for v in made]
    g.node("Scan", [state, a, x], 1 + len(made), bodies=[body], body=proto, exact=False, **how)


@entry("recognize_packed_products", since=21)
def recognize_packed_products(g):
    """Weights of few bits: a scale for each column or block, turned or not, a Gemm or a MatMul, blocks as a dim."""
    p = Pattern(g, "recognize_packed_products")
    kinds = [T.UINT4, T.INT4, U8, I8] + ([T.UINT2, T.INT2] if g.opset >= 25 else [])
    kind = g.pick(kinds)
    block = g.pick([None, 16, 32]) if not p.twist() else 8
    k, n = (block or 16) * g.integer(1, 3), g.integer(1, 40)
    turned = g.chance(0.5)  # as [n, k]
    along = int(turned)
    constant = not p.twist()
    shape = [n, k] if turned else [k, n]
    w = g.fresh(kind, shape, -8, 15, special=0.0, constant=constant)
    if p.twist():
        along = 1 - along  # scales for each row of the sum, or blocks of columns
    if block is None:
        rest, how = [shape[1 - along]], {"axis": 1 - along}
    else:
        if shape[along] % block:
            raise Refused("part of a block")
        rest, how = list(shape), {"axis": along, "block_size": block}
        rest[along] //= block
    if p.twist():
        rest, how = [], {}
    scale = g.fresh(F32, rest, 0.03, 0.2, special=0.0, constant=not p.twist())
    low, high = {T.INT2: (-2, 1), T.UINT2: (0, 3), T.INT4: (-8, 7), T.UINT4: (0, 15)}.get(kind, (0, 100))
    points = [g.fresh(kind, rest, low, high, special=0.0, constant=not p.twist())] if g.chance(0.6) else []
    y = p.inner(g.node("DequantizeLinear", [w, scale, *points], **how))
    rows = g.pick([1, 2, 5])
    if g.chance(0.3):
        x = fresh(g, [rows, k])
        bias = [fresh(g, g.pick([[n], [1, n], []]), constant=g.chance(0.8))] if g.chance(0.6) else []
        return p.inner(g.node("Gemm", [x, y, *bias], transB=int(turned), alpha=g.pick([None, None, 0.5])))
    if turned:
        y = p.transpose(y, [1, 0])
    x = fresh(g, [*([g.integer(1, 3)] if g.chance(0.4) else []), rows, y.shape[0]])
    y = p.inner(g.node("MatMul", [x, y]))
    return p.both("Add", y, fresh(g, [y.shape[-1]])) if g.chance(0.3) else y
