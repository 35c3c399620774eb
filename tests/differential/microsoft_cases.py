# SPDX-License-Identifier: Apache-2.0
"""Cases of ONNX Runtime's operators: one node, its inputs with symbolic dims, and a definition in NumPy.

Several sets of sizes make several data sets of one model. The definition computes in float64 and is compared
with ONNX Runtime where its CPU build has the operator; compiled code at -O0 and -O3 and the evaluator are
compared with the definition.
"""

import dataclasses
import json
import os
import subprocess
import typing

import numpy
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
# Rounding steps of the element type, relative to numbers around 1.
STEPS = {numpy.float32: 512, numpy.float16: 16}
TYPES = {numpy.float32: TensorProto.FLOAT, numpy.float16: TensorProto.FLOAT16, numpy.int32: TensorProto.INT32,
         numpy.int64: TensorProto.INT64, numpy.uint8: TensorProto.UINT8, numpy.int8: TensorProto.INT8}
WAYS = {"-O0": ["-O0"], "-O3": ["-O3"], "evaluator": ["--evaluate"]}


@dataclasses.dataclass
class In:
    """An input: dims as words, numbers or sums of symbols; `make(dims, sizes, random)` gives its elements."""

    dims: str
    make: typing.Callable = None
    type: type = numpy.float32
    constant: bool = False

    def shape(self, sizes):
        return [eval(word, {}, dict(sizes)) for word in self.dims.split()]

    def array(self, sizes, random, floats):
        dims = self.shape(sizes)
        made = self.make(dims, sizes, random) if self.make else random.uniform(-1, 1, dims)
        return numpy.asarray(made, floats if self.type is numpy.float32 else self.type).reshape(dims)


def C(dims, make=None, type=numpy.float32):
    return In(dims, make, type, True)


def integers(low, high):
    return lambda dims, sizes, random: random.integers(low, high, dims)


@dataclasses.dataclass
class Case:
    op: str
    inputs: list
    define: typing.Callable
    sizes: list
    attributes: dict = dataclasses.field(default_factory=dict)
    outputs: str = "1"  # a digit for each: 1 is asked for
    domain: str = "com.microsoft"
    opset: int = 17
    runtime: bool = True  # ONNX Runtime's CPU build has this form
    half: bool = False    # also in float16
    valid: typing.Callable = None  # which elements of output 0 ONNX Runtime defines


def tolerance(floats):
    return STEPS[floats] * float(numpy.finfo(floats).eps)


def model_of(cases, floats):
    """A model with a node for each case; its symbols are the words of the inputs' dims."""
    infos, initializers, nodes, results = [], [], [], []
    for k, c in enumerate(cases):
        names = [f"x{k}.{i}" if given else "" for i, given in enumerate(c.inputs)]
        outputs = [f"y{k}.{i}" if flag == "1" else "" for i, flag in enumerate(c.outputs)]
        while names and not names[-1]:
            names.pop()
        nodes.append(helper.make_node(c.op, names, outputs, f"node{k}", domain=c.domain, **c.attributes))
        for i, (name, given) in enumerate(zip(names, c.inputs)):
            kind = floats if given and given.type is numpy.float32 else given and given.type
            if given and given.constant:
                array = given.array({}, numpy.random.default_rng(i), floats)
                initializers.append(numpy_helper.from_array(array, name))
            elif given:
                dims = [int(word) if word.isdigit() else word for word in given.dims.split()]
                infos.append(helper.make_tensor_value_info(name, TYPES[kind], dims))
        if c.define is None:
            results += [helper.make_empty_tensor_value_info(name) for name in outputs if name]
            continue
        types = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in data_of(c, floats, c.sizes[0], 0)[1]]
        results += [helper.make_tensor_value_info(name, type_, None)
                    for name, type_ in zip(filter(None, outputs), types)]
    graph = helper.make_graph(nodes, "g", infos, results, initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", cases[0].opset),
                                                                  helper.make_opsetid("com.microsoft", 1)])


def data_of(c, floats, sizes, seed):
    """The arrays of all inputs (None: omitted), and the wanted outputs."""
    random = numpy.random.default_rng(seed)
    arrays = [given and given.array(sizes, numpy.random.default_rng(i) if given.constant else random, floats)
              for i, given in enumerate(c.inputs)]
    wide = [a if a is None else a.astype("f8" if a.dtype.kind == "f" else "i8") for a in arrays]
    wanted = c.define(c.attributes, *wide)
    kept = [w for w, flag in zip(wanted, c.outputs) if flag == "1"]
    return arrays, [w.astype(floats) if w.dtype.kind == "f" else w for w in kept]


def write(cases, folder, floats):
    """A folder as `tamis check` reads it; the cases have the same sizes."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model_of(cases, floats).SerializeToString())
    (folder / "data.json").write_text(json.dumps({"rtol": tolerance(floats), "atol": tolerance(floats)}))
    for number, sizes in enumerate(cases[0].sizes):
        inputs, outputs = [], []
        for c in cases:
            arrays, wanted = data_of(c, floats, sizes, number)
            inputs += [a for a, given in zip(arrays, c.inputs) if given is not None and not given.constant]
            outputs += wanted
        data = folder / f"test_data_set_{number}"
        data.mkdir()
        for kind, arrays in (("input", inputs), ("output", outputs)):
            for i, array in enumerate(arrays):
                (data / f"{kind}_{i}.pb").write_bytes(numpy_helper.from_array(array).SerializeToString())


def check_cases(cases, folder):
    """All cases, each in three ways. Cases of the same sizes are one model: one compilation tests many."""
    groups = {}
    for c in cases.values():
        for floats in [numpy.float32] + [numpy.float16] * c.half:
            key = json.dumps([c.sizes, c.opset, str(numpy.dtype(floats))])
            groups.setdefault(key, (floats, []))[1].append(c)
    for number, (floats, members) in enumerate(groups.values()):
        write(members, folder / f"group{number}", floats)
    for way, options in WAYS.items():
        done = subprocess.run([TAMIS, "check", "-q", *options, str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, f"{way}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


def check_definition(c):
    """The definition against ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_of([c], numpy.float32).SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    near = 4 * tolerance(numpy.float32)
    for number, sizes in enumerate(c.sizes):
        arrays, wanted = data_of(c, numpy.float32, sizes, number)
        feeds = {f"x0.{i}": a for i, (a, given) in enumerate(zip(arrays, c.inputs))
                 if given is not None and not given.constant}
        for i, (have, want) in enumerate(zip(session.run(None, feeds), wanted)):
            assert have.shape == want.shape, f"output {i} with {sizes}: {have.shape}, not {want.shape}"
            if c.valid is not None:
                have, want = c.valid(i, have, sizes, arrays), c.valid(i, want, sizes, arrays)
            numpy.testing.assert_allclose(have, want, near, near, err_msg=f"output {i} with {sizes}")


def refusal(c, folder):
    """What `tamis compile` says to a form that is not supported."""
    (folder / "model.onnx").write_bytes(model_of([c], numpy.float32).SerializeToString())
    done = subprocess.run([TAMIS, "compile", str(folder / "model.onnx"), "-o", str(folder / "out.so")],
                          capture_output=True, text=True)
    assert done.returncode == 69, done.stderr
    return done.stderr


def failure(c, changes, folder):
    """What a run says when the last element of some inputs is another number."""
    write([c], folder / "case", numpy.float32)
    arrays, _ = data_of(c, numpy.float32, c.sizes[0], 0)
    for i, number in changes.items():
        arrays[i].reshape(-1)[-1] = number
    feeds = {f"x0.{i}": a for i, (a, given) in enumerate(zip(arrays, c.inputs))
             if given and not given.constant}
    numpy.savez(folder / "in.npz", **feeds)
    files = [str(folder / "case" / "model.onnx"), "--inputs", str(folder / "in.npz")]
    done = subprocess.run([TAMIS, "run", *files], capture_output=True, text=True)
    assert done.returncode == 65, (done.returncode, done.stderr)
    return done.stderr
