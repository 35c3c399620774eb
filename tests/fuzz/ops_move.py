# SPDX-License-Identifier: Apache-2.0
"""Shapes and movement of data."""

import numpy

from elements import BOOL, F32, F64, I32, I64, NUMBERS, STRING, is_float
from graph import Refused
from oracle import tensor_proto
from tables import entry

def factors(g, count, most=5):
    """A shape with so many elements."""
    if count == 0:
        return [g.integer(1, 4), 0]
    shape = []
    while count > 1 and len(shape) < most:
        divisors = [d for d in range(2, count + 1) if count % d == 0]
        d = g.pick(divisors)
        shape.append(d)
        count //= d
    if count > 1:
        shape.append(count)
    while g.chance(0.2):
        shape.insert(g.integer(0, len(shape)), 1)
    return shape


@entry("Reshape")
def reshape(g):
    x = g.take(g.allowed("Reshape"))
    shape = factors(g, x.size)
    attributes = {}
    if x.size and g.opset >= 14 and g.chance(0.2):
        attributes["allowzero"] = 1
    elif x.size == 0 and g.opset >= 14:
        attributes["allowzero"] = 1
    elif x.size and g.chance(0.4) and shape:
        shape[g.integer(0, len(shape) - 1)] = -1
    if not attributes and g.chance(0.3):
        shape = [0 if i < x.rank and x.shape[i] == d and d != 0 else d for i, d in enumerate(shape)]
    g.node("Reshape", [x, g.ints(shape, runtime=0.1)], **attributes)


@entry("Flatten")
def flatten(g):
    x = g.take(g.allowed("Flatten"))
    axis = g.axis(x, 1) if g.opset >= 11 else g.integer(0, x.rank)
    g.node("Flatten", [x], axis=g.pick([None, axis]) if x.rank else axis)


@entry("Squeeze")
def squeeze(g):
    x = g.take(g.allowed("Squeeze"), where=lambda v: 1 in v.shape)
    ones = [i for i, d in enumerate(x.shape) if d == 1]
    chosen = [i - x.rank if g.chance(0.3) and g.opset >= 11 else i for i in ones if g.chance(0.7)] or ones[:1]
    if g.chance(0.25):
        g.node("Squeeze", [x])
    elif g.opset < 13:
        g.node("Squeeze", [x], axes=chosen)
    else:
        g.node("Squeeze", [x, g.ints(chosen, runtime=0.0)])


@entry("Unsqueeze")
def unsqueeze(g):
    x = g.take(g.allowed("Unsqueeze"), max_rank=4)
    rank = x.rank + g.integer(1, 2)
    axes = [int(a) for a in g.random.permutation(rank)[:rank - x.rank]]
    axes = [a - rank if g.chance(0.3) and g.opset >= 11 else a for a in axes]
    if g.opset < 13:
        g.node("Unsqueeze", [x], axes=sorted(axes) if min(axes) >= 0 else axes)
    else:
        g.node("Unsqueeze", [x, g.ints(axes, runtime=0.0)])


@entry("Shape")
def shape_of(g):
    x = g.take(g.allowed("Shape"))
    if g.opset < 15:
        return g.node("Shape", [x])
    bounds = [None, g.integer(-x.rank - 1, x.rank + 1)]
    return g.node("Shape", [x], start=g.pick(bounds), end=g.pick(bounds))


@entry("Size")
def size_of(g):
    g.node("Size", [g.take(g.allowed("Size"))])


@entry("Transpose")
def transpose(g):
    x = g.take(g.allowed("Transpose"))
    g.node("Transpose", [x], perm=g.pick([None, [int(p) for p in g.random.permutation(x.rank)]]) if x.rank else None)


@entry("Slice")
def slice_(g):
    x = g.take(g.allowed("Slice"), min_rank=1)
    axes = sorted(g.axes(x), key=lambda a: a % x.rank)
    starts, ends, steps = [], [], []
    for axis in axes:
        n = x.shape[axis]
        starts.append(g.integer(-n - 2, n + 2))
        steps.append(g.pick([1, 1, 2, 3, -1, -2]))
        # backwards, ONNX Runtime takes the largest integer as "to the front"; the standard clamps it to the back
        far = [2**31 - 1, 2**63 - 1, -2**31] if steps[-1] > 0 else [-2**31, -2**63]
        ends.append(g.integer(-n - 2, n + 2) if g.chance(0.7) else g.pick(far))
    if g.opset < 10:
        if min(axes) < 0:
            axes = [a % x.rank for a in axes]
        return g.node("Slice", [x], starts=starts, ends=ends, axes=axes)
    kind = g.pick([I64, I64, I32])
    if kind == I32:
        starts, ends = ([max(-2**31, min(2**31 - 1, v)) for v in list_] for list_ in (starts, ends))
    runtime = g.pick([0.0, 0.0, 0.5])
    operands = [g.ints(starts, kind, runtime), g.ints(ends, kind, runtime)]
    if len(axes) < x.rank or axes != list(range(x.rank)) or g.chance(0.5):
        operands.append(g.ints(axes, kind, 0.0))
    else:
        operands.append(None)
    operands.append(g.ints(steps, kind, runtime * 0.3) if g.chance(0.7) else None)
    return g.node("Slice", [x, *operands])


@entry("Split")
def split(g):
    x = g.take(g.allowed("Split"), min_rank=1, where=lambda v: max(v.shape) > 0)
    axis = g.axis(x) if g.opset >= 11 else g.integer(0, x.rank - 1)
    n = x.shape[axis]
    parts = g.integer(1, min(4, max(n, 1)))
    cuts = sorted(g.integer(0, n) for _ in range(parts - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, n])]
    if g.opset >= 18 and g.chance(0.3):
        return g.node("Split", [x], parts, axis=axis, num_outputs=parts)
    if n % parts == 0 and g.opset < 18 and g.chance(0.4):
        return g.node("Split", [x], parts, axis=axis)
    if g.opset < 13:
        return g.node("Split", [x], parts, axis=axis, split=sizes)
    return g.node("Split", [x, g.ints(sizes, runtime=0.1)], parts, axis=axis)


@entry("Concat")
def concat(g):
    x = g.take(g.allowed("Concat"), min_rank=1)
    axis = g.axis(x) if g.opset >= 11 else g.integer(0, x.rank - 1)
    values = [x]
    for _ in range(g.integer(0, 3)):
        shape = x.shape
        shape[axis] = g.dim()
        values.append(x if g.chance(0.2) else g.take([x.type], shape=shape))
    order = g.random.permutation(len(values))
    g.node("Concat", [values[i] for i in order], axis=axis)


@entry("Expand", since=8)
def expand(g):
    x = g.take(g.allowed("Expand"), max_rank=4)
    shape = [g.dim(3) if d == 1 and g.chance(0.6) else d for d in x.shape]
    if g.chance(0.3):
        shape = [g.dim(3) for _ in range(g.integer(1, 2))] + shape
    shape = [1 if g.chance(0.2) else d for d in shape]
    g.node("Expand", [x, g.ints(shape, runtime=0.1)])


@entry("Tile")
def tile(g):
    x = g.take(g.allowed("Tile"), min_rank=1, max_rank=4)
    g.node("Tile", [x, g.ints([g.pick([1, 1, 2, 3, 0 if g.chance(0.1) else 1]) for _ in x.shape], runtime=0.1)])


@entry("Pad")
def pad(g):
    if g.opset < 11:
        x = g.take(g.allowed("Pad"), min_rank=1, max_rank=4, where=lambda v: v.size > 0)
        pads = [g.integer(0, 2) for _ in range(2 * x.rank)]
        return g.node("Pad", [x], pads=pads, value=g.pick([None, 1.5]))
    x = g.take([t for t in g.allowed("Pad") if t in NUMBERS + (BOOL,)], min_rank=1, max_rank=4,
               where=lambda v: v.size > 0)
    mode = g.pick(["constant", "constant", "reflect", "edge"] + (["wrap"] if g.opset >= 19 else []))
    axes = list(range(x.rank))
    if g.opset >= 18 and g.chance(0.4):
        axes = g.axes(x)
    pads = []
    for axis in axes * 2:
        most = 2 if mode != "reflect" else min(2, x.shape[axis] - 1)
        low = -1 if mode == "constant" and x.shape[axis] > 2 and g.chance(0.2) else 0
        pads.append(g.integer(low, most))
    value = g.fresh(x.type, [], 0, 3) if mode == "constant" and g.chance(0.6) else None
    operands = [g.ints(pads, runtime=0.1), value]
    if axes != list(range(x.rank)):
        operands.append(g.ints(axes, runtime=0.0))
    return g.node("Pad", [x, *operands], mode=mode)


@entry("Trilu", since=14)
def trilu(g):
    x = g.take(g.allowed("Trilu"), min_rank=2)
    k = None if g.chance(0.3) else g.place(numpy.array(g.integer(-4, 4)))
    g.node("Trilu", [x, k], upper=g.pick([None, 0, 1]))


@entry("DepthToSpace")
def depth_to_space(g):
    b = g.integer(1, 3)
    x = g.fresh(g.pick(g.allowed("DepthToSpace")), [g.dim(3), b * b * g.integer(1, 2), g.dim(4), g.dim(4)])
    g.node("DepthToSpace", [x], blocksize=b, mode=g.pick([None, "DCR", "CRD"]) if g.opset >= 11 else None)


@entry("SpaceToDepth", weight=3)
def space_to_depth(g):
    b = g.integer(1, 3)
    x = g.fresh(g.pick(g.allowed("SpaceToDepth")), [g.dim(3), g.dim(3), b * g.integer(1, 3), b * g.integer(1, 3)])
    g.node("SpaceToDepth", [x], blocksize=b)


@entry("ReverseSequence", since=10)
def reverse_sequence(g):
    x = g.take(g.allowed("ReverseSequence"), min_rank=2, where=lambda v: v.size > 0)
    time = g.integer(0, 1)
    lengths = g.random.integers(1, x.shape[time] + 1, size=x.shape[1 - time])
    g.node("ReverseSequence", [x, g.place(lengths)], time_axis=time, batch_axis=1 - time)


@entry("CenterCropPad", since=18)
def center_crop_pad(g):
    x = g.take(g.allowed("CenterCropPad"), min_rank=1, max_rank=4)
    axes = g.pick([None, g.axes(x)])
    count = x.rank if axes is None else len(axes)
    shape = g.ints([g.integer(1, 7) for _ in range(count)], runtime=0.1)
    g.node("CenterCropPad", [x, shape], axes=axes)


@entry("Gather")
def gather(g):
    x = g.take(g.allowed("Gather"), min_rank=1)
    axis = g.axis(x) if g.opset >= 11 else g.integer(0, x.rank - 1)
    # ONNX Runtime copies but the first string of each block; the reference evaluator forgets the dims of an empty result
    shape = g.shape(0, 3)
    if x.type == STRING and 0 in shape:
        raise Refused("strings gathered by no index")
    g.node("Gather", [x, indices(g, x.shape[axis], shape)], axis=axis, reference=x.type == STRING)


def indices(g, n, shape, kinds=(I32, I64), negative=True):
    if n == 0:
        if 0 not in shape:
            raise Refused("an index of nothing")
        n = 1
    low = -n if negative and g.opset >= 11 and g.chance(0.3) else 0
    kind = g.pick(kinds)
    return g.place(g.random.integers(low, n, size=shape).astype("int32" if kind == I32 else "int64"))


@entry("GatherElements", since=11)
def gather_elements(g):
    x = g.take(g.allowed("GatherElements"), min_rank=1, where=lambda v: v.size > 0)
    axis = g.axis(x)
    shape = [g.integer(1, d) for d in x.shape]
    shape[axis] = g.integer(1, 5)
    g.node("GatherElements", [x, indices(g, x.shape[axis], shape)], axis=axis)


@entry("GatherND", since=11)
def gather_nd(g):
    x = g.take(g.allowed("GatherND"), min_rank=1, max_rank=5, where=lambda v: v.size > 0)
    batch = g.integer(0, x.rank - 1) if g.opset >= 12 and g.chance(0.4) else 0
    depth = g.integer(1, x.rank - batch)
    shape = x.shape[:batch] + g.shape(0, 2, 4)
    lists = [g.random.integers(-n if g.chance(0.3) else 0, n, size=shape) for n in x.shape[batch:batch + depth]]
    g.node("GatherND", [x, g.fixed(g.place(numpy.stack(lists, -1)))], batch_dims=batch or None)


@entry("Scatter", since=9, until=10)
@entry("ScatterElements", since=11)
def scatter_elements(g):
    op = "ScatterElements" if g.opset >= 11 else "Scatter"
    x = g.take(g.allowed(op), min_rank=1, max_rank=4, where=lambda v: v.size > 0)
    axis = g.axis(x) if g.opset >= 11 else g.integer(0, x.rank - 1)
    shape = [g.integer(1, d) for d in x.shape]
    places = numpy.argsort(g.random.random(x.shape), axis=axis)[tuple(slice(d) for d in shape)]
    reduction = reductions(g, x)
    if reduction not in (None, "none") and g.chance(0.7):  # the same place several times
        places = g.random.integers(0, x.shape[axis], size=shape)
    if g.chance(0.3) and g.opset >= 11:
        places = numpy.where(g.random.random(shape) < 0.5, places - x.shape[axis], places)
    extreme = reduction in ("max", "min")  # whether NaN is one is not defined
    if extreme and not x.finite():
        raise Refused("an extreme of NaN")
    updates = g.fresh(x.type, shape, special=0.0 if extreme else None)
    g.node(op, [x, g.place(places), updates], axis=axis, reduction=reduction,
           exact=reduction not in ("add", "mul"))


def reductions(g, x):
    if g.opset < 16 or x.type in (BOOL, STRING):
        return None
    return g.pick([None, "none", "add", "mul"] + (["max", "min"] if g.opset >= 18 else []))


@entry("ScatterND", since=11)
def scatter_nd(g):
    x = g.take(g.allowed("ScatterND"), min_rank=1, max_rank=4, where=lambda v: v.size > 0)
    depth = g.integer(1, x.rank)
    places = numpy.array(list(numpy.ndindex(*x.shape[:depth])))
    count = g.integer(1, len(places))
    reduction = reductions(g, x)
    repeated = reduction not in (None, "none")
    chosen = places[g.random.choice(len(places), count, replace=repeated)]
    if count % 2 == 0 and g.chance(0.4):
        chosen = chosen.reshape(2, count // 2, depth)
    extreme = reduction in ("max", "min")  # whether NaN is one is not defined
    if extreme and not x.finite():
        raise Refused("an extreme of NaN")
    updates = g.fresh(x.type, list(chosen.shape[:-1]) + x.shape[depth:], special=0.0 if extreme else None)
    g.node("ScatterND", [x, g.fixed(g.place(chosen)), updates], reduction=reduction, exact=reduction not in ("add", "mul"))


@entry("TensorScatter", since=24)
def tensor_scatter(g):
    shape = [g.integer(1, 3) for _ in range(g.integer(3, 4))]
    axis = g.integer(1, len(shape) - 1)
    shape[axis] = g.integer(2, 6)
    x = g.fresh(g.pick([F32, F64, I32]), shape)
    updates = x.shape
    updates[axis] = g.integer(1, shape[axis])
    places = g.random.integers(0, shape[axis] - updates[axis] + 1, size=shape[0])
    g.node("TensorScatter", [x, g.fresh(x.type, updates), g.pick([None, g.place(places)])],
           axis=g.pick([axis, axis - len(shape)]), mode=g.pick([None, "linear", "circular"]))


@entry("Compress", since=9)
def compress(g):
    x = g.take(g.allowed("Compress"), min_rank=1)
    axis = g.pick([None, g.axis(x) if g.opset >= 11 else g.integer(0, x.rank - 1)])
    n = x.size if axis is None else x.shape[axis]
    g.node("Compress", [x, g.fresh(BOOL, [g.integer(0, n)])], axis=axis)


@entry("Unique", since=11)
def unique(g):
    x = g.take(g.allowed("Unique"), min_rank=1, exact=True, finite=True, where=lambda v: v.size > 0)
    axis = g.pick([None, g.axis(x)])
    g.node("Unique", [x], [True, g.chance(0.6), g.chance(0.6), g.chance(0.6)], axis=axis, sorted=g.pick([None, 0, 1]))


@entry("NonZero", since=9)
def non_zero(g):
    x = g.take(g.allowed("NonZero"), exact=True, min_rank=1)
    g.node("NonZero", [x])


@entry("OneHot", since=9, weight=3)
def one_hot(g):
    depth = g.integer(1, 6)
    shape = g.shape(0, 3)
    places = g.random.integers(-depth if g.opset >= 11 else 0, depth + (1 if g.chance(0.2) else 0), size=shape)
    if g.opset < 11:
        places = numpy.clip(places, 0, depth - 1)
    values = g.fresh(g.pick([F32, I64, I32]), [2])
    places = g.place(places.astype(g.pick(["int64", "int32", "float32"])))
    depth = g.ints([depth], runtime=0.2) if g.chance(0.7) else g.constant(numpy.array(float(depth), numpy.float32))
    axis = g.axis(places, 1) if g.chance(0.5) else None
    g.node("OneHot", [places, depth, values], axis=axis)


@entry("Range", since=11)
def range_(g):
    kind = g.pick([F32, F64, I32, I64])
    dtype = {F32: "float32", F64: "float64", I32: "int32", I64: "int64"}[kind]
    step = g.pick([1, 1, 2, -1, 3, -2] + ([0.5, -0.25] if is_float(kind) else []))
    start = g.integer(-3, 5)
    numbers = [start, start + step * g.integer(-1, 9), step]
    runtime = g.chance(0.4)
    g.node("Range", [g.place(numpy.array(n, dtype), not runtime, None) for n in numbers])


@entry("ConstantOfShape", since=9)
def constant_of_shape(g):
    shape = g.ints(g.shape(0, 4), runtime=0.2)
    kinds = [t for t in NUMBERS + (BOOL,) if t in g.allowed("Identity")]
    value = g.fresh(g.pick(kinds), [1], constant=True).sample if g.chance(0.7) else None
    g.node("ConstantOfShape", [shape], value=None if value is None else tensor_proto(value))


@entry("EyeLike", since=9)
def eye_like(g):
    x = g.take(g.allowed("EyeLike"), min_rank=2, max_rank=2)
    g.node("EyeLike", [x], k=g.pick([None, g.integer(-3, 3)]), dtype=g.pick([None, F32, I64, F64]))


@entry("Constant")
def constant(g):
    x = g.constant(g.fresh(g.pick([F32, I64, I32, F64, BOOL]), g.shape(0, 3), constant=True).sample)
    g.node("Identity", [x])
    g.count("Constant")

