# SPDX-License-Identifier: Apache-2.0
"""If, Loop, Scan and what is carried through them, against ONNX Runtime: compiled with -O0 and -O3, and evaluated.

Values that ONNX Runtime's Python does not take (optionals) have an oracle of their own: what the case says in Python.
All cases of control_flow_cases.py are written as folders of the official kind, so one `tamis check` a mode runs them.
"""

import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from control_flow_cases import CASES

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
MODES = {"O0": ["-O0"], "O3": ["-O3"], "evaluate": ["--evaluate"]}


def model_of(text):
    return onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21, "local" : 1]>' + text)


def graphs_of(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g)


def pin_dims(model, feeds):
    """A copy with the dims of the inputs as numbers everywhere: where a body never ran, ONNX Runtime gives symbolic
    dims of a scan output as 0, but numbers as they are."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    sizes = {}
    for item, feed in zip(model.graph.input, feeds):
        for dim, size in zip(item.type.tensor_type.shape.dim, np.shape(feed) if not isinstance(feed, list) else ()):
            sizes[dim.dim_param] = size
    for graph in graphs_of(model.graph):
        for item in [*graph.input, *graph.output]:
            for dim in item.type.tensor_type.shape.dim:
                if dim.dim_param in sizes:
                    dim.dim_value = sizes[dim.dim_param]
    return model


def answers(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(pin_dims(model, feeds).SerializeToString(), options)
    arrays = [feed if isinstance(feed, list) else np.asarray(feed) for feed in feeds]
    return session.run(None, dict(zip([item.name for item in model.graph.input], arrays)))


def write_value(path, item, value):
    kind = item.type.WhichOneof("value")
    if kind == "optional_type":
        proto = numpy_helper.from_optional(value, item.name)
        if isinstance(value, list) and not value:  # from_optional cannot tell it from None
            proto = onnx.OptionalProto(elem_type=onnx.OptionalProto.SEQUENCE)
            proto.sequence_value.elem_type = onnx.SequenceProto.TENSOR
    elif kind == "sequence_type":
        proto = onnx.SequenceProto(elem_type=onnx.SequenceProto.TENSOR)
        proto.tensor_values.extend(numpy_helper.from_array(np.asarray(entry)) for entry in value)
    else:
        proto = numpy_helper.from_array(np.asarray(value), item.name)
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())


def write_case(folder, name):
    text, sets, expected = CASES[name]
    model = model_of(text)
    os.makedirs(folder / name)
    onnx.save(model, folder / name / "model.onnx")
    for number, feeds in enumerate(sets):
        outputs = expected(*feeds) if expected else answers(model, feeds)
        data = folder / name / f"test_data_set_{number}"
        os.makedirs(data)
        for prefix, items, values in (("input", model.graph.input, feeds), ("output", model.graph.output, outputs)):
            for i, (item, value) in enumerate(zip(items, values, strict=True)):
                write_value(data / f"{prefix}_{i}.pb", item, value)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    for name in CASES:
        write_case(folder, name)
    return folder


@pytest.mark.parametrize("use, message", [
    ("y = Identity (s)", "give output 0, 'y', different ranks"),
    ("y = Neg (s)", "give output 0, 'y', different ranks"),
    ("y = Shape (s)", "give input 0, 's', different ranks"),
    ("y = Concat <axis = 0> (s, x)", "give input 0, 's', different ranks"),
    ("y = CastLike (s, x)", "give output 0, 'y', different ranks"),
    ("y = Loop (n, , s) <body = l (int64 i, bool d, p) => (bool d, p) { }>", "different ranks"),
    ("y = Loop (n, , x) <body = l (int64 i, bool d, p) => (bool d, q) { q = Identity (s) }>", "different ranks"),
])
def test_ranks_that_can_be_told_apart_are_refused(tmp_path, use, message):
    onnx.save(onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        g (bool c, float[1] x, int64 n) => (y) {
          half = Constant <value = float {0.5}> ()
          s = If (c) <then_branch = t () => (float a) { a = Identity (half) }, else_branch = e () => (float[1] b) { b = Neg (x) }>
          """ + use + "}"), tmp_path / "m.onnx")
    done = subprocess.run([TAMIS, "compile", tmp_path / "m.onnx", "-o", tmp_path / "m.so"], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 69 and "E0203" in done.stderr and message in done.stderr, done.stderr


@pytest.mark.parametrize("mode", MODES)
def test_control_flow(cases, mode):
    done = subprocess.run([TAMIS, "check", "-q", "--rtol=0", "--atol=0", *MODES[mode], cases], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} pass" in done.stdout
