# SPDX-License-Identifier: Apache-2.0
"""Models of one node: a product by a constant matrix, the shapes of encoder layers and small, odd ones."""

import numpy as np
from builder import Graph
from described import Drawn, metadata
from onnx import TensorProto

# rows, depth (the sum's length), columns
SHAPES = [
    (128, 768, 3072),
    (128, 3072, 768),
    (128, 768, 768),
    (128, 384, 1536),
    (128, 1536, 384),
    (128, 384, 384),
    (128, 256, 1024),
    (128, 1024, 256),
    (128, 256, 256),
    (197, 192, 768),
    (16, 384, 1536),
    (1, 576, 1536),
    (7, 13, 5),
]


def write(path, rows, depth, columns, seed=1):
    graph = Graph()
    weight = Drawn(seed).normal("weight", (depth, columns))
    graph.node("MatMul", "x", graph.constant(weight, name="weight"), output="y")
    graph.save(
        path,
        "gemm",
        17,
        {"x": (TensorProto.FLOAT, ["rows", depth])},
        {"y": (TensorProto.FLOAT, ["rows", columns])},
        metadata("gemm"),
    )


def inputs(rows, depth, seed=1):
    return {"x": np.random.default_rng(seed).standard_normal((rows, depth)).astype(np.float32)}
