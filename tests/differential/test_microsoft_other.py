# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's operators on matrices, images, text, standard ones in other forms, by NumPy references."""

import math
import struct

import numpy
import pytest
from onnx import TensorProto, helper

from microsoft_kit import DOMAIN, Case, F, build, check, numbers, refused, run, tamis, uniform

# ---- matrices, signals, distances ----


def test_inverse(tmp_path):
    r, cases = numbers(9), []
    for kind in (F, numpy.float64, numpy.float16):
        for shape in [(3, 3), (2, 3, 5, 5), (1, 1), (0, 2, 2), (2, 0, 0)]:
            x = (r.uniform(-1, 1, shape) + 4 * numpy.eye(shape[-1])).astype(kind)
            want = numpy.linalg.inv(x.astype(float)).astype(kind)
            cases.append(Case("Inverse", [x], want, peer=x.size > 0))
    rows = F([[0, 1, 0], [0, 0, 2], [4, 0, 0]])  # no pivot on the diagonal
    cases.append(Case("Inverse", [rows], numpy.linalg.inv(rows)))
    check(cases, tmp_path)


def test_rfft(tmp_path):
    r, cases = numbers(10), []
    for kind in (F, numpy.float64, numpy.float16):
        for shape, axes in [((3, 8), 1), ((10,), 1), ((2, 6, 4), 2), ((0, 4), 1)]:
            x = r.uniform(-1, 1, shape).astype(kind)
            y = numpy.fft.rfftn(x.astype(float), axes=tuple(range(-axes, 0)))
            parts = numpy.stack([y.real, y.imag], -1).astype(kind)
            cases.append(Case("Rfft", [x], parts, signal_ndim=axes, normalized=0, onesided=1, peer=False))
            back = numpy.fft.irfftn(
                parts[..., 0].astype(float) + 1j * parts[..., 1].astype(float), axes=tuple(range(-axes, 0))
            )
            cases.append(Case("Irfft", [parts], back.astype(kind), signal_ndim=axes, peer=False))
    check(cases, tmp_path)


def test_cdist(tmp_path):
    r, cases = numbers(11), []
    for kind in (F, numpy.float64):
        for m, k, n in [(3, 4, 5), (1, 1, 1), (0, 4, 5), (7, 33, 17)]:
            a, b = r.uniform(-1, 1, (m, n)).astype(kind), r.uniform(-1, 1, (k, n)).astype(kind)
            square = ((a[:, None].astype(float) - b[None]) ** 2).sum(-1)
            cases.append(Case("CDist", [a, b], square.astype(kind), metric="sqeuclidean", peer=m > 0))
            cases.append(
                Case("CDist", [a, b], numpy.sqrt(square).astype(kind), metric="euclidean", peer=m > 0)
            )
    check(cases, tmp_path)


# ---- images ----


def positions(start, end, count, length, real):
    """In the precision of the data, float at least."""
    if count == 1:
        return [real(0.5) * (start + end) * real(length - 1)]
    step = (end - start) * real(length - 1) / real(count - 1)
    middle = [start * real(length - 1) + real(i) * step for i in range(1, count - 1)]
    return [start * real(length - 1), *middle, end * real(length - 1)]


def crop(x, boxes, images, size, outside, nearest):
    n, c, h, w = x.shape
    y = numpy.full((len(boxes), c, *size), outside, x.dtype)
    real = numpy.float64 if x.dtype == numpy.float64 else F
    for k, (box, image) in enumerate(zip(boxes.astype(real), images)):
        for i, row in enumerate(positions(box[0], box[2], size[0], h, real)):
            for j, column in enumerate(positions(box[1], box[3], size[1], w, real)):
                if not (0 <= row <= h - 1 and 0 <= column <= w - 1):
                    continue
                if nearest:
                    y[k, :, i, j] = x[image, :, math.floor(row + real(0.5)), math.floor(column + real(0.5))]
                    continue
                t, l = math.floor(row), math.floor(column)
                b, e = math.ceil(row), math.ceil(column)
                across, down = float(column) - l, float(row) - t
                p = x[image].astype(float)
                top = p[:, t, l] + (p[:, t, e] - p[:, t, l]) * across
                bottom = p[:, b, l] + (p[:, b, e] - p[:, b, l]) * across
                y[k, :, i, j] = top + (bottom - top) * down
    return y


def test_crop_and_resize(tmp_path):
    r, cases = numbers(12), []
    boxes = F(
        [
            [0, 0, 1, 1],
            [0.1, 0.2, 0.7, 0.9],
            [0.8, 0.9, 0.1, 0.2],
            [-0.5, -0.2, 1.4, 1.1],
            [0.5, 0.5, 0.5, 0.5],
        ]
    )
    images = numpy.array([0, 1, 1, 0, 1], numpy.int32)
    for kind in (F, numpy.float64, numpy.float16):
        x = uniform(r, 2, 3, 7, 6).astype(kind)
        for size in [(4, 5), (1, 3), (3, 1), (9, 2)]:
            for mode in ("bilinear", "nearest"):
                want = crop(x, boxes.astype(kind), images, size, 0.25, mode == "nearest")
                cases.append(
                    Case(
                        "CropAndResize",
                        [x, boxes.astype(kind), images, numpy.array(size, numpy.int32)],
                        want,
                        mode=mode,
                        extrapolation_value=0.25,
                        peer=kind == F,
                        constants=(3,) if size[0] > 1 else (),
                    )
                )
    none = [x, boxes[:0].astype(kind), images[:0], numpy.array([2, 2], numpy.int32)]
    cases.append(Case("CropAndResize", none, numpy.zeros((0, 3, 2, 2), kind), peer=False))
    check(cases, tmp_path)


def test_crop_of_an_image_that_is_not_there(tmp_path):
    x, boxes = numpy.zeros((2, 1, 3, 3), F), F([[0, 0, 1, 1]])
    case = Case(
        "CropAndResize",
        [x, boxes, numpy.array([2], numpy.int32), numpy.array([2, 2], numpy.int32)],
        numpy.zeros((1, 1, 2, 2), F),
    )
    model, feeds = build([case])
    (tmp_path / "model.onnx").write_bytes(model)
    numpy.savez(tmp_path / "in.npz", **feeds)
    code, text = tamis("run", tmp_path / "model.onnx", "--inputs", tmp_path / "in.npz")
    assert code == 65 and "case0" in text, (code, text)


def test_grid_sample(tmp_path):
    r, cases = numbers(13), []
    x = uniform(r, 2, 3, 5, 4)
    for align in (0, 1):
        rows, columns = numpy.meshgrid(
            numpy.linspace(-1.2, 1.2, 3), numpy.linspace(-0.9, 1.3, 4), indexing="ij"
        )
        grid = numpy.stack([columns, rows], -1)[None].repeat(2, 0).astype(F)
        scale = (lambda g, n: (g + 1) / 2 * (n - 1)) if align else (lambda g, n: ((g + 1) * n - 1) / 2)
        want = numpy.zeros((2, 3, 3, 4))
        for i in range(3):
            for j in range(4):
                a, b = scale(float(grid[0, i, j, 1]), 5), scale(float(grid[0, i, j, 0]), 4)
                for p in (math.floor(a), math.floor(a) + 1):
                    for q in (math.floor(b), math.floor(b) + 1):
                        if 0 <= p < 5 and 0 <= q < 4:
                            want[:, :, i, j] += x[:, :, p, q] * (1 - abs(a - p)) * (1 - abs(b - q))
        cases.append(Case("GridSample", [x, grid], want.astype(F), align_corners=align, mode="bilinear"))
    check(cases, tmp_path)


# ---- forms of standard operators ----


def test_movement(tmp_path):
    r, cases = numbers(14), []
    x = uniform(r, 3, 4)
    for pads in (numpy.array([1, 0, 0, 2]), numpy.array([[0, 1, 2, 0]])):
        p = pads.flatten()
        width = [(p[0], p[2]), (p[1], p[3])]
        cases.append(Case("Pad", [x, pads, F([7])], numpy.pad(x, width, constant_values=7), constants=(1,)))
        cases.append(Case("Pad", [x, pads], numpy.pad(x, width), constants=(1,)))
        cases.append(Case("Pad", [x, pads], numpy.pad(x, width, "edge"), constants=(1,), mode="edge"))
    for kind in (F, numpy.float64, numpy.int16, numpy.int32, numpy.int64):
        cases.append(Case("Range", [kind(2), kind(11), kind(3)], numpy.array([2, 5, 8], kind)))
        cases.append(
            Case("Range", [numpy.array([2], kind), numpy.array([4], kind)], numpy.array([2, 3], kind))
        )
        cases.append(Case("Range", [kind(2), kind(2)], numpy.array([], kind)))
    for axis in (0, 1, 2, -1, -3):
        cases.append(
            Case(
                "ExpandDims", [x, numpy.array(axis, numpy.int32)], numpy.expand_dims(x, axis), constants=(1,)
            )
        )
    wide = r.integers(-9, 9, (2, 4, 3))
    for upper in (0, 1):
        cut = numpy.triu if upper else numpy.tril
        cases.append(Case("Trilu", [wide, numpy.array(-1)], cut(wide, -1), upper=upper))
        cases.append(
            Case("Trilu", [wide.astype(numpy.float64)], cut(wide).astype(numpy.float64), upper=upper)
        )
        cases.append(Case("Trilu", [wide > 0], cut(wide > 0), upper=upper, peer=False))
    cases.append(Case("SampleOp", [x], x))
    indices = numpy.array([[0, 1], [2, 3]])
    cases.append(Case("GatherND", [x, indices], x[[0, 2], [1, 3]], constants=(1,)))
    cases.append(Case("TorchEmbedding", [x, indices[:1], numpy.array(1)], x[indices[:1]], peer=False))
    check(cases, tmp_path)


def test_unique(tmp_path):
    cases = []
    for kind in (F, numpy.int64, numpy.uint8):
        x = numpy.array([2, 1, 1, 3, 4, 3], kind)
        want = [numpy.array([2, 1, 3, 4], kind), numpy.array([0, 1, 1, 2, 3, 2]), numpy.array([1, 2, 2, 1])]
        cases.append(Case("Unique", [x], want, peer=kind == F))
        none = numpy.array([], kind)
        cases.append(Case("Unique", [none], [none, numpy.array([], int), numpy.array([], int)], peer=False))
    check(cases, tmp_path)


# ---- text ----


def murmur(data, seed):
    """MurmurHash3_x86_32 of Austin Appleby."""
    mask, h = 0xFFFFFFFF, seed
    rotate = lambda v, by: (v << by | v >> (32 - by)) & mask
    mix = lambda v: rotate(v * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        h = (rotate(h ^ mix(struct.unpack_from("<I", data, i)[0]), 13) * 5 + 0xE6546B64) & mask
    if data[whole:]:
        h ^= mix(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = (h ^ h >> shift) * factor & mask
    return h


def test_murmur_hash(tmp_path):
    assert murmur(b"hello", 0) == 0x248BFA47  # published
    r, cases = numbers(15), []
    for kind in (numpy.int32, numpy.uint32, numpy.int64, numpy.uint64, F, numpy.float64):
        for shape, seed, positive in [((3, 4), 0, 1), ((5,), 42, 0), ((), 7, 1), ((0, 2), 0, 1)]:
            x = (r.integers(0, 1 << 30, shape) * (1 if kind in (numpy.uint32, numpy.uint64) else -1)).astype(
                kind
            )
            hashes = [murmur(value.tobytes(), seed) for value in x.flatten()]
            want = numpy.array(hashes, numpy.uint32).reshape(shape)
            cases.append(
                Case(
                    "MurmurHash3",
                    [x],
                    want if positive else want.view(numpy.int32),
                    seed=seed,
                    positive=positive,
                    peer=x.size > 0,
                )
            )
    check(cases, tmp_path)


def test_murmur_hash_of_strings(tmp_path):
    words = ["", "a", "ab", "abc", "abcd", "hello, world", "Grüße"]
    want = numpy.array([murmur(w.encode(), 0) for w in words], numpy.uint32)
    node = helper.make_node("MurmurHash3", ["x"], ["c0_out0"], domain=DOMAIN)
    constant = helper.make_tensor("x", TensorProto.STRING, [len(words)], [w.encode() for w in words])
    switch = helper.make_tensor_value_info("on", TensorProto.UINT32, [])
    add = helper.make_node("Add", ["c0_out0", "on"], ["y"])
    result = helper.make_tensor_value_info("y", TensorProto.UINT32, [len(words)])
    graph = helper.make_graph([node, add], "g", [switch], [result], [constant])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    (tmp_path / "model.onnx").write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
    for options in ([], ["--evaluate"], ["-O0", "--disable=fold_constants"]):
        made = run(tmp_path / "model.onnx", {"on": numpy.uint32(0)}, tmp_path, *options)
        assert numpy.array_equal(made["y"], want), options


def test_ngram_repeat_block(tmp_path):
    r, cases = numbers(16), []
    for n, ids in [
        (3, [[5, 6, 7, 5, 6], [1, 2, 3, 4, 5]]),
        (1, [[3, 3, 1]]),
        (2, [[4, 4, 4, 4]]),
        (7, [[1, 2, 3]]),
    ]:
        ids, scores = numpy.array(ids), uniform(r, len(ids), 9)
        want = scores.copy()
        for row, tokens in enumerate(ids):
            for i in range(len(tokens) - n + 1):
                if list(tokens[i : i + n - 1]) == list(tokens[len(tokens) - n + 1 :]):
                    want[row, tokens[i + n - 1]] = -numpy.inf
        cases.append(Case("NGramRepeatBlock", [ids, scores], want, ngram_size=n, peer=n <= ids.shape[1]))
    check(cases, tmp_path)


# ---- training operators in inference ----


def test_dropouts(tmp_path):
    r, cases = numbers(17), []
    x, bias, rest = uniform(r, 3, 11), uniform(r, 11), uniform(r, 3, 11)
    yes, words = numpy.ones((3, 11), bool), numpy.full(2, 0xFFFFFFFF, numpy.uint32)
    off = numpy.array(False)
    common = {"peer": False}
    cases.append(
        Case("BiasDropout", [x, bias, rest, F(0.5), off], [x + bias + rest, yes], constants=(4,), **common)
    )
    cases.append(Case("BiasDropout", [x, bias], [x + bias], **common))
    cases.append(Case("BitmaskDropout", [x], [x, words], **common))
    cases.append(Case("BitmaskDropout", [x, F(0.5)], [x], **common))
    cases.append(Case("BitmaskBiasDropout", [x, bias, rest], [x + bias + rest, words], **common))
    check(cases, tmp_path)


def test_is_all_finite(tmp_path):
    cases = []
    x, y = F([[1, 2], [3, 4]]), F([5])
    for odd in (0, numpy.nan, numpy.inf, -numpy.inf):
        z = F([1, odd, 2])
        for only, bad in [
            ({}, not numpy.isfinite(odd)),
            ({"isnan_only": 1}, numpy.isnan(odd)),
            ({"isinf_only": 1}, numpy.isinf(odd)),
        ]:
            cases.append(Case("IsAllFinite", [x, z, y], numpy.array(not bad), peer=False, **only))
    cases.append(Case("IsAllFinite", [numpy.zeros((0,), F)], numpy.array(True), peer=False))
    check(cases, tmp_path)


# ---- what is refused ----


@pytest.mark.parametrize(
    "case, fragment",
    [
        (
            Case("CDist", [numpy.zeros((2, 3), F)] * 2, None, metric="cosine"),
            "there are euclidean and sqeuclidean",
        ),
        (
            Case("FusedGemm", [numpy.zeros((2, 3), F), numpy.zeros((3, 2), F)], None, activation="Wave"),
            "activation 'Wave' is not known",
        ),
        (
            Case(
                "BiasDropout",
                [numpy.zeros((2, 3), F), numpy.zeros(3, F), None, None, numpy.array(True)],
                None,
                constants=(4,),
            ),
            "training mode",
        ),
        (Case("Rfft", [numpy.zeros((2, 4), F)], None, signal_ndim=1, normalized=1), "normalized"),
        (
            Case(
                "GroupNorm",
                [numpy.zeros((1, 2, 2, 4), F), numpy.zeros(4, F), numpy.zeros(4, F)],
                None,
                groups=2,
                activation=5,
            ),
            "0 is none, 1 is SiLU",
        ),
        (Case("MurmurHash3", [numpy.zeros(2, numpy.uint8)], None), "type"),
        (
            Case("NGramRepeatBlock", [numpy.zeros((1, 2), int), numpy.zeros((1, 2), F)], None, ngram_size=0),
            "above 0",
        ),
    ],
)
def test_refused(case, fragment, tmp_path):
    case.want = [numpy.zeros(1)]
    refused(case, tmp_path, fragment, f"{case.op}", "case0")
