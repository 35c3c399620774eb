# SPDX-License-Identifier: Apache-2.0
"""Norms, activations, embeddings, products, mixtures of experts of ONNX Runtime; see microsoft_cases.py."""

import math

import numpy
import pytest
from microsoft_cases import C, Case, In, check_cases, check_definition, integers

CASES = {}


def case(name, *arguments, **more):
    assert name not in CASES
    CASES[name] = Case(*arguments, **more)


SIZES = [{"b": 2, "s": 5}, {"b": 1, "s": 1}, {"b": 3, "s": 0}]
I32 = numpy.int32

# ---- norms ----


def normalise(x, gamma, beta, epsilon, simplified, axis=-1):
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = 0 * x.mean(axes, keepdims=True) if simplified else x.mean(axes, keepdims=True)
    inverse = 1 / numpy.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)
    return [(x - mean) * inverse * gamma + (0 if beta is None else beta), mean, inverse]


def define_skip(a, x, skip, gamma, beta=None, bias=None):
    total = x + skip + (0 if bias is None else bias)
    return [*normalise(total, gamma, beta, a.get("epsilon", 1e-12), False), total]


def define_skip_simplified(a, x, skip, gamma, bias=None):
    total = x + skip + (0 if bias is None else bias)
    return [*normalise(total, gamma, None, a.get("epsilon", 1e-12), True), total]


def define_norm(a, x, gamma, beta=None):
    return normalise(x, gamma, beta, a.get("epsilon", 1e-5), False, a.get("axis", -1))


def define_simplified(a, x, gamma):
    y, _, inverse = normalise(x, gamma, None, a.get("epsilon", 1e-5), True, a.get("axis", -1))
    return [y, inverse]


X, G = In("b s 16"), C("16")
for op, define, more in (("SkipLayerNormalization", define_skip, [G]),
                         ("SkipSimplifiedLayerNormalization", define_skip_simplified, [])):
    case(f"{op} plain", op, [X, X, G], define, SIZES, {"epsilon": 1e-5}, half=True)
    case(f"{op} sum", op, [X, X, G, *more, G], define, SIZES, {"epsilon": 1e-5}, "1001", half=True)
    case(f"{op} rows", op, [In("s 16"), In("s 16"), G, *more], define, SIZES, {"epsilon": 1e-3})
case("SkipLayerNormalization one skip for all", "SkipLayerNormalization", [X, In("1 s 16"), G, G],
     define_skip,
     [s for s in SIZES if s["s"]], {"epsilon": 1e-5})
case("SkipLayerNormalization skip of 2 dims", "SkipLayerNormalization", [X, In("s 16"), G, G], define_skip,
     [s for s in SIZES if s["s"]], {"epsilon": 1e-5})
case("SkipLayerNormalization statistics", "SkipLayerNormalization", [X, X, G, G, G], define_skip, SIZES[:2],
     {"epsilon": 1e-5}, "1111")
case("SkipLayerNormalization deviation", "SkipLayerNormalization", [X, X, G], define_skip, SIZES[:2],
     {"epsilon": 1e-5}, "1010")
case("SkipSimplifiedLayerNormalization deviation", "SkipSimplifiedLayerNormalization", [X, X, G],
     define_skip_simplified, SIZES[:2], {"epsilon": 1e-5}, "1011")
case("SimplifiedLayerNormalization plain", "SimplifiedLayerNormalization", [X, G], define_simplified, SIZES,
     {}, "11",
     domain="")
case("SimplifiedLayerNormalization axis", "SimplifiedLayerNormalization", [In("b s 4 6"), C("4 6")],
     define_simplified,
     SIZES, {"axis": 2, "epsilon": 1e-3, "stash_type": 1}, "11", domain="")
case("LayerNormalization before opset 17", "LayerNormalization", [X, G, G], define_norm, SIZES, {}, "111",
     domain="",
     opset=12)
case("LayerNormalization of com.microsoft", "LayerNormalization", [X, G], define_norm, SIZES,
     {"epsilon": 1e-3},
     runtime=False)


def define_embed(a, ids, segments, words, positions, table, gamma, beta, mask=None, position_ids=None):
    at = position_ids if position_ids is not None else numpy.arange(ids.shape[1])[None]
    total = words[ids] + positions[at] + (0 if table is None else table[segments])
    y = normalise(total, gamma, beta, a.get("epsilon", 1e-12), False)[0]
    ones = numpy.zeros(ids.shape[0]) if mask is None else (mask == 1).sum(1)
    return [y, ones.astype(numpy.int32), total]


IDS, SEGMENTS = In("b s", integers(0, 30), I32), In("b s", integers(0, 2), I32)
TABLES = (C("30 16"), C("12 16"), C("2 16"), G, G)
EMBED = [s for s in SIZES if s["s"]]
case("EmbedLayerNormalization plain", "EmbedLayerNormalization", [IDS, SEGMENTS, *TABLES], define_embed,
     EMBED,
     {"epsilon": 1e-5}, "11", half=True)
case("EmbedLayerNormalization mask", "EmbedLayerNormalization",
     [IDS, SEGMENTS, *TABLES, In("b s", integers(0, 2), I32)],
     define_embed, EMBED, {"epsilon": 1e-5, "mask_index_type": 1}, "11")
case("EmbedLayerNormalization positions", "EmbedLayerNormalization",
     [IDS, SEGMENTS, *TABLES, None, In("b s", integers(0, 12), I32)], define_embed, EMBED, {"epsilon": 1e-5},
     "111")
case("EmbedLayerNormalization positions of all", "EmbedLayerNormalization",
     [IDS, SEGMENTS, *TABLES, None, In("1 s", integers(0, 12), I32)], define_embed, EMBED, {"epsilon": 1e-5},
     "101")
case("EmbedLayerNormalization without segments", "EmbedLayerNormalization",
     [IDS, None, TABLES[0], TABLES[1], None, G, G], define_embed, EMBED, {"epsilon": 1e-5}, "111")

# ---- activations ----

erf = numpy.vectorize(math.erf, otypes=[float])


def gelu(x):
    return 0.5 * x * (1 + erf(x / numpy.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + numpy.tanh(numpy.sqrt(2 / numpy.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def define_split_gelu(a, x, bias):
    left, right = numpy.split(x + bias, 2, 2)
    return [left * gelu(right)]


case("Gelu", "Gelu", [X], lambda a, x: [gelu(x)], SIZES, half=True)
case("BiasGelu", "BiasGelu", [X, G], lambda a, x, b: [gelu(x + b)], SIZES)
case("FastGelu", "FastGelu", [X], lambda a, x: [gelu_tanh(x)], SIZES, half=True)
case("FastGelu bias", "FastGelu", [X, G], lambda a, x, b: [gelu_tanh(x + b)], SIZES)
case("QuickGelu", "QuickGelu", [X], lambda a, x: [x * sigmoid(1.702 * x)], SIZES)
case("QuickGelu alpha", "QuickGelu", [X], lambda a, x: [x * sigmoid(0.5 * x)], SIZES, {"alpha": 0.5})
case("BiasSplitGelu", "BiasSplitGelu", [X, G], define_split_gelu, SIZES, runtime=False, half=True)
case("BiasAdd", "BiasAdd", [X, G, X], lambda a, x, b, skip: [x + b + skip], SIZES, runtime=False)

# ---- products ----


def define_matmul(a, x, y):
    def turn(v, letter):
        if a.get(f"transBatch{letter}"):
            v = numpy.moveaxis(v, 0, -2)
        return numpy.swapaxes(v, -1, -2) if a.get(f"trans{letter}") else v
    return [turn(x, "A") @ turn(y, "B") * a.get("alpha", 1.0)]


for name, x, y, attributes in (
        ("plain", "b s 6", "6 8", {}), ("alpha", "b s 6", "b 6 8", {"alpha": 0.5}),
        ("A", "b 6 s", "b 6 8", {"transA": 1}), ("B", "b s 6", "b 8 6", {"transB": 1, "alpha": 2.0}),
        ("both", "2 b 6 s", "2 b 8 6", {"transA": 1, "transB": 1}),
        ("batch of A", "s b 6", "b 6 8", {"transBatchA": 1}),
        ("batch of B", "b s 6", "6 b 8", {"transBatchB": 1}),
        ("batches", "s 2 b 6", "6 2 b 8", {"transBatchA": 1, "transBatchB": 1}),
        ("batch and transposed", "6 b s", "8 b 6",
         {"transBatchA": 1, "transA": 1, "transBatchB": 1, "transB": 1})):
    case(f"FusedMatMul {name}", "FusedMatMul", [In(x), In(y)], define_matmul, SIZES[:2], attributes)
case("TransposeMatMul", "TransposeMatMul", [In("b 6 s"), In("b 6 8")], define_matmul, SIZES[:2],
     {"transA": 1})

# ---- mixtures of experts ----

EXPERTS, HIDDEN, INNER = 5, 16, 24


def define_experts(a, x, router, layers, mixing=None):
    flat = x.reshape(-1, x.shape[-1])
    kind, fusion = a.get("activation_type", "relu"), a.get("swiglu_fusion", 0)
    limit = a.get("swiglu_limit", numpy.inf)
    alpha, beta = a.get("activation_alpha", 1.0), a.get("activation_beta", 0.0)
    plain = {"relu": lambda v: numpy.maximum(v, 0), "gelu": gelu_tanh, "silu": lambda v: v * sigmoid(v),
             "identity": lambda v: v, "relu2": lambda v: numpy.maximum(v, 0) ** 2}

    def linear(i, e, v):
        weights, bias = layers[i]
        return v @ weights[e].T + (0 if bias is None else bias[e])

    def expert(e, v):
        first = linear(0, e, v)
        third = None if layers[2] is None else linear(2, e, v)
        if kind in plain:
            between = plain[kind](first) * (1 if third is None else third)
        else:
            half = first.shape[-1] // 2
            g, l = ((first, third) if fusion == 0 else (first[::2], first[1::2]) if fusion == 1
                    else (first[:half], first[half:]))
            if kind == "geglu":
                between = gelu_tanh(g) * l
            elif a.get("swiglu_limit_after_activation"):
                between = numpy.minimum(g * sigmoid(alpha * g), limit) * (numpy.clip(l, -limit, limit) + beta)
            else:
                g, l = numpy.minimum(g, limit), numpy.clip(l, -limit, limit)
                between = g * sigmoid(alpha * g) * (l + beta)
        return linear(1, e, between)

    y = numpy.zeros_like(flat)
    for t in range(len(flat)):
        chosen = numpy.argsort(-router[t], kind="stable")[:a.get("k", 1)]
        weights = numpy.exp(router[t] - router[t].max()) / numpy.exp(router[t] - router[t].max()).sum()
        weights = (weights if mixing is None else mixing[t])[chosen]
        if a.get("normalize_routing_weights"):
            weights = weights / weights.sum()
        for e, w in zip(chosen, weights):
            y[t] += w * expert(e, flat[t])
    return [y.reshape(x.shape)]


def define_moe(a, x, router, w1, b1, w2, b2=None, w3=None, b3=None):
    return define_experts(a, x, router, [(w1, b1), (w2, b2), None if w3 is None else (w3, b3)])


def unpack(packed, bits, count):
    fields = [packed >> shift & (2**bits - 1) for shift in range(0, 8, bits)]
    return numpy.stack(fields, -1).reshape(*packed.shape[:-1], -1)[..., :count]


def define_qmoe(a, x, router, *rest):
    rest = list(rest) + [None] * (13 - len(rest))
    bits, block = a.get("expert_weight_bits", 4), a.get("block_size", 0)
    layers = []
    for i, name in enumerate(("fc1", "fc2", "fc3")):
        packed, scales, bias = rest[3 * i:3 * i + 3]
        if packed is None:
            layers.append(None)
            continue
        own = a.get(f"{name}_expert_weight_bits", bits)
        rows, columns = packed.shape[1], packed.shape[2] * 8 // own
        blocks = columns // block if block else 1
        zeros = 2 ** (own - 1)
        if rest[9 + i] is not None:
            zeros = unpack(rest[9 + i], own, blocks if block else rows).reshape(-1, rows, blocks).repeat(
                columns // blocks, 2)
        scales = scales.reshape(-1, rows, blocks).repeat(columns // blocks, 2)
        layers.append(((unpack(packed, own, columns) - zeros) * scales, bias))
    return define_experts(a, x, router, layers, rest[12])


def moe(name, *inputs, runtime=True, half=False, fused=False, **attributes):
    first = (2 if fused else 1) * INNER
    x, router = In(f"b s {HIDDEN}"), In(f"b*s {EXPERTS}", lambda d, s, r: r.normal(size=d) * 2)
    case(f"MoE {name}", "MoE", [x, router, C(f"{EXPERTS} {first} {HIDDEN}"), *inputs], define_moe, SIZES[:2],
         attributes, runtime=runtime, half=half)


W2, B1, B2 = C(f"{EXPERTS} {HIDDEN} {INNER}"), C(f"{EXPERTS} {INNER}"), C(f"{EXPERTS} {HIDDEN}")
W3, BF = C(f"{EXPERTS} {INNER} {HIDDEN}"), C(f"{EXPERTS} {2 * INNER}")
moe("one expert", B1, W2, B2, half=True)
moe("two experts", None, W2, None, k=2)
moe("normalised", B1, W2, B2, k=3, normalize_routing_weights=1, half=True)
moe("gelu", B1, W2, B2, k=2, activation_type="gelu")
moe("silu", B1, W2, B2, k=2, activation_type="silu")
moe("identity", B1, W2, B2, k=5, activation_type="identity")
moe("squared", B1, W2, B2, k=2, activation_type="relu2", runtime=False)
moe("gate apart", None, W2, None, W3, k=2, activation_type="silu", runtime=False)
moe("swiglu interleaved", BF, W2, B2, k=2, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702,
    activation_beta=1.0, swiglu_limit=1.0, fused=True, normalize_routing_weights=1)
moe("swiglu in halves", BF, W2, B2, k=2, activation_type="swiglu", swiglu_fusion=2, fused=True, runtime=False)
moe("swiglu apart", B1, W2, B2, W3, B1, k=2, activation_type="swiglu", runtime=False)
moe("swiglu limited behind", BF, W2, B2, activation_type="swiglu", swiglu_fusion=1, swiglu_limit=0.5,
    fused=True,
    swiglu_limit_after_activation=1, runtime=False)
moe("geglu", BF, W2, B2, activation_type="geglu", swiglu_fusion=2, fused=True, runtime=False)


def qmoe(name, bits=4, block=0, zeros=False, third=False, fused=False, mixing=False, runtime=True, half=False,
         hidden=64, inner=32, **attributes):
    first = (2 if fused else 1) * inner
    byte = integers(0, 256)

    def layer(rows, columns, bias):
        blocks = columns // block if block else None
        scales = C(f"{EXPERTS} {rows}" + (f" {blocks}" if block else ""), lambda d, s,
                   r: r.uniform(0.001, 0.01, d))
        return [C(f"{EXPERTS} {rows} {columns * bits // 8}", byte, numpy.uint8), scales,
                C(f"{EXPERTS} {rows}") if bias else None]

    def zero(rows, columns):
        if block:
            return C(f"{EXPERTS} {rows} {-(-(columns // block) * bits // 8)}", byte, numpy.uint8)
        return C(f"{EXPERTS} {rows * bits // 8}", byte, numpy.uint8)

    inputs = [In(f"b s {hidden}"), In(f"b*s {EXPERTS}", lambda d, s, r: r.normal(size=d) * 2)]
    inputs += layer(first, hidden, True) + layer(hidden, inner, True)
    inputs += layer(inner, hidden, False) if third else [None] * 3
    inputs += [zero(first, hidden), zero(hidden, inner)] if zeros else [None] * 2
    inputs += [zero(inner, hidden) if zeros and third else None]
    inputs += [In(f"b*s {EXPERTS}", lambda d, s, r: r.uniform(0.1, 1, d)) if mixing else None]
    case(f"QMoE {name}", "QMoE", inputs, define_qmoe, SIZES[:2],
         {"expert_weight_bits": bits, **({"block_size": block} if block else {}), **attributes},
         runtime=runtime,
         half=half)


# Without normalize_routing_weights, ONNX Runtime's CPU build normalises all the same; its MoE does not.
N = {"k": 2, "normalize_routing_weights": 1}
qmoe("4 bits", half=True, **N)
qmoe("8 bits", bits=8, **N)
qmoe("2 bits", bits=2, **N)
qmoe("4 bits in blocks", block=16, **N)
qmoe("8 bits in blocks", bits=8, block=32, runtime=False, **N)
qmoe("zero points", zeros=True, **N)
qmoe("zero points of blocks", block=16, zeros=True, **N)
qmoe("zero points of 8 bits", bits=8, zeros=True, activation_type="silu", **N)
qmoe("odd number of blocks", block=16, zeros=True, inner=48, **N)
qmoe("rows of several pieces", block=32, hidden=1056, **N)
qmoe("not normalised", k=2, runtime=False)
qmoe("swiglu", fused=True, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.702,
     activation_beta=1.0,
     swiglu_limit=7.0, **N)
qmoe("gate apart", third=True, zeros=True, activation_type="silu", runtime=False, **N)
qmoe("other weights for mixing", mixing=True, **N)


@pytest.mark.parametrize("op", sorted({c.op for c in CASES.values()}))
def test_compiled(op, tmp_path):
    check_cases({name: c for name, c in CASES.items() if c.op == op}, tmp_path)


@pytest.mark.parametrize("name", [name for name, c in CASES.items() if c.runtime])
def test_definition(name):
    check_definition(CASES[name])
