# SPDX-License-Identifier: Apache-2.0
"""tamis.backend: prepare and run by position; plain errors for what cannot be done."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

import tamis
import tamis.backend as backend


def make_model(op):
    graph = helper.make_graph([helper.make_node(op, ["a", "b"], ["c"])], "g",
                              [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "ab"],
                              [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_runs_by_position():
    a, b = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    c, = backend.prepare(make_model("Sub")).run([a, b])
    assert c.tolist() == [-9, -18]
    c, = backend.run_model(make_model("Add"), [a, b])
    assert c.tolist() == [11, 22]


def test_runs_a_node():
    a = np.array([1, 2], np.float32)
    result = backend.run_node(helper.make_node("Neg", ["x"], ["y"]), [a], outputs_info=[(np.dtype(np.float32), (2,))])
    assert result.y.tolist() == [-1, -2]


def test_devices():
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    with pytest.raises(ValueError):
        backend.prepare(make_model("Add"), "CUDA")


def test_unsupported_is_an_error():
    with pytest.raises(tamis.Error) as caught:
        backend.prepare(make_model("NoSuchOperator"))
    assert not isinstance(caught.value, BackendIsNotSupposedToImplementIt)
