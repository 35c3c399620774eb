# SPDX-License-Identifier: Apache-2.0
"""If, Loop and Scan, with bodies of random nodes that also read outer values."""

import numpy

import tables
from elements import F32, F64, I32, I64
from graph import Refused
from tables import entry

KINDS = (F32, F32, I64, F64, I32)


def fill(body, count):
    """Random nodes in a body."""
    if body.depth > 3:
        return
    for _ in range(count):
        try:
            tables.choose(body.random, body.opset).generate(body)
        except Refused:
            pass


def made_in(body):
    names = {name for node in body.nodes for name in node.output}
    return [v for v in body.pool if v.name in names and v.owner is body and v.sample is not None]


@entry("If")
def if_(g):
    sides = [g.body(), g.body()]
    for side in sides:
        fill(side, g.integer(0, 3))
    first = made_in(sides[0])
    kinds = [(v.type, v.shape) for v in first if v.is_tensor][:4]
    count = g.integer(1, 2)
    results = [[], []]
    for _ in range(count):
        kind, shape = g.pick(kinds) if kinds and g.chance(0.7) else (g.pick(KINDS), g.shape(0, 3))
        for side, found in zip(sides, results):
            fits = [v for v in made_in(side) if v.is_tensor and v.type == kind and v.rank == len(shape)
                    and v not in found]
            if fits and g.chance(0.8):
                found.append(g.pick(fits))
            else:
                other = shape if g.chance(0.5) or g.opset < 11 else [g.dim() for _ in shape]
                found.append(side.node("Identity", [side.take([kind], shape=other)]))
    bodies = [side.body_proto([], found, name) for side, found, name in zip(sides, results, ("then", "else"))]
    condition = g.place(numpy.array(g.chance(0.5)), g.chance(0.3))
    if g.chance(0.3):
        n = g.input(numpy.array(g.integer(0, 3)))
        condition = g.node("Less", [n, g.scalar(2, I64)]) if g.opset >= 9 else condition
    g.node("If", [condition], count, bodies=sides, then_branch=bodies[0], else_branch=bodies[1],
           exact=all(v.exact for found in results for v in found))


def carried_step(g, body, value, kept_shape=True):
    """A value of the body that may follow a carried one."""
    same = [v for v in made_in(body) if v.is_tensor and v.type == value.type and v.shape == value.shape]
    if same and g.chance(0.6):
        return g.pick(same)
    if kept_shape and value.rank > 0 and g.chance(0.15) and value.size and g.opset >= 13:
        return body.node("Concat", [value, value], axis=0)  # a state that grows
    other = body.take([value.type], shape=value.shape)
    if g.chance(0.4):
        return body.node("Identity", [other if g.chance(0.5) else value])
    half = body.constant(numpy.array(0.5 if value.type in (F32, F64) else 1, value.sample.dtype))
    return body.node("Add", [body.node("Mul", [value, half]), other])


def apart(body, values):
    """No value twice: ONNX Runtime gives two outputs of one name the memory of one."""
    return [body.node("Identity", [v]) if v in values[:i] else v for i, v in enumerate(values)]


@entry("Loop", since=11)
def loop(g):
    body = g.body()
    state = [g.take(KINDS, max_rank=3) for _ in range(g.integer(0, 2))]
    growing = g.chance(0.2)
    iteration = body.add(numpy.array(0))
    condition = body.add(numpy.array(True))
    carried = [body.add(v.sample, exact=v.exact) for v in state]
    fill(body, g.integer(0, 4))
    follow = apart(body, [carried_step(g, body, v, growing) for v in carried])
    if g.chance(0.5):
        test = body.node("Identity", [condition])
    else:
        test = body.node("Less", [iteration, body.scalar(g.integer(0, 3), I64)])
    scans = [v for v in made_in(body) if v.is_tensor and v not in follow and v is not test][-g.integer(0, 2):]
    if growing:
        scans = [v for v in scans if v.rank == 0]
    if not state + scans:
        raise Refused("a loop without results")
    proto = body.body_proto([iteration, condition, *carried], [test, *follow, *scans])
    trips = None if g.chance(0.1) else g.place(numpy.array(g.pick([0, 1, 2, 3, 4])), g.chance(0.3))
    start = None if trips is not None and state and g.chance(0.5) else g.place(numpy.array(not g.chance(0.1)), g.chance(0.5))
    if trips is None and proto.node[-1].op_type == "Identity":
        raise Refused("a loop without an end")
    if (trips is not None and trips.sample == 0) or (start is not None and not start.sample):
        scans = [v for v in scans if v.rank == 0]  # of no iterations ONNX Runtime makes outputs of one dim
        if not state + scans:
            raise Refused("a loop without results")
        proto = body.body_proto([iteration, condition, *carried], [test, *follow, *scans])
    outputs = len(state) + len(scans)
    exact = all(v.exact for v in [*state, *follow, *scans])
    g.node("Loop", [trips, start, *state], outputs, bodies=[body], body=proto, exact=exact)


@entry("Scan", since=9)
def scan(g):
    body = g.body()
    length = g.integer(1, 4)
    state = [g.take(KINDS, max_rank=2) for _ in range(g.integer(0, 2))]
    count = g.integer(1, 2)
    inputs, axes = [], []
    for _ in range(count):
        shape = g.shape(1, 3, 4)
        axis = g.integer(0, len(shape) - 1)
        shape[axis] = length
        inputs.append(g.take(KINDS, shape=shape, reuse=0.3))
        axes.append(axis)
    carried = [body.add(v.sample, exact=v.exact) for v in state]
    items = [body.add(v.sample.take(0, axis), exact=v.exact) for v, axis in zip(inputs, axes)]
    fill(body, g.integer(0, 4))
    follow = apart(body, [carried_step(g, body, v, False) for v in carried])
    scans = [v for v in made_in(body) if v.is_tensor and v not in follow][-g.integer(0, 2):]
    if g.chance(0.6) or not state + scans:
        scans.append(body.node("Identity", [g.pick(items)]))
    proto = body.body_proto(carried + items, follow + scans)
    attributes = {"num_scan_inputs": count}
    if any(axes) or g.chance(0.3):
        attributes["scan_input_axes"] = [a - v.rank if g.chance(0.3) and g.opset >= 11 else a
                                         for a, v in zip(axes, inputs)]
    if g.chance(0.4):
        attributes["scan_input_directions"] = [g.integer(0, 1) for _ in inputs]
    if scans and g.chance(0.4):
        attributes["scan_output_directions"] = [g.integer(0, 1) for _ in scans]
    if scans and g.chance(0.4):
        attributes["scan_output_axes"] = [g.integer(0, v.rank) for v in scans]
    exact = all(v.exact for v in [*state, *inputs, *follow, *scans])
    g.node("Scan", [*state, *inputs], len(state) + len(scans), bodies=[body], body=proto, exact=exact, **attributes)
