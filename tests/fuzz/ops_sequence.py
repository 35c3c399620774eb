# SPDX-License-Identifier: Apache-2.0
"""Sequences and optionals."""

import numpy
from onnx import helper

from elements import BOOL, DTYPES, F32, I32, I64, STRING
from graph import Refused, Value
from tables import entry

KINDS = (F32, F32, I64, BOOL)


def sequence(g, least=0):
    fits = [v for v in g.pool if isinstance(v.sample, list) and len(v.sample) >= max(least, 1)
            and isinstance(v.sample[0], numpy.ndarray)]
    if fits and g.chance(0.6):
        return g.pick(fits)
    x = g.take(KINDS, max_rank=3)
    values = [x] + [g.take([x.type], shape=x.shape if g.chance(0.5) else [g.dim() for _ in x.shape])
                    for _ in range(g.integer(max(0, least - 1), 3))]
    return g.node("SequenceConstruct", values, exact=all(v.exact for v in values))


def position(g, n, extra=0):
    if n + extra == 0:
        raise Refused("no position")
    at = g.integer(0, n + extra - 1)
    at = at - n if at < n and g.chance(0.3) else at
    return g.place(numpy.array(at, g.pick([numpy.int64, numpy.int32])), g.chance(0.6))


@entry("SequenceConstruct", since=11)
def construct(g):
    sequence(g)


@entry("SequenceEmpty", since=11)
def empty(g):
    kind = g.pick([None, F32])
    s = g.node("SequenceEmpty", [], dtype=kind)
    x = g.take([kind or F32], max_rank=3)
    s = g.node("SequenceInsert", [s, x], exact=x.exact)
    if g.chance(0.5):
        g.node("SequenceInsert", [s, g.take([x.type], max_rank=x.rank, min_rank=x.rank)])


@entry("SequenceInsert", since=11)
def insert(g):
    s = sequence(g)
    first = s.sample[0]
    x = g.take([t for t in KINDS + (I32, STRING) if numpy.dtype(first.dtype) == DTYPES[t]], min_rank=first.ndim,
               max_rank=first.ndim)
    g.node("SequenceInsert", [s, x, position(g, len(s.sample), 1) if g.chance(0.7) else None],
           exact=x.exact and s.exact)


@entry("SequenceErase", since=11)
def erase(g):
    s = sequence(g, 2)
    g.node("SequenceErase", [s, position(g, len(s.sample)) if g.chance(0.7) else None])


@entry("SequenceAt", since=11)
def at(g):
    s = sequence(g)
    g.node("SequenceAt", [s, position(g, len(s.sample))])


@entry("SequenceLength", since=11)
def length(g):
    g.node("SequenceLength", [sequence(g)])


@entry("ConcatFromSequence", since=11)
def concat(g):
    if g.chance(0.5):
        x = g.take(KINDS, min_rank=1, max_rank=3, where=lambda v: v.shape[0] > 0)
        s = g.node("SequenceConstruct", [x, g.take([x.type], shape=x.shape), x])
        new = g.integer(0, 1)
        return g.node("ConcatFromSequence", [s], axis=g.axis(x, new), new_axis=new or None)
    s = sequence(g)
    rank = s.sample[0].ndim
    return g.node("ConcatFromSequence", [s], axis=g.axis(rank))


@entry("SplitToSequence", since=11)
def split(g):
    x = g.take(KINDS, min_rank=1, max_rank=4, where=lambda v: max(v.shape) > 0)
    axis = g.axis(x)
    n = x.shape[axis]
    way = g.pick(["none", "scalar", "list"])
    if way == "none":
        s = g.node("SplitToSequence", [x], axis=axis, keepdims=g.pick([None, 0, 1]))
    elif way == "scalar":
        s = g.node("SplitToSequence", [x, g.place(numpy.array(g.integer(1, max(n, 1))), True)], axis=axis)
    else:
        cut = g.integer(0, n)
        s = g.node("SplitToSequence", [x, g.ints([cut, n - cut], runtime=0.1)], axis=axis)
    if s.sample and g.chance(0.6):
        g.node("SequenceAt", [s, position(g, len(s.sample))])


@entry("Optional", since=15)
def optional(g):
    x = g.take(KINDS, max_rank=3)
    made = g.node("Optional", [x], exact=x.exact)
    g.pool.remove(made)  # it is known here as a plain tensor
    made.sample = x.sample
    g.pool.append(read_optional(g, "OptionalGetElement", made, x.sample, x.exact))
    if g.chance(0.5):
        g.pool.append(read_optional(g, "OptionalHasElement", made, numpy.array(True)))


def read_optional(g, op, made, sample, exact=True):
    """The oracle cannot be given an optional, so what is read from it is known without asking."""
    y = Value(g.new_name(), sample, g, exact)
    g.nodes.append(helper.make_node(op, [made.name], [y.name]))
    g.count(op)
    return y
