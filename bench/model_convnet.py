# SPDX-License-Identifier: Apache-2.0
"""A convolutional network at 224 pixels, inverted bottlenecks and residual blocks, as PyTorch exports it.

Inverted bottleneck (MobileNetV2): 1x1 Conv to six times the channels, 3x3 depthwise Conv, 1x1 Conv back, Clip
to 0..6 after the first two, a residual where the shape stays. Residual block (ResNet): two 3x3 Convs, Relu
after the sum. The exporter folds BatchNormalization into the Convs, so the graph has none. Then the mean over
the picture and a linear classifier.
"""

import numpy as np
from builder import Graph
from described import Drawn, metadata
from onnx import TensorProto

CLASSES, STEM, HEAD = 1000, 32, 640
# expansion, channels, blocks, stride of the first
BOTTLENECKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 2), (6, 96, 2, 1)]
RESIDUALS = 2  # blocks, at the channels of the last bottleneck
LAST = [(6, 160, 2, 2)]


class Network(Graph):
    def __init__(self, seed):
        super().__init__()
        self.drawn, self.convs = Drawn(seed), 0

    def conv(self, x, into, out, kernel, stride=1, groups=1, gain=2.0):
        """Weights are drawn so that the size of the values stays (He)."""
        name = f"features.{self.convs}"
        self.convs += 1
        scale = np.sqrt(gain / (into // groups * kernel * kernel))
        weight = self.drawn.normal(name + ".weight", (out, into // groups, kernel, kernel), scale)
        bias = self.drawn.normal(name + ".bias", (out,), 0.1)
        return self.node(
            "Conv",
            x,
            self.constant(weight, name=name + ".weight"),
            self.constant(bias, name=name + ".bias"),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def clip(self, x):
        return self.node("Clip", x, self.constant(0.0, np.float32), self.constant(6.0, np.float32))

    def bottleneck(self, x, into, out, expansion, stride):
        wide = into * expansion
        inner = x if expansion == 1 else self.clip(self.conv(x, into, wide, 1))
        inner = self.clip(self.conv(inner, wide, wide, 3, stride, wide))
        inner = self.conv(inner, wide, out, 1, gain=1.0)
        return self.node("Add", x, inner) if stride == 1 and into == out else inner

    def residual(self, x, channels):
        inner = self.node("Relu", self.conv(x, channels, channels, 3))
        inner = self.conv(inner, channels, channels, 3, gain=1.0)
        return self.node("Relu", self.node("Add", inner, x))

    def bottlenecks(self, x, into, rows):
        for expansion, out, blocks, stride in rows:
            for block in range(blocks):
                x = self.bottleneck(x, into, out, expansion, stride if block == 0 else 1)
                into = out
        return x, into

    def build(self):
        x = self.clip(self.conv("pixel_values", 3, STEM, 3, 2))
        x, channels = self.bottlenecks(x, STEM, BOTTLENECKS)
        for _ in range(RESIDUALS):
            x = self.residual(x, channels)
        x, channels = self.bottlenecks(x, channels, LAST)
        x = self.clip(self.conv(x, channels, HEAD, 1))
        x = self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)
        self.drawn.linear("classifier", HEAD, CLASSES)
        weight, bias = (
            self.constant(self.drawn[name], name=name) for name in ("classifier.weight", "classifier.bias")
        )
        self.node("Gemm", x, weight, bias, output="logits", transB=1)


def write(path, image=224, seed=1):
    network = Network(seed)
    network.build()
    network.save(
        path,
        "convnet",
        17,
        {"pixel_values": (TensorProto.FLOAT, ["batch", 3, image, image])},
        {"logits": (TensorProto.FLOAT, ["batch", CLASSES])},
        metadata("convnet"),
    )
