# SPDX-License-Identifier: Apache-2.0
"""--prune, --quantize and --storage=auto under one budget: what is reported is the distance from the model that was given,
measured here with another engine, and the budget holds for all of them together."""

import json
import os

import numpy as np
import onnx
import pytest
from test_prune import TAMIS, Net, ask, ask_tamis, assert_near, heads, tamis

pytestmark = pytest.mark.skipif(TAMIS is None, reason="TAMIS is not set")
SAMPLES = np.random.default_rng(8).normal(size=(48, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier half of whose channels are others times a number."""
    path = tmp_path_factory.mktemp("contract")
    net = Net(4, x=["n", 16])
    h = net("Relu", net.linear("x", "up", 16, 64))
    y = net("Softmax", net.linear(h, "down", 64, 6))
    scale = net.rng.random(32).astype(np.float32) + 0.5
    net.constants["up"][:, 32:] = net.constants["up"][:, :32] * scale
    net.constants["up.b"][32:] = net.constants["up.b"][:32] * scale
    net.save(path / "model.onnx", y)
    np.save(path / "x.npy", SAMPLES)
    np.save(path / "labels.npy", ask(path / "model.onnx", {"x": SAMPLES})[0].argmax(1))
    return path


def contract(folder, *arguments, output="small.onnx", calib=True, verb="compress"):
    report = folder / "report.json"
    samples = ["--calib", folder / "x.npy"] if calib else []
    tamis(verb, folder / "model.onnx", "-o", folder / output, "--report", report, *samples, *arguments)
    report = json.loads(report.read_text())
    chosen = report["trials"][report["chosen"]]
    return report, chosen, {stage["name"]: stage for stage in chosen["stages"]}


def kl(expected, found):
    expected, found = expected.astype("f8"), np.maximum(found.astype("f8"), 1e-30)
    return (expected * np.log(np.maximum(expected, 1e-30) / found)).sum(1).mean()


def check_divergence(folder, stage, found):
    assert stage["kl"] == pytest.approx(kl(ask(folder / "model.onnx", {"x": SAMPLES})[0], found), rel=0.05, abs=2e-7)


def test_one_budget_for_slices_and_integers(folder):
    report, chosen, stages = contract(folder, "--prune=budget,multiple=8,ridge=1e-6", "--quantize=int8-weights,nearest",
                                      "--budget=kl:1e-3", "--labels", folder / "labels.npy")
    onnx.checker.check_model(folder / "small.onnx", full_check=True)
    check_divergence(folder, stages["quantize"], ask(folder / "small.onnx", {"x": SAMPLES})[0])
    assert chosen["within_budget"] and stages["quantize"]["kl"] <= 1e-3 and "met" in report["budget"]
    assert stages["quantize"]["budget_used"] == pytest.approx(stages["quantize"]["kl"] / 1e-3)
    assert stages["quantize"]["accuracy"] > 0.9
    assert report["goal"] == "bytes" and len(report["trials"]) > 1
    least = min(t["stages"][-1]["bytes"] for t in report["trials"] if t["within_budget"])
    assert stages["quantize"]["bytes"] == least < stages["prune"]["bytes"]
    assert stages["prune"]["bytes"] < 0.7 * report["prune"]["bytes_before"]    # what is said twice goes, and costs nothing
    assert [axis["kept"] <= 32 for axis in report["prune"]["axes"]] == [True]
    assert all(layer["quantized"] for layer in report["quantize"]["layers"])


def test_what_pruning_has_used_is_missing_for_integers(folder):
    """At a budget that the integers alone nearly use, a deeper cut leaves layers in float."""
    _, _, alone = contract(folder, "--prune=zeros", "--quantize=int8-weights,nearest")
    report, chosen, stages = contract(folder, "--prune=budget,multiple=2", "--quantize=int8-weights,nearest",
                                      f"--budget=kl:{1.5 * alone['quantize']['kl']}")
    assert chosen["within_budget"]
    first = report["trials"][0]["stages"]
    assert first[0]["budget_used"] <= 1
    check_divergence(folder, stages["quantize"], ask(folder / "small.onnx", {"x": SAMPLES})[0])


def test_a_goal_over_the_budget_is_refused(folder):
    report, chosen, stages = contract(folder, "--prune=flops:0.1,ridge=1e-6", "--quantize=int8-weights", "--budget=kl:1e-4")
    assert "the goal is over the budget with 0." in report["refused"] and "All together: 0." in report["refused"]
    assert chosen["within_budget"] and not chosen["goal_reached"]
    for stage in stages.values(): # of every fifth sample, which the repair did not see
        assert 0 <= stage["held_out_kl"] <= 1e-4 and stage["budget_used"] >= 0.99 * stage["held_out_kl"] / 1e-4
    rows = slice(4, None, 5)
    assert stages["quantize"]["held_out_kl"] == pytest.approx(
        kl(ask(folder / "model.onnx", {"x": SAMPLES[rows]})[0], ask(folder / "small.onnx", {"x": SAMPLES[rows]})[0]), rel=0.05, abs=2e-7)
    check_divergence(folder, stages["quantize"], ask(folder / "small.onnx", {"x": SAMPLES})[0])


def test_without_a_budget_the_goal_is_made(folder):
    report, chosen, stages = contract(folder, "--prune=flops:0.5,multiple=8", "--quantize=int8,always")
    assert len(report["trials"]) == 1 and chosen["flops"] <= 0.5 and report["budget"] is None and report["refused"] is None
    assert stages["quantize"]["bytes"] < stages["prune"]["bytes"] < report["prune"]["bytes_before"]
    assert report["goal"] == "time" and stages["quantize"]["ns"] > 0


def test_without_samples(folder):
    report, _, stages = contract(folder, "--prune=zeros", "--quantize=int8-weights", calib=False)
    assert stages["quantize"]["kl"] is None and "no samples" in report["quantize"]["unchecked"]
    assert stages["quantize"]["bytes"] < stages["prune"]["bytes"]


@pytest.mark.parametrize("parts", [["--prune=budget,multiple=8,ridge=1e-6"], ["--quantize=int8-weights,nearest"],
                                   ["--prune=budget,multiple=8,ridge=1e-6", "--quantize=int8-weights,nearest"]])
def test_storage_takes_what_is_left(folder, parts):
    report, chosen, stages = contract(folder, "--storage=auto", "--budget=kl:1e-3", *parts, output="m.so", verb="compile")
    found = ask_tamis(folder / "m.so", {"x": SAMPLES}, folder)[0]
    check_divergence(folder, stages["storage"], found)
    assert stages["storage"]["kl"] <= 1e-3 and report["storage"]["rounded"] > 0
    assert stages["storage"]["bytes"] == min(t["stages"][-1]["bytes"] for t in report["trials"] if t["within_budget"])
    tamis("compile", folder / "model.onnx", "-o", folder / "alone.so", "--storage=auto", "--budget=kl:1e-3", "--calib",
          folder / "x.npy")
    assert os.path.getsize(folder / "m.so") < os.path.getsize(folder / "alone.so") + 64


def test_pinned_sizes_and_compile(folder):
    arguments = ["--prune=flops:0.6,multiple=8", "--quantize=int8-weights", "--dim", "n=48", "--calib", folder / "x.npy"]
    tamis("compile", folder / "model.onnx", "-o", folder / "n.so", *arguments)
    tamis("compress", folder / "model.onnx", "-o", folder / "n.onnx", *arguments)
    assert onnx.load(folder / "n.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 48
    assert_near(ask_tamis(folder / "n.so", {"x": SAMPLES}, folder), ask(folder / "n.onnx", {"x": SAMPLES}), 1e-4)


def test_an_encoder(tmp_path):
    """Patches by a convolution, attention, an MLP: heads and channels go, products become integers."""
    net = Net(6, image=["n", 3, 12, 12])
    p = net("Conv", "image", net.weights("patch", 24, 3, 4, 4), net.bias("patch.b", 24), strides=[4, 4])
    net.nodes.append(onnx.helper.make_node("Transpose", [net("Reshape", p, net.ints(0, 24, 9))], ["x"], perm=[0, 2, 1]))
    y, _ = heads(net)
    y = net("Add", y, net.linear(net("Relu", net.linear(y, "u", 24, 64)), "w", 64, 24))
    net.save(tmp_path / "model.onnx", net("Softmax", net.linear(net("ReduceMean", y, net.ints(1), keepdims=0), "head", 24, 8)))
    images = np.random.default_rng(9).normal(size=(32, 3, 12, 12)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    report, chosen, stages = contract(tmp_path, "--prune=flops:0.7,sweep=0", "--quantize=int8,always,attention")
    onnx.checker.check_model(tmp_path / "small.onnx", full_check=True)
    expected, found = ask(tmp_path / "model.onnx", {"image": images})[0], ask(tmp_path / "small.onnx", {"image": images})[0]
    assert stages["quantize"]["kl"] == pytest.approx(kl(expected, found), rel=0.1)
    assert chosen["flops"] <= 0.7 and sum(layer["quantized"] for layer in report["quantize"]["layers"]) >= 6
