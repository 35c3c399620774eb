# SPDX-License-Identifier: Apache-2.0
"""Models of one operator of ONNX Runtime, against a NumPy reference of its definition.

All cases of an operator stand in one model, side by side, so that few compilations test many of them. The
model is compiled with dims as given and with every dim of an input a symbol of its own. Where ONNX Runtime's
CPU build has the operator, its answers are compared too.
"""

import os
import subprocess

import numpy
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
DOMAIN = "com.microsoft"
F = numpy.float32
LIMITS = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
    "uint4": (0, 15),
    "int4": (-8, 7),
}
STEPS = 64  # rounding steps of the output's type, relative to the largest number of a tensor


# ---- numbers ----


def numbers(seed):
    return numpy.random.default_rng(seed)


def integers(r, kind, shape):
    low, high = LIMITS[numpy.dtype(kind).name]
    return r.integers(low, high + 1, shape).astype(kind)


def point(kind, value):
    return numpy.array(value, kind)


def dequantize(x, scale, zero=0):
    return ((x.astype(numpy.int32) - numpy.int32(zero)).astype(F) * F(scale)).astype(F)


def quantize(x, scale, zero, kind):
    low, high = LIMITS[numpy.dtype(kind).name]
    return numpy.clip(numpy.rint((numpy.asarray(x, F) / F(scale)).astype(F)) + F(zero), low, high).astype(
        kind
    )


def uniform(r, *shape):
    return r.uniform(-1, 1, shape).astype(F)


# ---- models ----


class Typed:
    """A constant of an element type that NumPy has not, from numbers of a type that it has."""

    def __init__(self, array, kind):
        self.array, self.kind = numpy.asarray(array), kind


class Brain:
    """An operand of type bfloat16: given as float32 and cast in the model."""

    def __init__(self, array):
        self.array = brain(array)


def brain(array):
    """float32 rounded to bfloat16, half to even."""
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return rounded.astype(numpy.uint32).view(numpy.float32).reshape(numpy.shape(array))


class Case:
    """A node: inputs (None: omitted), the wanted outputs (None: omitted), which inputs are constants."""

    def __init__(self, op, inputs, want, constants=(), steps=STEPS, peer=True, **attributes):
        wrapped = (Typed, Brain)
        self.inputs = [x if x is None or isinstance(x, wrapped) else numpy.asarray(x) for x in inputs]
        self.op, self.attributes, self.steps, self.peer = op, attributes, steps, peer
        self.want = [
            w if w is None else numpy.asarray(w) for w in (want if isinstance(want, list) else [want])
        ]
        self.constants = range(len(inputs)) if constants == "all" else constants


def tensor(value, name):
    if isinstance(value, Typed):
        return helper.make_tensor(name, value.kind, value.array.shape, value.array.flatten())
    return numpy_helper.from_array(value, name)


def build(cases, symbolic=False, sparse=()):
    """The model and what to feed it."""
    nodes, inputs, initializers, outputs, feeds = [], [], [], [], {}
    for i, case in enumerate(cases):
        names = []
        for k, value in enumerate(case.inputs):
            name = f"c{i}_in{k}" if value is not None else ""
            names.append(name)
            if value is None:
                continue
            if isinstance(value, Brain):
                nodes.append(helper.make_node("Cast", [name], [f"{name}_cast"], to=TensorProto.BFLOAT16))
                names[-1], value = f"{name}_cast", value.array
            if k in case.constants or isinstance(value, Typed):
                initializers.append(tensor(value, name))
                continue
            dims = [f"{name}_{d}" for d in range(value.ndim)] if symbolic else value.shape
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, dims))
            feeds[name] = value
        made = [f"c{i}_out{k}" if w is not None else "" for k, w in enumerate(case.want)]
        brains = any(isinstance(x, Brain) for x in case.inputs)
        inner = [f"{m}_cast" if brains and m else m for m in made]
        nodes.append(
            helper.make_node(case.op, names, inner, domain=DOMAIN, name=f"case{i}", **case.attributes)
        )
        if brains:
            nodes += [
                helper.make_node("Cast", [a], [b], to=TensorProto.FLOAT) for a, b in zip(inner, made) if b
            ]
        outputs += [helper.make_empty_tensor_value_info(name) for name in made if name]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers, sparse_initializer=sparse)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), feeds


def tamis(*arguments):
    done = subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    return done.returncode, done.stderr + done.stdout


def run(program, feeds, folder, *options):
    numpy.savez(folder / "in.npz", **feeds)
    files = (
        ["--inputs", folder / "in.npz", "--outputs", folder / "out.npz"]
        if feeds
        else ["--outputs", folder / "out.npz"]
    )
    code, text = tamis("run", program, *files, *options)
    assert code == 0, (code, text)
    with numpy.load(folder / "out.npz") as made:
        return {name: made[name] for name in made.files}


def differences(cases, made, what, wanted=None, steps=None):
    """Where the answers are not those of the reference, or of `wanted`."""
    found = []
    for i, case in enumerate(cases):
        for k, want in enumerate(case.want):
            if want is None:
                continue
            name = f"c{i}_out{k}"
            have, want = made[name], want if wanted is None else wanted[name]
            where = f"{what}: case {i} ({case.op} {case.attributes}) output {k}"
            if have.shape != want.shape or have.dtype != want.dtype:
                found.append(f"{where} is {have.dtype}{have.shape}, not {want.dtype}{want.shape}")
                continue
            if want.dtype.kind == "f":
                finite = numpy.isfinite(want)
                brains = any(isinstance(x, Brain) for x in case.inputs)
                step = 2.0**-8 if brains else numpy.finfo(want.dtype).eps
                largest = numpy.abs(want[finite].astype(float)).max(initial=1)
                allowed = (case.steps if steps is None else steps) * step * largest
                if brains or want.dtype == numpy.float16:
                    allowed = 2 * step * largest
                with numpy.errstate(invalid="ignore"):
                    near = numpy.abs(have.astype(float) - want.astype(float)) <= allowed
                same = numpy.where(finite, near, (have == want) | (numpy.isnan(have) & numpy.isnan(want)))
            elif want.dtype.kind in "iu":
                same = numpy.abs(have.astype(object) - want.astype(object)) <= (steps or 0)
            else:
                same = have == want
            if not numpy.all(same):
                at = tuple(int(n) for n in numpy.argwhere(~same.astype(bool))[0])
                found.append(
                    f"{where} at {at} is {have[at]}, not {want[at]}; {int((~same.astype(bool)).sum())} differ"
                )
    return found


def peer(cases):
    """The answers of ONNX Runtime for the cases that it takes, by name."""
    model, feeds = build(cases)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def check(cases, folder, peer_steps=None):
    """-O0, -O3, -O3 with dims as symbols, the evaluator and ONNX Runtime against the reference."""
    found = []
    for name, symbolic, options in [
        ("O0", False, ["-O0"]),
        ("O3", False, ["-O3"]),
        ("symbols", True, ["-O3"]),
    ]:
        model, feeds = build(cases, symbolic)
        (folder / "model.onnx").write_bytes(model)
        code, text = tamis("compile", folder / "model.onnx", "-o", folder / f"{name}.so", *options)
        assert code == 0, text
        found += differences(cases, run(folder / f"{name}.so", feeds, folder), name)
    model, feeds = build(cases)
    (folder / "model.onnx").write_bytes(model)
    found += differences(cases, run(folder / "model.onnx", feeds, folder, "--evaluate"), "evaluator")
    both = [case for case in cases if case.peer]
    if both:
        found += differences(both, peer(both), "ONNX Runtime", steps=peer_steps)
    assert not found, "\n".join(found[:20])


def refused(case, folder, *fragments):
    """The compiler says that it does not take the form, and why."""
    (folder / "model.onnx").write_bytes(build([case])[0])
    code, text = tamis("compile", folder / "model.onnx", "-o", folder / "refused.so")
    assert code in (65, 69), (code, text)
    for fragment in fragments:
        assert fragment in text, text
    return code
