# SPDX-License-Identifier: Apache-2.0
"""tamis.backend: prepare and run by position; plain errors for what cannot be done."""

import pathlib
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
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


# ---- official cases with values other than tensors, and with control flow ----

KINDS = re.compile("optional|sequence|loop|scan|test_if|identity")


def read_value(path, type_proto):
    """As ONNX's runner reads it: an array, a list, or None."""
    data = path.read_bytes()
    if type_proto.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if type_proto.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def assert_same(found, expected):
    """ONNX's runner takes len() of the items of a list, which scalars do not have."""
    assert type(found) is type(expected)
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_same(*pair)
    elif expected is not None:
        assert found.dtype == expected.dtype and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("case", [case for case in load_model_tests(kind="node") if KINDS.search(case.name)],
                         ids=lambda case: case.name)
def test_official_case(case):
    model = onnx.load(f"{case.model_dir}/model.onnx")
    compiled = backend.prepare(model)
    for folder in sorted(pathlib.Path(case.model_dir).glob("test_data_set_*")):
        def read(prefix, ports, folder=folder):
            return [read_value(folder / f"{prefix}_{i}.pb", port.type) for i, port in enumerate(ports)]
        outputs = compiled.run(read("input", model.graph.input))
        assert_same(list(outputs), read("output", model.graph.output))


def test_runs_a_node_on_sequences():
    a = np.array([1, 2], np.float32)
    result = backend.run_node(helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0), [[a, a[:1]]],
                              outputs_info=[(np.dtype(np.float32), (3,))])
    assert result.y.tolist() == [1, 2, 1]
