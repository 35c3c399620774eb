# SPDX-License-Identifier: Apache-2.0
"""A command that a signal ends leaves no temporary folder, no half-written file and no process, and ends by that signal."""

import os
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS")
pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
RNG = np.random.default_rng(3)


@pytest.fixture(name="slow", scope="module")
def slow_fixture(tmp_path_factory):
    """A model of many loops that differ, which takes a second or more to compile."""
    folder = tmp_path_factory.mktemp("slow")
    nodes, constants, name, width = [], {}, "x", 40
    for i in range(60):
        following = 40 + (i * 7) % 61
        constants[f"w{i}"] = RNG.normal(size=(width, following)).astype(np.float32)
        nodes += [helper.make_node("MatMul", [name, f"w{i}"], [f"m{i}"]), helper.make_node("Tanh", [f"m{i}"], [f"t{i}"]),
                  helper.make_node("Softmax", [f"t{i}"], ["y" if i == 59 else f"s{i}"])]
        name, width = f"s{i}", following
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 40])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
                              [numpy_helper.from_array(array, name) for name, array in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "slow.onnx")
    model = onnx.load(folder / "slow.onnx")  # and a small one: its first layer
    del model.graph.node[3:]
    model.graph.node[2].output[0] = "y"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 40
    onnx.save(model, folder / "small.onnx")
    for case in range(3):
        os.makedirs(folder / "cases" / f"c{case}" / "test_data_set_0")
        (folder / "cases" / f"c{case}" / "model.onnx").write_bytes((folder / "slow.onnx").read_bytes())
    np.save(folder / "calib.npy", RNG.normal(size=(64, 40)).astype(np.float32))
    return folder


def descendants(temporary):
    """Processes that were started with this TMPDIR or below it."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and f"TMPDIR={temporary}".encode() in open(f"/proc/{entry}/environ", "rb").read():
                found.append(int(entry))
        except OSError:
            pass
    return found


def stop(slow, tmp_path, arguments, number, delay, whole_group):
    """Runs the command, and sends it the signal a while after its first temporary folder appears."""
    temporary, made = tmp_path / "temporary", tmp_path / "made"
    temporary.mkdir(exist_ok=True)
    made.mkdir(exist_ok=True)
    command = [TAMIS, *(argument.format(slow=slow, made=made) for argument in arguments)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as process:
        until = time.monotonic() + 20
        while not os.listdir(temporary) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(delay)
        assert process.poll() is None, process.stdout.read()
        (os.killpg if whole_group else os.kill)(process.pid, number)
        process.wait(timeout=20)
        left, partial = os.listdir(temporary), [name for name in os.listdir(made) if "part" in name]
        assert process.returncode == -number, process.stdout.read()
    assert left == [] and partial == []
    assert descendants(temporary) == []


COMPILE = ["compile", "{slow}/slow.onnx", "-o", "{made}/slow.so"]
COMMANDS = {"compile": COMPILE,
            "object": ["compile", "{slow}/slow.onnx", "-o", "{made}/slow.o", "-g"],
            "tune": [*COMPILE, "--tune={made}/slow.tune.json"],
            "run": ["run", "{slow}/slow.onnx", "-i", "x={slow}/calib.npy", "-o", "y={made}/y.npy"],
            "quantize": ["quantize", "{slow}/slow.onnx", "-o", "{made}/q.onnx", "--calib={slow}/calib.npy"],
            "prune": [*COMPILE, "--prune=latency:2x", "--calib={slow}/calib.npy"],
            "check": ["check", "-j", "2", "{slow}/cases"]}


@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_left(slow, tmp_path, command, whole_group):
    for number, delay in ((signal.SIGINT, 0.0), (signal.SIGTERM, 0.3)):
        stop(slow, tmp_path, COMMANDS[command], number, delay, whole_group)


def test_a_linker_at_work_is_stopped_too(slow, tmp_path):
    """A linker of our own in the path, which goes on for ever and has begun the output."""
    linker = tmp_path / "path" / "ld.lld-19"
    linker.parent.mkdir()
    linker.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho begun > "$2"\nsleep 100 & wait\n')
    linker.chmod(0o755)
    made, temporary = tmp_path / "made", tmp_path / "temporary"
    made.mkdir()
    temporary.mkdir()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        environment = {**os.environ, "TMPDIR": str(temporary), "PATH": f"{linker.parent}:{os.environ['PATH']}"}
        with subprocess.Popen([TAMIS, "compile", slow / "small.onnx", "-o", made / "small.so"],
                              env=environment, start_new_session=True) as process:
            until = time.monotonic() + 20
            while not os.listdir(made) and time.monotonic() < until:
                time.sleep(0.005)
            assert os.listdir(made) == [f"small.so.{process.pid}.part"]
            process.send_signal(number)
            process.wait(timeout=20)
            assert process.returncode == -number
            assert os.listdir(made) == [] and os.listdir(temporary) == []


def test_a_reader_that_goes_away(slow, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with subprocess.Popen([TAMIS, "compile", slow / "small.onnx", "-o", "-", "--emit=llvm"], stdout=subprocess.PIPE,
                          env={**os.environ, "TMPDIR": str(temporary)}) as process:
        process.stdout.read(10)
        process.stdout.close()
        process.wait(timeout=60)
        assert process.returncode == -signal.SIGPIPE
    assert os.listdir(temporary) == []


def test_an_ignored_signal_stays_ignored(slow, tmp_path):
    with subprocess.Popen(["sh", "-c", 'trap "" INT; exec "$0" "$@"', TAMIS, "compile", slow / "small.onnx", "-o",
                           tmp_path / "small.so"], env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        while not list(tmp_path.glob("tamis-*")) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0 and os.listdir(tmp_path) == ["small.so"]
