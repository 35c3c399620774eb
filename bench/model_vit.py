# SPDX-License-Identifier: Apache-2.0
"""A vision transformer as PyTorch's TorchScript exporter writes Hugging Face's ViT at opset 17.

Patches by a Conv whose stride is its kernel, a class token, learned positions, layers with the norm in
front, attention by scaled_dot_product_attention (the square root of the scale on the query and on the key),
the exact GELU, and a linear classifier on the class token.
"""

import numpy as np
from described import Drawn, metadata
from export import Encoder
from onnx import TensorProto

CLASSES = 1000


def weights(layers, width, inner, patch, tokens, seed):
    drawn = Drawn(seed)
    drawn.normal("embeddings.cls_token", (1, 1, width))
    drawn.normal("embeddings.position_embeddings", (1, tokens, width))
    drawn.normal("embeddings.projection.weight", (width, 3, patch, patch))
    drawn.normal("embeddings.projection.bias", (width,))
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            drawn.linear(f"{name}.attention.{part}", width, width)
        drawn.norm(f"{name}.layernorm_before", width)
        drawn.norm(f"{name}.layernorm_after", width)
        drawn.linear(f"{name}.intermediate.dense", width, inner)
        drawn.linear(f"{name}.output.dense", inner, width)
    drawn.norm("layernorm", width)
    drawn.linear("classifier", width, CLASSES)
    return drawn


class VisionTransformer(Encoder):
    def norm(self, x, name):
        scale, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def batch(self, x):
        """The first dim of x, as a tensor of one element."""
        dim = self.node("Gather", self.node("Shape", x), self.constant(0, np.int64), axis=0)
        return self.node("Unsqueeze", dim, self.constant([0], np.int64))

    def shape(self, x, *tail):
        return self.node("Concat", self.batch(x), self.constant(tail, np.int64), axis=0)

    def embed(self):
        patches = self.node(
            "Conv",
            "pixel_values",
            self.weight("embeddings.projection.weight"),
            self.weight("embeddings.projection.bias"),
            strides=self.weights["embeddings.projection.weight"].shape[2:],
        )
        flat = self.node("Reshape", patches, self.shape(patches, self.width, -1))
        rows = self.node("Transpose", flat, perm=[0, 2, 1])
        token = self.weight("embeddings.cls_token")
        token = self.node("Expand", token, self.shape("pixel_values", 1, self.width))
        rows = self.node("Concat", token, rows, axis=1)
        return self.node("Add", rows, self.weight("embeddings.position_embeddings"))

    def attention(self, x, name):
        size = self.width // self.heads

        def split(part, perm):
            projected = self.linear(x, f"{name}.attention.{part}")
            rows = self.node("Reshape", projected, self.shape(projected, -1, self.heads, size))
            return self.node("Transpose", rows, perm=perm)

        root = self.constant(size**-0.25, np.float32)
        query = self.node("Mul", split("query", [0, 2, 1, 3]), root)
        key = self.node("Mul", split("key", [0, 2, 3, 1]), root)
        value = split("value", [0, 2, 1, 3])
        chances = self.node("Softmax", self.node("MatMul", query, key), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", chances, value), perm=[0, 2, 1, 3])
        joined = self.node("Reshape", joined, self.shape(joined, -1, self.width))
        return self.linear(joined, name + ".output.dense")

    def encode(self, layers):
        hidden = self.embed()
        for layer in range(layers):
            name = f"encoder.layer.{layer}"
            normed = self.norm(hidden, name + ".layernorm_before")
            hidden = self.node("Add", self.attention(normed, name + ".attention"), hidden)
            normed = self.norm(hidden, name + ".layernorm_after")
            inner = self.gelu(self.linear(normed, name + ".intermediate.dense"))
            hidden = self.node("Add", self.linear(inner, name + ".output.dense"), hidden)
        hidden = self.norm(hidden, "layernorm")
        token = self.node("Gather", hidden, self.constant(0, np.int64), axis=1)
        logits = self.node(
            "Gemm", token, self.weight("classifier.weight"), self.weight("classifier.bias"), transB=1
        )
        self.node("Identity", logits, output="logits")


def write(path, layers, width, heads, inner, image=224, patch=16, seed=1):
    tokens = (image // patch) ** 2 + 1
    graph = VisionTransformer(weights(layers, width, inner, patch, tokens, seed), heads, width)
    graph.encode(layers)
    graph.save(
        path,
        "vit",
        17,
        {"pixel_values": (TensorProto.FLOAT, ["batch", 3, image, image])},
        {"logits": (TensorProto.FLOAT, ["batch", CLASSES])},
        metadata("vit", layers=layers, heads=heads, patch=patch),
    )


def inputs(batch, image=224, seed=1):
    pixels = np.random.default_rng(seed).standard_normal((batch, 3, image, image))
    return {"pixel_values": pixels.astype(np.float32)}
