# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators."""

import numpy
import onnx

from elements import (BELOW_A_BYTE, BOOL, DTYPES, F32, F64, FLOAT8, FLOATS, I32, I64, INTEGERS, NUMBERS, SIGNED, STRING,
                      T, UNSIGNED, integer_range, is_float)
from graph import Refused
from tables import entry


def operand(g, x, reuse=0.5, **how):
    """A value that broadcasts with x, of its type."""
    return g.take([x.type], shape=g.broadcast(x.shape), reuse=reuse, **how)


def swapped(g, pair):
    return pair[::-1] if g.chance(0.4) else pair


@entry("Add", "Mul", "Sub")
def arithmetic(g, op):
    x = g.take(g.allowed(op))
    return g.node(op, swapped(g, [x, operand(g, x)]))


@entry("Div")
def divide(g):
    x = g.take(g.allowed("Div"))
    if is_float(x.type):
        return g.node("Div", [x, g.fresh(x.type, g.broadcast(x.shape), 0.5, 3.0)])
    return g.node("Div", [x, g.fresh(x.type, g.broadcast(x.shape), 1, 7, special=0.0)])


@entry("Pow")
def power(g):
    x = g.take([t for t in g.allowed("Pow") if is_float(t) or g.chance(0.5)], finite=True)
    kinds = g.allowed("Pow", input=1) if g.opset >= 12 else [x.type]
    kind = g.pick([t for t in kinds if t in (F32, I32, I64, x.type) and (is_float(x.type) or not is_float(t))])
    if is_float(x.type):
        if g.chance(0.6):
            return g.node("Pow", [x, g.scalar(g.pick([2, 2, 3, 1, 0]), kind)])
        base = g.node("Abs", [x])
        exponent = g.fresh(kind, g.broadcast(x.shape), 0, 2, special=0.0)
        return g.node("Pow", [base, exponent])
    if not x.small(9):
        raise Refused("powers that overflow")
    return g.node("Pow", [x, g.fresh(kind, g.broadcast(x.shape), 0, 2, special=0.0)])


@entry("Mod", since=10)
def modulo(g):
    fmod = g.chance(0.4)
    kinds = [t for t in g.allowed("Mod") if fmod or not is_float(t)]
    x = g.take(kinds, exact=True, finite=True)
    low = 0.5 if is_float(x.type) else 1
    return g.node("Mod", [x, g.fresh(x.type, g.broadcast(x.shape), low, 5, special=0.0)], fmod=int(fmod) or None)


@entry("PRelu")
def prelu(g):
    x = g.take(g.allowed("PRelu"))
    return g.node("PRelu", [x, operand(g, x)])


@entry("Max", "Min", "Sum", "Mean")
def variadic(g, op):
    kinds = g.allowed(op)
    x = g.take(kinds)
    others = [operand(g, x) for _ in range(g.integer(0, 3))]
    return g.node(op, swapped(g, [x, *others]))


@entry("BitwiseAnd", "BitwiseOr", "BitwiseXor", since=18)
def bitwise(g, op):
    x = g.take(INTEGERS)
    return g.node(op, swapped(g, [x, operand(g, x)]))


@entry("BitwiseNot", since=18)
def bitwise_not(g):
    return g.node("BitwiseNot", [g.take(INTEGERS)])


@entry("BitShift", since=11)
def shift(g):
    x = g.take(UNSIGNED)
    by = g.fresh(x.type, g.broadcast(x.shape), 0, 7, special=0.0)
    return g.node("BitShift", [x, by], direction=g.pick(["LEFT", "RIGHT"]))


@entry("And", "Or", "Xor")
def logic(g, op):
    x = g.take([BOOL])
    return g.node(op, swapped(g, [x, operand(g, x)]))


@entry("Not")
def negate(g):
    return g.node("Not", [g.take([BOOL])])


@entry("Equal", "Greater", "Less")
def compare(g, op):
    x = g.take(g.allowed(op), exact=True)
    return g.node(op, swapped(g, [x, operand(g, x, exact=True)]))


@entry("GreaterOrEqual", "LessOrEqual", since=12)
def compare_or_equal(g, op):
    compare(g, op)


@entry("Where", since=9)
def where(g):
    x = g.take(g.allowed("Where", input=1))
    condition = g.take([BOOL], shape=g.broadcast(x.shape))
    values = [x, operand(g, x)]
    return g.node("Where", [condition, *swapped(g, values)])


@entry("Abs", "Neg", "Sign", "Floor", "Ceil", "Relu", "Reciprocal", "Sqrt", "Exp", "Log", "Sin", "Cos", "Tan", "Asin",
       "Acos", "Atan", "Tanh", "Sigmoid", "Softplus", "Softsign", "Erf", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh",
       "HardSwish", "Round", "Mish", "IsNaN")
def function(g, op):
    try:
        kinds = g.allowed(op)
    except onnx.defs.SchemaError as error:
        raise Refused("a later operator") from error
    if op == "HardSwish":  # "alpha = 1/6": in ONNX Runtime that of float32 for float64 too
        kinds = [t for t in kinds if t != F64]
    jumps = op in ("Sign", "Floor", "Ceil", "Round", "IsNaN")
    low, high = {"Sqrt": (0, 9), "Log": (0.1, 9), "Reciprocal": (0.3, 4), "Asin": (-1, 1), "Acos": (-1, 1),
                 "Atanh": (-0.9, 0.9), "Acosh": (1.1, 9), "Tan": (-1.4, 1.4), "Floor": (-9, 9),
                 "Round": (-9, 9)}.get(op, (-3, 3))
    narrow = op in ("Sqrt", "Log", "Reciprocal", "Asin", "Acos", "Atanh", "Acosh", "Tan")
    x = g.take(kinds, exact=jumps, low=low, high=high, reuse=0.2 if narrow else 0.65)
    if narrow and not g.special and not within(x, low, high):
        raise Refused("outside the domain")
    return g.node(op, [x])


def small(x):
    return x.small() and x.type != F64  # ONNX Runtime's Shrink computes float64 in float32


def within(x, low, high):
    wide = x.sample.astype("float64")
    return bool(((wide >= low) & (wide <= high)).all())


@entry("IsInf", since=10)
def is_inf(g):
    x = g.take(g.allowed("IsInf"), exact=True)
    return g.node("IsInf", [x], detect_negative=g.pick([None, 0, 1]), detect_positive=g.pick([None, 0, 1]))


WITH_ATTRIBUTES = {
    "Elu": {"alpha": (0.2, 2)}, "Selu": {"alpha": (0.5, 2), "gamma": (0.5, 2)}, "Celu": {"alpha": (0.2, 2)},
    "HardSigmoid": {"alpha": (0.1, 0.6), "beta": (0, 1)}, "LeakyRelu": {"alpha": (-0.5, 0.9)},
    "ThresholdedRelu": {"alpha": (-1, 2)}, "Shrink": {"bias": (-1, 1), "lambd": (0, 1.5)}, "Swish": {"alpha": (0.3, 2)},
}


@entry("Swish", since=24, weight=2)
def swish(g):
    """By onnx's evaluator, since ONNX Runtime lacks it above opset 24."""
    alpha = float(numpy.float32(g.random.uniform(0.3, 2))) if g.chance(0.6) else None
    g.node("Swish", [g.take([F32])], reference=g.parent is None, alpha=alpha)


@entry(*(op for op in WITH_ATTRIBUTES if op != "Swish"))
def parametrised(g, op):
    if g.opset < {"Celu": 12, "Shrink": 9, "ThresholdedRelu": 10}.get(op, 1):
        raise Refused("a later operator")
    values = {name: float(g.random.uniform(*limits)) for name, limits in WITH_ATTRIBUTES[op].items()
              if g.chance(0.6)}
    x = g.take(g.allowed(op), exact=op in ("ThresholdedRelu", "Shrink"), where=None if op != "Shrink" else small)
    return g.node(op, [x], **values)


@entry("Gelu", since=20)
def gelu(g):
    x = g.take(g.allowed("Gelu"))
    # ONNX Runtime computes the tanh form of float64 with float32 constants
    return g.node("Gelu", [x], approximate=g.pick([None, "none"] + ["tanh"] * (x.type != F64)))


@entry("Clip")
def clip(g):
    if g.opset < 11:
        x = g.take(g.allowed("Clip"))
        return g.node("Clip", [x], min=g.pick([None, -1.0, 0.0]), max=g.pick([None, 0.5, 2.0]))
    x = g.take([t for t in g.allowed("Clip") if t in NUMBERS])
    low = -1 if x.type not in UNSIGNED else 1
    bounds = [g.scalar(low, x.type) if g.chance(0.7) else None, g.scalar(2, x.type) if g.chance(0.7) else None]
    if g.chance(0.1):
        bounds.reverse()  # min above max
    return g.node("Clip", [x, *bounds])


CASTS = NUMBERS + (BOOL,)


@entry("Cast", "CastLike")
def cast(g, op):
    if op == "CastLike" and g.opset < 15:
        raise Refused("a later operator")
    allowed = g.allowed(op)
    if g.chance(0.3):
        allowed = [t for t in allowed if t in FLOAT8 + BELOW_A_BYTE + (STRING,)] or allowed
    else:
        allowed = [t for t in allowed if t in CASTS]
    x = g.take(allowed, finite=True)
    targets = [t for t in g.allowed(op) if t != STRING or x.type in INTEGERS]
    if x.type == STRING:
        texts = g.random.integers(-100, 100, size=x.sample.size).astype(str).astype(object).reshape(x.sample.shape)
        x = g.place(texts)
        targets = FLOATS[:2] + SIGNED[2:]
    if is_float(x.type):
        targets = [t for t in targets if t != STRING and (x.exact or is_float(t))]
        # "fixed point: undefined if OOR (out of range)", and of fractions the text says nothing: where an integer has
        # less than 8 bits, ONNX Runtime rounds them, and onnx's data truncate
        wide = x.sample.astype("float64")
        negative, whole = bool((wide < 0).any()), bool((wide == wide.round()).all())
        targets = [t for t in targets if not (negative and t in UNSIGNED + (T.FLOAT8E8M0,))
                   and (t not in BELOW_A_BYTE or whole and holds(t, wide))]
    elif x.type != BOOL:
        targets = [t for t in targets if fits(x, t)]
    target = g.pick(targets)
    attributes = {"saturate": g.pick([None, 0, 1])} if target in FLOAT8 and g.opset >= 19 else {}
    if op == "Cast":
        return g.node("Cast", [x], to=target, **attributes)
    return g.node("CastLike", [x, g.fresh(target, [1] if g.chance(0.5) else [], 0, 1)], **attributes)


def holds(target, numbers):
    least, most = integer_range(target)
    return bool(((numbers >= least) & (numbers <= most)).all())


def fits(x, target):
    """Integers wrap ("discard higher bits and reinterpret"); of powers of two, "x < 0: Unspecified"."""
    return target != T.FLOAT8E8M0 or bool((x.sample.astype("float64") >= 0).all())


@entry("BitCast", since=26)
def bit_cast(g):
    x = g.take(NUMBERS, exact=True)
    width = DTYPES[x.type].itemsize
    return g.node("BitCast", [x], to=g.pick([t for t in NUMBERS if DTYPES[t].itemsize == width]), reference=True)


@entry("Identity")
def identity(g):
    return g.node("Identity", [g.take(NUMBERS + (BOOL, STRING))])


@entry("Dropout")
def dropout(g):
    x = g.take(g.allowed("Dropout"))
    outputs = 2 if g.chance(0.3) else 1
    if g.opset < 12:  # of old forms the mask is not defined for inference
        return g.node("Dropout", [x], ratio=g.pick([None, 0.3]))
    ratio = g.scalar(0.3, F32) if g.chance(0.5) else None
    training = g.scalar(False, BOOL) if g.chance(0.4) else None
    return g.node("Dropout", [x, ratio, training], outputs)

