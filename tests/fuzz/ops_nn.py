# SPDX-License-Identifier: Apache-2.0
"""Products, convolutions, pooling and what looks at images."""

import numpy

from elements import BF16, F16, F32, F64, is_float
from graph import Refused
from tables import entry


@entry("MatMul")
def matmul(g):
    kind = g.pick([t for t in g.allowed("MatMul") if t != BF16 or g.chance(0.3)])
    a = g.take([kind], min_rank=1, max_rank=4)
    k = a.shape[-1]
    if g.chance(0.15):
        shape = [k]
    else:
        shape = g.broadcast(a.shape[:-2]) + [k, g.dim()]
    if a.rank == 1 and g.chance(0.5):
        shape = g.shape(0, 2, 3) + [k, g.dim()]
    g.node("MatMul", [a, g.take([kind], shape=shape, reuse=0.3)])


@entry("Gemm")
def gemm(g):
    kind = g.pick(g.allowed("Gemm"))
    a = g.take([kind], min_rank=2, max_rank=2)
    ta, tb = g.integer(0, 1), g.integer(0, 1)
    m, k = a.shape[::-1] if ta else a.shape
    n = g.dim()
    b = g.take([kind], shape=[n, k] if tb else [k, n], reuse=0.3)
    c = g.take([kind], shape=g.broadcast([m, n]), reuse=0.3) if g.chance(0.7) or g.opset < 11 else None
    scale = [None, 1.0, 0.5, 2.0] if is_float(kind) else [None, 1.0]
    g.node("Gemm", [a, b, c], transA=ta or None, transB=tb or None, alpha=g.pick(scale), beta=g.pick(scale))


@entry("Einsum", since=12)
def einsum(g):
    letters = {l: g.integer(1, 4) for l in "ijkln"}
    equation, inputs = g.pick([
        ("ij,jk->ik", ["ij", "jk"]), ("ij,jk", ["ij", "jk"]), ("ij->ji", ["ij"]), ("ii->i", ["ii"]), ("ii", ["ii"]),
        ("ij->", ["ij"]), ("i,j->ij", ["i", "j"]), ("nij,njk->nik", ["nij", "njk"]), ("ijk,ijl->ikl", ["ijk", "ijl"]),
        ("nijk,nkl->nijl", ["nijk", "nkl"]), ("...ij,...jk->...ik", ["nij", "njk"]), ("ij,ij->i", ["ij", "ij"]),
        ("...i->...", ["nji"]), ("ij,jk,kl->il", ["ij", "jk", "kl"]), ("i...j->j...i", ["inj"]),
        ("nikl,njkl->nij", ["nikl", "njkl"]), ("ij->j", ["ij"]), (" i j , j k -> k i ", ["ij", "jk"])])
    kind = g.pick([F32, F32, F64])
    values = [g.take([kind], shape=[letters[l] for l in t], reuse=0.3) for t in inputs]
    g.node("Einsum", values, equation=equation)


def window(g, spatial, kernel, opset_dilations=True, ceil=False):
    """Attributes of a sliding window that fit the spatial dims."""
    attributes = {"kernel_shape": kernel}
    if g.chance(0.6):
        attributes["strides"] = [g.integer(1, 3) for _ in kernel]
    if opset_dilations and g.chance(0.3):
        attributes["dilations"] = [g.integer(1, 2) for _ in kernel]
    dilations = attributes.get("dilations", [1] * len(kernel))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    if g.chance(0.3):
        attributes["auto_pad"] = g.pick(["SAME_UPPER", "SAME_LOWER", "VALID"])
        if attributes["auto_pad"] == "VALID" and any(r > n for r, n in zip(reach, spatial)):
            raise Refused("a window beyond its data")
        # SAME_*: "pad_shape[i] = (output_spatial_shape[i] - 1) * strides_spatial_shape[i] + ... - input_spatial_shape[i]"
        # is negative where windows leave a gap, and pads are "greater than or equal to 0": ONNX Runtime cuts the image
        strides = attributes.get("strides", [1] * len(kernel))
        if attributes["auto_pad"] != "VALID" and any((n - 1) // s * s + r < n for n, s, r in zip(spatial, strides, reach)):
            raise Refused("padding below zero")
    else:
        pads = [g.integer(0, k - 1) if g.chance(0.5) else 0 for k in kernel * 2]
        total = [n + p + q for n, p, q in zip(spatial, pads, pads[len(kernel):])]
        if any(r > t for r, t in zip(reach, total)):
            raise Refused("a window beyond its data")
        if any(pads) or g.chance(0.3):
            attributes["pads"] = pads
    if ceil and g.chance(0.3):
        attributes["ceil_mode"] = 1
    return attributes


def image(g, kinds, least=1, most=3, channels=None):
    rank = g.pick([d for d in (2, 2, 1, 3) if least <= d <= most])
    shape = [g.dim(3), channels or g.integer(1, 4)] + [g.integer(2, 9 if rank < 3 else 5) for _ in range(rank)]
    if channels is None:
        fits = [v for v in g.pool if v.is_tensor and v.type in kinds and v.rank == rank + 2 and v.size and v.finite()]
        if fits and g.chance(0.5):
            return g.pick(fits)
    return g.fresh(g.pick(kinds), shape, special=0.0)  # the largest of NaN and a number is left open


@entry("Conv", "ConvTranspose")
def convolution(g, op):
    kinds = [t for t in g.allowed(op) if t in (F32, F64, F16) and (t == F32 or g.chance(0.3))] or [F32]
    group = g.pick([1, 1, 1, 2, 3])
    per, out = g.integer(1, 3), g.integer(1, 3)
    x = image(g, kinds, channels=group * per)
    kernel = [g.integer(1, 3) for _ in x.shape[2:]]
    attributes = window(g, x.shape[2:], kernel)
    if g.chance(0.3):
        del attributes["kernel_shape"]
    if op == "ConvTranspose":
        w = g.fresh(x.type, [group * per, out, *kernel], -1, 1)
        if "SAME" in attributes.get("auto_pad", ""):
            # of a stride beyond the kernel the standard wants more output than ONNX Runtime gives
            if any(s > k for s, k in zip(attributes.get("strides", [1] * len(kernel)), kernel)):
                raise Refused("a stride beyond the kernel")
        if "auto_pad" in attributes:
            if attributes["auto_pad"] != "VALID" and g.chance(0.5):
                strides = attributes.get("strides", [1] * len(kernel))
                attributes["output_shape"] = [n * s for n, s in zip(x.shape[2:], strides)]
        elif g.chance(0.3):
            strides = attributes.get("strides", [1] * len(kernel))
            attributes["output_padding"] = [g.integer(0, s - 1) for s in strides]
    else:
        w = g.fresh(x.type, [group * out, per, *kernel], -1, 1)
    bias = [g.fresh(x.type, [group * out])] if g.chance(0.5) else []
    g.node(op, [x, w, *bias], group=group if group > 1 or g.chance(0.3) else None, **attributes)


@entry("AveragePool", "MaxPool", "LpPool")
def pool(g, op):
    kinds = [t for t in g.allowed(op)]
    x = image(g, kinds)
    kernel = [g.integer(1, 3) for _ in x.shape[2:]]
    # with automatic padding ONNX Runtime leaves the dilations out of the reach of the window
    dilations = g.opset >= {"AveragePool": 19, "MaxPool": 10, "LpPool": 18}[op]
    ceil = g.opset >= {"AveragePool": 10, "MaxPool": 10, "LpPool": 18}[op]
    attributes = window(g, x.shape[2:], kernel, dilations, ceil)
    if "SAME" in attributes.get("auto_pad", ""):
        attributes.pop("dilations", None)
    if op == "LpPool":
        attributes["p"] = g.pick([None, 1, 2])
    if op == "AveragePool":
        attributes["count_include_pad"] = g.pick([None, 0, 1])
    outputs = 2 if op == "MaxPool" and g.opset >= 8 and x.exact and x.finite() and g.chance(0.3) else 1
    if outputs == 2:
        attributes["storage_order"] = g.pick([None, 0])
    g.node(op, [x], outputs, **attributes)


@entry("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", weight=2)
def global_pool(g, op):
    attributes = {"p": g.pick([None, 1, 2, 3])} if op == "GlobalLpPool" else {}
    g.node(op, [image(g, g.allowed(op))], **attributes)


@entry("MaxUnpool", since=9)
def max_unpool(g):
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 3), 2 * g.integer(1, 3), 2 * g.integer(1, 3)], special=0.0)
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    values, places = g.node("MaxPool", [x], 2, **attributes)
    g.node("MaxUnpool", [values, places], **attributes)


@entry("MaxRoiPool", weight=2)
def max_roi_pool(g):
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 3), g.integer(4, 8), g.integer(4, 8)], special=0.0)
    rois = boxes(g, x, g.integer(1, 4), integral=True)
    batch = g.random.integers(x.shape[0], size=(len(rois), 1))
    g.node("MaxRoiPool", [x, g.place(numpy.hstack([batch, rois]).astype(numpy.float32))],
           pooled_shape=[g.integer(1, 3), g.integer(1, 3)], spatial_scale=g.pick([None, 0.5]))


def boxes(g, x, count, integral=False):
    height, width = x.shape[-2:]
    corners = g.random.uniform(0, 1, (count, 4)) * [width - 1, height - 1, width - 1, height - 1]
    if integral:
        corners = numpy.round(corners)
    return numpy.hstack([numpy.minimum(corners[:, :2], corners[:, 2:]), numpy.maximum(corners[:, :2], corners[:, 2:])])


@entry("RoiAlign", since=10, weight=2)
def roi_align(g):
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 3), g.integer(4, 8), g.integer(4, 8)], special=0.0)
    rois = boxes(g, x, g.integer(1, 3)).astype(numpy.float32)
    batch = g.random.integers(x.shape[0], size=len(rois))
    how = {"coordinate_transformation_mode": g.pick([None, "half_pixel", "output_half_pixel"])} if g.opset >= 16 else {}
    # ONNX Runtime's "max" takes the largest of the weighted corners, not of the interpolated samples
    g.node("RoiAlign", [x, g.place(rois), g.place(batch)], output_height=g.integer(1, 3), output_width=g.integer(1, 3),
           sampling_ratio=g.pick([None, 1, 2]), spatial_scale=g.pick([None, 0.5]), **how)


@entry("Col2Im", since=18)
def col2im(g):
    rank = g.pick([1, 2, 2, 3])
    block = [g.integer(1, 3) for _ in range(rank)]
    shape = [b + g.integer(0, 4) for b in block]
    strides = [g.integer(1, 2) for _ in range(rank)]
    blocks = int(numpy.prod([(n - b) // s + 1 for n, b, s in zip(shape, block, strides)]))
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 2) * int(numpy.prod(block)), blocks])
    g.node("Col2Im", [x, g.ints(shape, runtime=0.1), g.ints(block, runtime=0.0)], strides=strides)


@entry("Resize", since=10)
def resize(g):
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 3), g.integer(1, 6), g.integer(1, 6)])
    if g.opset < 11:
        scales = g.constant(numpy.array([1, 1, g.pick([0.5, 1, 2]), g.pick([1, 2, 3])], numpy.float32))
        return g.node("Resize", [x, scales], mode=g.pick([None, "nearest"]))
    mode = g.pick(["nearest", "nearest", "linear", "cubic"])
    how = g.pick([None, "half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    attributes = {"mode": mode, "coordinate_transformation_mode": how}
    if mode == "nearest":
        attributes["nearest_mode"] = g.pick([None, "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    if mode == "cubic":
        attributes["cubic_coeff_a"] = g.pick([None, -0.5])
        attributes["exclude_outside"] = g.pick([None, 0, 1])
    if mode != "nearest" and g.opset >= 18 and g.chance(0.2) and how != "align_corners":
        attributes["antialias"] = 1
    if g.chance(0.5):
        scales = [1.0, 1.0, g.pick([0.5, 1.0, 2.0, 1.5]), g.pick([0.5, 1.0, 2.0, 3.0])]
        # a fractional length between corners: the official cases keep the fraction, ONNX Runtime does not
        whole = all(n * s == int(n * s) for n, s in zip(x.shape, scales)) or how != "align_corners"
        if not whole or any(int(n * s) == 0 for n, s in zip(x.shape, scales)):
            raise Refused("an empty result")
        if how == "align_corners":
            x = g.fixed(x)
        operand = g.place(numpy.array(scales, numpy.float32))
        return g.node("Resize", [x, None if g.opset >= 13 else g.constant(numpy.zeros(0, numpy.float32)), operand],
                      **attributes)
    sizes = g.ints(x.shape[:2] + [g.integer(1, 8), g.integer(1, 8)], runtime=0.2)
    empty = None if g.opset >= 13 else g.constant(numpy.zeros(0, numpy.float32))
    return g.node("Resize", [x, empty, empty, sizes], **attributes)


@entry("Upsample", until=9)
def upsample(g):
    x = g.fresh(F32, [g.integer(1, 2), g.integer(1, 3), g.integer(1, 4), g.integer(1, 4)])
    scales = [1.0, 1.0, float(g.pick([1, 2, 3])), float(g.pick([1, 2]))]
    mode = g.pick([None, "nearest"])
    if g.opset < 9:
        return g.node("Upsample", [x], scales=scales, mode=mode)
    return g.node("Upsample", [x, g.constant(numpy.array(scales, numpy.float32))], mode=mode)


@entry("GridSample", since=16)
def grid_sample(g):
    n, c = g.integer(1, 2), g.integer(1, 3)
    spatial = [g.integer(2, 5), g.integer(2, 5)]
    out = [g.integer(1, 4), g.integer(1, 4)]
    if g.opset >= 20 and g.chance(0.2):
        spatial.append(g.integer(2, 4))
        out.append(g.integer(1, 3))
    x = g.fresh(F32, [n, c, *spatial], special=0.0)
    grid = g.fresh(F32, [n, *out, len(spatial)], -1.3, 1.3, special=0.0)
    names = ("bilinear", "nearest", "bicubic") if g.opset < 20 else ("linear", "nearest", "cubic")
    mode = g.pick(names[:2] if len(spatial) == 3 else names)
    padding = g.pick([None, "zeros", "border", "reflection"])
    # ONNX Runtime's cubic moves the point into the image, not each of the pixels around it
    g.node("GridSample", [x, grid], mode=mode, align_corners=g.pick([None, 0, 1]), padding_mode=padding,
           reference="cubic" in mode and padding in ("border", "reflection"))


@entry("AffineGrid", since=20)
def affine_grid(g):
    n, rank = g.integer(1, 2), g.pick([2, 2, 3])
    theta = g.fresh(g.pick([F32, F64]), [n, rank, rank + 1], special=0.0)
    align = g.pick([None, 0, 1])  # of a single place there are no corners: the engines differ
    size = g.ints([n, g.integer(1, 3)] + [g.integer(2 if align else 1, 4) for _ in range(rank)], runtime=0.2)
    g.node("AffineGrid", [theta, size], align_corners=align)


@entry("Det", since=11, weight=2)
def det(g):
    n = g.integer(1, 4)
    g.node("Det", [g.fresh(g.pick([F32, F64]), g.shape(0, 2, 3) + [n, n])])


@entry("NonMaxSuppression", since=10)
def non_max_suppression(g):
    batch, classes, count = g.integer(1, 2), g.integer(1, 3), g.integer(1, 8)
    corners = g.random.uniform(0, 1, (batch, count, 4)).astype(numpy.float32)
    scores = g.random.permutation(batch * classes * count).reshape(batch, classes, count).astype(numpy.float32)
    limits = [g.place(numpy.array([g.integer(0, 4)], numpy.int64)),
              g.place(numpy.array([g.random.uniform(0.1, 0.8)], numpy.float32)),
              g.place(numpy.array([g.random.uniform(0, scores.max() + 1)], numpy.float32))]
    limits = limits[:g.integer(0, 3)]
    g.node("NonMaxSuppression", [g.place(corners), g.place(scores), *limits],
           center_point_box=g.pick([None, 0, 1]))


@entry("DeformConv", since=19)
def deform_conv(g):
    n, c, out, h, w = g.integer(1, 2), g.integer(1, 2), g.integer(1, 2), g.integer(3, 6), g.integer(3, 6)
    kh, kw = g.integer(1, 3), g.integer(1, 3)
    oh, ow = h - kh + 1, w - kw + 1
    inputs = [g.fresh(F32, [n, c, h, w], special=0.0), g.fresh(F32, [out, c, kh, kw], special=0.0),
              g.fresh(F32, [n, 2 * kh * kw, oh, ow], -1, 1, special=0.0)]
    inputs.append(g.fresh(F32, [out], special=0.0) if g.chance(0.5) else None)
    if g.chance(0.5):
        inputs.append(g.fresh(F32, [n, kh * kw, oh, ow], 0, 1, special=0.0))
    g.node("DeformConv", inputs, kernel_shape=[kh, kw])


@entry("CausalConvWithState", since=27)
def causal_conv(g):
    n, c, length, k = g.integer(1, 2), g.integer(1, 4), g.integer(1, 6), g.integer(2, 4)
    x, w = g.fresh(F32, [n, c, length]), g.fresh(F32, [c, 1, k])
    bias = g.pick([None, g.fresh(F32, [c])])
    state = g.pick([None, g.fresh(F32, [n, c, k - 1])])
    g.node("CausalConvWithState", [x, w, bias, state], 2, activation=g.pick([None, "silu", "none"]), reference=True)


@entry("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss", since=12)
def loss(g, op):
    classes = g.integer(2, 4)
    shape = [g.integer(1, 3), classes] + g.shape(0, 2, 3)
    if 0 in shape:
        raise Refused("the mean of nothing")
    x = g.fixed(g.fresh(F32, shape, special=0.0))  # ONNX Runtime does not compare its dims with the target's
    target = g.random.integers(0, classes, size=shape[:1] + shape[2:])
    ignore = g.pick([None, None, 0, -1])
    if ignore == -1 and g.chance(0.7):
        target[g.random.random(target.shape) < 0.3] = -1
    weight = [g.fresh(F32, [classes], 0.5, 2, special=0.0)] if g.chance(0.5) else []
    if (target == ignore).all():
        raise Refused("the mean of nothing")
    outputs = 2 if op.startswith("Softmax") and g.chance(0.4) else 1
    g.node(op, [x, g.place(target), *weight], outputs, reduction=g.pick([None, "mean", "sum", "none"]),
           ignore_index=ignore)


