# SPDX-License-Identifier: Apache-2.0
"""The cases: models with inputs. Described models are written once into build/bench/models.

A case is named `model` or `model/inputs`; `--only` takes patterns of such names ("bert-base",
"minilm-shape*", "gemm/*"). The model file is made when the case is asked for, and again when a
description has changed.
"""

import fnmatch
import pathlib
import typing

import engines
import export as minilm
import model_convnet
import model_decoder
import model_encoder
import model_gemm
import model_vit
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = engines.BUILD / "bench" / "models"
PUBLISHED = engines.SOURCE.parent / "shared" / "models" / "t2"
EXAMPLES = engines.SOURCE / "examples"


class Case(typing.NamedTuple):
    name: str
    what: str  # for the report
    prepare: typing.Callable  # -> path of the model, inputs
    flops: float = 0.0  # of one call, where it is known exactly: a product of matrices


def newest_description():
    files = [*HERE.glob("model_*.py"), HERE / "described.py", EXAMPLES / "minilm" / "export.py"]
    return max(path.stat().st_mtime for path in files)


def described(stem, write, *sizes):
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{stem}.onnx"
    if not path.exists() or path.stat().st_mtime < newest_description():
        write(path, *sizes)
    return path


def encoder(name, what, sequences, *sizes):
    stem = name
    for sequence in sequences:
        yield Case(
            f"{name}/{sequence}",
            f"{what}, sequence {sequence}",
            lambda sequence=sequence: (
                described(stem, model_encoder.write, *sizes),
                model_encoder.inputs(1, sequence),
            ),
        )


def decoder():
    layers, width, heads, kv_heads, inner, words, past = 6, 576, 9, 3, 1536, 4096, 256
    yield Case(
        "decoder",
        f"one decoder step, {layers} layers {width}/{heads}/{kv_heads}/{inner}, past {past}",
        lambda: (
            described("decoder", model_decoder.write, layers, width, heads, kv_heads, inner, words),
            model_decoder.inputs(layers, kv_heads, width // heads, past, words),
        ),
    )


def vision():
    yield Case(
        "vit",
        "ViT, 6 layers 192/3/768, 197 tokens",
        lambda: (described("vit", model_vit.write, 6, 192, 3, 768), model_vit.inputs(1)),
    )
    yield Case(
        "convnet",
        "inverted bottlenecks and residual blocks at 224",
        lambda: (described("convnet", model_convnet.write), model_vit.inputs(1)),
    )


def t2():
    def project(batch):
        data = np.load(EXAMPLES / "t2" / "eval.npz")
        return EXAMPLES / "t2" / "t2.onnx", {"x": data["x"][:batch]}

    def published(name, batch):
        return PUBLISHED / f"{name}.onnx", {"x": np.load(PUBLISHED / "x.npy")[:batch]}

    for batch in (1, 256):
        yield Case(f"t2/{batch}", f"T2, batch {batch}", lambda batch=batch: project(batch))
    if PUBLISHED.is_dir():
        for name in ("t2_clean", "t2_tf", "t2_clean_dyn", "t2_clean_qdq"):
            for batch in (1, 256):
                yield Case(
                    f"{name}/{batch}",
                    f"T2 published, {name}, batch {batch}",
                    lambda name=name, batch=batch: published(name, batch),
                )


def real_minilm():
    def prepare(case):
        folder = engines.BUILD / "examples" / "minilm"
        model, tokenizer = minilm.prepare(folder)
        sentences = (EXAMPLES / "minilm" / "sentences.txt").read_text().splitlines()
        chosen = {"1": sentences[:1], "32": sentences[:32], "256-tokens": [" ".join(sentences)]}[case]
        return model, minilm.tokenize(chosen, tokenizer, folder)

    for case, what in (("1", "1 sentence"), ("32", "32 sentences"), ("256-tokens", "256 tokens")):
        yield Case(f"minilm/{case}", f"MiniLM, {what}", lambda case=case: prepare(case))


def gemms():
    for rows, depth, columns in model_gemm.SHAPES:
        name = f"{rows}x{depth}x{columns}"
        yield Case(
            f"gemm/{name}",
            f"MatMul {rows} x {depth} by a constant {depth} x {columns}",
            lambda rows=rows, depth=depth, columns=columns, name=name: (
                described(f"gemm-{name}", model_gemm.write, rows, depth, columns),
                model_gemm.inputs(rows, depth),
            ),
            2.0 * rows * depth * columns,
        )


def cases(patterns=None):
    every = [
        *t2(),
        *encoder("bert-base", "4 layers 768/12/3072", [128], 4, 768, 12, 3072),
        *encoder("minilm-shape", "6 layers 384/12/1536", [128, 16], 6, 384, 12, 1536),
        *encoder("small", "4 layers 256/4/1024", [128], 4, 256, 4, 1024),
        *vision(),
        *decoder(),
        *real_minilm(),
        *gemms(),
    ]
    if not patterns:
        return every
    wanted = [pattern.lower() for pattern in patterns]
    return [
        case
        for case in every
        if any(fnmatch.fnmatch(name, w) for w in wanted for name in (case.name, case.name.split("/")[0]))
    ]
