# SPDX-License-Identifier: Apache-2.0
"""Comparing the speed of engines on one model, fairly.

A machine gets faster and slower while one measures: other processes, clocks, temperature. So each engine
runs for a short while in turn, many rounds of that, and what counts is the median over the rounds. The ratio
of two engines is the median of the ratios within the rounds, where both saw the same conditions.

Each engine has a process of its own, because they share state otherwise: ONNX Runtime decides once a process
whether subnormal numbers count as zero, whatever later sessions ask for. This file is that process too:
`rounds.py ENGINE MODEL INPUTS.npz THREADS` reads numbers of calls and answers with seconds a call.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

TAMIS, ORT, FLUSHED = "tamis", "ONNX Runtime", "ONNX Runtime, denormals as zero"


def open_session(engine, path, threads=1):
    """FLUSHED counts subnormal numbers as zero, as tamis does by default."""
    if engine == TAMIS:
        import tamis

        options = tamis.SessionOptions()
        options.intra_op_num_threads = threads
        return tamis.InferenceSession(str(path), options)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    if engine == FLUSHED:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def serve(engine, path, inputs_file, threads):
    inputs = dict(np.load(inputs_file))
    session = open_session(engine, path, int(threads))
    session.run(None, inputs)
    for line in sys.stdin:
        repeats = int(line)
        start = time.perf_counter()
        for _ in range(repeats):
            session.run(None, inputs)
        print((time.perf_counter() - start) / repeats, flush=True)


class Engine:
    def __init__(self, engine, path, inputs_file, threads):
        command = [sys.executable, __file__, engine, str(path), inputs_file, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.repeats = 1

    def seconds(self):
        self.process.stdin.write(f"{self.repeats}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def compare(paths, inputs, threads=1, rounds=15, slice_seconds=0.03):
    """paths: {engine: model or artifact}; the first is the reference of the ratios.

    Returns {engine: median seconds of a call} and {engine: times as slow as the first}.
    """
    with contextlib.ExitStack() as stack:
        file = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "inputs.npz")
        np.savez(file, **inputs)
        engines = {}
        for name, path in paths.items():
            engines[name] = Engine(name, path, file, threads)
            stack.callback(engines[name].close)
        for engine in engines.values():
            engine.seconds()
            engine.repeats = max(1, min(2000, int(slice_seconds / max(engine.seconds(), 1e-6))))
        times = {name: [] for name in engines}
        for _ in range(rounds):
            for name, engine in engines.items():
                times[name].append(engine.seconds())
    first = next(iter(times.values()))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {name: statistics.median(a / b for a, b in zip(values, first)) for name, values in times.items()}
    return medians, ratios


if __name__ == "__main__":
    serve(*sys.argv[1:])
