# SPDX-License-Identifier: Apache-2.0
"""A BERT of any size as Hugging Face's exporter writes it: symbolic batch and sequence, opset 14.

The graph is that of the MiniLM example (examples/minilm/export.py), the weights are drawn.
"""

import numpy as np
from described import Drawn, metadata
from export import INPUTS, Encoder
from onnx import TensorProto

VOCABULARY, POSITIONS = 4096, 512


def weights(layers, width, inner, seed):
    drawn = Drawn(seed)
    for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        drawn.normal(f"embeddings.{name}_embeddings.weight", (rows, width))
    drawn.norm("embeddings.LayerNorm", width)
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            drawn.linear(f"{name}.attention.{part}", width, width)
        drawn.norm(f"{name}.attention.output.LayerNorm", width)
        drawn.linear(f"{name}.intermediate.dense", width, inner)
        drawn.linear(f"{name}.output.dense", inner, width)
        drawn.norm(f"{name}.output.LayerNorm", width)
    return drawn


def write(path, layers, width, heads, inner, seed=1):
    encoder = Encoder(weights(layers, width, inner, seed), heads, width)
    encoder.node("Identity", encoder.encode(layers), output="last_hidden_state")
    outputs = {"last_hidden_state": (TensorProto.FLOAT, ["batch", "sequence", width])}
    encoder.save(
        path, "encoder", 14, INPUTS, outputs, metadata("encoder", layers=layers, heads=heads)
    )


def inputs(batch, sequence, seed=1):
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, (batch, sequence))
    return {
        "input_ids": ids.astype(np.int64),
        "attention_mask": np.ones((batch, sequence), np.int64),
        "token_type_ids": np.zeros((batch, sequence), np.int64),
    }
