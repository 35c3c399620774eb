# SPDX-License-Identifier: Apache-2.0
"""Many small models against ONNX Runtime: `bench.py --zoo FOLDER`.

FOLDER holds folders in the layout of the ONNX backend tests (model.onnx, test_data_set_0/input_N.pb and
output_N.pb, and tolerances in system.json). Each model is compiled, answers once by each engine, is compared
with the recorded answer, and is then timed by both in turn on the recorded inputs. What counts is the ratio
tamis / ONNX Runtime within a round; the sum is its geometric mean and the worst ones.

One process per engine serves all models, since starting an engine costs more than all that is measured.
"""

import fnmatch
import json
import math
import pathlib
import pickle
import statistics
import tempfile

import engines
import onnx
from answers import differs
from compiling import compile_model
from onnx import numpy_helper
from worker import EngineError, Worker

PAIR = (engines.TAMIS, engines.ONNX_RUNTIME)


def read_value(path, kind):
    data = path.read_bytes()
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def read_case(folder):
    """Inputs and recorded outputs by name."""
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    data = folder / "test_data_set_0"
    ports = {"input": [port for port in graph.input if port.name not in weights], "output": graph.output}
    return [
        {
            port.name: read_value(data / f"{side}_{index}.pb", port.type.WhichOneof("value"))
            for index, port in enumerate(ports[side])
            if (data / f"{side}_{index}.pb").exists()
        }
        for side in ("input", "output")
    ]


class Zoo:
    """Two processes that are replaced when a model takes one down."""

    def __init__(self, rounds, clock, slice_seconds=0.01):
        self.rounds, self.clock, self.slice_seconds = rounds, clock, slice_seconds
        self.workers = {}
        self.scratch = tempfile.TemporaryDirectory(prefix="tamis-zoo-")

    def close(self):
        for worker in self.workers.values():
            worker.close()
        self.scratch.cleanup()

    def worker(self, engine):
        if engine not in self.workers or self.workers[engine].process.poll() is not None:
            self.workers[engine] = Worker()
        return self.workers[engine]

    def opened(self, engine, path, inputs_file, want, tolerances):
        """Why an engine is not timed, or None."""
        worker = self.worker(engine)
        try:
            worker.open(engine, path, inputs_file, 1)
            got = worker.answers(pathlib.Path(self.scratch.name) / "answers.pickle")
        except EngineError as error:
            return str(error).splitlines()[0][:200]
        return differs({name: got.get(name) for name in want}, want, **tolerances)

    def timed(self):
        """{engine: seconds of each round}"""
        repeats = {}
        for engine in PAIR:
            first = self.workers[engine].ask("time", 1)[self.clock]
            first = min(first, self.workers[engine].ask("time", 2)[self.clock])
            repeats[engine] = max(1, min(1000, int(self.slice_seconds / first)))
        times = {engine: [] for engine in PAIR}
        for turn in range(self.rounds):
            for engine in PAIR if turn % 2 == 0 else reversed(PAIR):
                times[engine].append(self.workers[engine].ask("time", repeats[engine])[self.clock])
        return times

    def measure(self, folder):
        row = {"model": folder.name}
        system = json.loads((folder / "system.json").read_text())
        tolerances = {name: system[name] for name in ("rtol", "atol")}
        row["nodes"] = system.get("nodes")
        scratch = pathlib.Path(self.scratch.name)
        try:
            compiled = compile_model(folder / "model.onnx", scratch / "model.so")
        except EngineError as error:
            return row | {"why": f"tamis: {error}"}
        row["compile_seconds"], row["compile_cpu_seconds"] = compiled.seconds, compiled.cpu_seconds
        row["artifact_bytes"] = compiled.bytes
        inputs, want = read_case(folder)
        (scratch / "inputs.pickle").write_bytes(pickle.dumps(inputs))
        for engine, path in zip(PAIR, (scratch / "model.so", folder / "model.onnx"), strict=True):
            why = self.opened(engine, path, scratch / "inputs.pickle", want, tolerances)
            if why is not None:
                return row | {"why": f"{engine.name}: {why}"}
        try:
            times = self.timed()
        except EngineError as error:
            return row | {"why": str(error)}
        for engine, key in zip(PAIR, ("tamis_seconds", "onnxruntime_seconds"), strict=True):
            row[key] = statistics.median(times[engine])
        row["ratio"] = statistics.median(a / b for a, b in zip(times[PAIR[0]], times[PAIR[1]], strict=True))
        return row


def measure(folder, patterns=None, rounds=7, clock="wall"):
    """A row for each folder; those that could not be timed have `why` instead of a ratio."""
    zoo = Zoo(rounds, clock)
    try:
        for path in sorted(pathlib.Path(folder).iterdir()):
            wanted = not patterns or any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
            if wanted and (path / "model.onnx").exists():
                yield zoo.measure(path)
    finally:
        zoo.close()


def summary(rows):
    timed = [row for row in rows if "ratio" in row]
    compiled = [row for row in rows if "compile_seconds" in row]
    result = {"folders": len(rows), "timed": len(timed)}
    if timed:
        result["geometric_mean"] = math.exp(statistics.fmean(math.log(row["ratio"]) for row in timed))
        result["above_1"] = sum(row["ratio"] > 1 for row in timed)
        result["worst"] = sorted(timed, key=lambda row: -row["ratio"])[:10]
    if compiled:
        by_time = sorted(compiled, key=lambda row: -row["compile_cpu_seconds"])
        result["compile_seconds"] = statistics.median(row["compile_seconds"] for row in compiled)
        result["compile_cpu_seconds"] = statistics.median(row["compile_cpu_seconds"] for row in compiled)
        result["compile_slowest"] = by_time[:5]
        result["compile_above_1s"] = sum(row["compile_cpu_seconds"] > 1 for row in compiled)
    return result


def markdown(rows, totals):
    lines = [f"{totals['timed']} of {totals['folders']} models timed."]
    if "geometric_mean" in totals:
        lines += [
            f"tamis / ONNX Runtime: geometric mean {totals['geometric_mean']:.3f}, worst "
            f"{totals['worst'][0]['ratio']:.2f}, above 1: {totals['above_1']}.",
        ]
    if "compile_seconds" in totals:
        slowest = ", ".join(
            f"{row['model']} {1e3 * row['compile_cpu_seconds']:.0f} ms" for row in totals["compile_slowest"]
        )
        lines += [
            f"Compile time: typical {1e3 * totals['compile_seconds']:.0f} ms "
            f"({1e3 * totals['compile_cpu_seconds']:.0f} ms of CPU); by CPU time above 1 s: "
            f"{totals['compile_above_1s']}, slowest {slowest}.",
        ]
    lines += ["", "| model | tamis | ONNX Runtime | ratio | compile (CPU) |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for row in totals.get("worst", []):
        lines.append(
            f"| {row['model']} | {1e6 * row['tamis_seconds']:.1f} µs | "
            f"{1e6 * row['onnxruntime_seconds']:.1f} µs | {row['ratio']:.2f} | "
            f"{1e3 * row['compile_cpu_seconds']:.0f} ms |"
        )
    left = [row for row in rows if "why" in row]
    if left:
        lines += ["", "Not timed:", ""] + [f"- {row['model']}: {row['why']}" for row in left]
    return "\n".join(lines) + "\n"
