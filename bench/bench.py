# SPDX-License-Identifier: Apache-2.0
"""Latency of compiled models, with ONNX Runtime beside it. `./dev bench` builds and runs it.

    python bench/bench.py [--only T2] [--rounds 15] [--threads 1] [--json FILE]
    python bench/bench.py --zoo ../shared/zoo [--only 'bert*'] [--rounds 7]     many models, see zoo.py

Prints a Markdown table and writes JSON (build/bench.json): for each case the median seconds of a call and
the ratio to tamis, taken round by round (see rounds.py). Models: the project's T2, T2 with the published
weights where ../shared/models/t2 is present, and MiniLM, whose weights are fetched once.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent
BUILD = pathlib.Path(os.environ.get("TAMIS_BUILD", SOURCE / "build"))
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(BUILD / "python"), os.environ.get("PYTHONPATH")])
)
sys.path[:0] = [str(HERE), str(BUILD / "python"), str(SOURCE / "examples" / "minilm")]
TAMIS = os.environ.get("TAMIS", str(BUILD / "bin" / "tamis"))
PUBLISHED = SOURCE.parent / "shared" / "models" / "t2"

import export as minilm  # noqa: E402
import rounds  # noqa: E402
import zoo  # noqa: E402


def t2_cases(name, model, x):
    for batch in (1, 256):
        yield name, f"batch {batch}", model, {"x": x[:batch]}


def minilm_cases():
    folder = BUILD / "examples" / "minilm"
    model, tokenizer = minilm.prepare(folder)
    sentences = (SOURCE / "examples" / "minilm" / "sentences.txt").read_text().splitlines()
    yield "MiniLM", "1 sentence", model, minilm.tokenize(sentences[:1], tokenizer, folder)
    yield "MiniLM", "32 sentences", model, minilm.tokenize(sentences[:32], tokenizer, folder)
    yield "MiniLM", "256 tokens", model, minilm.tokenize([" ".join(sentences)], tokenizer, folder)


def cases(only):
    if only in (None, "T2"):
        yield from t2_cases(
            "T2",
            SOURCE / "examples" / "t2" / "t2.onnx",
            np.load(SOURCE / "examples" / "t2" / "eval.npz")["x"],
        )
        if PUBLISHED.is_dir():
            for name in ("t2_clean", "t2_tf", "t2_clean_dyn", "t2_clean_qdq"):
                yield from t2_cases(
                    f"T2 published, {name}", PUBLISHED / f"{name}.onnx", np.load(PUBLISHED / "x.npy")
                )
    if only in (None, "MiniLM"):
        yield from minilm_cases()


def measure(options):
    artifacts = {}
    for name, case, model, inputs in cases(options.only):
        if model not in artifacts:
            artifacts[model] = BUILD / "bench" / f"{model.stem}-{len(artifacts)}.so"
            artifacts[model].parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([TAMIS, "compile", str(model), "-o", str(artifacts[model])], check=True)
        paths = {rounds.TAMIS: artifacts[model], rounds.ORT: model, rounds.FLUSHED: model}
        medians, ratios = rounds.compare(paths, inputs, options.threads, options.rounds)
        yield {"model": name, "case": case, "seconds": medians, "ratio": ratios}


def cpu():
    with open("/proc/cpuinfo") as file:
        return next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine()
        )


def run_zoo(options):
    rows = []
    for row in zoo.measure(options.zoo, options.only, options.rounds or 7):
        rows.append(row)
        figure = f"{row['ratio']:.2f}" if "ratio" in row else row["why"]
        print(f"{row['model']}: {figure}", file=sys.stderr, flush=True)
    totals = zoo.summary(rows)
    text = zoo.markdown(rows, totals)
    print(text)
    folder = BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zoo.json").write_text(json.dumps({"summary": totals, "models": rows}, indent=1))
    (folder / "zoo.md").write_text(text)


def main():
    parser = argparse.ArgumentParser(description="Latency of tamis and ONNX Runtime.")
    parser.add_argument("--only", help="T2 or MiniLM; with --zoo a pattern of names")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--zoo", type=pathlib.Path, help="a folder of models with recorded answers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, default=BUILD / "bench.json")
    options = parser.parse_args()
    if options.zoo:
        return run_zoo(options)
    options.rounds = options.rounds or 15
    print(f"{cpu()}, {options.threads} thread(s), median of {options.rounds} rounds;", end=" ")
    print("in brackets: times as long as tamis\n")
    print("| model | case | tamis | ONNX Runtime | ONNX Runtime, denormals as zero |")
    print("| --- | --- | ---: | ---: | ---: |")
    results = []
    for row in measure(options):
        results.append(row)
        own, *others = row["seconds"]
        text = [f"{1e6 * row['seconds'][own]:.1f} µs"]
        text += [f"{1e6 * row['seconds'][other]:.1f} µs ({row['ratio'][other]:.2f})" for other in others]
        print(f"| {row['model']} | {row['case']} | {' | '.join(text)} |", flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps(
            {"cpu": cpu(), "threads": options.threads, "rounds": options.rounds, "cases": results}, indent=1
        )
    )


if __name__ == "__main__":
    main()
