# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged models through the command: the right exit code, a message that says what is
wrong, no output file, no crash, no long wait.
"""

import os
import pathlib
import subprocess

import numpy
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
BAD_DATA, NO_INPUT, UNSUPPORTED = 65, 66, 69


def compile_model(path, *options):
    output = pathlib.Path(path).with_suffix(".so")
    output.unlink(missing_ok=True)
    done = subprocess.run([TAMIS, "compile", str(path), "-o", str(output), *options], capture_output=True,
                          text=True, errors="replace", timeout=60)
    if done.returncode != 0:
        assert not output.exists()
    return done


def expect(path, code, *texts, options=()):
    done = compile_model(path, *options)
    assert done.returncode == code, done.stderr
    for text in texts:
        assert text in done.stderr
    return done


def model(nodes, inputs=(), outputs=(), initializers=(), opset=17, **more):
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in inputs],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def save(folder, made, name="model.onnx"):
    path = folder / name
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def field(tag, data):
    """A length-delimited field."""
    length, size = len(data), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([tag]) + size + bytes([length]) + data


def test_missing_and_strange_files(tmp_path):
    expect(tmp_path / "missing.onnx", NO_INPUT)
    expect(tmp_path, NO_INPUT)
    os.mkfifo(tmp_path / "fifo.onnx")
    expect(tmp_path / "fifo.onnx", NO_INPUT)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 64, b"PK\x03\x04" + bytes(100), b"\x08\x07"],
                         ids=["empty", "zero", "ones", "zip", "header-only"])
def test_not_a_model(tmp_path, data):
    expect(save(tmp_path, data), BAD_DATA)


def test_cut_short(tmp_path):
    data = model([helper.make_node("Relu", ["x"], ["y"])], ["x"], ["y"]).SerializeToString()
    for size in range(len(data) - 30, len(data)):
        assert compile_model(save(tmp_path, data[:size])).returncode in (0, BAD_DATA)


def test_60_kilobytes_of_nested_types(tmp_path):
    types = b""
    for _ in range(8000):
        types = field(0x4a, field(0x0a, types))  # TypeProto.optional_type, its elem_type
    info = field(0x12, types)
    expect(save(tmp_path, field(0x3a, field(0x5a, info))), BAD_DATA, "--limit-depth")


def test_many_empty_nodes(tmp_path):
    path = save(tmp_path, field(0x3a, b"\x0a\x00" * 2_000_000))
    expect(path, BAD_DATA, "--limit-nodes", options=["--limit-nodes=1000"])
    expect(path, BAD_DATA, "--limit-memory-bytes", options=["--limit-memory-bytes=10000000"])


def test_all_unsupported_operators_in_one_run(tmp_path):
    nodes = [helper.make_node("Strange", ["x"], ["a"]), helper.make_node("Odd", ["a"], ["b"], domain="com.example"),
             helper.make_node("Strange", ["b"], ["y"])]
    expect(save(tmp_path, model(nodes, ["x"], ["y"])), UNSUPPORTED, "Strange", "com.example.Odd", "2 nodes", "E0200")


def test_control_bytes_in_names_are_escaped(tmp_path):
    made = model([helper.make_node("Relu", ["x\x1b[31m"], ["y"])], [], ["y"])
    done = expect(save(tmp_path, made), BAD_DATA)
    assert "\x1b" not in done.stderr


def external(folder, location, **more):
    tensor = numpy_helper.from_array(numpy.ones((4,), numpy.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return save(folder, model([helper.make_node("Add", ["x", "w"], ["y"])], ["x"], ["y"], [tensor]))


def test_external_data_cannot_leave_the_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(64))
    (folder / "link.bin").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    for location in ["../secret.bin", str(secret), "link.bin", "up/secret.bin", "a/../../secret.bin", "/dev/zero"]:
        expect(external(folder, location), BAD_DATA, "E0104")


def test_external_data_sizes(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(20))
    os.mkfifo(tmp_path / "fifo.bin")
    for offset, length in [(8, 16), (0, 1 << 60), (1 << 63, 16), (-4, 16), ("x", 16)]:
        expect(external(tmp_path, "w.bin", offset=offset, length=length), BAD_DATA, "E0104")
    expect(external(tmp_path, "fifo.bin"), BAD_DATA, "E0104")
    expect(external(tmp_path, "."), BAD_DATA, "E0104")


@pytest.mark.parametrize("dims", [[-1], [1 << 40, 1 << 40], [1 << 62], [3]])
def test_dims_that_do_not_fit_the_data(tmp_path, dims):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(16))
    path = save(tmp_path, model([helper.make_node("Add", ["x", "w"], ["y"])], ["x"], ["y"], [tensor]))
    expect(path, BAD_DATA)


def test_random_damage(tmp_path):
    nodes = [helper.make_node("Softmax", ["x"], ["s"], axis=1), helper.make_node("Add", ["s", "w"], ["y"])]
    weights = numpy_helper.from_array(numpy.ones((4,), numpy.float32), "w")
    data = bytearray(model(nodes, ["x"], ["y"], [weights], opset=11).SerializeToString())
    random = numpy.random.default_rng(7)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            damaged[int(random.integers(len(damaged)))] = int(random.integers(256))
        assert compile_model(save(tmp_path, bytes(damaged))).returncode in (0, BAD_DATA, UNSUPPORTED)
