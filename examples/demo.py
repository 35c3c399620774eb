# SPDX-License-Identifier: Apache-2.0
"""The whole way from an ONNX file to answers, on two models, next to ONNX Runtime: `./dev demo`.

T2 classifies light curves (examples/t2), MiniLM turns sentences into vectors (examples/minilm). Each is
compiled to a shared object, run on its real input, compared with ONNX Runtime's answer in this same run,
and measured; then T2 once more from a C program. Exit status 1 if an answer differs by more than 1e-5.

    python examples/demo.py [--without-minilm]

Environment: TAMIS (the command), TAMIS_BUILD (the build folder).
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "bench"), str(HERE / "minilm")]
BUILD = pathlib.Path(os.environ.get("TAMIS_BUILD", HERE.parent / "build"))
TAMIS = os.environ.get("TAMIS", str(BUILD / "bin" / "tamis"))
WORK = BUILD / "demo"
BOUND = 1e-5

import export as minilm  # noqa: E402
from engines import ONNX_RUNTIME as ORT  # noqa: E402
from engines import ONNX_RUNTIME_FLUSHED as FLUSHED  # noqa: E402
from engines import TAMIS as OURS  # noqa: E402
from engines import open_session  # noqa: E402
from rounds import Rounds  # noqa: E402

ROUNDS = 15

# What a process holds with ONNX Runtime in it: less what Python with NumPy holds already.
ORT_PROCESS = """
import sys, numpy, time
def memory():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
inputs = dict(numpy.load(sys.argv[2]))
before = memory()
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
start = time.perf_counter()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
loaded = time.perf_counter()
for _ in range(20):
    session.run(None, inputs)
print((loaded - start) * 1e3, memory() - before)
"""


def command(*arguments, **options):
    return subprocess.run([str(a) for a in arguments], check=True, **options)


def compiler():
    for name in ("cc", "gcc", "clang-19", "clang"):
        if shutil.which(name):
            return name
    sys.exit("demo: no C compiler found")


def compile_model(model, output):
    start = time.perf_counter()
    command(TAMIS, "compile", model, "-o", output)
    seconds = time.perf_counter() - start
    print(f"tamis compile {model.name} -o {output.name}: {seconds:.2f} s, {size(output)}", flush=True)


def size(*paths):
    total = sum(path.stat().st_size for path in paths)
    return f"{total / 1e6:.1f} MB" if total >= 1e6 else f"{total / 1e3:.0f} KB"


def build_measure():
    program = WORK / "measure"
    command(
        compiler(),
        "-O2",
        "-std=gnu11",
        f"-I{BUILD / 'include'}",
        HERE / "measure.c",
        "-o",
        program,
        BUILD / "lib" / "libtamis_runtime.a",
        "-lpthread",
        "-ldl",
    )
    return program


def process_of_tamis(program, artifact, inputs):
    """Load time (ms) and resident memory (KB) of a C program that runs the artifact."""
    arguments = []
    for name, array in inputs.items():
        array.tofile(WORK / f"{name}.bin")
        arguments += [",".join(map(str, array.shape)), WORK / f"{name}.bin"]
    report = json.loads(
        command(program, artifact, WORK / "output.bin", *arguments, stdout=subprocess.PIPE).stdout
    )
    return report["load_ms"], report["memory_kb"]


def process_of_onnxruntime(model, inputs):
    np.savez(WORK / "inputs.npz", **inputs)
    text = command(
        sys.executable, "-c", ORT_PROCESS, model, WORK / "inputs.npz", stdout=subprocess.PIPE, text=True
    ).stdout
    return tuple(map(float, text.split()))


def duration(seconds):
    return (
        f"{seconds * 1e6:.0f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:.2f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
    )


def memory(kilobytes):
    return f"{kilobytes / 1024:.1f} MB"


def print_table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def times_of(paths, inputs):
    """{engine: seconds of a call}"""
    with Rounds(inputs) as rounds:
        for engine, path in paths.items():
            rounds.add(engine, path)
        for (engine, _), why in rounds.failures.items():
            sys.exit(f"demo: {engine.name}: {why}")
        rounds.run(ROUNDS)
        return {engine: rounds.median((engine, 1)) for engine in paths}


def rows_of(name, paths, program, batches, difference):
    """Table rows of one model: a row for each engine."""
    import onnxruntime

    libraries = (pathlib.Path(onnxruntime.__file__).parent / "capi").glob("*.so*")
    library = max(libraries, key=lambda path: path.stat().st_size)
    artifact, model = paths[OURS], paths[ORT]
    load, resident = process_of_tamis(program, artifact, batches[0])
    ort_load, ort_resident = process_of_onnxruntime(model, batches[0])
    known = {
        OURS: [size(artifact), f"{load:.2f} ms", memory(resident), f"{difference:.1e}"],
        ORT: [f"{size(model)} + {size(library)}", f"{ort_load:.2f} ms", memory(ort_resident), ""],
        FLUSHED: ["", "", "", ""],
    }
    times = [times_of(paths, inputs) for inputs in batches]
    rows = []
    for engine in paths:
        speed = [duration(t[engine]) for t in times] + [""] * (2 - len(times))
        rows.append([name, engine.name, *known[engine][:3], *speed, known[engine][3]])
    return rows


def answers(paths, inputs, output):
    """Of tamis and of ONNX Runtime, and their largest difference."""
    found, wanted = (open_session(e, paths[e], 1, inputs).answers()[output] for e in (OURS, ORT))
    return found, float(np.abs(found - wanted).max())


def demo_t2(program):
    print("\n== T2: what kind of object is this? ==")
    model, artifact = HERE / "t2" / "t2.onnx", WORK / "t2.so"
    paths = {OURS: artifact, ORT: model, FLUSHED: model}
    data = np.load(HERE / "t2" / "eval.npz")
    kinds, labels = data["kinds"], data["labels"]
    compile_model(model, artifact)
    answer, difference = answers(paths, {"x": data["x"]}, "y")
    found = answer.argmax(-1)
    for row in range(5):
        certain = f"{100 * answer[row].max():.0f} %"
        print(f"  curve {row}: {kinds[found[row]]} ({certain}), in truth {kinds[labels[row]]}")
    print(f"  accuracy on {len(found)} labelled curves: {100 * (found == labels).mean():.1f} %")
    batches = [{"x": data["x"][:1]}, {"x": data["x"][:256]}]
    return rows_of("T2", paths, program, batches, difference), difference, answer


def demo_minilm(program):
    print("\n== MiniLM: which sentence is nearest in meaning? ==")
    folder = BUILD / "examples" / "minilm"
    model, tokenizer = minilm.prepare(folder)
    paths = {OURS: WORK / "minilm.so", ORT: model}
    sentences = (HERE / "minilm" / "sentences.txt").read_text().splitlines()
    compile_model(model, paths[OURS])
    inputs = minilm.tokenize(sentences, tokenizer, folder)
    answer, difference = answers(paths, inputs, "sentence_embedding")
    likeness = answer @ answer.T - 2 * np.eye(len(answer))
    for row in range(0, len(sentences), 7):
        nearest = likeness[row].argmax()
        print(f"  {sentences[row]}\n      {likeness[row][nearest]:.2f}  {sentences[nearest]}")
    one = minilm.tokenize(sentences[:1], tokenizer, folder)
    return rows_of("MiniLM", paths, program, [one], difference), difference


def demo_c(answer):
    print("\n== T2 from a C program ==")
    command(TAMIS, "compile", "--emit=obj", HERE / "t2" / "t2.onnx", "-o", WORK / "t2.o")
    options = ["-std=c11", "-O2", f"-I{WORK}", "-Wl,--gc-sections", "-s", "-o", WORK / "t2"]
    command(compiler(), *options, HERE / "t2" / "t2.c", WORK / "t2.o")
    print(" ", "cc -O2 t2.c t2.o -Wl,--gc-sections -s -o t2:", size(WORK / "t2"))
    curves = np.load(HERE / "t2" / "eval.npz")["x"].tobytes()
    lines = command(WORK / "t2", input=curves, stdout=subprocess.PIPE).stdout.decode().split("\n")
    kinds = np.array([int(line.split()[0]) for line in lines if line])
    same = int((kinds == answer.argmax(-1)).sum())
    print(f"  {same} of {len(answer)} answers are the same as before")
    return same == len(answer)


def main():
    parser = argparse.ArgumentParser(
        description="Compiles two models, runs them, compares with ONNX Runtime."
    )
    parser.add_argument("--without-minilm", action="store_true", help="do not fetch the 90 MB of weights")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    program = build_measure()
    rows, difference, answer = demo_t2(program)
    differences = [difference]
    if not options.without_minilm:
        more, difference = demo_minilm(program)
        rows += more
        differences.append(difference)
    same = demo_c(answer)
    print("\n== One thread, one run ==")
    print_table([["model", "engine", "file", "load", "memory", "batch 1", "batch 256", "difference"], *rows])
    print(
        "\nfile: the artifact; for ONNX Runtime the model and its library.  memory: resident, of a small C\n"
        "program; for ONNX Runtime what it adds to Python.  batch: median time of a call from Python.\n"
        "difference: largest, to ONNX Runtime's default session."
    )
    if max(differences) > BOUND or not same:
        sys.exit(f"demo: the answers differ by more than {BOUND}")


if __name__ == "__main__":
    main()
