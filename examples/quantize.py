# SPDX-License-Identifier: Apache-2.0
"""How much quantising costs in answers: tamis beside ONNX Runtime's quantiser, the tables of docs/quantization.md.

    python examples/quantize.py --tamis build/bin/tamis --t2 ../shared/models/t2 --minilm FOLDER --digits FOLDER

Always: the model of examples/t2 with its labelled curves; the first 128 calibrate, the other 320 are judged; and that of
examples/digits on drawn digits: 128 calibrate, 1,000 others are judged. With --digits, a folder for the package with the
scanned ones: 128 of those that it was trained on calibrate, the 797 others are judged. With --t2: a model t2_clean.onnx
with x.npy and x_ztf.npy; each third curve calibrates, all are judged. With --minilm: a folder that
examples/minilm/export.py fills; 128 sentences made here calibrate, and the similarities of all pairs of sentences.txt are
judged by Spearman's correlation with those of float. --only PART makes the tables with that in their title.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

HERE = pathlib.Path(__file__).resolve().parent
FORMS = ["int8", "int8,always", "int8,always,smooth=0.5", "int8-dynamic,always", "int8-weights", "int8-weights,gptq",
         "int4,nearest", "int4", "int4,hqq", "int4,gptq"]
BUDGETED = ["int8", "int8,always"]


class Reader(CalibrationDataReader):
    def __init__(self, samples):
        self.samples = iter(samples)

    def get_next(self):
        return next(self.samples, None)


class Engine:
    """Runs models of tamis on the inputs of a case, sample after sample."""

    def __init__(self, command, folder, only=""):
        self.command, self.folder, self.only = command, folder, only

    def tamis(self, *arguments):
        done = subprocess.run([self.command, *map(str, arguments)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def run(self, model, samples):
        self.tamis("compile", model, "-o", self.folder / "model.so")
        alike, found = {}, [None] * len(samples)
        for i, sample in enumerate(samples):  # of one shape in one run: answers do not depend on the batch
            alike.setdefault(str({name: array.shape for name, array in sample.items()}), []).append(i)
        for group in alike.values():
            joined = {name: np.concatenate([samples[i][name] for i in group]) for name in samples[group[0]]}
            np.savez(self.folder / "in.npz", **joined)
            self.tamis("run", self.folder / "model.so", "--inputs", self.folder / "in.npz", "--outputs",
                       self.folder / "out.npz", "--threads", 1)
            parts = {name: np.split(array, len(group)) for name, array in np.load(self.folder / "out.npz").items()}
            for k, i in enumerate(group):
                found[i] = {name: part[k] for name, part in parts.items()}
        return found


def run_runtime(model, samples):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(None, sample))) for sample in samples]


def save_samples(folder, samples):
    folder.mkdir()
    for i, sample in enumerate(samples):
        np.savez(folder / f"{i:04}.npz", **sample)
    return folder


def runtime_models(model, calibration, folder):
    """ONNX Runtime's own: static with 8-bit weights by channel, dynamic, both after its preprocessing."""
    quant_pre_process(str(model), str(folder / "pre.onnx"), skip_symbolic_shape=True)
    quantize_static(str(folder / "pre.onnx"), str(folder / "static.onnx"), Reader(calibration), per_channel=True,
                    quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    quantize_dynamic(str(folder / "pre.onnx"), str(folder / "dynamic.onnx"), per_channel=True,
                     weight_type=QuantType.QInt8)
    return [("ONNX Runtime, static", folder / "static.onnx"), ("ONNX Runtime, dynamic", folder / "dynamic.onnx")]


def table(title, engine, model, calibration, samples, judge, budgets, block=64):
    """One row for each form: what was quantised, the file's size, the figures of `judge`."""
    if engine.only not in title:
        return
    print(f"\n{title}\n")
    expected = run_runtime(model, samples)
    heads = list(judge(expected, expected))
    print("| form | layers | file | " + " | ".join(heads) + " |\n| --- | --- | ---: |" + " ---: |" * len(heads))
    size = pathlib.Path(model).stat().st_size
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        calib = save_samples(scratch / "calib", calibration)

        def row(name, layers, path, found):
            figures = judge(expected, found)
            print(f"| {name} | {layers} | {size / pathlib.Path(path).stat().st_size:.2f}x | "
                  + " | ".join(figures.values()) + " |", flush=True)

        def quantized(form, budget=None):
            more, sweep = (["--budget", budget], "") if budget else ([], ",sweep=0")
            engine.tamis("quantize", model, "-o", scratch / "out.onnx", f"--quantize={form},threads=1{sweep}", "--calib",
                         calib, "--report", scratch / "report.json", *more)
            layers = json.loads((scratch / "report.json").read_text())["layers"]
            done = sum(layer["quantized"] for layer in layers)
            name = form + (f", --budget={budget}" if budget else "")
            row(name, f"{done} of {len(layers)}", scratch / "out.onnx", engine.run(scratch / "out.onnx", samples))

        row("float", "", model, engine.run(model, samples))
        for form in FORMS:
            quantized(form.replace("int4", f"int4,block={block}"))
        for name, path in runtime_models(model, calibration, scratch):
            row(name, "", path, run_runtime(path, samples))
        for budget in budgets:
            for form in BUDGETED:
                quantized(form, budget)


def classes(labels=None):
    def judge(expected, found):
        p, q = (np.concatenate([list(one.values())[0] for one in many]).astype(np.float64) for many in (expected, found))
        kl = (p * np.log(np.maximum(p, 1e-30) / np.maximum(q, 1e-12))).sum(1).mean()
        figures = {"KL": f"{max(kl, 0):.2g}", "flips": f"{100 * (p.argmax(1) != q.argmax(1)).mean():.2f} %"}
        if labels is not None:
            figures["right"] = f"{100 * (q.argmax(1) == labels).mean():.2f} %"
            loss = -np.log(np.maximum(q[np.arange(len(q)), labels], 1e-12)).mean()
            figures["log-loss"] = f"{loss:.4f}"
        return figures

    return judge


def ranks(values):
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(len(values))
    return order


def similarities(expected, found):
    def pairs(many):
        rows = np.concatenate([one["sentence_embedding"] for one in many]).astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return (rows @ rows.T)[np.triu_indices(len(rows), 1)]

    a, b = pairs(expected), pairs(found)
    correlation = np.corrcoef(ranks(a), ranks(b))[0, 1]
    return {"Spearman loss": f"{100 * (1 - correlation):.2f} points", "largest error": f"{np.abs(a - b).max():.3f}"}


def calibration_sentences(count=128):
    who = ["The old sailor", "A young teacher", "My neighbour", "The new doctor", "Her brother", "The committee", "A stray dog",
           "Our train", "The orchestra", "This small shop", "The government", "A tired runner", "The computer",
           "Heavy rain", "The red car", "An honest lawyer"]
    what = ["waited for hours without a word", "lost the keys somewhere near the river", "had nothing new to say about money",
            "came home late, as on most days", "was seen in the park this afternoon", "will not be ready before next week",
            "made everybody laugh again", "changed more than anyone had expected"]
    lines = [f"{a} {b}" for a in who for b in what]
    more = [f"{lines[i]}, and {lines[(i * 37 + 11) % len(lines)].lower()}" for i in range(len(lines))]
    return [line + end for end in ".!" for line in lines + more][:count]


def single(array):
    return [{"x": row[None].astype(np.float32)} for row in array]


def judge_digits(engine, folder, budget):
    sys.path.insert(0, str(HERE / "digits"))
    import digits

    model = HERE / "digits" / "digits.onnx"
    sets = {"drawn": (digits.drawn(128, seed=3)[0], *digits.drawn(1000, seed=2))}
    if folder:
        x, labels = digits.scanned(folder)
        sets["scanned"] = (x[:128], x[digits.TRAINED:], labels[digits.TRAINED:])
    for name, (calibration, x, labels) in sets.items():
        table(f"Digits, {name}", engine, model, single(calibration), [{"x": x}], classes(labels), budget, block=32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tamis", default="tamis")
    parser.add_argument("--t2")
    parser.add_argument("--minilm")
    parser.add_argument("--digits")
    parser.add_argument("--only", default="")
    parser.add_argument("--write-samples", nargs=2, metavar=("COUNT", "FOLDER"), help="MiniLM's, 512 at most, and no table")
    options = parser.parse_args()
    if options.write_samples:
        sys.path.insert(0, str(HERE / "minilm"))
        import export

        count, folder = options.write_samples
        tokenizer = export.prepare(options.minilm)[1]
        save_samples(pathlib.Path(folder), [export.tokenize([line], tokenizer, options.minilm)
                                            for line in calibration_sentences(int(count))])
        return
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(options.tamis, pathlib.Path(scratch), options.only)
        data = np.load(HERE / "t2" / "eval.npz")
        budget = ["kl:1.5e-3,flips:2.5%"]
        table("The model of examples/t2", engine, HERE / "t2" / "t2.onnx", single(data["x"][:128]),
              [{"x": data["x"][128:].astype(np.float32)}], classes(data["labels"][128:]), budget, block=32)
        judge_digits(engine, options.digits, budget)
        if options.t2:
            folder = pathlib.Path(options.t2)
            curves = {name: np.load(folder / f"{name}.npy") for name in ["x", "x_ztf"]}
            calibration = single(np.concatenate([curve[::3] for curve in curves.values()]))
            for name, curve in curves.items():
                table(f"T2, {name}.npy", engine, folder / "t2_clean.onnx", calibration, [{"x": curve}], classes(), budget,
                      block=32)
        if options.minilm:
            sys.path.insert(0, str(HERE / "minilm"))
            import export

            model, tokenizer = export.prepare(options.minilm)
            sentences = (HERE / "minilm" / "sentences.txt").read_text().split("\n")
            groups = [[export.tokenize([line], tokenizer, options.minilm) for line in lines if line]
                      for lines in (calibration_sentences(), sentences)]
            table("MiniLM", engine, model, *groups, similarities, ["cosine:0.999"])


if __name__ == "__main__":
    main()
