# SPDX-License-Identifier: Apache-2.0
"""The second opinion: ONNX Runtime with its optimisations off, and onnx's reference evaluator for what it lacks.

evaluate() computes one node from arrays. The generator calls it for every node that it adds: so the types and
dims of all values are known without shape functions, a node that ONNX Runtime refuses costs that node and not the
graph, and no value is far from the others. evaluate_model() computes a whole model, for its recorded answers.
"""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from elements import DTYPES, FOREIGN, F32, type_of

LARGEST = 1 << 22  # elements of a result; more is refused
ORT_TYPES = {f"tensor({text})": t for text, t in {
    "bfloat16": TensorProto.BFLOAT16, "int4": TensorProto.INT4, "uint4": TensorProto.UINT4,
    "int2": TensorProto.INT2, "uint2": TensorProto.UINT2, "float4e2m1": TensorProto.FLOAT4E2M1,
    "float8e4m3fn": TensorProto.FLOAT8E4M3FN, "float8e4m3fnuz": TensorProto.FLOAT8E4M3FNUZ,
    "float8e5m2": TensorProto.FLOAT8E5M2, "float8e5m2fnuz": TensorProto.FLOAT8E5M2FNUZ,
    "float8e8m0": TensorProto.FLOAT8E8M0}.items()}


class Refused(Exception):
    """The oracle does not run this node or model."""


onnxruntime.set_default_logger_severity(4)


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def tensor_proto(array, name=""):
    if isinstance(array, str):  # NumPy's ufuncs give one for an object array of rank 0
        array = numpy.array(array, object)
    return numpy_helper.from_array(array, name)


def value_info(name, sample):
    """The type of a sample: an array, a map (dict), or a list of them."""
    if isinstance(sample, list):
        element = value_info("", sample[0]).type if sample and isinstance(sample[0], dict) else \
            helper.make_tensor_type_proto(type_of(sample[0]) if sample else F32, None)
        return helper.make_value_info(name, helper.make_sequence_type_proto(element))
    if isinstance(sample, dict):
        key, value = next(iter(sample.items()))
        element = helper.make_tensor_type_proto(type_of(value), [])
        return helper.make_value_info(name, helper.make_map_type_proto(type_of(numpy.asarray(key)), element))
    return helper.make_tensor_value_info(name, type_of(sample), list(sample.shape))


def _feed(model, samples):
    """Adds values as initializers where they are tensors, else as inputs; returns the feeds."""
    feeds = {}
    for name, sample in samples.items():
        if not isinstance(sample, numpy.ndarray):
            model.graph.input.append(value_info(name, sample))
            feeds[name] = sample
        else:
            model.graph.initializer.append(tensor_proto(sample, name))
            if model.ir_version < 4:
                model.graph.input.append(value_info(name, sample))
    return feeds


def _run(model, feeds):
    """Runs a model whose outputs may have types that NumPy lacks: those come through a Cast."""
    try:
        made = session(model)
        casts = {}
        for output in made.get_outputs():
            if output.type in ORT_TYPES:
                casts[output.name] = ORT_TYPES[output.type]
        if casts:
            model = onnx.ModelProto.FromString(model.SerializeToString())
            for output in model.graph.output:
                if output.name in casts:
                    wide = FOREIGN[casts[output.name]]
                    model.graph.node.append(helper.make_node("Cast", [output.name], [output.name + "/wide"], to=wide))
            names = [o.name for o in model.graph.output]
            del model.graph.output[:]
            model.graph.output.extend(ValueInfoProto(name=n + "/wide" if n in casts else n) for n in names)
            made = session(model)
            results = made.run(None, untidy(feeds))
            return [r.astype(DTYPES[casts[n]]) if n in casts else r for n, r in zip(names, results)]
        return made.run(None, untidy(feeds))
    except Exception as error:  # ONNX Runtime raises many kinds; all mean that it has no answer
        raise Refused(str(error)) from error


def untidy(feeds):
    """ONNX Runtime takes maps of Python's numbers and strings."""
    return {n: {k: v.item() for k, v in f.items()} if isinstance(f, dict) else f for n, f in feeds.items()}


def tidy(sample):
    if isinstance(sample, (list, tuple)):
        return [tidy(item) for item in sample]
    if isinstance(sample, dict):
        return {k: numpy.asarray(v, numpy.float32 if isinstance(v, float) else None) for k, v in sample.items()}
    if sample is None:
        return None
    array = numpy.asarray(sample)
    if array.dtype.kind in "US":
        array = array.astype(object)
    if array.size > LARGEST:
        raise Refused("a large result")
    return array


def node_model(node, opsets, samples, functions=()):
    graph = helper.make_graph([node], "node", [], [ValueInfoProto(name=n) for n in node.output if n])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
                              functions=list(functions))
    model.ir_version = 10
    return model, _feed(model, samples)


def evaluate(node, opsets, samples, reference=False, functions=()):
    """The outputs of a node by name; samples are the values that it and its subgraphs read."""
    names = [n for n in node.output if n]
    model, feeds = node_model(node, opsets, samples, functions)
    if reference:
        results = evaluate_reference(model, feeds)
        wide = node.op_type == "BitCast" or any(
            isinstance(s, numpy.ndarray) and s.dtype == numpy.float64 for s in samples.values())
        if not wide:
            results = [r.astype(numpy.float32) if r.dtype == numpy.float64 else r for r in results]  # NumPy widens
        return dict(zip(names, results))
    return dict(zip(names, map(tidy, _run(model, feeds))))


def evaluate_reference(model, feeds):
    try:
        return [tidy(r) for r in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:
        raise Refused(str(error)) from error


def evaluate_model(model, feeds):
    """All outputs of a model; inputs of types that NumPy lacks become initializers of a copy."""
    foreign = {i.name for i in model.graph.input if i.name in feeds and isinstance(feeds[i.name], numpy.ndarray)
               and type_of(feeds[i.name]) in FOREIGN}
    if foreign:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        for name in foreign:
            model.graph.initializer.append(tensor_proto(feeds[name], name))
        if model.ir_version >= 4:
            kept = [i for i in model.graph.input if i.name not in foreign]
            del model.graph.input[:]
            model.graph.input.extend(kept)
    return [tidy(r) for r in _run(model, {n: v for n, v in feeds.items() if n not in foreign})]
