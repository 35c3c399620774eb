# SPDX-License-Identifier: Apache-2.0
"""The backend interface of the package onnx, for its test runner and programs written to it.

    import tamis.backend as backend
    outputs = backend.run_model(model, [x])

What tamis cannot do raises tamis.Error with the diagnostics: nothing is reported as "not meant to be
implemented", which the runner would count as passed.
"""

import onnx
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from .session import InferenceSession, SessionOptions


def _value_info(name, value):
    """The declaration of an input that `value` is for: an array, or a list of arrays as a sequence of any dims."""
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError(f"input '{name}': the element type of an empty sequence is not known")
        return onnx.helper.make_tensor_sequence_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(value[0].dtype), [None] * value[0].ndim)
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


class TamisBackendRep(BackendRep):
    """A compiled model; run(inputs by position) gives a tuple of outputs: arrays, lists for sequences, None for an
    empty optional, dicts for maps. Inputs are taken in the same forms."""

    def __init__(self, session):
        self._session = session
        self._input_names = [port.name for port in session.get_inputs()]

    def run(self, inputs, **kwargs):
        if isinstance(inputs, dict):
            feeds = inputs
        else:
            if len(inputs) > len(self._input_names):
                raise ValueError(f"the model has {len(self._input_names)} inputs, not {len(inputs)}")
            feeds = dict(zip(self._input_names, inputs))
        return tuple(self._session.run(None, feeds))


class TamisBackend(Backend):
    """Compiles for the CPU of this machine."""

    @classmethod
    def is_compatible(cls, model, device="CPU", **kwargs):
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model, device="CPU", **kwargs):
        if not cls.supports_device(device):
            raise ValueError(f"tamis runs on the CPU, not on {device}")
        data = model if isinstance(model, bytes) else model.SerializeToString()
        options = kwargs.get("sess_options")
        if options is None:
            options = SessionOptions()
            options.use_cache = False
        return TamisBackendRep(InferenceSession(data, options))

    @classmethod
    def run_model(cls, model, inputs, device="CPU", **kwargs):
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node, inputs, device="CPU", outputs_info=None, **kwargs):
        """One node as a model of its own; outputs_info gives (dtype, shape) of each output."""
        if outputs_info is None:
            raise ValueError("outputs_info is needed: the types of the node's outputs")
        names = [name for name in node.input if name]
        graph_inputs = [_value_info(name, array) for name, array in zip(names, inputs)]
        graph_outputs = [onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(dtype), None)
                         for name, (dtype, _) in zip(node.output, outputs_info)]
        graph = onnx.helper.make_graph([node], "node", graph_inputs, graph_outputs)
        opset = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, opset)])
        result = cls.run_model(model, inputs, device)
        return namedtupledict("Outputs", list(node.output))(*result)

    @classmethod
    def supports_device(cls, device):
        return Device(device).type == DeviceType.CPU


is_compatible = TamisBackend.is_compatible
prepare = TamisBackend.prepare
run = TamisBackend.run_model
run_model = TamisBackend.run_model
run_node = TamisBackend.run_node
supports_device = TamisBackend.supports_device
