# SPDX-License-Identifier: Apache-2.0
"""Single nodes against ONNX Runtime: many cases in one model, so that one compilation serves them all.

    batch = Batch(opset=20)
    batch.add("StringConcat", [x, y])
    batch.check()

tamis sees every dim as a symbol of its own, ONNX Runtime as a number. A case may bring answers of its own instead: where ONNX
Runtime is known to leave the standard, the test says so beside the case.
"""

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

import tamis


def texts(items):
    return numpy.array(items, dtype=object)


def type_of(array):
    return TensorProto.STRING if array.dtype == object else helper.np_dtype_to_tensor_dtype(array.dtype)


def session_of(model):
    options = tamis.SessionOptions()
    options.use_cache = False
    return tamis.InferenceSession(model, options)


class Batch:
    def __init__(self, opset=20, ml=4, tolerance=2e-6):
        self.opsets = {"": opset, "ai.onnx.ml": ml}
        self.tolerance = tolerance
        self.nodes, self.feeds, self.cases = [], {}, []

    def add(self, op, inputs, outputs=1, domain="", answers=None, tolerance=None, **attributes):
        number = len(self.cases)
        names = []
        for i, array in enumerate(inputs):
            if array is None:
                names.append("")
                continue
            names.append(f"x{number}_{i}")
            self.feeds[names[-1]] = array
        results = [f"y{number}_{k}" for k in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, names, results, domain=domain, name=f"n{number}", **attributes))
        short = {key: value if len(str(value)) < 60 else "..." for key, value in attributes.items()}
        label = f"{op} {short} on {[None if x is None else x.tolist() for x in inputs]}"
        self.cases.append((label[:400], results, answers, self.tolerance if tolerance is None else tolerance))

    def model(self, nodes, names, symbolic=True):
        inputs = []
        for name in [name for node in nodes for name in node.input if name]:
            array = self.feeds[name]
            shape = [f"{name}_{d}" for d in range(array.ndim)] if symbolic else array.shape
            inputs.append(helper.make_tensor_value_info(name, type_of(array), shape))
        graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name=name) for name in names])
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()

    def expected(self):
        """Answers of ONNX Runtime for the cases that bring none."""
        chosen = [k for k, case in enumerate(self.cases) if case[2] is None]
        names = [name for k in chosen for name in self.cases[k][1]]
        if not names:
            return {}
        nodes = [self.nodes[k] for k in chosen]
        session = onnxruntime.InferenceSession(self.model(nodes, names, symbolic=False))
        feeds = {i.name: self.feeds[i.name] for i in session.get_inputs()}
        return dict(zip(names, session.run(names, feeds)))

    def check(self):
        expected = self.expected()
        names = [name for case in self.cases for name in case[1]]
        session = session_of(self.model(self.nodes, names))
        found = dict(zip(names, session.run(names, self.feeds)))
        wrong = []
        for label, results, answers, tolerance in self.cases:
            for k, name in enumerate(results):
                want = expected[name] if answers is None else answers[k]
                fault = difference(found[name], want, tolerance)
                if fault:
                    wrong.append(f"{label}: output {k} {fault}")
        assert not wrong, f"{len(wrong)} of {len(names)} differ\n" + "\n".join(wrong[:20])


def report(found, want, wrong):
    return f"is {found[wrong][:8].tolist()}, expected {want[wrong][:8].tolist()} at {numpy.argwhere(wrong)[:8].tolist()}"


def difference(found, want, tolerance):
    """What is wrong, or None."""
    if found.shape != want.shape or found.dtype != want.dtype:
        return f"is {found.dtype}{list(found.shape)}, expected {want.dtype}{list(want.shape)}"
    if want.dtype == object or want.dtype.kind not in "f":
        return None if found.tolist() == want.tolist() else report(found, want, found != want)
    with numpy.errstate(all="ignore"):
        room = tolerance * max(1.0, float(numpy.max(numpy.abs(want[numpy.isfinite(want)]), initial=0.0)))
        same = (found == want) | (numpy.isnan(found) & numpy.isnan(want)) | (numpy.abs(found - want) <= room)
    return None if same.all() else report(found, want, ~same)
