# SPDX-License-Identifier: Apache-2.0
"""tamis: compiles ONNX models to native code and runs them.

    import tamis
    session = tamis.InferenceSession("model.onnx")        # compiled on the spot, kept in a cache
    y, = session.run(None, {"x": x})

    tamis.compile("model.onnx", "model.so")               # an artifact for later
    session = tamis.InferenceSession("model.so")

Names and arguments follow ONNX Runtime's, so that programs written for it run unchanged.
"""

from ._tamis import Error, set_threads
from .compiler import compile
from .quantizer import compress, quantize
from .session import InferenceSession, NodeArg, SessionOptions

__version__ = "0.1.0"
__all__ = ["Error", "InferenceSession", "NodeArg", "SessionOptions", "compile", "compress", "quantize", "set_threads"]
