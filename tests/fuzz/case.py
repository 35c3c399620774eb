# SPDX-License-Identifier: Apache-2.0
"""From a seed to a case: a model, its data sets with the oracle's answers, and what is known of its outputs."""

import dataclasses
import shutil

import numpy
import onnx
from onnx import helper, numpy_helper

import oracle
import tables
from elements import random_array, type_of
from graph import Graph, Refused

NEWEST = 27


@dataclasses.dataclass
class Case:
    seed: int
    model: onnx.ModelProto
    sets: list  # of (inputs, outputs), each a dict of name to sample; an output None: no oracle
    exact: dict  # output name to whether its bits do not depend on rounding
    ops: dict
    oracle: str = "onnxruntime"  # or "reference", "none"
    special: bool = False


def make_graph(seed, only=None):
    """The random graph of a seed, as a builder."""
    random = numpy.random.default_rng([seed, 4])
    entries = tables.entries() if only is None else [e for e in tables.entries() if only in (e.name, e.family)]
    focus = entries[seed % len(entries)]
    newest = min(NEWEST, focus.until)
    if random.random() < 0.5:
        opset = int(random.integers(max(focus.since, newest - 4), newest + 1))
    else:
        opset = int(random.integers(focus.since, newest + 1))
    profile = {"special": 0.15 if random.random() < 0.12 else 0.0,
               "constants": [0.0, 0.3, 0.5, 0.9][int(random.integers(4))],
               "symbolic": [0.0, 0.5, 1.0][int(random.integers(3))]}
    g = Graph(random, opset, **profile)
    wanted = int(random.integers(1, 12))
    made = 0
    for attempt in range(3 * wanted + 12):
        first = made == 0 and attempt < 8
        entry = focus if first or (attempt < 4 and g.chance(0.3)) else tables.choose(random, opset)
        kept = len(g.nodes)
        try:
            entry.generate(g)
            made += 1
        except Refused:
            made += len(g.nodes) > kept and made > 0
        if made >= wanted:
            break
    return g


def read_names(graph):
    """All names that nodes of a GraphProto read, also those in bodies."""
    names = set()
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= read_names(attribute.g)
    return names


def choose_outputs(g):
    produced = {name for node in g.nodes for name in node.output}
    read = read_names(helper.make_graph(g.nodes, "g", [], []))
    known = {v.name: v for v in g.pool}
    constants = {n for node in g.nodes if node.op_type == "Constant" for n in node.output}
    made = [known[n] for node in g.nodes for n in node.output if n in known and n not in constants]
    leaves = [v for v in made if v.name not in read]
    kept = [v for v in leaves if not g.chance(0.08)] or leaves
    kept += [v for v in made if v.name in read and (v in g.forced or g.chance(0.08))]
    assert all(v.name in produced for v in kept)
    return kept[:12]


def input_info(g, value, symbols):
    info = oracle.value_info(value.name, value.sample)
    if value.is_tensor and not value.fixed and g.chance(g.symbolic):
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if g.chance(0.7):
                size = dim.dim_value
                name = f"n{size}" if g.chance(0.7) else f"{value.name}.{axis}"
                symbols[name] = size
                dim.ClearField("dim_value")
                dim.dim_param = name
    return info


def make_model(g, outputs, symbols):
    reads = read_names(helper.make_graph(g.nodes, "g", [], [])) | {v.name for v in outputs}
    inputs = [v for v in g.inputs if v.name in reads or g.chance(0.2)]
    initializers = [v for v in g.initializers if v.name in reads]
    infos = [input_info(g, v, symbols) for v in inputs]
    made = []
    for value in outputs:
        if value.sample is None:
            made.append(onnx.ValueInfoProto(name=value.name))
            continue
        info = oracle.value_info(value.name, value.sample)
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
        made.append(info)
    protos = [oracle.tensor_proto(v.sample, v.name) for v in initializers]
    used = {n.domain for n in all_nodes(g.nodes)} | {""}
    opsets = [helper.make_opsetid(d, v) for d, v in g.opsets.items() if d in used or g.chance(0.1)]
    graph = helper.make_graph(list(g.nodes), "seed", infos, made, protos)
    model = helper.make_model(graph, opset_imports=opsets, functions=g.functions)
    model.ir_version = ir_version(g)
    if model.ir_version < 4:
        graph.input.extend(oracle.value_info(v.name, v.sample) for v in initializers)
        model.graph.CopyFrom(graph)
    return model, inputs


def all_nodes(nodes):
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g.node)


def ir_version(g):
    least = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10,
             22: 10}.get(g.opset, 11)
    return least


def other_sizes(g, model, inputs, symbols):
    """A second data set with other sizes of the symbolic dims, where the oracle takes it."""
    infos = {i.name: i for i in model.graph.input}
    # A size may change when all dims of that size are one symbol; else dims that belong together would part.
    numbers = {d for v in g.initializers for d in v.shape}
    names = {}
    for value in inputs:
        if value.is_tensor:
            for d, size in zip(infos[value.name].type.tensor_type.shape.dim, value.shape):
                names.setdefault(size, set()).add(d.dim_param)
    free = {next(iter(n)) for size, n in names.items() if len(n) == 1 and size not in numbers} - {""}
    least = g.root.least_size
    sizes = {name: max(least, size + g.integer(-2, 3)) if name in free else size for name, size in symbols.items()}
    if sizes == symbols:
        return None
    samples = {}
    for value in inputs:
        if not value.is_tensor:
            samples[value.name] = value.sample
            continue
        dims = infos[value.name].type.tensor_type.shape.dim
        shape = [sizes.get(d.dim_param, d.dim_value) for d in dims]
        low, high = value.range or (None, None)
        if shape == value.shape or low is None:
            if shape != value.shape:
                return None
            samples[value.name] = value.sample
        else:
            samples[value.name] = random_array(g.random, value.type, shape, low, high)
    try:
        return samples, dict(zip([o.name for o in model.graph.output], oracle.evaluate_model(model, samples)))
    except Refused:
        return None


def make_case(seed, only=None):
    """The case of a seed; raises Refused where the oracle has no answer."""
    g = make_graph(seed, only)
    outputs = choose_outputs(g)
    if not outputs:
        raise Refused("an empty graph")
    symbols = {}
    model, inputs = make_model(g, outputs, symbols)
    feeds = {v.name: v.sample for v in inputs}
    case = Case(seed, model, [], {v.name: v.exact for v in outputs}, dict(g.ops), special=g.special > 0)
    if g.ours_only:
        case.oracle = "none"
        case.sets = [(feeds, dict.fromkeys(case.exact))]
    elif g.by_reference:
        case.oracle = "reference"
        case.sets = [(feeds, {v.name: v.sample for v in outputs})]
    else:
        case.sets = [(feeds, dict(zip(case.exact, oracle.evaluate_model(model, feeds))))]
        if symbols and g.chance(0.6):
            second = other_sizes(g, model, inputs, symbols)
            if second is not None:
                case.sets.append(second)
    return case


def map_proto(sample, name=""):
    """numpy_helper.from_dict, for keys that are strings too."""
    proto = onnx.MapProto(name=name, key_type=type_of(numpy.asarray(next(iter(sample)))))
    for key in sample:
        if isinstance(key, str):
            proto.string_keys.append(key.encode())
        else:
            proto.keys.append(key)
    proto.values.CopyFrom(numpy_helper.from_list(list(sample.values())))
    return proto


def map_of(proto):
    keys = [k.decode() for k in proto.string_keys] or list(proto.keys)
    return dict(zip(keys, numpy_helper.to_list(proto.values)))


def sample_proto(name, sample):
    if isinstance(sample, list):
        if sample and isinstance(sample[0], dict):
            return onnx.SequenceProto(name=name, elem_type=onnx.SequenceProto.MAP, map_values=map(map_proto, sample))
        if sample:
            return numpy_helper.from_list(sample, name)
        return onnx.SequenceProto(name=name, elem_type=onnx.SequenceProto.TENSOR)
    if isinstance(sample, dict):
        return map_proto(sample, name)
    return oracle.tensor_proto(sample, name)


def write_case(case, folder):
    """The folder of an ONNX backend test."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    names = [i.name for i in case.model.graph.input]
    for k, (inputs, outputs) in enumerate(case.sets):
        data = folder / f"test_data_set_{k}"
        data.mkdir()
        place = 0
        for name in names:
            if name in inputs:
                (data / f"input_{place}.pb").write_bytes(sample_proto(name, inputs[name]).SerializeToString())
                place += 1
        for i, (name, sample) in enumerate(outputs.items()):
            if sample is not None:
                (data / f"output_{i}.pb").write_bytes(sample_proto(name, sample).SerializeToString())


def read_outputs(case, folder, k):
    """The outputs that `tamis check --outputs` wrote for data set k, or None."""
    data = folder / f"test_data_set_{k}"
    found = {}
    for i, (name, want) in enumerate(case.sets[k][1].items()):
        path = data / f"output_{i}.pb"
        if not path.exists():
            return None
        info = next(o for o in case.model.graph.output if o.name == name)
        if isinstance(want, list) or info.type.HasField("sequence_type"):
            proto = onnx.SequenceProto.FromString(path.read_bytes())
            found[name] = oracle.tidy(list(map(map_of, proto.map_values)) or numpy_helper.to_list(proto))
        else:
            found[name] = oracle.tidy(numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())))
    return found

