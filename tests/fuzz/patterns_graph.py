# SPDX-License-Identifier: Apache-2.0
"""Movement that undoes itself, equal nodes, shape arithmetic, known branches, products in other clothes, attention."""

import numpy

from elements import BOOL, F32, I64
from patterns import Pattern
from tables import entry


def source(g, min_rank=1, max_rank=4):
    return g.take([F32], min_rank=min_rank, max_rank=max_rank, where=lambda v: v.size > 0, finite=True)


@entry("simplify_shapes")
def simplify_shapes(g):
    p = Pattern(g, "simplify_shapes")
    x = g.take([F32, I64, BOOL], min_rank=1, max_rank=4)
    y = x
    for _ in range(g.integer(2, 5)):
        way = g.pick(["transpose", "reshape", "unsqueeze", "squeeze", "cast", "slice", "expand", "identity", "flat",
                      "concat", "tile", "pad"])
        if way == "transpose":
            perm = [int(i) for i in g.random.permutation(y.rank)]
            y = p.transpose(y, perm)
            if g.chance(0.6):
                if g.chance(0.5) and y.type == F32:
                    y = p.node("Relu", [y])
                y = p.transpose(y, [int(i) for i in numpy.argsort(perm)])
        elif way == "reshape" and y.size:
            shape = y.shape
            y = p.reshape(y, [-1] if g.chance(0.5) else [y.size, 1])
            if g.chance(0.6):
                y = p.reshape(y, shape)
        elif way == "unsqueeze" and y.rank < 5:
            axis = g.integer(0, y.rank)
            y = p.node("Unsqueeze", [y], axes=[axis]) if g.opset < 13 else p.node("Unsqueeze", [y, g.ints([axis])])
        elif way == "squeeze" and 1 in y.shape:
            axis = y.shape.index(1)
            y = p.node("Squeeze", [y], axes=[axis]) if g.opset < 13 else p.node("Squeeze", [y, g.ints([axis])])
        elif way == "cast":
            y = p.node("Cast", [y], to=y.type)
        elif way == "slice" and y.rank and g.opset >= 10:
            n = y.shape[0]
            y = p.node("Slice", [y, g.ints([0]), g.ints([n if not p.twist() else max(n - 1, 0)]), g.ints([0])])
        elif way == "expand" and g.opset >= 8:
            y = p.node("Expand", [y, g.ints([1] * y.rank if g.chance(0.5) else y.shape)])
        elif way == "flat" and y.rank:
            y = p.node("Flatten", [y], axis=g.integer(0, y.rank))
        elif way == "concat" and y.rank:
            y = p.node("Concat", [y], axis=0)
        elif way == "tile" and y.rank:
            y = p.node("Tile", [y, g.ints([1] * y.rank)])
        elif way == "pad" and y.rank and g.opset >= 11 and y.type == F32:
            y = p.node("Pad", [y, g.ints([0] * (2 * y.rank))])
        else:
            y = p.node("Identity", [y])
    return y


@entry("split_and_concat", since=13)
def split_and_concat(g):
    """Parts that are put together again, maybe in another order or along another axis."""
    p = Pattern(g, "split_and_concat")
    x = g.take([F32, I64], min_rank=1, max_rank=3, where=lambda v: v.shape[-1] > 1)
    cut = g.integer(0, x.shape[-1])
    parts = g.node("Split", [x, g.ints([cut, x.shape[-1] - cut])], 2, axis=-1)
    if p.twist():
        parts = parts[::-1]
    if g.chance(0.3) and x.type == F32:
        parts = [p.node("Neg", [parts[1]]), parts[0]]  # rotate half
    return p.node("Concat", parts, axis=-1)


@entry("common_subexpressions")
def common_subexpressions(g):
    p = Pattern(g, "common_subexpressions")
    x, other = source(g), None
    other = g.take([F32], shape=g.broadcast(x.shape))
    made = []
    for _ in range(g.integer(2, 3)):
        a = p.node("Add", [x, other] if g.chance(0.5) else [other, x])
        alpha = 0.1 if not p.twist() else 0.2
        made.append(p.node("LeakyRelu", [a], alpha=alpha))
    k = g.constant(numpy.array([1.5], numpy.float32))
    same = g.constant(numpy.array([1.5 if not p.twist() else -1.5], numpy.float32))
    return g.node("Sum", [*made[:1], p.node("Mul", [made[-1], k]), p.node("Mul", [made[0], same])])


@entry("shape_arithmetic", since=13)
def shape_arithmetic(g):
    """Reshape, Expand and Slice by what Shape, Gather, Mul and Concat made."""
    p = Pattern(g, "shape_arithmetic")
    x = g.take([F32, I64], min_rank=2, max_rank=4, where=lambda v: v.size > 0)
    shape = g.node("Shape", [x])
    dims = [g.node("Gather", [shape, g.constant(numpy.array(i if g.chance(0.7) else i - x.rank))])
            for i in range(x.rank)]
    way = g.integer(0, 4)
    one = lambda v: p.node("Unsqueeze", [v, g.ints([0])])  # noqa: E731
    if way == 0:
        product = p.node("Mul", [dims[0], dims[1]])
        target = g.node("Concat", [one(product), *map(one, dims[2:])], axis=0)
        return p.node("Reshape", [x, target])
    if way == 1:
        target = g.node("Concat", [one(dims[0]), g.constant(numpy.array([-1]))], axis=0)
        y = p.node("Reshape", [x, target])
        return p.node("Reshape", [y, shape])
    if way == 2:
        half = p.node("Div", [dims[-1], g.constant(numpy.array(2))])
        first = p.node("Slice", [x, g.ints([0]), one(half), g.ints([-1])])
        second = p.node("Slice", [x, one(half), g.ints([2**63 - 1]), g.ints([-1])])
        return p.node("Concat", [second, first], axis=-1)
    if way == 3:
        ones = p.node("ConstantOfShape", [shape])
        return p.node("Add", [ones, g.node("Cast", [x], to=F32)])
    n = g.node("Range", [g.constant(numpy.array(0)), dims[0], g.constant(numpy.array(1))])
    return p.node("Gather", [x, n])


@entry("inline_if", since=11)
def inline_if(g):
    """A branch that is known, from a constant or from a shape."""
    p = Pattern(g, "inline_if")
    x = source(g)
    if g.chance(0.5) or g.opset < 13:
        condition = g.constant(numpy.array(g.chance(0.5)))
    else:
        dim = g.node("Gather", [g.node("Shape", [x]), g.constant(numpy.array(0))])
        condition = g.node("Equal", [dim, g.constant(numpy.array(g.pick([1, x.shape[0]])))])
    sides = [g.body(), g.body()]
    results = []
    for side in sides:
        y = side.node("Mul", [x, side.constant(numpy.array(2.0, numpy.float32))])
        results.append(y if g.chance(0.5) else side.node("Relu", [y]))
    bodies = [s.body_proto([], [r]) for s, r in zip(sides, results)]
    y = g.node("If", [condition], bodies=sides, then_branch=bodies[0], else_branch=bodies[1])
    return p.node("Add", [y, x])


@entry("convolution_to_matmul")
def convolution_to_matmul(g):
    p = Pattern(g, "convolution_to_matmul")
    n, h, w, c, out = g.dim(2), g.integer(1, 4), g.integer(1, 4), g.integer(1, 4), g.integer(1, 5)
    x = g.fresh(F32, [n, h, w, c], special=0.0)
    y = p.transpose(x, [0, 3, 1, 2])
    kernel = [1, 1] if not p.twist() else [1, min(2, w)]
    if y.shape[1] != c:
        c = y.shape[1]
        kernel = [1, 1]
    inputs = [y, g.fresh(F32, [out, c, *kernel], special=0.0, constant=not p.twist())]
    if g.chance(0.5):
        inputs.append(g.fresh(F32, [out], special=0.0, constant=not p.twist()))
    attributes = {"strides": [2, 1]} if p.twist() else {"pads": [0, 1, 0, 0]} if p.twist() else {}
    y = p.node("Conv", inputs, **attributes)
    if g.chance(0.3):
        y = p.node("Relu", [y])
    return p.transpose(y, [0, 2, 3, 1])


@entry("gemm_to_matmul")
def gemm_to_matmul(g):
    p = Pattern(g, "gemm_to_matmul")
    m, k, n = g.dim(), g.integer(1, 6), g.integer(1, 20)
    tb = g.integer(0, 1)
    w = g.fresh(F32, [n, k] if tb else [k, n], special=0.0, constant=not p.twist())
    x = g.fresh(F32, [k, m] if p.twist() else [m, k], special=0.0)
    ta = int(x.shape == [k, m] and (m != k))
    c = g.fresh(F32, g.pick([[n], [1, n], [], [1], [x.shape[1] if ta else x.shape[0], 1]]), special=0.0,
                constant=g.chance(0.8))
    y = p.node("Gemm", [x, w, c], transA=ta or None, transB=tb or None, alpha=g.pick([None, None, 0.5]),
               beta=g.pick([None, None, 2.0, 0.0]))
    for _ in range(g.integer(0, 3)):
        way = g.integer(0, 3)
        if way == 0:
            y = p.node(g.pick(["Relu", "Tanh", "Sigmoid"]), [y])
        elif way == 1:
            y = p.both("Add", y, g.take([F32], shape=g.broadcast(y.shape), reuse=0.3))
        elif way == 2:
            y = p.both("Mul", y, p.weights([n]))
        else:
            y = p.node("MatMul", [y, g.fresh(F32, [n, g.integer(1, 20)], -0.5, 0.5, special=0.0, constant=True)])
            n = y.shape[-1]
    return y


@entry("attention_spelled_out")
def attention(g):
    """Products with a softmax between; heads split by Reshape and Transpose, repeated, masked, scaled."""
    p = Pattern(g, "attention")
    batch, q, k, heads, size = g.integer(1, 2), g.integer(1, 5), g.integer(1, 6), g.integer(1, 3), g.integer(1, 4)
    value_size = size if g.chance(0.7) else g.integer(1, 4)
    groups = g.pick([1, 1, 2]) if g.opset >= 13 else 1

    def split(x, count, length, width):
        if g.chance(0.4):
            return g.fresh(F32, [batch, count, length, width], special=0.0)
        x = p.reshape(x, [batch, length, count, width] if not p.twist() else [batch, count, length, width])
        if x.shape != [batch, length, count, width]:
            return x
        return p.transpose(x, [0, 2, 1, 3])

    def tensor(length, width):
        x = g.fresh(F32, [batch, length, width], special=0.0)
        if g.chance(0.4):
            x = p.node("MatMul", [x, g.fresh(F32, [width, width], -0.7, 0.7, special=0.0, constant=True)])
        return x

    a = split(tensor(q, heads * groups * size), heads * groups, q, size)
    b = split(tensor(k, heads * size), heads, k, size)
    c = split(tensor(k, heads * value_size), heads, k, value_size)
    if groups > 1:
        b, c = (repeat(g, p, t, groups) for t in (b, c))
    scale = size**-0.5
    where = g.pick(["scores", "query", "both", "none"])
    if where == "query":
        a = p.both("Mul", a, p.number(scale))
    elif where == "both":
        a, b = p.both("Mul", a, p.number(scale**0.5)), p.both("Mul", b, p.number(scale**0.5))
    scores = p.node("MatMul", [a, p.transpose(b, [0, 1, 3, 2])])
    if where == "scores":
        scores = p.both("Mul", scores, p.number(scale)) if g.chance(0.5) else \
            p.node("Div", [scores, p.number(1 / scale)])
    way = g.pick(["none", "add", "where"]) if g.opset >= 9 else "none"
    if way == "add":
        shape = g.broadcast([batch, heads * groups, q]) + [k]
        scores = p.both("Add", scores, g.fresh(F32, shape, special=0.0))
    elif way == "where":
        mask = g.fresh(BOOL, g.broadcast([batch, heads * groups, q]) + [k])
        fill = p.number(g.pick([-1e9, -10000.0, -3.4e38]))
        scores = p.node("Where", [mask, scores, fill] if not p.twist() else [mask, fill, scores])
    axis = -1 if g.opset >= 11 else 3
    weights = p.node("Softmax", [scores], axis=axis if not p.twist() else 2)
    y = p.node("MatMul", [weights, c])
    if g.chance(0.6):
        y = p.transpose(y, [0, 2, 1, 3])
        y = p.reshape(y, [batch, -1, y.shape[2] * y.shape[3]])
    return y


def repeat(g, p, x, groups):
    """Each head so many times."""
    n, heads, length, width = x.shape
    y = p.node("Unsqueeze", [x, g.ints([2 if not p.twist() else 1])])
    shape = [n, heads, groups, length, width] if y.shape[2] == 1 and y.shape[1] == heads else None
    if shape is None:
        shape = [n, groups, heads, length, width]
    y = p.node("Expand", [y, g.ints(shape)])
    return p.reshape(y, [n, heads * groups, length, width])
