# SPDX-License-Identifier: Apache-2.0
"""One step of a decoder as Hugging Face's exporter writes a Llama with a cache of keys and values, opset 17.

Inputs: input_ids and position_ids [batch, sequence], attention_mask [batch, past + sequence], and for each
layer past_key_values.N.key and .value [batch, kv heads, past, head size]; outputs: logits, present.N.key and
.value. RMS norm spelled out, rotary positions by cosine and sine of position times frequency, rotate-half by
Slice, Neg and Concat, grouped queries by Expand, the causal and padding mask as the smallest float, SwiGLU.
"""

import numpy as np
from described import Drawn, metadata
from export import LOWEST, Encoder
from onnx import TensorProto

EPSILON, BASE = 1e-5, 10000.0


def weights(layers, width, heads, kv_heads, inner, vocabulary, seed):
    drawn, size = Drawn(seed), width // heads
    drawn.normal("model.embed_tokens.weight", (vocabulary, width))
    shapes = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_heads * size, width),
        "self_attn.v_proj": (kv_heads * size, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    for layer in range(layers):
        name = f"model.layers.{layer}"
        for part, shape in shapes.items():
            drawn.normal(f"{name}.{part}.weight", shape)
        for part in ("input_layernorm", "post_attention_layernorm"):
            drawn.normal(f"{name}.{part}.weight", (width,), 0.1, 1.0)
    drawn.normal("model.norm.weight", (width,), 0.1, 1.0)
    drawn.normal("lm_head.weight", (vocabulary, width))
    return drawn


class Decoder(Encoder):
    def __init__(self, drawn, heads, kv_heads, width):
        super().__init__(drawn, heads, width)
        self.kv_heads, self.size = kv_heads, width // heads

    def integers(self, *values):
        return self.constant(values, np.int64)

    def project(self, x, name):
        matrix = self.constant(self.weights[name + ".weight"].T, name=name + ".matrix")
        return self.node("MatMul", x, matrix)

    def norm(self, x, name):
        square = self.node("Pow", x, self.constant(2.0, np.float32))
        mean = self.node("ReduceMean", square, axes=[-1])
        root = self.node("Sqrt", self.node("Add", mean, self.constant(EPSILON, np.float32)))
        inverse = self.node("Div", self.constant(1.0, np.float32), root)
        return self.node("Mul", self.weight(name + ".weight"), self.node("Mul", x, inverse))

    def rotary(self):
        """Cosine and sine [batch, 1, sequence, head size]."""
        frequency = 1 / BASE ** (np.arange(0, self.size, 2) / self.size)
        place = self.node("Unsqueeze", "position_ids", self.integers(-1))
        place = self.node("Cast", place, to=TensorProto.FLOAT)
        angle = self.node("MatMul", place, self.constant(frequency[None, None], np.float32))
        angle = self.node("Concat", angle, angle, axis=-1)
        axis = self.integers(1)
        return tuple(self.node("Unsqueeze", self.node(op, angle), axis) for op in ("Cos", "Sin"))

    def rotate(self, x, rotary):
        half, last = self.size // 2, np.iinfo(np.int64).max
        axis, step = self.integers(3), self.integers(1)
        left = self.node("Slice", x, self.integers(0), self.integers(half), axis, step)
        right = self.node("Slice", x, self.integers(half), self.integers(last), axis, step)
        turned = self.node("Concat", self.node("Neg", right), left, axis=-1)
        return self.node("Add", self.node("Mul", x, rotary[0]), self.node("Mul", turned, rotary[1]))

    def mask(self):
        """[batch, 1, sequence, past + sequence]: 0 where a token is seen, else the smallest float."""
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        rows = self.node("Range", zero, self.dim("attention_mask", 1), one)
        place = self.node("Unsqueeze", "position_ids", self.integers(1, 3))
        seen = self.node("LessOrEqual", rows, place)
        kept = self.node("Unsqueeze", "attention_mask", self.integers(1, 2))
        both = self.node("And", seen, self.node("Cast", kept, to=TensorProto.BOOL))
        return self.node(
            "Where", both, self.constant(0.0, np.float32), self.constant(LOWEST, np.float32)
        )

    def repeat(self, x):
        """Keys or values for each head: grouped queries."""
        wide = self.node("Unsqueeze", x, self.integers(2))
        axis = self.integers(0)
        batch, past = (self.node("Unsqueeze", self.dim(x, i), axis) for i in (0, 2))
        groups = self.heads // self.kv_heads
        shape = self.node(
            "Concat", batch, self.integers(self.kv_heads, groups), past, self.integers(self.size), axis=0
        )
        wide = self.node("Expand", wide, shape)
        flat = self.node("Concat", batch, self.integers(self.heads), past, self.integers(self.size), axis=0)
        return self.node("Reshape", wide, flat)

    def split(self, x, heads):
        rows = self.node("Reshape", x, self.shape(x, heads, self.size))
        return self.node("Transpose", rows, perm=[0, 2, 1, 3])

    def attention(self, x, mask, rotary, layer):
        name = f"model.layers.{layer}.self_attn"
        query = self.rotate(self.split(self.project(x, name + ".q_proj"), self.heads), rotary)
        key = self.rotate(self.split(self.project(x, name + ".k_proj"), self.kv_heads), rotary)
        value = self.split(self.project(x, name + ".v_proj"), self.kv_heads)
        parts = {}
        for part, new in (("key", key), ("value", value)):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            parts[part] = self.repeat(self.node("Concat", past, new, axis=-2, output=present))
        key = self.node("Transpose", parts["key"], perm=[0, 1, 3, 2])
        scale = self.constant(self.size**-0.5, np.float32)
        scores = self.node("Mul", self.node("MatMul", query, key), scale)
        chances = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", chances, parts["value"]), perm=[0, 2, 1, 3])
        return self.project(self.node("Reshape", joined, self.shape(joined, self.width)), name + ".o_proj")

    def gated(self, x, name):
        gate = self.project(x, name + ".gate_proj")
        gate = self.node("Mul", gate, self.node("Sigmoid", gate))
        return self.project(self.node("Mul", gate, self.project(x, name + ".up_proj")), name + ".down_proj")

    def decode(self, layers):
        hidden = self.node("Gather", self.weight("model.embed_tokens.weight"), "input_ids")
        mask, rotary = self.mask(), self.rotary()
        for layer in range(layers):
            name = f"model.layers.{layer}"
            normed = self.norm(hidden, name + ".input_layernorm")
            hidden = self.node("Add", hidden, self.attention(normed, mask, rotary, layer))
            normed = self.norm(hidden, name + ".post_attention_layernorm")
            hidden = self.node("Add", hidden, self.gated(normed, name + ".mlp"))
        logits = self.project(self.norm(hidden, "model.norm"), "lm_head")
        self.node("Identity", logits, output="logits")


def cache(layers, prefix, dims):
    return {
        f"{prefix}.{layer}.{part}": (TensorProto.FLOAT, dims)
        for layer in range(layers)
        for part in ("key", "value")
    }


def write(path, layers, width, heads, kv_heads, inner, vocabulary, seed=1):
    decoder = Decoder(
        weights(layers, width, heads, kv_heads, inner, vocabulary, seed), heads, kv_heads, width
    )
    decoder.decode(layers)
    size = width // heads
    ids = (TensorProto.INT64, ["batch", "sequence"])
    inputs = {
        "input_ids": ids,
        "attention_mask": (TensorProto.INT64, ["batch", "past + sequence"]),
        "position_ids": ids,
    } | cache(layers, "past_key_values", ["batch", kv_heads, "past", size])
    outputs = {"logits": (TensorProto.FLOAT, ["batch", "sequence", vocabulary])}
    outputs |= cache(layers, "present", ["batch", kv_heads, "past + sequence", size])
    sizes = {"layers": layers, "heads": heads, "kv_heads": kv_heads}
    decoder.save(path, "decoder", 17, inputs, outputs, metadata("decoder", **sizes))


def inputs(layers, kv_heads, size, past, vocabulary, seed=1):
    generator = np.random.default_rng(seed)
    feeds = {
        "input_ids": generator.integers(0, vocabulary, (1, 1)).astype(np.int64),
        "attention_mask": np.ones((1, past + 1), np.int64),
        "position_ids": np.array([[past]], np.int64),
    }
    for name in cache(layers, "past_key_values", []):
        feeds[name] = generator.standard_normal((1, kv_heads, past, size)).astype(np.float32)
    return feeds
