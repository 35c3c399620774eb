# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged data files (.npy, .npz, .pb, .json): an answer or a clear error that names the file,
never a crash, a long wait or much memory.
"""

import io
import os
import random
import resource
import struct
import subprocess
import zipfile
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
BAD_DATA, UNSUPPORTED, MISSING, GOOD = 65, 69, 2, 0
MEMORY = 1 << 30
# A sanitizer reserves terabytes of addresses for itself.
LIMITED = "asan" not in TAMIS and "tsan" not in TAMIS and "hostile" not in TAMIS


def limit():
    if LIMITED:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(*arguments):
    return subprocess.run([TAMIS, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=20,
                          preexec_fn=limit)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model y = Identity(x) for each kind of data, compiled."""
    folder = tmp_path_factory.mktemp("data")
    for name, kind in (("f", TensorProto.FLOAT), ("s", TensorProto.STRING), ("i4", TensorProto.INT4), ("b", TensorProto.BOOL)):
        x, y = (helper.make_tensor_value_info(port, kind, ["n", "m"]) for port in "xy")
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / f"{name}.onnx")
        assert run("compile", folder / f"{name}.onnx", "-o", folder / f"{name}.so").returncode == 0
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["n", "m"])
    graph = helper.make_graph([helper.make_node("SequenceLength", ["x"], ["y"])], "g", [sequence],
                              [helper.make_tensor_value_info("y", TensorProto.INT64, [])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), folder / "q.onnx")
    assert run("compile", folder / "q.onnx", "-o", folder / "q.so").returncode == 0
    return folder


def load(place, model, suffix, data):
    """Runs the model on the bytes as a file of this kind; what it says."""
    path = place / f"data{suffix}"
    path.write_bytes(data)
    given = ["--inputs", path] if suffix == ".npz" else ["-i", f"x={path}"]
    done = run("run", place / f"{model}.so", *given)
    damaged = (BAD_DATA, UNSUPPORTED) + ((MISSING,) if suffix == ".npz" else ()) # a changed name: no data for x
    assert done.returncode in (GOOD,) + damaged, done
    if done.returncode != GOOD:
        assert "error E" in done.stderr and done.stderr.count("\n") < 8
        assert f"data{suffix}" in done.stderr or "input" in done.stderr
    return done


def npy(shape="(2, 3)", descr="<f4", data=b"\0" * 24, order="False", version=1, size=None):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode("latin-1")
    length = len(text) if size is None else size
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length) + text + data


NPY = {
    "huge": npy("(4611686018427387904, 3)"), "overflow": npy("(4294967296, 4294967296)"), "beyond": npy("(9" * 30 + ", 1)"),
    "negative": npy("(-1, -6)"), "ranks": npy("(" + "1, " * 40 + ")"), "open": npy("(2, 3"), "no shape": npy("None"),
    "zero and huge": npy("(0, 9223372036854775807)", data=b""), "short": npy(data=b"\0" * 23), "nothing": npy(data=b""),
    "size": npy(size=65535), "size of version 2": npy(version=2, size=2**32 - 1), "big-endian": npy(descr=">f4"), "objects": npy(descr="|O"),
    "no descr": npy(descr=""), "item": npy(descr="<f99999999999999999999"), "negative item": npy(descr="<f-4"),
    "end in descr": b"\x93NUMPY\1\0" + struct.pack("<H", 9) + b"'descr':'", "empty": b"", "magic": b"\x93NUMPY",
    "end after quote": b"\x93NUMPY\1\0" + struct.pack("<H", 35) + b"'fortran_order':True,\n    'descr': '",
}


@pytest.mark.parametrize("name", NPY)
def test_npy(place, name):
    done = load(place, "f", ".npy", NPY[name])
    if name != "zero and huge":
        assert done.returncode == BAD_DATA


def test_npy_strings_take_memory_by_the_file(place):
    """A string of no characters takes no bytes in the file, but a record in memory."""
    assert load(place, "s", ".npy", npy("(1000000000, 1000)", "<U0", b"")).returncode == BAD_DATA
    assert load(place, "s", ".npy", npy("(1, 1)", "<U16777216", b"\0" * 64)).returncode == BAD_DATA
    assert load(place, "s", ".npy", npy("(1, 2)", "<U2", struct.pack("<4I", 0xFFFFFFFF, 0x110000, 0xD800, 65))).returncode == GOOD


def archive(entries):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            made.writestr(name, data)
    return packed.getvalue()


def test_npz(place):
    good = archive([("x.npy", npy())])
    assert load(place, "f", ".npz", good).returncode == GOOD
    end = good.rindex(b"PK\5\6")
    record = good.index(b"PK\1\2")
    for at, bytes_, value in ((end + 10, 2, 65535), (end + 10, 2, 9), (end + 16, 4, 2**32 - 1), (record + 24, 4, 2**31), (record + 24, 4, 7),
                              (record + 20, 4, 2**32 - 1), (record + 42, 4, 2**32 - 2), (record + 28, 2, 65535), (record + 10, 2, 12)):
        damaged = bytearray(good)
        damaged[at:at + bytes_] = value.to_bytes(bytes_, "little")
        assert load(place, "f", ".npz", bytes(damaged)).returncode == BAD_DATA, (at, value)
    for cut in range(0, len(good), 7):
        assert load(place, "f", ".npz", good[:cut]).returncode == BAD_DATA


def test_an_archive_that_names_the_same_bytes_many_times(place):
    """40,000 records of one entry that inflates to 100 MB: only what is wanted is inflated."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = squeeze.compress(b"\0" * 100_000_000) + squeeze.flush()
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), 100_000_000, 5, 0) + b"x.npy" + packed
    record = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), 100_000_000, 5, 0, 0, 0, 0, 0, 0) + b"x.npy"
    whole = local + record * 40000 + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 40000, 40000, len(record) * 40000, len(local), 0)
    assert load(place, "f", ".npz", whole).returncode == BAD_DATA


def proto(**fields):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2, 3], raw_data=b"\0" * 24)
    for name, value in fields.items():
        tensor.ClearField(name)
        getattr(tensor, name).extend(value) if isinstance(value, list) else setattr(tensor, name, value)
    return tensor.SerializeToString()


PB = {
    "huge": proto(dims=[2**62, 3]), "overflow": proto(dims=[2**32, 2**32]), "negative": proto(dims=[-2, -3]), "ranks": proto(dims=[1] * 40),
    "short": proto(raw_data=b"\0" * 23), "long": proto(raw_data=b"\0" * 25), "type": proto(data_type=999), "no type": proto(data_type=0),
    "no data": proto(raw_data=b"", dims=[10**12, 10**6]), "external": proto(data_location=1), "other type": proto(data_type=TensorProto.INT8, raw_data=b"\0" * 6),
    "truncated": proto()[:-5], "length": b"\x4a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "garbage": bytes(range(256)),
}


@pytest.mark.parametrize("name", PB)
def test_pb(place, name):
    assert load(place, "f", ".pb", PB[name]).returncode in (BAD_DATA, UNSUPPORTED)


def mutate(data, random_):
    data = bytearray(data)
    for _ in range(random_.randint(1, 6)):
        kind, at = random_.randrange(5), random_.randrange(len(data))
        if kind == 0:
            data[at] = random_.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << random_.randrange(8)
        elif kind == 2:
            del data[at:at + random_.randint(1, 9)]
        elif kind == 3:
            data[at:at] = bytes(random_.choice((0, 255, 127, 48 + 9)) for _ in range(random_.randint(1, 9)))
        else:
            data[at:at + 8] = random_.choice((b"\xff" * 8, b"\0" * 8, b"9" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f"))
        data = data or bytearray(b"\0")
    return bytes(data)


def seeds():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    text = np.array([["a", "bc"], ["", "\u00e9\u4e2d"]])
    out = {}
    for model, array in (("f", x), ("f", np.asfortranarray(x)), ("s", text), ("i4", x.astype(np.int8)), ("b", x > 2)):
        saved = io.BytesIO()
        np.save(saved, array)
        out[f"{len(out)}{model}.npy"] = (model, ".npy", saved.getvalue())
        out[f"{len(out)}{model}.npz"] = (model, ".npz", archive([("x.npy", saved.getvalue())]))
    out["f.pb"] = ("f", ".pb", numpy_helper.from_array(x, "x").SerializeToString())
    out["s.pb"] = ("s", ".pb", numpy_helper.from_array(text.astype(object), "x").SerializeToString())
    out["q.pb"] = ("q", ".pb", numpy_helper.from_list([x, x[:1]], "x").SerializeToString())
    return out


@pytest.mark.parametrize("seed", seeds())
def test_random_changes(place, seed):
    model, suffix, data = seeds()[seed]
    assert load(place, model, suffix, data).returncode == GOOD
    random_ = random.Random(seed)
    failures = sum(load(place, model, suffix, mutate(data, random_)).returncode != GOOD for _ in range(25))
    assert failures > 3


@pytest.mark.parametrize("text", ["", "[", "[]", "7", '{"rtol": "x"}', '{"rtol": -1}', '{"atol": NaN}', '{"atol": null}', "{" * 5000])
def test_tolerances(place, tmp_path, text):
    case = tmp_path / "case"
    (case / "test_data_set_0").mkdir(parents=True)
    (case / "model.onnx").write_bytes((place / "f.onnx").read_bytes())
    for name in ("input_0.pb", "output_0.pb"):
        (case / "test_data_set_0" / name).write_bytes(proto())
    assert run("check", case).returncode == GOOD
    (case / "data.json").write_text(text)
    done = run("check", case)
    assert done.returncode != 0 and "data.json" in done.stdout + done.stderr
