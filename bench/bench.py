# SPDX-License-Identifier: Apache-2.0
"""Latency of compiled models against other engines. `./dev bench` builds, installs the engines and runs it.

    python bench/bench.py [--only bert-base --only 'gemm/*'] [--threads 1,2] [--rounds 15]
    python bench/bench.py --list
    python bench/bench.py --zoo ../shared/zoo [--only 'bert*']          every folder against ONNX Runtime
    python bench/bench.py --data [--only 'small']                       does the time depend on the numbers?
    python bench/bench.py --quantized [--only 'small']                  forms in 8 and 4 bits, on all engines

Writes bench.json, bench.md and bench.html (zoo.*, data.* or quantized.*, json and md) into build/bench and
prints the Markdown.
docs/benchmarks.md says how to read it.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent
BUILD = pathlib.Path(os.environ.get("TAMIS_BUILD", SOURCE / "build"))
FOLDERS = [HERE, BUILD / "python", SOURCE / "examples", SOURCE / "examples" / "minilm"]
sys.path[:0] = map(str, FOLDERS)
os.environ["PYTHONPATH"] = os.pathsep.join(map(str, FOLDERS))  # of the engines' processes

import data  # noqa: E402
import engines  # noqa: E402
import measure  # noqa: E402
import models  # noqa: E402
import peaks  # noqa: E402
import quantized  # noqa: E402
import report  # noqa: E402
import zoo  # noqa: E402
from worker import EngineError  # noqa: E402


DATA_CASES = ["t2", "t2_clean", "minilm-shape", "small", "decoder", "vit", "convnet"]


def cpu():
    with open("/proc/cpuinfo") as file:
        return next(
            (line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine()
        )


def versions(chosen):
    libraries = {engine.library for engine in chosen} - {"tamis"}
    return {name: importlib.metadata.version(name) for name in sorted(libraries)}


def choose(names):
    """The engines that take part, and why others do not."""
    wanted = [name.strip().lower() for name in names.split(",")] if names else None
    for name in set(wanted or []) - {engine.name.lower() for engine in engines.ENGINES}:
        sys.exit(f"bench: no engine '{name}'; there are {', '.join(e.name for e in engines.ENGINES)}")
    chosen, left_out = [], {}
    for engine in engines.ENGINES:
        if wanted is not None and engine.name.lower() not in wanted:
            continue
        why = engines.missing(engine)
        if why is None:
            chosen.append(engine)
        else:
            left_out[engine.name] = why
    return chosen, left_out


def say(text):
    print(text, file=sys.stderr, flush=True)


def write(folder, name, data, text, page=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, default=str))
    (folder / f"{name}.md").write_text(text)
    if page is not None:
        (folder / f"{name}.html").write_text(page)
    return text


def run_zoo(options):
    rows = []
    for row in zoo.measure(options.zoo, options.only, options.rounds or 7, options.clock):
        rows.append(row)
        say(f"{row['model']}: " + (f"{row['ratio']:.2f}" if "ratio" in row else row["why"]))
    totals = zoo.summary(rows)
    print(write(options.output, "zoo", {"summary": totals, "models": rows}, zoo.markdown(rows, totals)))


def run_data(options):
    rows = []
    for case in models.cases(options.only or DATA_CASES):
        rows.append(data.measure(case, options.rounds or 15, options.clock))
        found = ", ".join(f"{kind} {ratio:.2f}" for kind, ratio in rows[-1]["ratios"].items())
        say(f"bench: {case.name}: {found}")
    print(write(options.output, "data", {"cases": rows}, data.markdown(rows)))


def run_quantized(options):
    cases = []
    with tempfile.TemporaryDirectory(prefix="tamis-bench-") as scratch:
        for case in quantized.chosen(options.only):
            found = quantized.measure(case, options.rounds or 7, options.clock, pathlib.Path(scratch), say)
            for form, against in found["against_best"].items():
                say(f"    {form}: {against['ratio']:.2f} of {' '.join(against['best'])}")
            cases.append(found)
            text = write(options.output, "quantized", {"cases": cases}, quantized.markdown(cases))
    print(text)


def run_cases(options):
    chosen, left_out = choose(options.engines)
    for name, why in left_out.items():
        say(f"bench: without {name}: {why}")
    options.output.mkdir(parents=True, exist_ok=True)
    program = peaks.build(options.output)
    found = {
        "setup": {
            "cpu": cpu(),
            "rounds": options.rounds or 15,
            "clock": options.clock,
            "versions": versions(chosen),
            "left_out": left_out,
        },
        "peaks": peaks.all_peaks(program, options.clock) if program else {},
        "cases": [],
    }
    threads = [int(number) for number in options.threads.split(",")]
    with tempfile.TemporaryDirectory(prefix="tamis-bench-") as scratch:
        for case in models.cases(options.only):
            say(f"bench: {case.name}")
            try:
                result = measure.measure(
                    case,
                    chosen,
                    threads,
                    found["setup"]["rounds"],
                    options.clock,
                    pathlib.Path(scratch),
                    (program, found["peaks"]),
                )
            except EngineError as error:
                say(f"bench: {case.name}: {error}")
                continue
            for best in result["against_best"]:
                say(f"    {best['engine']} / {best['best']}, {best['threads']} threads: {best['ratio']:.2f}")
            found["cases"].append(result)
            write(options.output, "bench", found, report.markdown(found), report.page(found))
    print(report.markdown(found))


def main():
    parser = argparse.ArgumentParser(description="Latency of tamis and other engines.")
    parser.add_argument("--only", action="append", help="cases whose name matches this pattern (repeatable)")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--engines", help="names, separated by commas (all that are installed)")
    parser.add_argument("--threads", default="1", help="numbers of threads, as 1,2 (1)")
    parser.add_argument("--rounds", type=int, help="turns of each engine (15; 7 with --zoo)")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: CPU time of the process, on a busy machine; for one thread",
    )
    parser.add_argument("--zoo", type=pathlib.Path, help="a folder of models with recorded answers")
    parser.add_argument("--data", action="store_true", help="subnormal, extreme, infinite numbers against others")
    parser.add_argument("--quantized", action="store_true", help="models in 8 and 4 bits, in every form")
    parser.add_argument("--output", type=pathlib.Path, default=BUILD / "bench", help="folder of the reports")
    options = parser.parse_args()
    if options.list:
        for case in models.cases(options.only):
            print(f"{case.name:24} {case.what}")
    elif options.data:
        run_data(options)
    elif options.quantized:
        run_quantized(options)
    elif options.zoo:
        run_zoo(options)
    else:
        run_cases(options)


if __name__ == "__main__":
    main()
