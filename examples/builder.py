# SPDX-License-Identifier: Apache-2.0
"""A small helper for scripts that write ONNX files node by node."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """Collects nodes and initializers; every method returns the name of the value it makes."""

    def __init__(self):
        self.nodes, self.initializers = [], []

    def constant(self, array, dtype=None, name=None):
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, dtype, order="C"), name))
        return name

    def node(self, op, *inputs, output=None, **attributes):
        output = output or f"t{len(self.nodes) + 1}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"{op}_{len(self.nodes) + 1}", **attributes)
        )
        return output

    def save(self, path, name, opset, inputs, outputs, metadata=None):
        """inputs, outputs: {name: (element type, dims)}; a string as dim is a symbol. metadata: {key: text}."""
        ports = [
            [helper.make_tensor_value_info(key, *value) for key, value in group.items()]
            for group in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, name, *ports, self.initializers)
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
