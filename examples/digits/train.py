# SPDX-License-Identifier: Apache-2.0
"""Trains a small convolutional network on digits.py's pictures with NumPy alone, and writes digits.onnx.

    python examples/digits/train.py FOLDER     # fetches the scanned digits into FOLDER; a few minutes on one core

Three convolutions of 3 x 3 (16, 32 and 32 channels; the last two with a maximum of 2 x 2 behind them), Dense 128 -> 64, Dense
64 -> 10; Relu between all: 22,954 parameters. Trained on 6,000 drawn digits and the first 1,000 scanned ones, with Adam.

A convolution is a product of matrices: the windows [N * H * W, C * 9] times the weights. Its gradients are two more.
"""

import argparse
import pathlib
import sys

import numpy as np
from onnx import TensorProto

import digits

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from builder import Graph  # noqa: E402

CHANNELS = [1, 16, 32, 32]
BATCH, EPOCHS, RATE = 64, 24, 2e-3


def windows(x):
    """[N, C, H, W] -> [N * H * W, C * 9], zeros around the picture."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return view.transpose(0, 2, 3, 1, 4, 5).reshape(-1, x.shape[1] * 9)


def to_pictures(rows, shape):
    """[N * H * W, C] -> [N, C, H, W]"""
    return rows.reshape(shape[0], shape[2], shape[3], -1).transpose(0, 3, 1, 2)


def halved(x):
    """The largest of each 2 x 2, and which one it was."""
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
    return blocks.max(-1), blocks.argmax(-1)


def spread(gradient, which):
    n, c, h, w = gradient.shape
    blocks = np.zeros((n, c, h, w, 4), np.float32)
    np.put_along_axis(blocks, which[..., None], gradient[..., None], -1)
    return blocks.reshape(n, c, h, w, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h * 2, w * 2)


def initial(rng):
    """Weights of convolutions as [C * 9, channels], of Dense layers as [in, out], each with its bias."""
    shapes = [(a * 9, b) for a, b in zip(CHANNELS, CHANNELS[1:])] + [(128, 64), (64, 10)]
    return [part for k, n in shapes
            for part in ((rng.normal(size=(k, n)) * np.sqrt(2 / k)).astype(np.float32), np.zeros(n, np.float32))]


def forward(weights, x):
    """The scores, and what the gradients need of each layer: its input as rows, where it was positive, the places of maxima."""
    trace = []
    for layer in range(3):
        rows = windows(x)
        y = to_pictures(rows @ weights[2 * layer] + weights[2 * layer + 1], x.shape)
        y, which = (y, None) if layer == 0 else halved(y)
        trace.append((rows, x.shape, y > 0, which))
        x = np.maximum(y, 0)
    flat = x.reshape(len(x), -1)
    hidden = np.maximum(flat @ weights[6] + weights[7], 0)
    return hidden @ weights[8] + weights[9], trace, flat, hidden


def back_through(layer, gradient, weights, trace):
    """Of one convolution: gradients of its weights and bias, and of its input."""
    rows, shape, positive, which = trace
    gradient = gradient * positive
    gradient = gradient if which is None else spread(gradient, which)
    columns = gradient.transpose(0, 2, 3, 1).reshape(-1, gradient.shape[1])
    found = [rows.T @ columns, columns.sum(0)]
    if layer == 0:
        return found, None
    turned = weights.reshape(shape[1], 3, 3, -1)[:, ::-1, ::-1].transpose(3, 1, 2, 0).reshape(-1, shape[1])
    return found, to_pictures(windows(gradient) @ turned, gradient.shape)


def gradients(weights, x, labels):
    scores, trace, flat, hidden = forward(weights, x)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[np.arange(len(x)), labels] + 1e-12).mean()
    p[np.arange(len(x)), labels] -= 1
    p /= len(x)
    inner = (p @ weights[8].T) * (hidden > 0)
    found = [flat.T @ inner, inner.sum(0), hidden.T @ p, p.sum(0)]
    gradient = (inner @ weights[6].T).reshape(len(x), CHANNELS[-1], 2, 2)
    for layer in (2, 1, 0):
        parts, gradient = back_through(layer, gradient, weights[2 * layer], trace[layer])
        found = parts + found
    return loss, found


def train(x, labels):
    rng = np.random.default_rng(1)
    weights = initial(rng)
    means, squares = ([np.zeros_like(w) for w in weights] for _ in range(2))
    steps = EPOCHS * (len(x) // BATCH)
    for step in range(steps):
        rows = rng.integers(0, len(x), BATCH)
        loss, found = gradients(weights, x[rows], labels[rows])
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        for w, g, m, v in zip(weights, found, means, squares):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= rate * ((m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8) + 1e-3 * w)
        if step % 500 == 499:
            print(f"step {step + 1}/{steps}: loss {loss:.3f}", flush=True)
    return weights


def export(weights, path):
    g = Graph()
    h = "x"
    for layer in range(3):
        matrix = weights[2 * layer].reshape(CHANNELS[layer], 3, 3, -1).transpose(3, 0, 1, 2)
        h = g.node("Conv", h, g.constant(matrix), g.constant(weights[2 * layer + 1]), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        h = g.node("Relu", h)
        h = h if layer == 0 else g.node("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = g.node("Flatten", h, axis=1)
    h = g.node("Relu", g.node("Gemm", h, g.constant(weights[6]), g.constant(weights[7])))
    g.node("Softmax", g.node("Gemm", h, g.constant(weights[8]), g.constant(weights[9])), output="y", axis=-1)
    g.save(path, "digits", 17, {"x": (TensorProto.FLOAT, ["N", 1, 8, 8])}, {"y": (TensorProto.FLOAT, ["N", 10])})


def main():
    parser = argparse.ArgumentParser(description="Trains a small network on digits.")
    parser.add_argument("folder", type=pathlib.Path, help="for the package with the scanned digits")
    parser.add_argument("--into", type=pathlib.Path, default=HERE)
    options = parser.parse_args()
    x, labels = digits.drawn(6000, seed=1)
    real, named = digits.scanned(options.folder)
    weights = train(np.concatenate([x, real[:digits.TRAINED]]), np.concatenate([labels, named[:digits.TRAINED]]))
    export(weights, options.into / "digits.onnx")
    for title, (pictures, classes) in {"drawn": digits.drawn(1000, seed=2),
                                       "scanned": (real[digits.TRAINED:], named[digits.TRAINED:])}.items():
        right = (forward(weights, pictures)[0].argmax(1) == classes).mean()
        print(f"{title}: {100 * right:.1f} % of {len(classes)} right; {sum(w.size for w in weights)} parameters")


if __name__ == "__main__":
    main()
