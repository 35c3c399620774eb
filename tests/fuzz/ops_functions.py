# SPDX-License-Identifier: Apache-2.0
"""Model-local functions, nested and with attributes, and SequenceMap."""

from onnx import AttributeProto, helper

from elements import F32
from graph import Refused
from tables import entry

DOMAIN = "local"
UNARY = ("Neg", "Abs", "Tanh", "Relu", "Sigmoid")


def define(g, inner=None):
    """A function of two tensors: y = op(a * b) + a, or with a call of another one; `alpha` has a default."""
    name = f"function{len(g.root.functions)}"
    nodes = [helper.make_node("Mul", ["a", "b"], ["product"])]
    if inner is not None:
        nodes.append(helper.make_node(inner, ["product", "b"], ["changed"], domain=DOMAIN))
    elif g.chance(0.5):
        leaky = helper.make_node("LeakyRelu", ["product"], ["changed"])
        leaky.attribute.append(AttributeProto(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT))
        nodes.append(leaky)
    else:
        nodes.append(helper.make_node(g.pick(UNARY), ["product"], ["changed"]))
    nodes.append(helper.make_node("Add", ["changed", "a"], ["sum"]))
    opsets = [helper.make_opsetid(d, v) for d, v in g.opsets.items() if d in ("", DOMAIN)]
    function = helper.make_function(DOMAIN, name, ["a", "b"], ["sum"], nodes, opsets)
    function.attribute_proto.append(helper.make_attribute("alpha", 0.25))
    g.root.functions.append(function)
    return name


@entry("function", since=13, weight=3)
def function(g):
    if g.parent is not None:
        raise Refused("functions are called in the main graph")
    g.opsets[DOMAIN] = 1
    name = define(g)
    if g.chance(0.4):
        name = define(g, name)
    a = g.take([F32], finite=True)
    b = g.take([F32], shape=g.broadcast(a.shape), finite=True)
    for _ in range(g.integer(1, 2)):
        a = g.node(name, [a, b], domain=DOMAIN, **({"alpha": 0.5} if g.chance(0.4) else {}))
        g.count("function")


@entry("SequenceMap", since=17)
def sequence_map(g):
    x = g.take([F32], min_rank=1, max_rank=3)
    values = [x, g.take([F32], min_rank=x.rank, max_rank=x.rank)]
    s = g.node("SequenceConstruct", values, exact=all(v.exact for v in values))
    body = g.body()
    item = body.add(x.sample, exact=False)
    extra = g.take([F32], shape=[1])
    inputs, more = [item], []
    if g.chance(0.4):
        inputs.append(body.add(extra.sample, exact=False))
        more = [extra]
    y = body.node(g.pick(UNARY), [item])
    if more or g.chance(0.5):
        y = body.node("Mul", [y, inputs[-1] if more else extra])
    proto = body.body_proto(inputs, [y])
    g.node("SequenceMap", [s, *more], bodies=[body], body=proto, exact=False)
