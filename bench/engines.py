# SPDX-License-Identifier: Apache-2.0
"""The engines that are compared, and how each one is asked to run a model as fast as it can.

Each opener takes a path, a number of threads and the inputs by name, and returns a Session: `run()` does one
call and `answers()` gives the outputs of a call by name. What a program would prepare once (input tensors,
bindings) is prepared here, outside of what is timed:

    session = open_session(ONNX_RUNTIME, "model.onnx", 1, {"x": x})
    session.run(); session.answers()["y"]

An engine is a name, a library and settings; its precision tells with which others it competes. Settings are
those that make an engine fast without changing what it promises: one stream, a given number of threads,
subnormal numbers as zero where the name says so.
"""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import typing

import numpy as np

SOURCE = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("TAMIS_BUILD", SOURCE / "build"))
TAMIS_COMMAND = os.environ.get("TAMIS", str(BUILD / "bin" / "tamis"))


@dataclasses.dataclass(frozen=True)
class Engine:
    name: str
    library: str
    precision: str = "f32"
    flushes: bool = False  # ONNX Runtime: denormals as zero, as tamis and OpenVINO have them
    compiles: bool = False  # PyTorch: torch.compile


TAMIS = Engine("tamis", "tamis")
TAMIS_BF16 = Engine("tamis bf16", "tamis", "bf16")
ONNX_RUNTIME = Engine("ONNX Runtime", "onnxruntime")
ONNX_RUNTIME_FLUSHED = Engine("ONNX Runtime DAZ", "onnxruntime", flushes=True)
OPENVINO = Engine("OpenVINO", "openvino")
OPENVINO_BF16 = Engine("OpenVINO bf16", "openvino", "bf16")
PYTORCH = Engine("PyTorch", "torch")
PYTORCH_COMPILED = Engine("PyTorch compiled", "torch", compiles=True)
ENGINES = [
    TAMIS,
    TAMIS_BF16,
    ONNX_RUNTIME,
    ONNX_RUNTIME_FLUSHED,
    OPENVINO,
    OPENVINO_BF16,
    PYTORCH,
    PYTORCH_COMPILED,
]


class Session(typing.NamedTuple):
    run: typing.Callable
    answers: typing.Callable  # {name: array}


def help_of(verb):
    return subprocess.run([TAMIS_COMMAND, verb, "--help"], capture_output=True, text=True).stdout


def missing(engine):
    """Why an engine cannot take part, or None."""
    if importlib.util.find_spec(engine.library) is None:
        return f"the Python package {engine.library} is not installed"
    if engine == TAMIS_BF16 and "--precision" not in help_of("compile"):
        return "this tamis has no --precision"
    return None


def open_tamis(engine, path, threads, inputs):
    import tamis

    options = tamis.SessionOptions()
    options.intra_op_num_threads = threads
    session = tamis.InferenceSession(str(path), options)
    names = [port.name for port in session.get_outputs()]
    return Session(
        lambda: session.run(None, inputs),
        lambda: dict(zip(names, session.run(None, inputs), strict=True)),
    )


def open_onnxruntime(engine, path, threads, inputs):
    """Tensors are bound once; what else a model takes (sequences, optionals, text) goes the common way."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if engine.flushes:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ports = session.get_inputs() + session.get_outputs()
    names = [port.name for port in session.get_outputs()]
    run = lambda: session.run(None, inputs)  # noqa: E731
    answers = lambda: dict(zip(names, session.run(None, inputs), strict=True))  # noqa: E731
    if all(port.type.startswith("tensor(") and port.type != "tensor(string)" for port in ports):
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name in names:
            binding.bind_output(name, "cpu")
        run = lambda: session.run_with_iobinding(binding)  # noqa: E731
    return Session(run, answers)


def open_openvino(engine, path, threads, inputs):
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": engine.precision,
    }
    model = core.compile_model(core.read_model(str(path)), "CPU", settings)
    request = model.create_infer_request()
    for name, array in inputs.items():
        request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(array), shared_memory=True))

    def answers():
        request.infer()
        return {
            name: request.get_output_tensor(index).data.copy()
            for index, port in enumerate(model.outputs)
            for name in port.names
        }

    return Session(request.infer, answers)


def open_torch(engine, path, threads, inputs):
    import torch
    import torch_models

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    module = torch_models.read(path)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    call = torch.compile(module, dynamic=False) if engine.compiles else module

    def run():
        with torch.inference_mode():
            return call(**tensors)

    run()
    return Session(run, lambda: {name: value.numpy() for name, value in run().items()})


OPENERS = {
    "tamis": open_tamis,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "torch": open_torch,
}


def open_session(engine, path, threads, inputs):
    return OPENERS[engine.library](engine, path, threads, inputs)
