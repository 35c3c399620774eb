# SPDX-License-Identifier: Apache-2.0
"""Trains T2's architecture on synthetic light curves, and writes t2.onnx and eval.npz beside this file.

    python -m pip install torch==2.13.0 onnx==1.22.0 numpy==2.4.6
    python train.py                  # about three minutes on one core; only this script needs PyTorch

The network (13,262 parameters): each of the 100 times is a token; Dense 2 -> 32 and ReLU, plus a position
code; one encoder layer with 16 heads of size 2 and a feed-forward part of 128; the mean over time; Dense 32
-> 14.

The file is put together node by node, as exporters do it: opset 17, symbolic batch N, plain MatMul,
Reshape, Transpose and Softmax for the attention. So the bytes depend on nothing but the weights.
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

import curves

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from builder import Graph  # noqa: E402

WIDTH, HEADS, HIDDEN = 32, 16, 128
CLASSES = len(curves.KINDS)
EPSILON = 1e-6


def position_code():
    angle = np.arange(curves.TIMES)[:, None] / 10000 ** (2 * (np.arange(WIDTH)[None, :] // 2) / WIDTH)
    code = np.where(np.arange(WIDTH) % 2 == 0, np.sin(angle), np.cos(angle))
    return code[None].astype(np.float32)


class T2(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, WIDTH)
        self.register_buffer("position", torch.from_numpy(position_code()))
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=EPSILON) for _ in range(2))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        def heads(t):
            return t.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)

        h = torch.relu(self.embed(x)) + self.position
        attended = nn.functional.scaled_dot_product_attention(
            heads(self.query(h)), heads(self.key(h)), heads(self.value(h))
        )
        h = self.norm1(h + self.out(attended.transpose(1, 2).flatten(2)))
        h = self.norm2(h + self.down(torch.relu(self.up(h))))
        return self.classify(h.mean(1))  # the softmax is part of the loss here, and of the exported graph


def train(model, steps):
    x, labels = curves.make(42000, seed=1)
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        rows = torch.randint(len(x), (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(x[rows]), labels[rows], label_smoothing=0.02)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}/{steps}: loss {loss.item():.3f}", flush=True)


class Network(Graph):
    def linear(self, x, layer):
        weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
        return self.node("Add", self.node("MatMul", x, self.constant(weight.T)), self.constant(bias))

    def norm(self, x, layer):
        scale, bias = (self.constant(p.detach().numpy()) for p in (layer.weight, layer.bias))
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=EPSILON)


def export(model, path):
    g = Network()
    h = g.node("Add", g.node("Relu", g.linear("x", model.embed)), g.constant(model.position.numpy()))
    split = g.constant(np.array([0, 0, HEADS, WIDTH // HEADS], np.int64))

    def heads(layer, perm):
        return g.node("Transpose", g.node("Reshape", g.linear(h, layer), split), perm=perm)

    query, key, value = (
        heads(model.query, [0, 2, 1, 3]),
        heads(model.key, [0, 2, 3, 1]),
        heads(model.value, [0, 2, 1, 3]),
    )
    scale = g.constant(np.array([(WIDTH // HEADS) ** -0.5], np.float32))
    scores = g.node("Softmax", g.node("Mul", g.node("MatMul", query, key), scale), axis=-1)
    attended = g.node("Transpose", g.node("MatMul", scores, value), perm=[0, 2, 1, 3])
    attended = g.node("Reshape", attended, g.constant(np.array([0, 0, WIDTH], np.int64)))
    h = g.norm(g.node("Add", h, g.linear(attended, model.out)), model.norm1)
    h = g.norm(g.node("Add", h, g.linear(g.node("Relu", g.linear(h, model.up)), model.down)), model.norm2)
    logits = g.linear(g.node("ReduceMean", h, axes=[1], keepdims=0), model.classify)
    g.node("Softmax", logits, output="y", axis=-1)
    g.save(
        path,
        "t2",
        17,
        {"x": (TensorProto.FLOAT, ["N", curves.TIMES, 2])},
        {"y": (TensorProto.FLOAT, ["N", CLASSES])},
    )


def main():
    parser = argparse.ArgumentParser(description="Trains T2 on synthetic light curves.")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so that the sums, hence the weights, come out the same again
    model = T2()
    train(model, options.steps)
    export(model, options.into / "t2.onnx")
    x, labels = curves.make(448, seed=3)
    with torch.no_grad():
        answers = torch.softmax(model.double()(torch.from_numpy(x).double()), -1).float().numpy()
    accuracy = float((answers.argmax(-1) == labels).mean())
    np.savez_compressed(
        options.into / "eval.npz",
        x=x,
        labels=labels.astype(np.uint8),
        answers=answers,
        kinds=np.array(curves.KINDS),
        accuracy=np.float32(accuracy),
    )
    parameters = sum(p.numel() for p in model.parameters())
    print(f"accuracy on {len(x)} curves: {100 * accuracy:.1f} %, parameters: {parameters}")


if __name__ == "__main__":
    main()
