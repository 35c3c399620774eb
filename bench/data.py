# SPDX-License-Identifier: Apache-2.0
"""Does the time depend on the numbers? `bench.py --data` times models on numbers that slow processors down.

    normal      the inputs and weights of the case
    subnormal   float inputs, norms and biases times 1e-39: what comes of them has no normal numbers any more
    extreme     the same times 1e3: scores of attention lie thousands apart, and nearly all weights vanish
    flat        the same times 1e-3: no weight of attention vanishes, so nothing can be skipped
    not finite  a NaN and an infinity in each float input, norm and bias, from where they spread

An encoder takes integers, so inputs alone would not do: vectors among the weights (of one axis) are scaled
too, which leaves the shape of the model as it is. Each kind of data has a model and a process of its own;
they run in turn, and what counts is the median over the rounds of the ratio to `normal`. Normal data of a
trained model let attention skip a part of the work, so that other numbers may be slower only because nothing
is skipped; against `flat` that does not count.
"""

import pathlib
import pickle
import statistics
import tempfile

import engines
import numpy as np
import onnx
from compiling import compile_model
from onnx import numpy_helper
from report import duration, table
from rounds import ratio, take_turns
from worker import Worker

SUBNORMAL, SMALL, LARGE = np.float32(1e-39), np.float32(1e-3), np.float32(1e3)


def not_finite(array):
    result = array.copy()
    result.reshape(-1)[:1], result.reshape(-1)[-1:] = np.nan, np.inf
    return result


KINDS = {
    "normal": lambda array: array,
    "subnormal": lambda array: array * SUBNORMAL,
    "extreme": lambda array: array * LARGE,
    "flat": lambda array: array * SMALL,
    "not finite": not_finite,
}


def changed(change, model, inputs):
    """A model with its inputs, in which float inputs and vectors of weights are changed."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 1 and tensor.dims[0] > 1:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
    inputs = {name: change(array) if array.dtype == np.float32 else array for name, array in inputs.items()}
    return result, inputs


def start(kind, model, inputs, scratch):
    """A process with the session."""
    model, inputs = changed(KINDS[kind], model, inputs)
    stem = scratch / kind.replace(" ", "-")
    onnx.save(model, stem.with_suffix(".onnx"))
    compile_model(stem.with_suffix(".onnx"), stem.with_suffix(".so"))
    stem.with_suffix(".pickle").write_bytes(pickle.dumps(inputs))
    worker = Worker()
    worker.open(engines.TAMIS, stem.with_suffix(".so"), stem.with_suffix(".pickle"), 1)
    return worker


def measure(case, rounds, clock):
    """{"case", "seconds": of normal data, "ratios": {kind: time against normal}}"""
    path, inputs = case.prepare()
    model = onnx.load(path)
    workers = {}
    with tempfile.TemporaryDirectory(prefix="tamis-data-") as scratch:
        try:
            for kind in KINDS:
                workers[kind] = start(kind, model, inputs, pathlib.Path(scratch))
            times = take_turns(workers, rounds, clock)
        finally:
            for worker in workers.values():
                worker.close()
    ratios = {kind: ratio(times, kind, "normal") for kind in KINDS if kind != "normal"}
    return {"case": case.name, "seconds": statistics.median(times["normal"]), "ratios": ratios}


def markdown(rows):
    kinds = [kind for kind in KINDS if kind != "normal"]
    cells = [
        [row["case"], duration(row["seconds"]), *(f"{row['ratios'][kind]:.2f}" for kind in kinds)]
        for row in rows
    ]
    against_normal = max((ratio for row in rows for ratio in row["ratios"].values()), default=1.0)
    against_flat = max(
        (ratio / row["ratios"]["flat"] for row in rows for ratio in [1.0, *row["ratios"].values()]), default=1.0
    )
    head = ["case", "normal", *(f"{kind} / normal" for kind in kinds)]
    worst = f"Worst against normal data {against_normal:.2f}, against flat ones, where all is computed, {against_flat:.2f}."
    return "\n".join([*table(head, cells), "", worst]) + "\n"
