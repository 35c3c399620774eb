# SPDX-License-Identifier: Apache-2.0
"""InferenceSession: a model ready to run, under ONNX Runtime's names."""

import os
import tempfile

from . import _tamis
from .compiler import compile_cached


class SessionOptions:
    """Options of a session; those of compilation matter only when a model, not an artifact, is given."""

    __slots__ = ("intra_op_num_threads", "strict_math", "precision", "integers", "seed", "optimization_level", "cpu", "dims",
                 "disabled_passes", "use_cache", "slots")

    def __init__(self):
        self.intra_op_num_threads = 0  # 0: as many as the process may use
        self.strict_math = False       # keep subnormals and the order of operations
        self.precision = "f32"         # of the factors of products: f32 or bf16
        self.integers = "keep"         # or float: quantised models compute in floats
        self.seed = 0                  # of random operators
        self.optimization_level = 2    # 0 to 3
        self.cpu = None                # CPU levels of the artifact, as -mcpu
        self.dims = {}                 # facts about dims: {"batch": 1, "seq": (1, 512)}
        self.disabled_passes = []
        self.slots = []                # names or patterns of constants that set_weights and adapters replace
        self.use_cache = True          # keep compiled models in the user's cache folder

    def _compile_options(self):
        return {"level": self.optimization_level, "cpu": self.cpu, "dims": dict(self.dims), "strict_math": self.strict_math, "precision": self.precision, "integers": self.integers,
                "disable": list(self.disabled_passes), "slots": list(self.slots)}


class NodeArg:
    """An input or output: name, type as "tensor(float)" or "seq(map(int64,tensor(float)))", shape with names for
    symbolic dims (None for what is no tensor)."""

    __slots__ = ("name", "type", "shape")

    def __init__(self, name, type_text, dims):
        self.name = name
        self.type = type_text
        self.shape = dims

    def __repr__(self):
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape!r})"


def _is_artifact(start):
    return start == b"\x7fELF"


class InferenceSession:
    """Loads an artifact, or compiles a model and loads that.

    path_or_bytes: the path of a model or artifact, or the bytes of either. Providers are accepted and ignored.
    """

    def __init__(self, path_or_bytes, sess_options=None, providers=None, provider_options=None):
        options = sess_options if sess_options is not None else SessionOptions()
        path, temporary = self._artifact(path_or_bytes, options)
        try:
            self._session = _tamis.Session(path, options.intra_op_num_threads, options.strict_math, options.seed)
        finally:
            if temporary:
                os.unlink(path)
        self._inputs = [NodeArg(*row) for row in self._session.inputs]
        self._outputs = [NodeArg(*row) for row in self._session.outputs]
        self._slots = [NodeArg(*row) for row in self._session.slots]
        self._adapter = None
        self._run = self._session.run

    @staticmethod
    def _artifact(source, options):
        """The path of an artifact, and whether it has to be deleted after loading."""
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = bytes(source)
            if not _is_artifact(data[:4]):
                return compile_cached(data, options._compile_options(), options.use_cache)
            handle, path = tempfile.mkstemp(prefix="tamis-", suffix=".so")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            return path, True
        if not isinstance(source, (str, os.PathLike)):  # open() would take an integer as a file descriptor
            raise TypeError(f"path_or_bytes is a path or bytes, not {type(source).__name__}")
        file = os.open(source, os.O_RDONLY | os.O_CLOEXEC)  # a file object would cost as much as loading
        try:
            if _is_artifact(os.read(file, 4)):
                return source, False
        finally:
            os.close(file)
        return compile_cached(source, options._compile_options(), options.use_cache)

    def run(self, output_names, input_feed, run_options=None, adapter=None):
        """Runs the model on {name: array}; a list of new arrays, of all outputs when output_names is None.

        adapter: weights of this run, from adapter(); else those of set_weights, else the artifact's own.
        """
        return self._run(output_names or None, input_feed, adapter if adapter is not None else self._adapter)

    def get_slots(self):
        """The constants that can be replaced, as NodeArg."""
        return self._slots

    def adapter(self, weights):
        """Copies {slot: array}, laid out as the code reads them; for run(), from any thread, any number of times."""
        return self._session.adapter(dict(weights))

    def set_weights(self, weights):
        """{slot: array} for all runs that begin from now on; what is not named is the artifact's own, as in {}."""
        self._adapter = self._session.adapter(dict(weights)) if weights else None

    def get_inputs(self):
        return self._inputs

    def get_outputs(self):
        return self._outputs

    def get_providers(self):
        return ["TamisExecutionProvider"]

    @property
    def about(self):
        """Name, producer, target and manifest of the artifact."""
        return self._session.about
