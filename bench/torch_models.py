# SPDX-License-Identifier: Apache-2.0
"""The described models once more in PyTorch, with the weights of the ONNX file.

    module = read("bert-base.onnx"); module(**inputs)      {output: tensor}

Written as a PyTorch user would for speed: linear, scaled_dot_product_attention, layer_norm, conv2d of
torch.nn.functional. Weights of products stand in the file transposed, under NAME.matrix; they are turned
back, since PyTorch keeps them as it likes them best.
"""

import json

import model_convnet
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional


class Described(torch.nn.Module):
    def __init__(self, weights, sizes):
        super().__init__()
        self.sizes = sizes
        self.weights = weights

    def linear(self, x, name):
        return functional.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def norm(self, x, name, epsilon=1e-12):
        weight = self.weights[name + ".weight"]
        return functional.layer_norm(x, weight.shape, weight, self.weights[name + ".bias"], epsilon)

    def heads(self, x, name, count):
        return self.linear(x, name).unflatten(-1, (count, -1)).transpose(1, 2)

    def attend(self, x, names, mask=None):
        parts = (self.heads(x, name, self.sizes["heads"]) for name in names)
        return functional.scaled_dot_product_attention(*parts, attn_mask=mask).transpose(1, 2).flatten(2)


class Encoder(Described):
    def forward(self, input_ids, attention_mask, token_type_ids):
        words = functional.embedding(input_ids, self.weights["embeddings.word_embeddings.weight"])
        kinds = functional.embedding(token_type_ids, self.weights["embeddings.token_type_embeddings.weight"])
        places = self.weights["embeddings.position_embeddings.weight"][: input_ids.shape[1]]
        hidden = self.norm(words + kinds + places, "embeddings.LayerNorm")
        mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        for layer in range(self.sizes["layers"]):
            name = f"encoder.layer.{layer}"
            names = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
            joined = self.linear(self.attend(hidden, names, mask), name + ".attention.output.dense")
            hidden = self.norm(joined + hidden, name + ".attention.output.LayerNorm")
            inner = functional.gelu(self.linear(hidden, name + ".intermediate.dense"))
            hidden = self.norm(
                self.linear(inner, name + ".output.dense") + hidden, name + ".output.LayerNorm"
            )
        return {"last_hidden_state": hidden}


class VisionTransformer(Described):
    def forward(self, pixel_values):
        patches = functional.conv2d(
            pixel_values,
            self.weights["embeddings.projection.weight"],
            self.weights["embeddings.projection.bias"],
            stride=self.sizes["patch"],
        )
        rows = patches.flatten(2).transpose(1, 2)
        token = self.weights["embeddings.cls_token"].expand(len(rows), -1, -1)
        hidden = torch.cat([token, rows], 1) + self.weights["embeddings.position_embeddings"]
        for layer in range(self.sizes["layers"]):
            name = f"encoder.layer.{layer}"
            names = [f"{name}.attention.attention.{part}" for part in ("query", "key", "value")]
            joined = self.attend(self.norm(hidden, name + ".layernorm_before"), names)
            hidden = self.linear(joined, name + ".attention.output.dense") + hidden
            inner = self.linear(self.norm(hidden, name + ".layernorm_after"), name + ".intermediate.dense")
            hidden = self.linear(functional.gelu(inner), name + ".output.dense") + hidden
        return {"logits": self.linear(self.norm(hidden, "layernorm")[:, 0], "classifier")}


class ConvNet(Described):
    def conv(self, x, stride=1, depthwise=False):
        name = f"features.{self.convs}"
        self.convs += 1
        weight = self.weights[name + ".weight"]
        return functional.conv2d(
            x,
            weight,
            self.weights[name + ".bias"],
            stride,
            weight.shape[-1] // 2,
            groups=len(weight) if depthwise else 1,
        )

    def bottlenecks(self, x, rows):
        for expansion, out, blocks, stride in rows:
            for block in range(blocks):
                step = stride if block == 0 else 1
                inner = x if expansion == 1 else functional.relu6(self.conv(x))
                inner = self.conv(functional.relu6(self.conv(inner, step, True)))
                x = x + inner if step == 1 and x.shape[1] == out else inner
        return x

    def forward(self, pixel_values):
        self.convs = 0
        x = functional.relu6(self.conv(pixel_values, 2))
        x = self.bottlenecks(x, model_convnet.BOTTLENECKS)
        for _ in range(model_convnet.RESIDUALS):
            x = functional.relu(self.conv(functional.relu(self.conv(x))) + x)
        x = functional.relu6(self.conv(self.bottlenecks(x, model_convnet.LAST)))
        return {"logits": self.linear(x.mean((2, 3)), "classifier")}


class Decoder(Described):
    def rms(self, x, name):
        weight = self.weights[name + ".weight"]
        return functional.rms_norm(x, weight.shape, weight, 1e-5)

    def rotate(self, x, cosine, sine):
        left, right = x.chunk(2, -1)
        return x * cosine + torch.cat([-right, left], -1) * sine

    def attention(self, x, name, layer, mask, rotary, caches, results):
        query = self.rotate(self.heads(x, name + ".q_proj", self.sizes["heads"]), *rotary)
        key = self.rotate(self.heads(x, name + ".k_proj", self.sizes["kv_heads"]), *rotary)
        value = self.heads(x, name + ".v_proj", self.sizes["kv_heads"])
        for part, new in (("key", key), ("value", value)):
            whole = torch.cat([caches[f"past_key_values.{layer}.{part}"], new], 2)
            results[f"present.{layer}.{part}"] = whole
        key, value = (results[f"present.{layer}.{part}"] for part in ("key", "value"))
        joined = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
        return self.linear(joined.transpose(1, 2).flatten(2), name + ".o_proj")

    def forward(self, input_ids, attention_mask, position_ids, **caches):
        hidden = functional.embedding(input_ids, self.weights["model.embed_tokens.weight"])
        size = caches["past_key_values.0.key"].shape[-1]
        frequency = 1 / 10000.0 ** (torch.arange(0, size, 2) / size)
        angle = (position_ids[..., None].float() * frequency).repeat(1, 1, 2)[:, None]
        rotary = angle.cos(), angle.sin()
        seen = torch.arange(attention_mask.shape[1]) <= position_ids[:, None, :, None]
        mask = seen & attention_mask[:, None, None].bool()
        results = {}
        for layer in range(self.sizes["layers"]):
            name = f"model.layers.{layer}"
            normed = self.rms(hidden, name + ".input_layernorm")
            hidden = hidden + self.attention(
                normed, name + ".self_attn", layer, mask, rotary, caches, results
            )
            normed = self.rms(hidden, name + ".post_attention_layernorm")
            gate = functional.silu(self.linear(normed, name + ".mlp.gate_proj"))
            gate = gate * self.linear(normed, name + ".mlp.up_proj")
            hidden = hidden + self.linear(gate, name + ".mlp.down_proj")
        results["logits"] = self.linear(self.rms(hidden, "model.norm"), "lm_head")
        return results


class Gemm(Described):
    def forward(self, x):
        return {"y": torch.matmul(x, self.weights["weight"])}


KINDS = {"encoder": Encoder, "vit": VisionTransformer, "convnet": ConvNet, "decoder": Decoder, "gemm": Gemm}


def read(path):
    model = onnx.load(path)
    described = next((entry.value for entry in model.metadata_props if entry.key == "described"), None)
    if described is None:
        raise ValueError("not described in PyTorch")
    sizes = json.loads(described)
    weights = {}
    for tensor in model.graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if tensor.name.endswith(".matrix"):
            weights[tensor.name.removesuffix(".matrix") + ".weight"] = value.T.contiguous()
        else:
            weights[tensor.name] = value
    return KINDS[sizes["kind"]](weights, sizes)
