# SPDX-License-Identifier: Apache-2.0
"""Cases of one node each with known answers, checked in batches.

A compilation costs more than a node, so the cases of one operator set go into few models, each case with its own
inputs and outputs; only when such a model fails, its cases are checked one by one and the guilty ones named.
"""

import json
import os
import subprocess

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
IR_VERSION = 10
BATCH = 64


def element_of(array):
    """The TensorProto element type of an array."""
    return TensorProto.STRING if array.dtype.kind in "OUS" else helper.np_dtype_to_tensor_dtype(array.dtype)


def tensor_of(array, name=""):
    return numpy_helper.from_array(array.astype(object) if array.dtype.kind in "US" else array, name)


def rename(node, prefix):
    """A copy of the node with a prefix before all names of values, those in its graphs too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend(prefix + name if name else "" for name in node.input)
    copy.output.extend(prefix + name if name else "" for name in node.output)
    for attribute in copy.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            for info in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
                info.name = prefix + info.name
            nodes = [rename(inner, prefix) for inner in graph.node]
            del graph.node[:]
            graph.node.extend(nodes)
    return copy


class Case:
    """Nodes with their inputs ({name: array, or a list of arrays for a sequence}), the names of the outputs and the
    answers. `constants` are inputs that the model holds."""

    def __init__(self, name, opsets, nodes, inputs, outputs, constants=(), rtol=1e-3):
        self.name, self.opsets, self.nodes = name, opsets, nodes
        self.inputs, self.outputs, self.constants, self.rtol = inputs, outputs, constants, rtol
        self.answers = None

    def model(self):
        return make_model([self])

    def by_reference(self):
        model = self.model()
        feeds = {f"c0_{name}": value for name, value in self.inputs.items() if name not in self.constants}
        types = element_types(model)
        self.answers = [as_declared(value, types.get(f"c0_{name}"))
                        for name, value in zip(self.outputs, ReferenceEvaluator(model).run(None, feeds))]

    def by_onnxruntime(self):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(self.model().SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        feeds = {f"c0_{name}": value for name, value in self.inputs.items() if name not in self.constants}
        self.answers = session.run(None, feeds)


def element_types(model):
    """{output: element type} as inference finds them."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return {}
    return {item.name: item.type.tensor_type.elem_type for item in inferred.graph.output
            if item.type.HasField("tensor_type")}


def as_declared(value, element):
    """The reference computes some answers in another type than the schema says."""
    if not element or isinstance(value, list):
        return value
    return numpy.asarray(value).astype(helper.tensor_dtype_to_np_dtype(element))


def info_of(name, value):
    if isinstance(value, list):
        element = element_of(value[0]) if value else TensorProto.FLOAT
        ranks = {item.ndim for item in value}
        dims = [None] * ranks.pop() if len(ranks) == 1 else None
        return helper.make_tensor_sequence_value_info(name, element, dims)
    return helper.make_tensor_value_info(name, element_of(value), value.shape)


def make_model(cases):
    nodes, inputs, outputs, initializers = [], [], [], []
    for number, case in enumerate(cases):
        prefix = f"c{number}_"
        nodes += [rename(node, prefix) for node in case.nodes]
        for name, value in case.inputs.items():
            if name in case.constants:
                initializers.append(tensor_of(value, prefix + name))
            else:
                inputs.append(info_of(prefix + name, value))
        for k, name in enumerate(case.outputs):
            info = onnx.ValueInfoProto(name=prefix + name)
            if case.answers is not None and isinstance(case.answers[k], list):
                info = info_of(prefix + name, case.answers[k])
            elif case.answers is not None:
                element = element_of(numpy.asarray(case.answers[k]))
                info = helper.make_tensor_value_info(prefix + name, element, None)
            outputs.append(info)
    graph = helper.make_graph(nodes, "cases", inputs, outputs, initializers)
    opsets = [helper.make_opsetid(domain, version) for domain, version in cases[0].opsets.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def write_value(path, value):
    if isinstance(value, list):
        message = onnx.SequenceProto(elem_type=onnx.SequenceProto.TENSOR)
        message.tensor_values.extend(tensor_of(item) for item in value)
    else:
        message = tensor_of(numpy.asarray(value))
    with open(path, "wb") as file:
        file.write(message.SerializeToString())


def write_folder(folder, cases):
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data)
    onnx.save(make_model(cases), os.path.join(folder, "model.onnx"))
    with open(os.path.join(folder, "data.json"), "w", encoding="utf-8") as file:
        json.dump({"rtol": cases[0].rtol, "atol": 1e-6}, file)
    feeds = [value for case in cases for name, value in case.inputs.items() if name not in case.constants]
    answers = [value for case in cases for value in case.answers]
    for kind, values in (("input", feeds), ("output", answers)):
        for k, value in enumerate(values):
            write_value(os.path.join(data, f"{kind}_{k}.pb"), value)


def run_check(root, batches, arguments):
    """{number of batch: what tamis says of it}, failing ones only."""
    for number, batch in enumerate(batches):
        write_folder(os.path.join(root, f"{number:05d}"), batch)
    done = subprocess.run([TAMIS, "check", "--json", *arguments, root], stdout=subprocess.PIPE, check=False)
    assert done.stdout, f"no report, exit code {done.returncode}"
    return {int(case["name"].rpartition("/")[2]): case["detail"] or case["status"]
            for case in json.loads(done.stdout)["cases"] if case["status"] != "pass"}


def check(cases, root, arguments=()):
    """[(case, what tamis says)] of the cases with another answer. `root` is a new folder for files."""
    groups = {}
    for case in cases:
        groups.setdefault((tuple(sorted(case.opsets.items())), case.rtol), []).append(case)
    batches = [group[k:k + BATCH] for group in groups.values() for k in range(0, len(group), BATCH)]
    failed = run_check(os.path.join(root, "batches"), batches, arguments) if batches else {}
    single = [[case] for number in sorted(failed) for case in batches[number]]
    details = run_check(os.path.join(root, "single"), single, arguments) if single else {}
    guilty = [(single[number][0], detail) for number, detail in sorted(details.items())]
    if failed and not guilty:
        guilty = [(batches[number][0], f"only in one model with others: {detail}") for number, detail in failed.items()]
    return guilty
