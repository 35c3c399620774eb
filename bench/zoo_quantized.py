# SPDX-License-Identifier: Apache-2.0
"""Many small models quantised, against themselves in float.

    python bench/zoo_quantized.py ../shared/zoo [--only 'bert*'] [--every N] [--from K] [--form int8 --form int8-dynamic]
                                  [--tamis COMMAND] [--results FILE]

FOLDER holds folders in the layout of the ONNX backend tests; each model is quantised with its recorded inputs as the
samples, as `tamis compile --quantize` does it out of the box: layers, or the whole model, stay float where integers are
slower. Then both artifacts are timed in turns on the recorded inputs, and what counts is the median of the turns' ratios.
--every and --from take a slice of them; --results keeps a line of JSON for each, and what is there already is not measured again.
Prints models that fail, those slower than 1.02 times float (measured again, longer, before they are listed), and the
geometric mean; ends with 1 if there is any of either.
"""

import argparse
import fnmatch
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

SLOWER = 1.02
NOTHING = ("nothing to quantise", "quantised already")


def tamis(options, *arguments):
    return subprocess.run([options.tamis, *map(str, arguments)], capture_output=True, text=True, check=False)


def median_us(options, artifact, inputs):
    done = tamis(options, "bench", "--threads", 1, "--seconds", 0.1, "--inputs", inputs, artifact)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("median_us")))


def ratio(options, quantized, plain, inputs, turns):
    ratios = []
    for _ in range(turns):
        a, b = median_us(options, quantized, inputs), median_us(options, plain, inputs)
        ratios.append(a / b)
    return statistics.median(ratios)


def measure(options, folder, form, scratch):
    """(ratio, None), or (None, why there is none)."""
    model, inputs = folder / "model.onnx", folder / "test_data_set_0"
    quantized, plain = scratch / "quantized.so", scratch / "plain.so"
    done = tamis(options, "compile", model, "-o", quantized, f"--quantize={form},threads=1,sweep=0", "--calib", inputs)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[0]
    done = tamis(options, "compile", model, "-o", plain)
    if done.returncode != 0:
        return None, done.stderr.strip().splitlines()[0]
    found = ratio(options, quantized, plain, inputs, 3)
    return (ratio(options, quantized, plain, inputs, 9) if found > SLOWER else found), None


def remembered(options):
    if options.results is None or not options.results.exists():
        return {}
    rows = map(json.loads, options.results.read_text().splitlines())
    return {(row["form"], row["model"]): (row["ratio"], row["reason"]) for row in rows}


def remember(options, form, model, found, reason):
    if options.results is not None:
        with options.results.open("a") as file:
            print(json.dumps({"form": form, "model": model, "ratio": found, "reason": reason}), file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--only", default="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--form", action="append")
    parser.add_argument("--tamis", default="tamis")
    options = parser.parse_args()
    folders = [path for path in sorted(options.folder.iterdir())
               if (path / "model.onnx").exists() and fnmatch.fnmatch(path.name, options.only)][options.first :: options.every]
    known, bad = remembered(options), False
    for form in options.form or ["int8", "int8-dynamic"]:
        ratios, failed, skipped = {}, {}, 0
        for folder in folders:
            if (form, folder.name) in known:
                found, reason = known[form, folder.name]
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    found, reason = measure(options, folder, form, pathlib.Path(scratch))
                remember(options, form, folder.name, found, reason)
            if reason is None:
                ratios[folder.name] = found
            elif any(word in reason for word in NOTHING):
                skipped += 1
            else:
                failed[folder.name] = reason
        slower = {name: value for name, value in ratios.items() if value > SLOWER}
        mean = math.exp(statistics.fmean(map(math.log, ratios.values()))) if ratios else 1
        print(f"{form}: {len(ratios)} models, {skipped} with nothing to quantise, {len(failed)} failed; "
              f"time against float {mean:.3f}, {len(slower)} slower than {SLOWER}")
        for name, value in sorted(slower.items(), key=lambda item: -item[1]):
            print(f"  {value:.3f}  {name}")
        for name, reason in failed.items():
            print(f"  failed  {name}: {reason}")
        sys.stdout.flush()
        bad = bad or slower or failed
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
