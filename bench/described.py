# SPDX-License-Identifier: Apache-2.0
"""Weights that exist only as a seed.

A described model is code here and numbers nowhere: each tensor is drawn from a generator that is seeded by
the name of the tensor, so a description gives the same file whatever the order in which it is written.

    weights = Drawn(seed=1)
    weights.normal("encoder.layer.0.output.dense.weight", (768, 3072))
"""

import json
import zlib

import numpy as np


class Drawn(dict):
    """{name: array}, filled by the calls."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def normal(self, name, shape, scale=0.02, around=0.0):
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        self[name] = (around + scale * generator.standard_normal(shape)).astype(np.float32)
        return self[name]

    def linear(self, name, into, out):
        """As PyTorch keeps it: out rows."""
        self.normal(name + ".weight", (out, into))
        self.normal(name + ".bias", (out,))

    def norm(self, name, width):
        self.normal(name + ".weight", (width,), 0.1, 1.0)
        self.normal(name + ".bias", (width,))


def metadata(kind, **sizes):
    """What a file says about itself, so that the same network can be built in PyTorch."""
    return {"described": json.dumps({"kind": kind, **sizes})}
