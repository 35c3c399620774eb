# SPDX-License-Identifier: Apache-2.0
"""The official ONNX backend cases as folders for `tamis check`: as given, or changed.

A data folder has one folder for each kind of case, as the package onnx, Debian's libonnx-testdata and
dump_cases.py lay it out:

    node/test_add/model.onnx  node/test_add/test_data_set_0/{input,output}_0.pb      also simple, pytorch-*
    real/test_vgg19/data.json  light/light_vgg19.onnx  light/light_vgg19_output_0.pb

A case of the kind `real` names its model by an address. Where the file of that name lies in `light` (the same
network with weights that are formulas), that is the model, and its input is the one onnx's runner makes.

Variants of a case, both with every value of the model's interface changed:

    symbolic   each dim of each input is a symbol of its own, in sequences and optionals too. Outputs keep their
               declared rank, without a size.
    folded     no input is left: tensors are initializers, a sequence is SequenceConstruct of initializers,
               an optional is Optional. Only the first data set is compared.

Data of packages that had no bfloat16 yet hold its bits as uint16; they are given their type back.
"""

import json
import os
import shutil

import numpy as np
import onnx
from onnx import helper, numpy_helper

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
VARIANTS = ("symbolic", "folded")


def package_data():
    """The data folder that comes with the package onnx (below 1.23; later ones make the cases of `node`)."""
    return os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")


def list_cases(data, kinds=KINDS):
    """(cases as (kind, name, folder, model file), names of real cases whose model is not in the data folder)."""
    cases, absent = [], []
    for kind in kinds:
        root = os.path.join(data, kind)
        for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
            folder = os.path.join(root, name)
            model = os.path.join(folder, "model.onnx")
            if not os.path.exists(model) and os.path.exists(os.path.join(folder, "data.json")):
                with open(os.path.join(folder, "data.json"), encoding="utf-8") as file:
                    model = os.path.join(data, "light", os.path.basename(json.load(file)["url"]))
            if os.path.exists(model):
                cases.append((kind, name, folder, model))
            elif os.path.isdir(folder):
                absent.append(name)
    return cases, absent


def graph_inputs(graph):
    """Without those that are initializers."""
    constants = {item.name for item in graph.initializer}
    return [item for item in graph.input if item.name not in constants]


def make_light_set(model, path, folder):
    """The data set of a light model: a ramp from 0 to 1 as the input, the recorded output."""
    os.makedirs(folder)
    for i, item in enumerate(graph_inputs(model.graph)):
        shape = [dim.dim_value or 1 for dim in item.type.tensor_type.shape.dim]
        count = int(np.prod(shape))
        ramp = (np.arange(count).reshape(shape) / count).astype(np.float32)
        with open(os.path.join(folder, f"input_{i}.pb"), "wb") as file:
            file.write(numpy_helper.from_array(ramp, item.name).SerializeToString())
    prefix = os.path.splitext(path)[0]
    for i in range(len(model.graph.output)):
        os.symlink(f"{prefix}_output_{i}.pb", os.path.join(folder, f"output_{i}.pb"))


def tensor_types(type_):
    """The tensor types in a type: of the tensor itself, of elements of a sequence, of an optional."""
    kind = type_.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        return [getattr(type_, kind)]
    if kind in ("sequence_type", "optional_type"):
        return tensor_types(getattr(type_, kind).elem_type)
    return []


def make_symbolic(model):
    for i, item in enumerate(graph_inputs(model.graph)):
        for tensor in tensor_types(item.type):
            for d, dim in enumerate(tensor.shape.dim):
                dim.dim_param = f"in{i}_dim{d}"
    for item in model.graph.output:
        for tensor in tensor_types(item.type):
            for dim in tensor.shape.dim:
                dim.Clear()
    del model.graph.value_info[:]


def read_proto(proto, path):
    with open(path, "rb") as file:
        proto.ParseFromString(file.read())
    return proto


def constant_sequence(graph, sequence, name, tensor_type):
    """The node that makes a sequence `name` of tensors."""
    names = []
    for i, tensor in enumerate(sequence.tensor_values):
        tensor.name = f"{name}_{i}"
        names.append(tensor.name)
        graph.initializer.append(tensor)
    if not names:
        return [helper.make_node("SequenceEmpty", [], [name], dtype=tensor_type.elem_type)]
    return [helper.make_node("SequenceConstruct", names, [name])]


def constant_optional(graph, optional, name, type_):
    """The nodes that make an optional `name`, with what it holds or empty."""
    inner, inside = f"{name}_inside", type_.optional_type.elem_type
    nodes = []
    if optional is None or optional.elem_type == onnx.OptionalProto.UNDEFINED:
        return [helper.make_node("Optional", [], [name], type=inside)]
    if optional.elem_type == onnx.OptionalProto.TENSOR:
        optional.tensor_value.name = inner
        graph.initializer.append(optional.tensor_value)
    elif optional.elem_type == onnx.OptionalProto.SEQUENCE:
        nodes = constant_sequence(graph, optional.sequence_value, inner, inside.sequence_type.elem_type.tensor_type)
    else:
        raise ValueError(f"{name}: an optional of kind {optional.elem_type}")
    return [*nodes, helper.make_node("Optional", [inner], [name])]


def make_folded(model, data_set):
    """Every input becomes a constant with its value in the data set; a missing one is an empty optional."""
    graph = model.graph
    nodes = []
    for i, item in enumerate(graph_inputs(graph)):
        path = os.path.join(data_set, f"input_{i}.pb")
        kind = item.type.WhichOneof("value")
        if kind == "tensor_type":
            tensor = read_proto(onnx.TensorProto(), path)
            tensor.name = item.name
            graph.initializer.append(tensor)
        elif kind == "sequence_type":
            sequence = read_proto(onnx.SequenceProto(), path)
            nodes += constant_sequence(graph, sequence, item.name, item.type.sequence_type.elem_type.tensor_type)
        elif kind == "optional_type":
            optional = read_proto(onnx.OptionalProto(), path) if os.path.exists(path) else None
            nodes += constant_optional(graph, optional, item.name, item.type)
        else:
            raise ValueError(f"{item.name}: there is no constant of kind {kind}")
    nodes += graph.node
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)


def retag_bfloat16(model, source, folder):
    """Writes a data set, linked where its tensors have the types of the model."""
    os.makedirs(folder)
    for name in os.listdir(source):
        os.symlink(os.path.join(source, name), os.path.join(folder, name))
    for name, items in (("input", graph_inputs(model.graph)), ("output", model.graph.output)):
        for i, item in enumerate(items):
            path = os.path.join(folder, f"{name}_{i}.pb")
            if item.type.tensor_type.elem_type != onnx.TensorProto.BFLOAT16 or not os.path.exists(path):
                continue
            tensor = read_proto(onnx.TensorProto(), path)
            if tensor.data_type == onnx.TensorProto.UINT16:
                tensor.data_type = onnx.TensorProto.BFLOAT16
                os.unlink(path)
                with open(path, "wb") as file:
                    file.write(tensor.SerializeToString())


def make_case(kind, source, path, folder, variant):
    """Writes one case folder: links where nothing changes."""
    os.makedirs(folder)
    model = onnx.load(path)
    bfloat16 = any(item.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16
                   for item in (*model.graph.input, *model.graph.output))
    for name in os.listdir(source):
        if bfloat16 and name.startswith("test_data_set_"):
            retag_bfloat16(model, os.path.join(source, name), os.path.join(folder, name))
        elif name != "model.onnx":
            os.symlink(os.path.join(source, name), os.path.join(folder, name))
    data_set = os.path.join(folder, "test_data_set_0")
    if not os.path.exists(data_set):
        make_light_set(model, path, data_set)
    if variant is None:
        os.symlink(path, os.path.join(folder, "model.onnx"))
        return
    if variant == "symbolic":
        make_symbolic(model)
    else:
        make_folded(model, data_set)
        for name in os.listdir(folder):
            other = os.path.join(folder, name)
            if name.startswith("test_data_set_") and name != "test_data_set_0":
                (os.unlink if os.path.islink(other) else shutil.rmtree)(other)
    onnx.save(model, os.path.join(folder, "model.onnx"))


def make_cases(root, data, kinds=KINDS, variant=None):
    """Makes ROOT/KIND/NAME for every case of the data folder; the names of those without a model file."""
    cases, absent = list_cases(os.path.abspath(data), kinds)  # links must lead to it
    for kind, name, source, path in cases:
        make_case(kind, source, path, os.path.join(root, kind, name), variant)
    return absent
