# SPDX-License-Identifier: Apache-2.0
"""Attention in NumPy, for the definitions of ONNX Runtime's attention operators."""

import numpy


def softmax(x, sink=None):
    top = x.max(-1, keepdims=True, initial=-numpy.inf)
    if sink is not None:
        top = numpy.maximum(top, sink)
    e = numpy.exp(x - top)
    return e / (e.sum(-1, keepdims=True) + (0 if sink is None else numpy.exp(sink - top)))


def heads_of(x, heads):
    b, s, d = x.shape
    return x.reshape(b, s, heads, d // heads if d else 0).transpose(0, 2, 1, 3)


def rows_of(x):
    b, n, s, h = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, s, n * h)


def attend(q, k, v, addend=0.0, scale=0.0, softcap=0.0, sink=None):
    """q [b, n, s, h], k and v [b, m, t, h]; returns the result and the scores before and after softmax."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat(groups, 1), v.repeat(groups, 1)
    scores = q @ k.transpose(0, 1, 3, 2) * (scale or 1 / q.shape[3] ** 0.5)
    if softcap:
        scores = softcap * numpy.tanh(scores / softcap)
    scores = scores + addend
    weights = softmax(scores, sink)
    return weights @ v, scores, weights


def padding(mask, b, s, t, past, fill):
    """The addend of a padding mask of any rank, [b, 1, s or 1, t]."""
    j = numpy.arange(t)
    if mask is None:
        return numpy.zeros([1, 1, 1, 1])
    if mask.ndim == 1:
        seen = j < mask[:b, None]
        if mask.size == 2 * b:
            seen &= j >= mask[b:, None]
        seen = seen[:, None, None]
    elif mask.ndim == 4:
        seen = mask[:, :, past:past + s, :t] > 0
    else:
        seen = (mask[:, None, None] if mask.ndim == 2 else mask[:, None]) > 0
    return numpy.where(seen, 0, fill)


def causal(s, t, past):
    return numpy.where(numpy.arange(t) <= past + numpy.arange(s)[:, None], 0, -numpy.inf)


def rotate(x, cos, sin, positions, interleaved=False):
    """x [b, n, s, h]; tables [positions, half]; positions [b, s]."""
    half = cos.shape[1]
    c, d = cos[positions][:, None], sin[positions][:, None]
    turned = x.copy()
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (slice(0, half),
                                                                                        slice(half, 2 * half))
    turned[..., first] = x[..., first] * c - x[..., second] * d
    turned[..., second] = x[..., first] * d + x[..., second] * c
    return turned
