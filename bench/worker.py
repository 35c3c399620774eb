# SPDX-License-Identifier: Apache-2.0
"""A process that runs one engine, and the handle by which the benchmark speaks to it.

Engines share state within a process: ONNX Runtime decides once a process whether subnormal numbers count as
zero, pools of threads stay, memory of one looks like memory of another. So each has a process of its own,
which reads requests as JSON lines and answers each with one line:

    {"open": {"engine": "tamis", "path": "m.so", "inputs": "in.pickle", "threads": 1}}
                       -> {"load": seconds, "memory": bytes of resident memory that the session added}
    {"answers": "out.pickle"}   -> {}          writes {name: array}
    {"time": 20}                -> {"wall": seconds of one call, "cpu": of all threads}
    {"load": true}              -> {"seconds": to make one more session}

A request that fails is answered by {"error": text}; the process lives on, so that one serves many models.
"""

import contextlib
import json
import os
import pathlib
import pickle
import subprocess
import sys
import time

import engines


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Server:
    def __init__(self):
        self.session = self.again = None

    def open(self, request):
        engine = next(engine for engine in engines.ENGINES if engine.name == request["engine"])
        self.session = None
        with open(request["inputs"], "rb") as file:
            inputs = pickle.load(file)
        __import__(engine.library)
        self.again = lambda: engines.open_session(engine, request["path"], request["threads"], inputs)
        memory, start = resident_bytes(), time.perf_counter()
        self.session = self.again()
        load = time.perf_counter() - start
        for _ in range(3):
            self.session.run()
        return {"load": load, "memory": resident_bytes() - memory}

    def answers(self, path):
        pathlib.Path(path).write_bytes(pickle.dumps(self.session.answers()))
        return {}

    def time(self, repeats):
        run = self.session.run
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall / repeats, "cpu": cpu / repeats}

    def load(self, _):
        start = time.perf_counter()
        self.again()
        return {"seconds": time.perf_counter() - start}


def serve():
    """Engines may write to stdout; only answers go to the pipe."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        ((verb, argument),) = json.loads(line).items()
        try:
            reply = getattr(server, verb)(argument)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        pipe.write(json.dumps(reply) + "\n")
        pipe.flush()


class EngineError(Exception):
    """What an engine said when it could not do what was asked, or that it died."""


class Worker:
    """The benchmark's side: `worker.ask("time", 20)["seconds"]`."""

    def __init__(self, quiet=True):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
        )

    def ask(self, verb, argument=True):
        try:
            self.process.stdin.write(json.dumps({verb: argument}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineError(f"the process died (exit code {self.process.wait()})")
        reply = json.loads(line)
        if "error" in reply:
            raise EngineError(reply["error"])
        return reply

    def open(self, engine, path, inputs_file, threads):
        return self.ask(
            "open",
            {"engine": engine.name, "path": str(path), "inputs": str(inputs_file), "threads": threads},
        )

    def answers(self, file):
        self.ask("answers", str(file))
        return pickle.loads(pathlib.Path(file).read_bytes())

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


if __name__ == "__main__":
    serve()
