# SPDX-License-Identifier: Apache-2.0
"""The forms in which exporters write a quantised product, each beside its answer by NumPy.

    form = Form([2, 5, 64])                       # x: f32[2, 5, 64]
    a = form.quantized("x", "uint8", 0.02, 3)     # QuantizeLinear, DequantizeLinear
    w = form.weights("int4", 64, 32, axis=1)      # DequantizeLinear of a constant, a scale for each column
    form.node("MatMul", a, w)

Every node is computed in float64, rounded where the model rounds, while the model is built: form.value[form.last].
"""

import itertools
import math

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535), "int4": (-8, 7), "uint4": (0, 15),
          "int2": (-2, 1), "uint2": (0, 3)}
FLOATS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float4_e2m1fn"]
STORAGE = [*LIMITS, *FLOATS]
WIDE = {"float32": np.float64, "float16": np.float64, "bfloat16": np.float64}


def dtype_of(name):
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def convolve(x, w, group=1, strides=None, pads=None, dilations=None):
    axes = w.ndim - 2
    strides, dilations, pads = strides or (1,) * axes, dilations or (1,) * axes, pads or (0,) * 2 * axes
    x = np.pad(x, [(0, 0), (0, 0), *((pads[i], pads[axes + i]) for i in range(axes))])
    out = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(axes)]
    y = np.zeros((len(x), len(w), *out), np.result_type(x, w))
    per, made = w.shape[1], len(w) // group
    for tap in itertools.product(*map(range, w.shape[2:])):
        part = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilations, out, strides))
        seen, taps = x[(slice(None), slice(None), *part)], w[(slice(None), slice(None), *tap)]
        for g in range(group):
            mine = slice(g * made, (g + 1) * made)
            y[:, mine] += np.einsum("nc...,mc->nm...", seen[:, g * per : (g + 1) * per], taps[mine])
    return y


def spread(parameter, x, axis, block):
    """A scale or zero point for each element of x."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block:
        return np.repeat(parameter, block, axis).take(range(x.shape[axis]), axis)
    dims = [1] * x.ndim
    dims[axis] = -1
    return parameter.reshape(dims)


def quantize(x, scale, zero, storage, axis=1, block=0):
    scale, zero = spread(scale, x, axis, block), spread(zero, x, axis, block).astype(np.float64)
    if storage not in LIMITS:
        with np.errstate(over="ignore"):
            limit = float(ml_dtypes.finfo(dtype_of(storage)).max)
            return np.clip(x / scale.astype(np.float64), -limit, limit).astype(np.float32).astype(dtype_of(storage))
    ratio = (x.astype(scale.dtype) / scale).astype(np.float64)
    return np.clip(np.rint(ratio) + zero, *LIMITS[storage]).astype(np.int64).astype(dtype_of(storage))


def dequantize(q, scale, zero=None, axis=1, block=0):
    wide = q.astype(np.int64 if q.dtype.kind in "iu" or "int" in q.dtype.name else np.float64)
    zero = 0 if zero is None else spread(zero, q, axis, block).astype(wide.dtype)
    return ((wide - zero) * spread(scale, q, axis, block).astype(np.float64)).astype(scale.dtype)


class Form:
    opset = 25
    domains = ()

    def __init__(self, dims, seed=0, x=None):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.value, self.inputs = [], [], {}, {}
        self.input("x", self.random.standard_normal(dims).astype(np.float32) if x is None else x)

    def input(self, name, array):
        self.inputs[name] = self.value[name] = array
        self.last = name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        self.value[name] = array
        return name

    def node(self, op, *inputs, answer=None, outputs=1, domain="", **attributes):
        """Inputs are names or arrays; `answer` replaces the function of the table below."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        made = [f"v{len(self.nodes)}" + (f"_{k}" if k else "") for k in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, domain=domain, **attributes))
        operands = [self.value[n] if n else None for n in names]
        if answer is None and domain == "":
            answer = COMPUTE[op](*operands, **attributes)
        for name, array in zip(made, answer if isinstance(answer, (tuple, list)) else [answer]):
            self.value[name] = array
        self.last = made[0]
        return made[0] if outputs == 1 else made

    def point(self, storage, zero, dims=()):
        """A zero point, or its absence for None."""
        return [] if zero is None else [np.full(dims, zero).astype(dtype_of(storage))]

    def scale(self, value, kind="float32", dims=()):
        return (np.asarray(value) * (0.75 + self.random.random(dims) / 2 if dims else 1)).astype(dtype_of(kind))

    def quantized(self, x, storage="uint8", scale=0.02, zero=3, kind="float32"):
        """x through a pair of quantisers, as float."""
        s = self.scale(scale, kind)
        if kind != "float32":
            x = self.node("Cast", x, to=helper.np_dtype_to_tensor_dtype(dtype_of(kind)))
        at = self.point(storage, zero)
        q = self.node("QuantizeLinear", x, s, *at, **({} if at or storage == "uint8" else {"output_dtype": helper.np_dtype_to_tensor_dtype(dtype_of(storage))}))
        return self.node("DequantizeLinear", q, s, *self.point(storage, zero))

    def integers(self, storage, *dims):
        if storage in LIMITS:
            low, high = LIMITS[storage]
            return self.random.integers(low, high + 1, dims).astype(dtype_of(storage))
        return (3 * self.random.standard_normal(dims)).astype(np.float32).astype(dtype_of(storage))

    def weights(self, storage, *dims, axis=None, block=0, zero=None, kind="float32", scale=None):
        """A constant dequantised: one scale (axis None), one for each position of the axis, or one for each block along it."""
        q = self.integers(storage, *dims)
        count = () if axis is None else (dims[axis],)
        if block:
            count = tuple(-(-d // block) if i == axis else d for i, d in enumerate(dims))
        span = float(max(map(abs, LIMITS[storage]))) if storage in LIMITS else 8.0
        s = self.scale(1 / span, kind, count) if scale is None else scale
        attributes = ({} if axis is None else {"axis": axis}) | ({"block_size": block} if block else {})
        return self.node("DequantizeLinear", q, s, *self.point(storage, zero, s.shape), **attributes)

    def model(self, symbolic=True):
        inputs = []
        for name, array in self.inputs.items():
            dims = [f"{name}{i}" if symbolic and i == 0 and array.ndim > 1 else d for i, d in enumerate(array.shape)]
            inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), dims))
        nodes, last = list(self.nodes), self.last
        if self.value[last] is not None and self.value[last].dtype.name not in ("float32", "uint8", "int8", "int32"):
            nodes.append(helper.make_node("Cast", [last], ["answer"], to=TensorProto.FLOAT))
            last = "answer"
        graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name=last)], self.constants)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in self.domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString()


def wide(x):
    return x.astype(np.float64)


def product(a, b, **_):
    return (wide(a) @ wide(b)).astype(a.dtype)


def gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0):
    a, b = wide(a).T if transA else wide(a), wide(b).T if transB else wide(b)
    return (alpha * (a @ b) + (0 if c is None else beta * wide(c))).astype(np.float32)


def convolution(x, w, b=None, kernel_shape=None, **attributes):
    y = convolve(wide(x), wide(w), **attributes)
    return (y if b is None else y + wide(b).reshape(-1, *[1] * (w.ndim - 2))).astype(x.dtype)


def cut(x, starts, ends, axes, steps=None):
    part = [slice(None)] * x.ndim
    for i, axis in enumerate(axes):
        part[axis] = slice(starts[i], ends[i], 1 if steps is None else steps[i])
    return x[tuple(part)]


def windows(x, kernel, strides, pads, fill):
    """[..., taps] of what each window sees."""
    x = np.pad(x, [(0, 0), (0, 0), *((pads[i], pads[2 + i]) for i in range(2))], constant_values=fill)
    out = [(x.shape[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
    parts = [x[:, :, i : i + (out[0] - 1) * strides[0] + 1 : strides[0], j : j + (out[1] - 1) * strides[1] + 1 : strides[1]]
             for i in range(kernel[0]) for j in range(kernel[1])]
    return np.stack(parts, -1)


def mean_pool(x, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), count_include_pad=0):
    sums = windows(x.astype(np.float64), kernel_shape, strides, pads, 0).sum(-1)
    counts = windows(np.ones_like(x), kernel_shape, strides, pads, 1 if count_include_pad else 0).sum(-1)
    return (sums / counts).astype(np.float32)


def normalized(x, scale, bias, axis=-1, epsilon=1e-5):
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    return (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * scale + bias).astype(np.float32)


def softmax(x, axis=-1):
    e = np.exp(x.astype(np.float64) - x.max(axis, keepdims=True))
    return (e / e.sum(axis, keepdims=True)).astype(np.float32)


def gelu(x):
    return (x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))).astype(np.float32)


COMPUTE = {
    "MaxPool": lambda x, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0): windows(x, kernel_shape, strides, pads, -np.inf).max(-1),
    "AveragePool": mean_pool,
    "GlobalAveragePool": lambda x: x.astype(np.float64).mean((2, 3), keepdims=True).astype(np.float32),
    "LayerNormalization": normalized,
    "Softmax": softmax,
    "Gelu": gelu,
    "Sub": lambda a, b: a - b,
    "Div": lambda a, b: (a / b).astype(np.float32),
    "Sqrt": lambda x: np.sqrt(x),
    "Sigmoid": lambda x: (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32),
    "Erf": lambda x: np.vectorize(math.erf)(x).astype(np.float32),
    "ReduceMean": lambda x, axes: x.astype(np.float64).mean(tuple(axes), keepdims=True).astype(np.float32),
    "Resize": lambda x, roi, scales, mode, coordinate_transformation_mode, nearest_mode: x.repeat(int(scales[2]), 2).repeat(int(scales[3]), 3),
    "Split": lambda x, axis, num_outputs: np.split(x, num_outputs, axis),
    "Pad": lambda x, pads: np.pad(x, [(pads[i], pads[x.ndim + i]) for i in range(x.ndim)]),
    "Expand": lambda x, dims: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(dims))),
    "Tile": lambda x, repeats: np.tile(x, repeats),
    "QuantizeLinear": lambda x, s, z=None, axis=1, block_size=0, output_dtype=0: quantize(
        x, s, np.zeros(()) if z is None else z, (z.dtype if z is not None else helper.tensor_dtype_to_np_dtype(output_dtype) if output_dtype else np.dtype("uint8")).name, axis, block_size),
    "DequantizeLinear": lambda q, s, z=None, axis=1, block_size=0: dequantize(q, s, z, axis, block_size),
    "Cast": lambda x, to: x.astype(helper.tensor_dtype_to_np_dtype(to)),
    "MatMul": product,
    "Gemm": gemm,
    "Conv": convolution,
    "Add": lambda a, b: a + b,
    "Mul": lambda a, b: a * b,
    "Relu": lambda x: np.maximum(x, 0).astype(x.dtype),
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Reshape": lambda x, dims: x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(dims)]),
    "Unsqueeze": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "Squeeze": lambda x, axes: np.squeeze(x, tuple(axes)),
    "Flatten": lambda x, axis=1: x.reshape(int(np.prod(x.shape[:axis])), -1),
    "Slice": cut,
    "Concat": lambda *x, axis: np.concatenate(x, axis),
    "Gather": lambda x, i, axis=0: np.take(x, i, axis),
    "Identity": lambda x: x,
}
