# SPDX-License-Identifier: Apache-2.0
"""Writes cases as ONNX and compares what becomes of them; test_export.py does it with a sample.

    export_all.py OUT [LEVEL...]        all official node cases and the zoo; OUT gets the models and a summary
"""

import glob
import json
import multiprocessing
import os
import pathlib
import queue
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
TAMIS = os.environ.get("TAMIS", str(SOURCE / "build" / "bin" / "tamis"))
RUNNER = {"rtol": 1e-3, "atol": 1e-7}  # of ONNX's own runner


def folders():
    data = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    return {"node": os.path.join(data, "node"), "zoo": str(SOURCE.parent / "shared" / "zoo")}


def cases(folder):
    return sorted(name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "model.onnx")))


# ---- the file ----


def interface(values):
    """Names, and dims as numbers or names."""
    def dims(value):
        kind = value.type.WhichOneof("value")
        shape = value.type.tensor_type.shape if kind == "tensor_type" and value.type.tensor_type.HasField("shape") else None
        return None if shape is None else [dim.dim_param or dim.dim_value for dim in shape.dim]
    return [(value.name, dims(value)) for value in values]


def compare_interface(source, written):
    constants = {item.name for item in source.initializer} | {item.values.name for item in source.sparse_initializer}
    before = interface(value for value in source.input if value.name not in constants)
    after = interface(written.input)
    for (name, dims), (found, found_dims) in zip(before, after):
        same = name == found and (dims is None or found_dims is None or len(dims) == len(found_dims)
                                  and all(a in (0, "") or not isinstance(a, str) and a < 0 or a == b for a, b in zip(dims, found_dims)))
        if not same:
            yield f"input {name!r} {dims} is {found!r} {found_dims}"
    if len(before) != len(after) or [value.name for value in source.output] != [value.name for value in written.output]:
        yield "other inputs or outputs"


def type_text(proto):
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return f"tensor({onnx.TensorProto.DataType.Name(proto.tensor_type.elem_type).lower()})"
    if kind == "sequence_type":
        return f"seq({type_text(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({type_text(proto.optional_type.elem_type)})"
    return ""


def check_types(model):
    """Nodes of the main graph with types that the schema of the file's opset does not have."""
    opsets = {item.domain: item.version for item in model.opset_import}
    graph = shape_inference.infer_shapes(model).graph
    types = {value.name: type_text(value.type) for value in [*graph.input, *graph.value_info, *graph.output]}
    types.update({item.name: f"tensor({onnx.TensorProto.DataType.Name(item.data_type).lower()})" for item in graph.initializer})
    for node in graph.node:
        if not onnx.defs.has(node.op_type, opsets[node.domain], node.domain):
            continue
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain)
        for values, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
            for i, name in enumerate(values):
                found = types.get(name, "")
                if found and found not in formal[min(i, len(formal) - 1)].types:
                    yield f"{node.op_type} takes no {found} in opset {opsets[node.domain]}"


def link_data(folder, target):
    target.mkdir(parents=True, exist_ok=True)
    for name in os.listdir(folder):
        if not name.startswith("model.onnx") and not os.path.lexists(target / name):
            os.symlink(os.path.join(folder, name), target / name)


def export_case(folder, name, output, level):
    """Writes the case's model to `output`/NAME with its data beside it; the list of what is wrong."""
    source, target = os.path.join(folder, name, "model.onnx"), pathlib.Path(output) / name
    link_data(os.path.join(folder, name), target)
    done = subprocess.run([TAMIS, "compile", source, f"-O{level}", "--emit=onnx", "-o", target / "model.onnx"],
                          capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        return [f"{name} -O{level}: {done.stderr.strip()}"]
    faults = []
    try:
        onnx.checker.check_model(str(target / "model.onnx"), full_check=True)
    except Exception as error:  # the checker's own
        try:
            onnx.checker.check_model(source, full_check=True)
            faults.append(str(error))
        except Exception:
            pass  # the source does not pass either
    written = onnx.load(str(target / "model.onnx"))
    faults += compare_interface(onnx.load(source, load_external_data=False).graph, written.graph)
    faults += check_types(written)
    return [f"{name} -O{level}: {fault}" for fault in faults]


# ---- ONNX Runtime ----


def read_value(path, proto):
    kind = proto.WhichOneof("value")
    message = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}.get(kind, onnx.TensorProto)()
    with open(path, "rb") as file:
        message.ParseFromString(file.read())
    read = {"sequence_type": numpy_helper.to_list, "optional_type": numpy_helper.to_optional}.get(kind, numpy_helper.to_array)
    return read(message)


def runtime_answers(path, folder):
    """Of each data set; a text when ONNX Runtime does not run it."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(str(path), load_external_data=False).graph
        constants = {item.name for item in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        answers = []
        for data in sorted(glob.glob(os.path.join(folder, "test_data_set_*"))):
            feed = {value.name: read_value(os.path.join(data, f"input_{i}.pb"), value.type) for i, value in enumerate(inputs)}
            answers.append(session.run(None, {key: value for key, value in feed.items() if value is not None}))
        return answers
    except Exception as error:  # whatever it does not have
        return str(error)


def is_near(a, b, tolerance):
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(is_near(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_near(a[key], b[key], tolerance) for key in a)
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind in "fc":
        return np.allclose(a, b, equal_nan=True, **tolerance)
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


def tolerance_of(folder):
    path = os.path.join(folder, "system.json")
    if not os.path.exists(path):
        return RUNNER
    with open(path, encoding="utf-8") as file:
        text = json.load(file)
    return {key: text.get(key, RUNNER[key]) for key in RUNNER}


def is_random(path):
    """Draws are others in each run."""
    return any(node.op_type in ("Bernoulli", "Multinomial") or node.op_type.startswith("Random")
               for node in onnx.load(str(path), load_external_data=False).graph.node)


def work(folder, names, output, results):
    for name in names:
        home, written = os.path.join(folder, name), os.path.join(output, name, "model.onnx")
        results.put((name, *(runtime_answers(path, home) for path in (os.path.join(home, "model.onnx"), written))))


def runtime_pairs(folder, names, output):
    """(name, answers of the source, of the written model). ONNX Runtime works in a process of its own, which it may end."""
    while names:
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        worker = context.Process(target=work, args=(folder, names, output, results))
        worker.start()
        done = 0
        try:
            while done < len(names):
                yield results.get(timeout=90)
                done += 1
        except queue.Empty:
            yield names[done], "ended or hung", "ended or hung"
            done += 1
        worker.kill()
        worker.join()
        names = names[done:]


def compare_runtime(folder, names, output, tally):
    """Are the written models' answers near those of the sources, or the recorded ones where a source does not run?"""
    names = [name for name in names if os.path.exists(os.path.join(output, name, "model.onnx"))
             and not is_random(os.path.join(output, name, "model.onnx"))]
    faults = []
    for name, before, after in runtime_pairs(folder, names, output):
        faults += judge(os.path.join(folder, name), name, os.path.join(output, name, "model.onnx"), before, after, tally)
    return faults


def judge(home, name, written, before, after, tally):
    if isinstance(after, str):
        outcome = "does not run in ONNX Runtime, as the source" if isinstance(before, str) else "lost"
    elif not isinstance(before, str) and is_near(before, after, {"rtol": 0, "atol": 0}):
        outcome = "the source's bits"
    else:
        outcome = "the source's answers" if not isinstance(before, str) and is_near(before, after, tolerance_of(home)) else \
                  "the recorded answers" if is_near(recorded(home, written), after, tolerance_of(home)) else "wrong"
    tally[outcome] = tally.get(outcome, 0) + 1
    return [f"{name}: {outcome}: {str(after)[:300]}"] if outcome in ("lost", "wrong") else []


def recorded(home, written):
    outputs = onnx.load(written, load_external_data=False).graph.output
    return [[read_value(os.path.join(data, f"output_{i}.pb"), value.type) for i, value in enumerate(outputs)]
            for data in sorted(glob.glob(os.path.join(home, "test_data_set_*")))]


# ---- compiled ----


def answers(folder, names, output, level=2):
    """Compiles the cases, runs them, writes what they answer to `output`."""
    subprocess.run([TAMIS, "check", "-q", f"-O{level}", "--outputs", output, *(os.path.join(folder, name) for name in names)],
                   capture_output=True, check=False)


def same_elements(a, b):
    """Bits behind the last element of a packed type are not part of a tensor."""
    tensors = [onnx.TensorProto.FromString(path.read_bytes()) for path in (a, b)]
    x, y = (numpy_helper.to_array(tensor) for tensor in tensors)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def compare_answers(expected, found):
    """The same files with the same elements, bit by bit."""
    faults = []
    for path in sorted(pathlib.Path(expected).rglob("*.pb")):
        other = pathlib.Path(found) / path.relative_to(expected)
        if not other.exists():
            faults.append(f"{path.relative_to(expected)}: no answer")
        elif other.read_bytes() != path.read_bytes() and not same_elements(path, other):
            faults.append(f"{path.relative_to(expected)}: other bits")
    return faults


def main():
    output = pathlib.Path(sys.argv[1])
    levels = [int(level) for level in sys.argv[2:]] or [0, 2]
    for kind, folder in folders().items():
        names = cases(folder) if os.path.isdir(folder) else []
        answers(folder, names, output / f"{kind}-source")
        for level in levels:
            models, tally, faults = output / f"{kind}-O{level}", {}, []
            for name in names:
                faults += export_case(folder, name, models, level)
            print(f"{kind} -O{level}: {len(names)} models written, {len(faults)} faults", flush=True)
            faults += compare_runtime(folder, names, models, tally)
            print(f"{kind} -O{level}:", tally, flush=True)
            answers(models, names, output / f"{kind}-O{level}-found")
            bits = compare_answers(output / f"{kind}-source", output / f"{kind}-O{level}-found")
            print(f"{kind} -O{level}: {len(bits)} answers with other bits", flush=True)
            print("\n".join(faults + bits), flush=True)


if __name__ == "__main__":
    main()
