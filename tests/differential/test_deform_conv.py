# SPDX-License-Identifier: Apache-2.0
"""DeformConv against its definition in NumPy: one to four spatial axes, groups, offset groups, all element types."""

import itertools
import os
import sys

import numpy
import pytest

sys.path.insert(0, os.path.dirname(__file__))
from nodes import Batch, session_of  # noqa: E402


def sample(plane, where):
    """A plane between its elements, 0 outside."""
    low = numpy.floor(where).astype(int)
    total = 0.0
    for corner in itertools.product((0, 1), repeat=len(where)):
        at = low + corner
        if all(0 <= i < n for i, n in zip(at, plane.shape)):
            weight = numpy.prod([w - l if c else 1 - (w - l) for w, l, c in zip(where, low, corner)])
            total += weight * plane[tuple(at)]
    return total


def deform_conv(x, w, offset, bias, mask, strides, pads, dilations, group, offset_group):
    kernel, space = w.shape[2:], offset.shape[2:]
    axes, channels, filters = len(kernel), x.shape[1], w.shape[0]
    offset = offset.reshape(x.shape[0], offset_group, *kernel, axes, *space)
    mask = numpy.ones((x.shape[0], offset_group, *kernel, *space)) if mask is None else mask.reshape(
        x.shape[0], offset_group, *kernel, *space)
    y = numpy.zeros((x.shape[0], filters, *space))
    for n, c in itertools.product(range(x.shape[0]), range(channels)):
        part, own = c // (channels // offset_group), c // (channels // group)
        for k in itertools.product(*map(range, kernel)):
            for o in itertools.product(*map(range, space)):
                where = [o[i] * strides[i] - pads[i] + k[i] * dilations[i] + offset[(n, part, *k, i, *o)] for i in range(axes)]
                value = sample(x[n, c], numpy.array(where)) * mask[(n, part, *k, *o)]
                for f in range(own * filters // group, (own + 1) * filters // group):
                    y[(n, f, *o)] += w[(f, c - own * (channels // group), *k)] * value
    return y if bias is None else y + bias.reshape(1, -1, *[1] * axes)


CASES = [  # space, kernel, strides, pads, dilations, group, offset_group, channels, filters
    ((7,), (3,), (1,), (1, 1), (1,), 1, 1, 2, 3),
    ((5, 6), (2, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1, 1, 3, 2),
    ((5, 6), (3, 2), (2, 1), (1, 0, 2, 1), (1, 2), 2, 1, 4, 4),
    ((4, 5), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 3, 3, 3, 6),
    ((4, 4), (2, 2), (2, 2), (1, 1, 0, 0), (1, 1), 1, 2, 4, 1),
    ((3, 4, 3), (2, 2, 1), (1, 1, 1), (1, 0, 0, 0, 1, 0), (1, 1, 1), 2, 2, 4, 2),
    ((2, 3, 2, 2), (1, 2, 1, 2), (1, 1, 1, 1), (0, 0, 0, 1, 0, 0, 0, 0), (1, 1, 1, 1), 1, 1, 1, 2),
]


def make(random, case, dtype, samples=2):
    space, kernel, strides, pads, dilations, group, offset_group, channels, filters = case
    axes = len(space)
    out = [(space[i] + pads[i] + pads[i + axes] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(axes)]
    planes = offset_group * int(numpy.prod(kernel))

    def tensor(*dims):
        return (numpy.round(random.standard_normal(dims) * 16) / 16).astype(dtype)

    x, w = tensor(samples, channels, *space), tensor(filters, channels // group, *kernel)
    offset, mask, bias = tensor(samples, planes * axes, *out), tensor(samples, planes, *out), tensor(filters)
    attributes = dict(strides=strides, pads=pads, dilations=dilations, group=group, offset_group=offset_group)
    return x, w, offset, bias, mask, attributes


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14), ("float16", 1e-3)])
def test_definition(dtype, tolerance):
    random = numpy.random.default_rng(1)
    batch = Batch(opset=22, tolerance=tolerance)
    for case in CASES:
        x, w, offset, bias, mask, attributes = make(random, case, dtype)
        for b, m in ((None, None), (bias, None), (None, mask), (bias, mask))[:: 1 if dtype == "float32" else 3]:
            wide = [None if t is None else t.astype(float) for t in (x, w, offset, b, m)]
            want = deform_conv(*wide, **attributes).astype(dtype)
            inputs = [x, w, offset, b, m]
            while inputs[-1] is None:
                inputs.pop()
            batch.add("DeformConv", inputs, answers=[want], **attributes)
    batch.check()


def test_offsets_may_be_anything():
    random = numpy.random.default_rng(2)
    x, w, offset, bias, _, attributes = make(random, CASES[1], "float32", samples=1)
    batch = Batch(opset=22)
    for wild in (numpy.inf, -numpy.inf, numpy.nan, 1e30, -1e30, 5, -7):
        far = numpy.full_like(offset, wild)
        want = numpy.broadcast_to(bias.reshape(1, -1, 1, 1), (1, 2, *offset.shape[2:])).astype("float32")
        if abs(wild) > 6 or numpy.isnan(wild):
            batch.add("DeformConv", [x, w, far, bias], answers=[want], **attributes)
    batch.check()


def test_tiles_of_a_large_image():
    random = numpy.random.default_rng(3)
    x = random.standard_normal((1, 64, 40, 41), dtype="float32")
    w = random.standard_normal((8, 64, 3, 3), dtype="float32") / 24
    still = numpy.zeros((1, 18, 40, 41), "float32")
    batch = Batch(opset=22, tolerance=1e-5)
    batch.add("Conv", [x, w], pads=[1, 1, 1, 1])
    want = batch.expected()["y0_0"]
    batch.add("DeformConv", [x, w, still], pads=[1, 1, 1, 1], answers=[want])
    batch.check()


@pytest.mark.parametrize("change, reason", [
    (dict(offset_group=2), "offsets"), (dict(group=2), "channels"), (dict(kernel_shape=[3, 3]), "kernel_shape"),
    (dict(pads=[0, 0, 0]), "pads"), (dict(strides=[0, 1]), "strides"), (dict(group=0), "group"),
])
def test_refused(change, reason):
    batch = Batch(opset=22)
    x, w, offset, _, _, attributes = make(numpy.random.default_rng(4), CASES[1], "float32")
    batch.add("DeformConv", [x, w, offset], **{**attributes, **change})
    with pytest.raises(Exception, match=reason):
        session_of(batch.model(batch.nodes, ["y0_0"], symbolic=False))
