# SPDX-License-Identifier: Apache-2.0
"""compile(), and the cache of compiled models.

The key of the cache is a hash of the model's bytes, the options, the version and the ABI. A model with external data
adds names, sizes and times of the files beside it, which is as much as can be known without reading gigabytes.
"""

import hashlib
import os
import tempfile

from . import _tamis

_VERSION = "0.1.0"


_FORMS = {".o": "obj", ".a": "lib", ".s": "asm", ".ll": "llvm", ".ir": "ir", ".onnx": "onnx"}


def compile(model, output, *, emit=None, level=2, target=None, cpu=None, name=None, dims=None, strict_math=False,
            precision="f32", disable=(), bisect_limit=-1, print_after=None, external_folder=None, schedules=None, tune=None,
            sizes=None, external_data=False, slots=(), weights_file=None, integers="keep", small=False, weights="mapped",
            storage="exact", map=None):
    """Compiles a model (a path, or the bytes of one) into the file `output`.

    emit: so, obj, lib, asm, llvm, ir or onnx; else the suffix of `output` tells (so for all but .o, .a, .s, .ll, .ir
    and .onnx).   external_data: for onnx, weights in a file beside the output (docs/export.md).
    level: 0 to 3.   target: a triple, cpu: its levels ("x86-64-v3,x86-64-v4").
    precision: f32, or bf16 for products that round their factors to bfloat16 (docs/precision.md).
    integers: keep, or float for quantised models that compute in floats (docs/quantized-models.md).
    dims: facts about symbolic dims, {"batch": 1, "seq": (1, 512)}.
    tune: a file, or True for MODEL.tune.json beside the model: how the loops are best cut is measured on this machine,
    written there, and used; sizes: of symbolic dims meanwhile, {"batch": 8} (4). schedules: such a file, to be used
    without measuring (docs/schedules.md).
    slots: names or patterns of constants that stay replaceable (docs/slots.md).
    weights_file: a file in the output's folder that has the weights, for several artifacts (docs/storage.md).
    small: code for size, as -Os, if level is 2.   weights: mapped, or coded: small, decoded when loaded; storage: exact,
    float16 or bfloat16, to which coded weights are rounded (docs/storage.md). compress() takes what needs samples.
    map: a file for all functions and tables with their sizes, which `tamis inspect --size --map` reads.
    Returns what print_after asked for. Raises tamis.Error with all diagnostics.
    """
    if isinstance(model, (bytearray, memoryview)):
        model = bytes(model)
    if emit is None:
        emit = _FORMS.get(os.path.splitext(os.fspath(output))[1], "so")
    if tune and schedules is not None:
        raise ValueError("tune measures and writes a file, schedules reads one")
    if tune is True:
        if isinstance(model, bytes):
            raise ValueError("tune needs the name of a file where the model is none")
        path = os.fspath(model)
        tune = (path[:-5] if path.endswith(".onnx") else path) + ".tune.json"
    if small and level != 2:
        raise ValueError("small has a level of its own: leave level as it is")
    file = tune or schedules
    return _tamis.compile(model, output, emit, level, target, cpu, name, dict(dims or {}), strict_math, precision,
                          list(disable), bisect_limit, print_after, external_folder,
                          None if file is None or file is False else os.fspath(file), bool(tune), dict(sizes or {}),
                          external_data, list(slots), None if weights_file is None else os.fspath(weights_file), integers, small,
                          weights, storage, None if map is None else os.fspath(map))


def cache_folder():
    """$XDG_CACHE_HOME/tamis or ~/.cache/tamis."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "tamis")


def _cpu_name():
    """Artifacts are for this machine's CPU features; a shared home may be seen by several machines."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(("flags", "Features", "isa")):
                    return line
    except OSError:
        pass
    return ""


def _key(data, folder, options):
    digest = hashlib.sha256(data)
    digest.update(repr((_VERSION, _tamis.ABI_VERSION, sorted(options.items()), _cpu_name())).encode())
    if folder is not None and b"location" in data:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_file():
                status = entry.stat()
                digest.update(repr((entry.name, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def compile_cached(model, options, use_cache=True):
    """The path of a compiled artifact, and whether the caller must delete it."""
    if isinstance(model, bytes):
        data, folder = model, None
    else:
        with open(model, "rb") as file:
            data = file.read()
        folder = os.path.dirname(os.path.abspath(model))
    if use_cache:
        path = os.path.join(cache_folder(), _key(data, folder, options) + ".so")
        if os.path.exists(path):
            return path, False
        try:
            os.makedirs(cache_folder(), exist_ok=True)
            use_cache = os.access(cache_folder(), os.W_OK)
        except OSError:
            use_cache = False
    if not use_cache:
        handle, path = tempfile.mkstemp(prefix="tamis-", suffix=".so")
        os.close(handle)
    try:
        compile(model, path, name="model", **options)
    except BaseException:
        if not use_cache:
            os.unlink(path)
        raise
    return path, not use_cache
