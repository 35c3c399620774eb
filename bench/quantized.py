# SPDX-License-Identifier: Apache-2.0
"""Quantised models against other engines. `bench.py --quantized` times every form of a case on every engine.

    form        made by
    float       the case as it is
    u8s8 s8s8   ONNX Runtime's static quantiser: QDQ around products and convolutions, weights by column
    dynamic     its dynamic quantiser
    int8 ...    `tamis quantize`, calibrated with the inputs of the case; read by the others as any QDQ file
    nbits4      ONNX Runtime's MatMulNBits, 4 bits in blocks of 64; for the decoder

A user of another engine would take whichever form that engine runs fastest, so the peer's time is its best
over the quantised forms. Beside the time stands the distance of the answer from ONNX Runtime's for the float
model; noise of quantising is 1e-3 to 1e-1 here, where weights are drawn and not trained, and a wrong answer
is 1. The last column is the time by that of the float model on tamis.
"""

import pathlib
import pickle
import statistics
import subprocess
import tempfile

import answers
import engines
import models
import numpy as np
import onnx
from compiling import compile_model
from report import amount, duration, table
from rounds import ratio, take_turns
from worker import EngineError, Worker

ENCODERS = ["bert-base", "minilm-shape/128", "small", "vit", "convnet"]
WRONG = 0.5
SMALL = 64  # elements of weights
LAYERS = ["MatMul", "Gemm", "Conv"]
PEERS = [engines.ONNX_RUNTIME_FLUSHED, engines.OPENVINO]


def small_layers(path):
    """Names of products that are no layers, such as frequencies of positions: ONNX Runtime cannot run some."""
    graph = onnx.load(path).graph
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in LAYERS and any(sizes.get(name, SMALL) < SMALL for name in node.input[:2])
    ]


def of_onnxruntime(static):
    """A maker by ONNX Runtime's quantiser; static: (type of activations, of weights) or None."""

    def make(model, inputs, path):
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = path.with_suffix(".prepared.onnx")
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        common = {"per_channel": True, "op_types_to_quantize": LAYERS, "nodes_to_exclude": small_layers(prepared)}
        if static:
            kinds = {"U": quantization.QuantType.QUInt8, "S": quantization.QuantType.QInt8}

            class Reader(quantization.CalibrationDataReader):
                left = iter([inputs])

                def get_next(self):
                    return next(self.left, None)

            common |= {"activation_type": kinds[static[0]], "weight_type": kinds[static[1]]}
            common["quant_format"] = quantization.QuantFormat.QDQ
            quantization.quantize_static(str(prepared), str(path), Reader(), **common)
        else:
            kind = quantization.QuantType.QInt8
            quantization.quantize_dynamic(str(prepared), str(path), weight_type=kind, **common)
        prepared.unlink()

    return make


def in_four_bits(model, inputs, path):
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(model), block_size=64, is_symmetric=False, accuracy_level=4)
    quantizer.process()
    onnx.save(quantizer.model.model, path)


def of_tamis(form):
    """A maker by our quantiser, in the state in which nothing is left float."""

    def make(model, inputs, path):
        with tempfile.TemporaryDirectory(prefix="tamis-bench-") as scratch:
            samples = pathlib.Path(scratch) / "samples.npz"
            np.savez(samples, **inputs)
            command = [engines.TAMIS_COMMAND, "quantize", str(model), "-o", str(path)]
            command += [f"--quantize={form},always", f"--calib={samples}"]
            done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise EngineError(done.stderr.splitlines()[0])

    return make


DYNAMIC = {"dynamic": of_onnxruntime(None), "int8-dynamic": of_tamis("int8-dynamic")}
STATIC = {"u8s8": of_onnxruntime("US"), "s8s8": of_onnxruntime("SS"), "int8": of_tamis("int8")}
WEIGHTS = {"int8-weights": of_tamis("int8-weights"), "int4": of_tamis("int4"), "nbits4": in_four_bits}


def forms(case):
    return DYNAMIC | WEIGHTS if case.name == "decoder" else STATIC | DYNAMIC


def make(case, form, maker, model, inputs):
    """The file of a form, made when it is missing or older than the model. tamis may have changed: its own
    forms are made each time."""
    folder = engines.BUILD / "bench" / "models"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name.replace('/', '-')}-{form}.onnx"
    if form.startswith("int") or not path.exists() or path.stat().st_mtime < pathlib.Path(model).stat().st_mtime:
        maker(model, inputs, path)
    return path


def measure(case, rounds, clock, scratch, say):
    """{"case", "rows": [{"form", "engine", "seconds", "distance", "bytes" of the file} or with "why"],
    "against_best": {form: {"best": (form, engine), "ratio"}}, "against_float": {form: ratio}}"""
    model, inputs = case.prepare()
    feeds = scratch / "inputs.pickle"
    feeds.write_bytes(pickle.dumps(inputs))
    found, workers, rows = {"case": case.name, "what": case.what}, {}, {}
    want = None

    def contest(form, path, engine):
        nonlocal want
        row = rows[form, engine.name] = {"form": form, "engine": engine.name, "bytes": path.stat().st_size}
        worker = Worker()
        try:
            target = path
            if engine == engines.TAMIS:
                target = compile_model(path, scratch / f"{path.stem}.so").path
                row["artifact"] = target.stat().st_size
            worker.open(engine, target, feeds, 1)
            got = worker.answers(scratch / "answers.pickle")
        except EngineError as error:
            row["why"] = str(error).splitlines()[0][:300]
            worker.close()
            return
        want = want or got
        names = [name for name in want if name in got]
        row["distance"] = answers.distance([got[name] for name in names], [want[name] for name in names])
        if not names or not row["distance"] <= WRONG:
            row["why"] = f"wrong answer (distance {row['distance']:.2g} from float's)"
            worker.close()
            return
        workers[form, engine.name] = worker

    try:
        for form, maker in {"float": None, **forms(case)}.items():
            say(f"bench: {case.name}: {form}")
            try:
                path = make(case, form, maker, model, inputs) if maker else pathlib.Path(model)
            except Exception as error:  # of a quantiser of any kind
                rows[form, ""] = {"form": form, "engine": "", "why": f"not made: {error}"[:300]}
                continue
            for engine in [*filter(present, PEERS), engines.TAMIS]:
                contest(form, path, engine)
        times = take_turns(workers, rounds, clock)
    finally:
        for worker in workers.values():
            worker.close()
    for key in times:
        rows[key]["seconds"] = statistics.median(times[key])
    found["rows"] = list(rows.values())
    peers = [key for key in times if key[1] != "tamis" and key[0] != "float"]
    ours = [key for key in times if key[1] == "tamis" and key[0] != "float"]
    found["against_best"], found["against_float"] = {}, {}
    for key in ours:
        if peers:
            best = max(peers, key=lambda peer: ratio(times, key, peer))
            found["against_best"][key[0]] = {"best": best, "ratio": ratio(times, key, best)}
        if ("float", "tamis") in times:
            found["against_float"][key[0]] = ratio(times, key, ("float", "tamis"))
    return found


def present(engine):
    return engines.missing(engine) is None


def chosen(patterns):
    return models.cases(patterns or [*ENCODERS, "decoder"])


def markdown(cases):
    engines_ = ["tamis", *(engine.name for engine in PEERS if present(engine))]
    head = ["case", "form", "file", *engines_, "distance", "time / best peer's, of any form", "time / float"]
    lines, notes = [], []
    for case in cases:
        rows = {(row["form"], row["engine"]): row for row in case["rows"]}
        for form in dict.fromkeys(form for form, _ in rows):
            cells = [rows.get((form, name), {}) for name in engines_]
            notes += [
                f"{case['case']}, {form}, {row['engine']}: {row['why']}"
                for row in case["rows"]
                if row["form"] == form and "why" in row
            ]
            size = next((amount(row["bytes"]) for row in cells if "bytes" in row), "")
            against = case["against_best"].get(form)
            ours = cells[0].get("distance")
            line = [case["case"], form, size]
            line += [duration(row["seconds"]) if "seconds" in row else "" for row in cells]
            line.append("" if ours is None else f"{ours:.1e}")
            line.append(f"{against['ratio']:.2f} ({', '.join(against['best'])})" if against else "")
            line.append(f"{case['against_float'][form]:.2f}" if form in case["against_float"] else "")
            lines.append(line)
    return "\n".join([*table(head, lines), "", *(f"- {note}" for note in notes)]) + "\n"
