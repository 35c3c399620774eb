# SPDX-License-Identifier: Apache-2.0
"""quantize() and compress(): the command's quantiser and compression, with samples and labels that may be arrays.

They measure models that they compile and run, so they work in a process of its own: the `tamis` command, which is looked
for where this package was built or installed, then on PATH. Arrays go to it as files.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np

from ._tamis import Error


def _command():
    for parent in pathlib.Path(__file__).resolve().parents[2:5]:
        if os.access(parent / "bin" / "tamis", os.X_OK):
            return str(parent / "bin" / "tamis")
    found = shutil.which("tamis")
    if found is None:
        raise FileNotFoundError("the tamis command is neither beside this package nor on PATH")
    return found


def _run(arguments):
    done = subprocess.run([_command(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        error = Error(done.stderr.strip() or f"the tamis command ended with {done.returncode}")
        number = re.search(r"error E(\d+)", done.stderr)
        error.code = int(number.group(1)) if number else done.returncode
        raise error


def _is_path(value):
    return isinstance(value, (str, os.PathLike))


def _save_samples(calib, folder):
    """The path to give as --calib."""
    if _is_path(calib):
        return os.fspath(calib)
    if isinstance(calib, np.ndarray):
        np.save(folder / "samples.npy", np.ascontiguousarray(calib))
        return str(folder / "samples.npy")
    if isinstance(calib, dict):
        np.savez(folder / "samples.npz", **{name: np.ascontiguousarray(value) for name, value in calib.items()})
        return str(folder / "samples.npz")
    (folder / "samples").mkdir()
    for i, sample in enumerate(calib):
        np.savez(folder / "samples" / f"{i:08}.npz", **{name: np.ascontiguousarray(x) for name, x in sample.items()})
    return str(folder / "samples")


def _budget_text(budget):
    if isinstance(budget, str):
        return budget
    return ",".join(f"{name}:{value!r}" for name, value in budget.items())


def _dim_text(fact):
    return f"{fact[0]}..{fact[1]}" if isinstance(fact, tuple) else str(fact)


def _measured(model, output, folder, calib, budget, labels, report, level, target, cpu, dims, strict_math):
    """What both need of the command's words; files for it stand in the folder."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        (folder / "model.onnx").write_bytes(model)
        model = folder / "model.onnx"
    arguments = [os.fspath(model), "-o", os.fspath(output), f"-O{level}"]
    if report:
        arguments.append(f"--report={folder / 'report.json'}")
    if calib is not None:
        arguments.append(f"--calib={_save_samples(calib, folder)}")
    if budget is not None:
        arguments.append(f"--budget={_budget_text(budget)}")
    if labels is not None:
        if not _is_path(labels):
            np.save(folder / "labels.npy", np.asarray(labels, np.int64))
            labels = folder / "labels.npy"
        arguments.append(f"--labels={os.fspath(labels)}")
    arguments += [f"--target={target}"] if target is not None else []
    arguments += [f"-mcpu={cpu}"] if cpu is not None else []
    arguments += [f"--dim={name}={_dim_text(fact)}" for name, fact in (dims or {}).items()]
    return arguments + (["--math=strict"] if strict_math else [])


def _report(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def quantize(model, output, *, form="int8", calib=None, budget=None, labels=None, level=2, target=None, cpu=None,
             dims=None, strict_math=False):
    """Quantises a model (a path, or the bytes of one) into the file `output`: an ONNX model if it ends in .onnx, else compiled.

    form: "int8", "int8-dynamic", "int8-weights" or "int4", with options after commas (docs/quantization.md).
    calib: samples to calibrate with: a path as --calib takes it; an array, or {input: array}, samples along the first axis;
    or any iterable of {input: array}, one sample each, which is read once.
    budget: {"kl": 1.5e-3, "flips": 0.025, "cosine": 0.999}, or the text of --budget.
    labels: integers, one for each row of the first output.
    level, target, cpu, dims, strict_math: as for compile().
    Returns the report: what was done to each layer, and how far the answers are from float; with a budget, or "sweep=32" in
    the form, also what each layer does alone. Raises tamis.Error.
    """
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        folder = pathlib.Path(scratch)
        if budget is None and "sweep=" not in form:
            form += ",sweep=0"
        verb = "quantize" if os.fspath(output).endswith(".onnx") else "compile"
        _run([verb, f"--quantize={form}",
              *_measured(model, output, folder, calib, budget, labels, True, level, target, cpu, dims, strict_math)])
        return _report(folder)


def compress(model, output, *, prune=None, palette=None, tokens=None, quantize=None, storage=None, calib=None, budget=None,
             labels=None, weights="mapped", level=2, target=None, cpu=None, dims=None, strict_math=False):
    """Compresses a model (a path, or the bytes of one) into the file `output`: an ONNX model if it ends in .onnx, else compiled.

    prune, palette, tokens, quantize, storage: as the options of the command with these names (docs/compression.md,
    docs/storage.md, docs/tokens.md), prune="flops:0.5", palette=16, tokens="packed"; without prune, palette, tokens and
    storage="auto", prune="zeros". Those that go together share one budget. storage ("auto", too) and weights="coded" are of compiled models.
    calib, budget, labels, level, target, cpu, dims, strict_math: as for quantize().
    Returns the report as a dict; None of a palette or of storage alone, which have none. Raises tamis.Error.
    """
    words = {"prune": prune, "palette": palette, "tokens": tokens, "quantize": quantize, "storage": storage}
    changes = {name: value for name, value in words.items() if value is not None}
    if not changes.keys() & {"prune", "palette", "tokens"} and storage != "auto":
        changes["prune"] = "zeros"
    has_report = bool(changes.keys() & {"prune", "tokens", "quantize"})
    with tempfile.TemporaryDirectory(prefix="tamis-") as scratch:
        folder = pathlib.Path(scratch)
        verb = "compress" if os.fspath(output).endswith(".onnx") else "compile"
        _run([verb, *(f"--{name}={value}" for name, value in changes.items()), f"--weights={weights}",
              *_measured(model, output, folder, calib, budget, labels, has_report, level, target, cpu, dims, strict_math)])
        return _report(folder) if has_report else None
