# SPDX-License-Identifier: Apache-2.0
"""The random models of test_regions.py on aarch64 (under an emulator) with each length of SVE's vectors.

They are compared with -O0 here; symbols are pinned, since programs that link an object get its dims by then.
An artifact whose only level is one of SVE runs with the length it is for and is refused with any other, which shows
that a length is what chooses the code.
"""

import subprocess

import numpy
import onnx
import pytest
import test_regions as regions
from emulated import SVE, run_on_aarch64

CASES = 4


def pins(m, sizes):
    named = {dim for value in m.inputs for dim in value.dims}
    return [f"--dim={symbol}={size}" for symbol, size in sizes.items() if symbol in named]


@pytest.mark.parametrize("sve", ["none", "256", "512"])
@pytest.mark.parametrize("family", list(regions.FAMILIES))
def test_regions_on_aarch64(family, sve, tmp_path):
    m = regions.Model([5, list(regions.FAMILIES).index(family)])
    for _ in range(CASES):
        regions.FAMILIES[family](m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    sizes = {s: int(m.pick(regions.SIZES[:14])) for s in m.symbols}
    feeds = m.feeds(sizes, False)
    plain = regions.compile_model(path, tmp_path, "plain", ["-O0"])
    wanted = regions.run_artifact(plain, feeds, tmp_path)
    for special in (False, True):
        if special:
            feeds = m.feeds(sizes, True)
            wanted = regions.run_artifact(plain, feeds, tmp_path)
        have = run_on_aarch64(path, feeds, wanted, tmp_path, sve, pins(m, sizes))
        assert not regions.differences(have, wanted, f"aarch64, SVE {sve}")


@pytest.mark.parametrize("length", ["256", "512"])
def test_code_for_one_length(length, tmp_path):
    m = regions.Model([6])
    regions.FAMILIES["norm"](m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    sizes = {s: 5 for s in m.symbols}
    feeds = m.feeds(sizes, False)
    wanted = regions.run_artifact(regions.compile_model(path, tmp_path, "plain", ["-O0"]), feeds, tmp_path)
    options = [f"-mcpu=armv8.2-a+sve{length}", *pins(m, sizes)]
    for sve, (cpu, _) in SVE.items():
        if sve == length:
            have = run_on_aarch64(path, feeds, wanted, tmp_path, sve, options)
            assert not regions.differences(have, wanted, f"aarch64, SVE {sve}")
            continue
        with pytest.raises(subprocess.CalledProcessError) as refused:
            run_on_aarch64(path, feeds, wanted, tmp_path, sve, options)
        assert refused.value.cmd[0] == "qemu-aarch64" and refused.value.returncode == 1, cpu


@pytest.mark.parametrize("sve", ["none", "256", "512"])
def test_small_attention_on_aarch64(tmp_path, sve):
    """Few queries of small heads: a vector of queries, or of columns, may be all there is."""
    feeds, nodes, outputs = {}, [], []
    random = numpy.random.default_rng(7)
    for queries in (1, 5, 8, 13):
        for size in (3, 8, 16, 24):
            names = [f"{part}_{queries}_{size}" for part in "qkvy"]
            for name, rows in zip(names, (queries, 9, 9), strict=False):
                feeds[name] = random.standard_normal((2, 1, rows, size)).astype(numpy.float32)
            nodes.append(onnx.helper.make_node("Attention", names[:3], names[3:]))
            outputs.append(onnx.helper.make_tensor_value_info(names[3], onnx.TensorProto.FLOAT, (2, 1, queries, size)))
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, x.shape) for name, x in feeds.items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs)
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10), path)
    wanted = regions.run_artifact(regions.compile_model(path, tmp_path, "plain", ["-O0"]), feeds, tmp_path)
    have = run_on_aarch64(path, feeds, wanted, tmp_path, sve)
    assert not regions.differences(have, wanted, f"aarch64, SVE {sve}")
