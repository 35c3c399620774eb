# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that move, quantise, recur or hold graphs, of sequences and of ai.onnx.ml."""

import numpy
from onnx import TensorProto, helper

from onnx_rows import LAST, ML, bools, f, f32, i64, ints, positive, row, scalar, unit

U8, I8 = numpy.uint8, numpy.int8


# ---- gather and scatter ----

row("Gather", 1, LAST, [f(3, 4), i64(0, 2, 1)], axis=1)
row("Gather", 11, LAST, [f(3, 4), i64(-1, 0).reshape(1, 2)])
row("GatherElements", 11, LAST, [f(2, 3), i64(0, 1, 0, 1, 1, 0).reshape(2, 3)])
row("GatherND", 11, LAST, [f(2, 3, 4), i64(0, 1, 1, 2).reshape(2, 2)])
row("GatherND", 12, LAST, [f(2, 3, 4), i64(2, 1).reshape(2, 1)], batch_dims=1)


def scatter_elements(x, indices, updates, axis=0, reduction="none"):
    y = x.copy()
    for at in numpy.ndindex(*indices.shape):
        to = list(at)
        to[axis] = indices[at]
        y[tuple(to)] = combine(y[tuple(to)], updates[at], reduction)
    return y


def combine(old, new, reduction):
    ways = {"none": lambda: new, "add": lambda: old + new, "mul": lambda: old * new, "max": lambda: max(old, new),
            "min": lambda: min(old, new)}
    return ways[reduction]()


def scatter_nd(x, indices, updates, reduction="none"):
    y = x.copy()
    for at in numpy.ndindex(*indices.shape[:-1]):
        for inner in numpy.ndindex(*x.shape[indices.shape[-1]:]):
            to = tuple(indices[at]) + inner
            y[to] = combine(y[to], updates[at + inner], reduction)
    return y


AT = i64(0, 1, 0, 0, 1, 0).reshape(2, 3)
row("Scatter", 9, 11, [f(2, 3), AT[:1], f(1, 3)], answer=scatter_elements)
row("ScatterElements", 11, LAST, [f(2, 3), AT[:1], f(1, 3)], answer=scatter_elements)
row("ScatterElements", 11, LAST, [f(2, 3), i64(1, -1 % 3).reshape(2, 1), f(2, 1)], answer=scatter_elements, axis=1)
row("ScatterND", 11, LAST, [f(4, 2), i64(1, 3).reshape(2, 1), f(2, 2)], answer=scatter_nd)
for reduction, since in (("add", 16), ("mul", 16), ("max", 18), ("min", 18)):
    row("ScatterElements", since, LAST, [f(2, 3), AT, f(2, 3)], answer=scatter_elements, reduction=reduction)
    row("ScatterND", since, LAST, [f(4, 2), i64(1, 3, 1).reshape(3, 1), f(3, 2)], answer=scatter_nd,
        reduction=reduction)
row("TensorScatter", 24, LAST, [f(2, 1, 4, 3), f(2, 1, 2, 3), i64(1, 0)])
row("Compress", 9, LAST, [f(3, 2), numpy.array([False, True, True])], axis=0)
row("Compress", 11, LAST, [f(3, 2), numpy.array([False, True])], axis=-1)
row("Unique", 11, LAST, [f32(2, 1, 1, 3, 4, 3)], outputs=4)
row("NonZero", 9, LAST, [numpy.array([[1, 0], [1, 1]], numpy.float32)])


def one_hot(below):
    def answer(indices, depth, values, axis=-1):
        d = int(numpy.ravel(depth)[0])
        rows = numpy.where((indices < 0) & (indices >= -d) & below, indices + d, indices)
        hit = numpy.arange(d) == rows[..., None]
        return numpy.moveaxis(numpy.where(hit, values[1], values[0]), -1, axis)
    return answer


row("OneHot", 9, 10, [i64(0, -1, 2, 5), scalar(3, numpy.int64), f32(0.5, 2)], answer=one_hot(False))
row("OneHot", 9, 10, [i64(0, 1, 2), i64(3), f32(0.5, 2)], answer=one_hot(False), axis=0)
row("OneHot", 11, LAST, [i64(0, -1, 2, 5, -4), scalar(3, numpy.int64), f32(0.5, 2)], answer=one_hot(True))

# ---- shape and movement ----


def dcr(x, blocksize):
    n, c, h, w = x.shape
    y = x.reshape(n, blocksize, blocksize, c // blocksize ** 2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return y.reshape(n, c // blocksize ** 2, h * blocksize, w * blocksize)


def s2d(x, blocksize):
    n, c, h, w = x.shape
    y = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).transpose(0, 3, 5, 1, 2, 4)
    return y.reshape(n, c * blocksize ** 2, h // blocksize, w // blocksize)


row("Reshape", 1, 4, [f(2, 3, 4)], answer=lambda x, **a: x.reshape(2, 12), shape=[0, -1], consumed_inputs=[0])
row("Reshape", 1, 4, [f(2, 3, 4)], answer=lambda x, **a: x.reshape(4, 6), shape=[4, -1])
row("Reshape", 5, LAST, [f(2, 3, 4), i64(0, -1)])
row("Reshape", 14, LAST, [f(0, 3), i64(3, 0)], constants=(1,), allowzero=1)
row("Flatten", 1, LAST, [f(2, 3, 4)])
row("Flatten", 1, LAST, [f(2, 3, 4)], axis=2)
row("Flatten", 11, LAST, [f(2, 3, 4)], axis=-1)
row("Squeeze", 1, 12, [f(1, 3, 1)], answer=lambda x, axes: x.reshape(1, 3), axes=[2])
row("Squeeze", 1, LAST, [f(1, 3, 1)], answer=lambda x: x.reshape(3))
row("Squeeze", 11, 12, [f(1, 3, 1)], answer=lambda x, axes: x.reshape(1, 3), axes=[-1])
row("Squeeze", 13, LAST, [f(1, 3, 1), i64(-1)], constants=(1,))
row("Unsqueeze", 1, 12, [f(2, 3)], answer=lambda x, axes: x.reshape(1, 2, 1, 3), axes=[0, 2])
row("Unsqueeze", 13, LAST, [f(2, 3), i64(0, -1)], constants=(1,))
row("Shape", 1, LAST, [f(2, 3, 4)], answer=lambda x: i64(2, 3, 4))
row("Shape", 15, LAST, [f(2, 3, 4)], start=-2, end=10)
row("Size", 1, LAST, [f(2, 3, 4)], answer=lambda x: scalar(24, numpy.int64))
row("Transpose", 1, LAST, [f(2, 3, 4)], answer=lambda x, perm: x.transpose(perm), perm=[2, 0, 1])
row("Transpose", 1, LAST, [f(2, 3, 4)], answer=numpy.transpose)
row("Slice", 1, 9, [f(4, 5)], answer=lambda x, **a: x[1:3, 0:-1], starts=[1, 0], ends=[3, -1], axes=[0, 1])
row("Slice", 1, 9, [f(4, 5)], answer=lambda x, **a: x[-3:, :2], starts=[-3, 0], ends=[1000, 2])
row("Slice", 10, LAST, [f(4, 5), i64(1, -1), i64(4, -5), i64(0, 1), i64(2, -2)])
row("Slice", 10, LAST, [f(4, 5), i64(1), i64(3)])
row("Split", 1, 1, [f(6, 2), i64(2, 4).astype(numpy.float32)], outputs=2, constants=(1,),
    answer=lambda x, s, axis: (x[:2], x[2:]), axis=0)
row("Split", 1, 12, [f(2, 6)], outputs=2, answer=lambda x, axis, split: (x[:, :2], x[:, 2:]), axis=1, split=[2, 4])
row("Split", 2, 17, [f(6, 2)], outputs=3, answer=lambda x: (x[:2], x[2:4], x[4:]))
row("Split", 13, LAST, [f(2, 6), i64(2, 4)], outputs=2, axis=-1, constants=(1,))
row("Split", 18, LAST, [f(7, 2)], outputs=3, num_outputs=3, answer=lambda x, num_outputs: (x[:3], x[3:6], x[6:]))
row("Concat", 1, 3, [f(2, 3), f(2, 1)], answer=lambda a, b: numpy.concatenate([a, b], 1))
row("Concat", 1, LAST, [f(2, 3), f(1, 3)], answer=lambda a, b, axis: numpy.concatenate([a, b], axis), axis=0)
row("Concat", 11, LAST, [f(2, 3), f(2, 1)], axis=-1)
row("Expand", 8, LAST, [f(3, 1), i64(2, 1, 4)])
row("Tile", 1, 5, [f(2, 3), scalar(3), scalar(1)], answer=lambda x, t, a: numpy.tile(x, (1, 3)), constants=(1, 2))
row("Tile", 6, LAST, [f(2, 3), i64(2, 2)])


def pad(x, pads, mode="constant", value=0.0):
    half = len(pads) // 2
    widths = list(zip(pads[:half], pads[half:]))
    more = {"constant_values": value} if mode == "constant" else {}
    return numpy.pad(x, widths, {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode],
                     **more)


row("Pad", 1, 1, [f(2, 3)], answer=lambda x, paddings, **a: pad(x, paddings, **a), paddings=[1, 0, 0, 2], value=1.5)
row("Pad", 1, 1, [f(2, 3)], answer=lambda x, paddings, **a: pad(x, paddings, **a), paddings=[1, 0, 0, 2],
    mode="reflect")
row("Pad", 2, 10, [f(2, 3)], answer=pad, pads=[1, 0, 0, 2], value=1.5)
row("Pad", 2, 10, [f(3, 3)], answer=lambda x, pads: numpy.pad(x[1:], [(0, 1), (1, 0)]), pads=[-1, 1, 1, 0])
for mode in ("constant", "reflect", "edge", "wrap"):
    since = 19 if mode == "wrap" else 11
    row("Pad", since, LAST, [f(3, 3), i64(1, 0, 0, 2)], mode=mode, constants=(1,),
        answer=lambda x, p, mode: pad(x, p, mode))
row("Pad", 11, LAST, [f(3, 3), i64(1, 0, 0, 2), scalar(0.5)], constants=(1,), answer=lambda x, p, v: pad(x, p, value=v))
row("Pad", 18, LAST, [f(3, 3), i64(1, 2), scalar(0.5), i64(-1)], constants=(1, 3),
    answer=lambda x, p, v, a: pad(x, [0, 1, 0, 2], value=v))
row("Trilu", 14, LAST, [f(3, 4), scalar(1, numpy.int64)], upper=0)
row("DepthToSpace", 1, LAST, [f(1, 8, 2, 3)], answer=dcr, blocksize=2)
row("DepthToSpace", 11, LAST, [f(1, 8, 2, 3)], blocksize=2, mode="CRD")
row("SpaceToDepth", 1, LAST, [f(1, 2, 4, 6)], answer=s2d, blocksize=2)
row("ReverseSequence", 10, LAST, [f(4, 2), i64(2, 4)], batch_axis=1, time_axis=0)
row("CenterCropPad", 18, LAST, [f(5, 4), i64(3, 6)], constants=(1,))


def up_nearest(x, scales):
    for axis, scale in enumerate(scales):
        x = x.take(numpy.floor(numpy.arange(int(x.shape[axis] * scale)) / scale).astype(int), axis)
    return x


def up_linear(x, scales):
    for axis, scale in enumerate(scales):
        at = numpy.minimum(numpy.arange(int(x.shape[axis] * scale)) / scale, x.shape[axis] - 1)
        low = numpy.floor(at).astype(int)
        high = numpy.minimum(low + 1, x.shape[axis] - 1)
        side = [1] * x.ndim
        side[axis] = -1
        part = (at - low).reshape(side)
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x.astype(numpy.float32)


SCALES = [1.0, 1.0, 2.0, 3.0]
row("Upsample", 1, 6, [f(1, 2, 2, 3)], answer=lambda x, **a: up_nearest(x, SCALES), height_scale=2.0, width_scale=3.0)
row("Upsample", 1, 6, [f(1, 2, 2, 3)], answer=lambda x, **a: up_linear(x, SCALES), height_scale=2.0, width_scale=3.0,
    mode="bilinear")
row("Upsample", 7, 8, [f(1, 2, 2, 3)], answer=lambda x, scales: up_nearest(x, scales), scales=SCALES)
row("Upsample", 7, 8, [f(1, 2, 2, 3)], answer=lambda x, scales, mode: up_linear(x, scales), scales=SCALES,
    mode="linear")
row("Upsample", 9, 10, [f(1, 2, 2, 3), f32(*SCALES)], answer=up_nearest, constants=(1,))
row("Upsample", 9, 10, [f(1, 2, 2, 3), f32(*SCALES)], answer=lambda x, s, mode: up_linear(x, s), constants=(1,),
    mode="linear")
row("Resize", 10, 10, [f(1, 2, 2, 3), f32(*SCALES)], answer=up_nearest, constants=(1,))
row("Resize", 10, 10, [f(1, 2, 4, 4), f32(1, 1, 0.5, 0.75)], answer=up_nearest, constants=(1,))
row("Resize", 10, 10, [f(1, 2, 2, 3), f32(*SCALES)], answer=lambda x, s, mode: up_linear(x, s), constants=(1,),
    mode="linear")
row("Resize", 11, LAST, [f(1, 1, 4, 4), f32(), f32(1, 1, 0.8, 1.5)], constants=(1, 2), mode="linear")
row("Resize", 11, LAST, [f(1, 1, 4, 4), f32(), f32(), i64(1, 1, 3, 6)], constants=(1, 2, 3), mode="cubic")
row("Resize", 11, 12, [f(1, 1, 4, 4), f32(), f32(1, 1, 0.6, 1.5)], constants=(1, 2), mode="nearest",
    coordinate_transformation_mode="tf_half_pixel_for_nn", answer="ort")
row("Resize", 13, LAST, [f(1, 1, 4, 4), None, f32(1, 1, 0.8, 1.5)], constants=(2,), mode="nearest")
row("Resize", 18, LAST, [f(1, 1, 6, 6), None, f32(0.5, 0.7)], constants=(2,), mode="linear", antialias=1, axes=[2, 3])
row("Resize", 11, LAST, [f(1, 1, 3, 3), f32(), f32(1, 1, 0.5, 1)], constants=(1, 2), mode="nearest",
    nearest_mode="round_prefer_ceil", coordinate_transformation_mode="pytorch_half_pixel",
    answer=lambda x, *_, **a: x[:, :, :1])  # a result of length one stands at 0
row("Resize", 19, LAST, [f(1, 1, 6, 6), None, f32(0.5, 0.7)], constants=(2,), mode="linear", axes=[2, 3],
    coordinate_transformation_mode="half_pixel_symmetric")
GRID = unit(1, 3, 2, 2)
for modes, first, last in ((("bilinear", "nearest", "bicubic"), 16, 19), (("linear", "nearest", "cubic"), 20, LAST)):
    for mode in modes:
        row("GridSample", first, last, [f(1, 1, 4, 4), GRID], mode=mode,
            answer="ort" if mode in ("bicubic", "bilinear", "cubic") else None)
row("GridSample", 16, LAST, [f(1, 1, 4, 4), GRID], padding_mode="border", align_corners=1)
row("AffineGrid", 20, LAST, [f(1, 2, 3), i64(1, 1, 3, 4)], constants=(1,))
ROI = [f(1, 2, 8, 8), numpy.array([[0, 0, 6, 6], [1, 2, 7, 5]], numpy.float32), i64(0, 0)]
row("RoiAlign", 10, LAST, ROI, output_height=3, output_width=2, sampling_ratio=2, answer="ort")
row("RoiAlign", 16, LAST, ROI, output_height=3, output_width=2, sampling_ratio=2,
    coordinate_transformation_mode="output_half_pixel", answer="ort")
row("Range", 11, LAST, [scalar(1.0), scalar(5.0), scalar(1.5)])
row("ConstantOfShape", 9, LAST, [i64(2, 3)], value=helper.make_tensor("value", TensorProto.INT32, [1], [7]))
row("ConstantOfShape", 9, LAST, [i64(2, 3)])
row("EyeLike", 9, LAST, [f(3, 4)], k=1, dtype=TensorProto.INT64)
row("Identity", 1, LAST, [f(2, 3)], answer=lambda x: x)
row("Identity", 14, LAST, [[f(2, 3), f(1, 2)]], answer=lambda s: [s])
row("Constant", 1, LAST, [], value=helper.make_tensor("value", TensorProto.FLOAT, [2], [1.5, 2.5]),
    answer=lambda value: f32(1.5, 2.5))
row("Constant", 12, LAST, [], value_ints=[3, 4], answer=lambda value_ints: i64(3, 4))
row("Constant", 12, LAST, [], value_float=0.5, answer=lambda value_float: scalar(0.5))
row("Constant", 11, LAST, [], answer=lambda sparse_value: f32(0, 2, 0, 3), sparse_value=helper.make_sparse_tensor(
    helper.make_tensor("v", TensorProto.FLOAT, [2], [2.0, 3.0]),
    helper.make_tensor("i", TensorProto.INT64, [2], [1, 3]), [4]))

# ---- attention ----

QKV = [f(1, 2, 3, 4), f(1, 2, 3, 4), f(1, 2, 3, 4)]
row("Attention", 23, LAST, QKV, is_causal=1)
row("Attention", 23, LAST, QKV + [bools(3, 3) | numpy.eye(3, dtype=bool)], outputs=[True, False, False, True],
    qk_matmul_output_mode=1)
row("Attention", 24, LAST, QKV + [None, None, None, i64(2)])
row("RotaryEmbedding", 23, LAST, [f(1, 2, 3, 4), f(3, 2), f(3, 2), i64(0, 1, 2).reshape(1, 3)])
row("LinearAttention", 27, LAST, [f(1, 4, 6), f(1, 4, 6), f(1, 4, 6), f(1, 2, 3, 3)], outputs=2, q_num_heads=2,
    kv_num_heads=2, update_rule="linear")

# ---- quantisation ----

row("QuantizeLinear", 10, LAST, [f(2, 3), scalar(0.02), scalar(100, U8)])
row("QuantizeLinear", 13, LAST, [f(2, 3), f32(0.02, 0.03, 0.1), numpy.array([0, 3, 100], U8)], axis=1)
row("QuantizeLinear", 19, LAST, [f(2, 3), scalar(0.02), scalar(0).astype(helper.tensor_dtype_to_np_dtype(17))])
row("QuantizeLinear", 21, LAST, [f(2, 4), positive(2, 2)], block_size=2, axis=1, output_dtype=TensorProto.INT4)
row("DequantizeLinear", 10, LAST, [ints(2, 3, dtype=I8), scalar(0.5), scalar(2, I8)],
    answer=lambda x, s, z: (x.astype(numpy.float32) - z) * s)
row("DequantizeLinear", 10, LAST, [ints(2, 3, dtype=numpy.int32), scalar(0.5)],
    answer=lambda x, s: x.astype(numpy.float32) * s)
row("DequantizeLinear", 13, LAST, [ints(2, 3, dtype=I8), f32(0.5, 2), numpy.array([2, 1], I8)], axis=0,
    answer=lambda x, s, z, axis: (x.astype(numpy.float32) - z[:, None]) * s[:, None])
row("DequantizeLinear", 21, LAST, [ints(2, 4, dtype=I8), positive(2, 2)], block_size=2, axis=1)
row("DynamicQuantizeLinear", 11, LAST, [f(2, 3)], outputs=3)

# ---- recurrence ----

XS = f(3, 2, 4)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
for name, gates in GATES.items():
    W, R, B = f(1, gates * 3, 4) / 2, f(1, gates * 3, 3) / 2, f(1, gates * 6) / 2
    count = 3 if name == "LSTM" else 2
    row(name, 1, 6, [XS, W, R, B], outputs=count, hidden_size=3, output_sequence=1, answer="later")
    row(name, 1, 6, [XS, W, R, B], outputs=[False, True], hidden_size=3, answer="later")
    row(name, 1, 6, [XS, W, R, B, numpy.array([2, 3], numpy.int32)], outputs=count, hidden_size=3, output_sequence=1,
        answer="later")
    row(name, 7, LAST, [XS, W, R, B, numpy.array([2, 3], numpy.int32)], outputs=count, hidden_size=3, answer="ort")
    row(name, 7, LAST, [XS, f(2, gates * 3, 4), f(2, gates * 3, 3)], outputs=count, hidden_size=3,
        direction="bidirectional", answer="ort")
    row(name, 14, LAST, [XS.swapaxes(0, 1), W, R, B], outputs=count, hidden_size=3, layout=1, answer="layout")
row("GRU", 3, LAST, [XS, f(1, 9, 4), f(1, 9, 3)], outputs=2, hidden_size=3, linear_before_reset=1, answer="later")

# ---- control flow ----


def graph(nodes, inputs, outputs):
    def info(name, element, dims):
        return helper.make_tensor_value_info(name, element, dims)
    return helper.make_graph(nodes, "body", [info(*i) for i in inputs], [info(*o) for o in outputs])


def branch(op):
    return graph([helper.make_node(op, ["x0"], ["y"])], [], [("y", TensorProto.FLOAT, [2])])


# The name of input k of the row's node is in0, in1, ...
row("If", 1, LAST, [scalar(True, bool)], answer=lambda c, **a: f32(1, 2), then_branch=graph(
    [helper.make_node("Constant", [], ["y"], value=helper.make_tensor("t", TensorProto.FLOAT, [2], [1, 2]))], [],
    [("y", TensorProto.FLOAT, [2])]), else_branch=graph(
    [helper.make_node("Constant", [], ["z"], value=helper.make_tensor("t", TensorProto.FLOAT, [2], [3, 4]))], [],
    [("z", TensorProto.FLOAT, [2])]))
BODY = graph([helper.make_node("Cast", ["in0"], ["times"], to=TensorProto.FLOAT),
              helper.make_node("Mul", ["state", "times"], ["next"]), helper.make_node("Identity", ["next"], ["seen"]),
              helper.make_node("Identity", ["go"], ["on"])],
             [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("state", TensorProto.FLOAT, [2, 2])],
             [("on", TensorProto.BOOL, []), ("next", TensorProto.FLOAT, [2, 2]), ("seen", TensorProto.FLOAT, [2, 2])])


def loop(m, c, x, **_):
    seen = []
    for _ in range(int(m)):
        x = x * numpy.float32(m)
        seen.append(x)
    return x, numpy.stack(seen)


row("Loop", 1, LAST, [scalar(3, numpy.int64), scalar(True, bool), f(2, 2)], outputs=2, answer=loop, body=BODY)
STEP = graph([helper.make_node("Add", ["sum", "x"], ["total"]), helper.make_node("Identity", ["total"], ["seen"])],
             [("sum", TensorProto.FLOAT, [2]), ("x", TensorProto.FLOAT, [2])],
             [("total", TensorProto.FLOAT, [2]), ("seen", TensorProto.FLOAT, [2])])
row("Scan", 8, 8, [None, f(2, 2), f(2, 3, 2)], outputs=2, body=STEP, num_scan_inputs=1,
    answer=lambda l, s, x, **a: (s + x.sum(1), s[:, None] + x.cumsum(1)))
row("Scan", 8, 8, [None, f(2, 2), f(2, 3, 2)], outputs=2, body=STEP, num_scan_inputs=1, directions=[1],
    answer=lambda l, s, x, **a: (s + x.sum(1), s[:, None] + x[:, ::-1].cumsum(1)))


def scan_of_lengths(lengths, state, x, **_):
    inside = (numpy.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    x = numpy.where(inside, x, numpy.float32(0))
    return state + x.sum(1), numpy.where(inside, state[:, None] + x.cumsum(1), numpy.float32(0))


row("Scan", 8, 8, [i64(2, 3), f(2, 2), f(2, 3, 2)], outputs=2, body=STEP, num_scan_inputs=1, answer=scan_of_lengths)
row("Scan", 9, LAST, [f(2), f(3, 2)], outputs=2, body=STEP, num_scan_inputs=1,
    answer=lambda s, x, **a: (s + x.sum(0), s + x.cumsum(0)))

# ---- sequences ----

row("SequenceConstruct", 11, LAST, [f(2), f(3)], answer=lambda *x: [[*x]])
row("SequenceEmpty", 11, LAST, [], after="SequenceLength", answer=lambda **_: scalar(0, numpy.int64))
row("SequenceInsert", 11, LAST, [[f(2), f(3)], f(4), scalar(-1, numpy.int64)],
    answer=lambda s, x, k: [[s[0], x, s[1]]])
row("SequenceErase", 11, LAST, [[f(2), f(3)], scalar(0, numpy.int64)], answer=lambda s, k: [[s[1]]])
row("SequenceAt", 11, LAST, [[f(2), f(3)], scalar(-1, numpy.int64)], answer=lambda s, k: s[1])
row("SequenceLength", 11, LAST, [[f(2), f(3)]], answer=lambda s: scalar(2, numpy.int64))
row("ConcatFromSequence", 11, LAST, [[f(2, 2), f(3, 2)]], axis=0, answer=lambda s, axis: numpy.concatenate(s))
row("ConcatFromSequence", 11, LAST, [[f(2), f(2)]], axis=-1, new_axis=1, answer=lambda s, **a: numpy.stack(s, -1))
row("SplitToSequence", 11, LAST, [f(4, 2), i64(1, 3)], constants=(1,), answer=lambda x, s: [[x[:1], x[1:]]])
row("SplitToSequence", 11, LAST, [f(2, 3)], axis=1, keepdims=0, answer=lambda x, **a: [[x[:, 0], x[:, 1], x[:, 2]]])
TWICE = graph([helper.make_node("Add", ["x", "x"], ["y"])], [("x", TensorProto.FLOAT, None)],
              [("y", TensorProto.FLOAT, None)])
row("SequenceMap", 17, LAST, [[f(2), f(3)]], body=TWICE, answer=lambda s, body: [[2 * x for x in s]])

# ---- signal ----

WAVE = f(1, 8, 1)


def dft(x, axis=1, inverse=0, onesided=0):
    data = x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)
    y = numpy.fft.ifft(data, axis=axis) if inverse else numpy.fft.fft(data, axis=axis)
    if onesided:
        y = y.take(range(x.shape[axis] // 2 + 1), axis)
    return numpy.stack([y.real, y.imag], -1).astype(x.dtype)


row("DFT", 17, 19, [WAVE], answer=dft)
row("DFT", 17, 19, [f(1, 3, 4, 2)], answer=dft, axis=2, inverse=1)
row("DFT", 17, 19, [f(1, 3, 4, 1)], answer=dft, onesided=1)
row("DFT", 20, LAST, [f(1, 3, 4, 1)], answer=lambda x: dft(x, 2))
row("DFT", 20, LAST, [f(1, 3, 4, 1), None, scalar(1, numpy.int64)], answer=lambda x, n, a, onesided: dft(x, 1, 0, 1),
    constants=(2,), onesided=1)
row("DFT", 20, LAST, [f(1, 3, 6, 1), scalar(4, numpy.int64)], answer=lambda x, n: dft(x[:, :, :4], 2), constants=(1,))
row("STFT", 17, LAST, [f(1, 16, 1), scalar(4, numpy.int64), None, scalar(8, numpy.int64)], constants=(1, 3))
for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
    row(name, 17, LAST, [scalar(9, numpy.int32)], answer="ort")
    row(name, 17, LAST, [scalar(9, numpy.int32)], periodic=0, answer="ort")
row("MelWeightMatrix", 17, LAST, [scalar(4, numpy.int32), scalar(16, numpy.int32), scalar(8000, numpy.int32),
                                  scalar(0.0), scalar(4000.0)])

# ---- the rest ----

BOXES = numpy.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11]]], numpy.float32)
row("NonMaxSuppression", 10, LAST, [BOXES, f32(0.9, 0.75, 0.6).reshape(1, 1, 3), i64(3), f32(0.5), f32(0.0)])
row("Det", 11, LAST, [f(2, 3, 3)])
row("NegativeLogLikelihoodLoss", 12, LAST, [f(3, 4), i64(0, 3, 1), positive(4)])
row("NegativeLogLikelihoodLoss", 12, LAST, [f(3, 4), i64(0, 3, 1)], reduction="none", ignore_index=3)
row("SoftmaxCrossEntropyLoss", 12, LAST, [f(3, 4), i64(0, 3, 1)], outputs=2)
row("TfIdfVectorizer", 9, LAST, [numpy.array([1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8], numpy.int32)], max_gram_length=2,
    max_skip_count=5, min_gram_length=2, mode="TF", ngram_counts=[0, 4], ngram_indexes=[0, 1, 2, 3, 4, 5, 6],
    pool_int64s=[2, 3, 5, 4, 5, 6, 7, 8, 6, 7])

# Draws differ from engine to engine; what is certain are dims and draws of certain things.
for name in ("RandomNormal", "RandomUniform"):
    row(name, 1, LAST, [], after="Shape", answer=lambda **a: i64(2, 3), shape=[2, 3], dtype=TensorProto.FLOAT)
    row(name + "Like", 1, LAST, [f(2, 3)], after="Shape", answer=lambda x, **_: i64(2, 3))
row("RandomUniform", 1, LAST, [], shape=[2], low=3.0, high=3.0, answer=lambda **a: f32(3, 3))
row("RandomNormal", 1, LAST, [], shape=[2], mean=3.0, scale=0.0, answer=lambda **a: f32(3, 3))
row("Bernoulli", 15, LAST, [f32(0, 1, 1, 0)], answer=lambda p, **_: p)
row("Multinomial", 7, LAST, [numpy.log(numpy.array([[1e-30, 1, 1e-30]], numpy.float32))], sample_size=4,
    answer=lambda x, **a: numpy.ones((1, 4), numpy.int32))

# ---- ai.onnx.ml ----

row("ArrayFeatureExtractor", 1, LAST, [f(2, 4), i64(1, 3)], domain=ML)
row("Binarizer", 1, LAST, [f(2, 3)], domain=ML, threshold=0.5)
row("FeatureVectorizer", 1, LAST, [f(2, 3), f(2, 2)], domain=ML, inputdimensions=[3, 2])
row("Imputer", 1, LAST, [numpy.array([[1, numpy.nan, 3]], numpy.float32)], domain=ML, imputed_value_floats=[7.0],
    replaced_value_float=float("nan"))
row("LabelEncoder", 1, 1, [numpy.array(["a", "c", "b"], object)], domain=ML, classes_strings=["a", "b"],
    default_int64=-5, answer=lambda x, **a: i64(0, -5, 1))
row("LabelEncoder", 1, 1, [i64(1, 0, 5)], domain=ML, classes_strings=["a", "b"], default_string="none",
    answer=lambda x, **a: numpy.array(["b", "a", "none"], object))
row("LabelEncoder", 2, LAST, [i64(1, 0, 5)], domain=ML, keys_int64s=[0, 1], values_floats=[0.5, 1.5],
    default_float=-1.0, answer=lambda x, **a: f32(1.5, 0.5, -1))
row("LinearClassifier", 1, LAST, [f(2, 3)], outputs=2, domain=ML, classlabels_ints=[0, 1, 2],
    coefficients=[float(v) for v in f(9)], intercepts=[0.5, -0.5, 0.25], post_transform="SOFTMAX", answer="ort")
row("LinearRegressor", 1, LAST, [f(2, 3)], domain=ML, coefficients=[0.5, 1.0, -2.0], intercepts=[0.25])
for norm in ("MAX", "L1", "L2"):
    row("Normalizer", 1, LAST, [positive(2, 3)], domain=ML, norm=norm, answer="ort")
row("OneHotEncoder", 1, LAST, [i64(1, 3, 2)], domain=ML, cats_int64s=[1, 2], zeros=1)
row("Scaler", 1, LAST, [f(2, 3)], domain=ML, offset=[0.5, 0.0, 1.0], scale=[2.0, 1.0, 0.5])
SVM = {"kernel_type": "RBF", "kernel_params": [0.5, 0.0, 3.0], "coefficients": [1.0, -0.5], "rho": [0.25],
       "support_vectors": [float(v) for v in f(6)]}
row("SVMRegressor", 1, LAST, [f(2, 3)], domain=ML, n_supports=2, **SVM, answer="ort")
row("SVMClassifier", 1, LAST, [f(4, 3)], outputs=2, domain=ML, vectors_per_class=[1, 1], classlabels_ints=[0, 1], **SVM,
    answer="ort")
TREE = {"nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.1, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0]}
row("TreeEnsembleRegressor", 1, 4, [f(5, 3)], domain=ML, **TREE, target_treeids=[0, 0], target_nodeids=[1, 2],
    target_ids=[0, 0], target_weights=[1.5, -2.5], n_targets=1, answer="ort")
row("TreeEnsembleClassifier", 1, 4, [f(5, 3)], outputs=2, domain=ML, **TREE, class_treeids=[0, 0], class_nodeids=[1, 2],
    class_ids=[0, 2], class_weights=[1.5, 2.5], classlabels_int64s=[7, 8, 9], answer="ort")
row("TreeEnsembleRegressor", 5, LAST, [f(5, 3)], domain=ML, **TREE, target_treeids=[0, 0], target_nodeids=[1, 2],
    target_ids=[0, 0], target_weights=[1.5, -2.5], n_targets=1)
row("TreeEnsembleClassifier", 5, LAST, [f(5, 3)], outputs=2, domain=ML, **TREE, class_treeids=[0, 0],
    class_nodeids=[1, 2], class_ids=[0, 1], class_weights=[1.5, 2.5], classlabels_int64s=[7, 9])
row("TreeEnsemble", 5, LAST, [f(5, 3)], domain=ML, n_targets=1, aggregate_function=1, post_transform=0, tree_roots=[0],
    nodes_featureids=[1], nodes_modes=helper.make_tensor("m", TensorProto.UINT8, [1], [0]),
    nodes_splits=helper.make_tensor("s", TensorProto.FLOAT, [1], [0.1]), nodes_truenodeids=[0], nodes_trueleafs=[1],
    nodes_falsenodeids=[1], nodes_falseleafs=[1], leaf_targetids=[0, 0],
    leaf_weights=helper.make_tensor("w", TensorProto.FLOAT, [2], [1.5, -2.5]))
