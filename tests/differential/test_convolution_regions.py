# SPDX-License-Identifier: Apache-2.0
"""Random convolutions, pools and small ConvNets at -O2 for each level, against ONNX Runtime and against -O0.

As test_regions.py does it; the models are those of convolution_cases.py. TAMIS_SEEDS=FROM:TO looks further. On
aarch64 (under an emulator, with and without SVE) fixed shapes are compared with -O0 here. Two properties are exact: a sample has the same
bits whatever the samples beside it, and whatever the number of threads.
"""

import subprocess

import numpy
import pytest
import test_regions as regions
from convolution_cases import FAMILIES, convolve, pool, same, sizes_of, squeeze
from emulated import run_on_aarch64

CASES = {"convolution": 4, "pool": 2, "net": 2, "bottleneck": 1, "weights": 2, "branches": 3, "transposed": 3,
         "gated": 3}


@pytest.mark.parametrize("seed", regions.SEEDS)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_convolution_regions(family, seed, tmp_path):
    m = regions.Model([seed, 100 + list(FAMILIES).index(family)])
    for _ in range(CASES[family]):
        FAMILIES[family](m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    plain = regions.compile_model(path, tmp_path, "plain", ["-O0"])
    levels = [level for level in regions.LEVELS if regions.has_level(level)]
    artifacts = {" ".join(level): regions.compile_model(path, tmp_path, f"level{i}", ["-O2", *level])
                 for i, level in enumerate(levels)}
    found = []
    for sizes in sizes_of(m):
        for special in (False, True):
            feeds = m.feeds(sizes, special)
            wanted = {"-O0": regions.run_artifact(plain, feeds, tmp_path)}
            if not special and not any(a.size == 0 for a in feeds.values()):
                wanted["ONNX Runtime"] = m.wanted(feeds)
                found += regions.differences(wanted["-O0"], wanted["ONNX Runtime"], f"-O0 with {sizes}")
            for level, artifact in artifacts.items():
                made = regions.run_artifact(artifact, feeds, tmp_path)
                for other, want in wanted.items():
                    found += regions.differences(made, want, f"-O2 {level} against {other}, {special}, {sizes}")
    assert not found, "\n".join(found[:20])


def test_samples_and_threads(tmp_path):
    """Three samples at once, with two threads too, and one by one: the same bits."""
    m = regions.Model([7])
    m.symbols.append("n0")
    x = m.input("f", ["n0", 3, 28, 30])
    wide = {"kernel_shape": [1, 1], "strides": [1, 1], "dilations": [1, 1]}
    y = m.node("Relu", [convolve(m, x, 24, attributes=same(m, x))])
    y = m.node("Add", [y, convolve(m, y, 24, attributes=same(m, y))], dims=y.dims)
    y = convolve(m, y, 40, attributes=wide)
    y = pool(m, convolve(m, y, 40, 40, same(m, y, 5)), same(m, y))
    m.output(y)
    v = m.input("f", ["n0", 8, 57, 131])
    z = convolve(m, convolve(m, v, 64, attributes=wide), 64, 64, same(m, v))  # never stored whole, in strips
    z = convolve(m, squeeze(m, z), 24, attributes=wide)
    z = m.node("ConvTranspose", [z, m.weights(24, 4, 2, 2)], dims=["n0", 4, 114, 262], kernel_shape=[2, 2],
               strides=[2, 2])
    m.output(z)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    feeds = m.feeds({"n0": 3}, False)
    for i, level in enumerate(level for level in regions.LEVELS if regions.has_level(level)):
        artifact = regions.compile_model(path, tmp_path, f"level{i}", ["-O2", *level])
        whole = regions.run_artifact(artifact, feeds, tmp_path)
        parts = [regions.run_artifact(artifact, {name: feeds[name][k : k + 1] for name in feeds}, tmp_path)
                 for k in range(3)]
        for name in (y.name, z.name):
            joined = numpy.concatenate([part[name] for part in parts])
            assert whole[name].tobytes() == joined.tobytes(), (level, name)
        numpy.savez(tmp_path / "in.npz", **feeds)
        command = [regions.TAMIS, "run", str(artifact), "--inputs", str(tmp_path / "in.npz"), "--outputs",
                   str(tmp_path / "two.npz"), "--threads", "2"]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        with numpy.load(tmp_path / "two.npz") as made:
            for name in (y.name, z.name):
                assert whole[name].tobytes() == made[name].tobytes(), (level, name)


def test_branches_and_strict_math(tmp_path):
    """Parallel kernels are one; with strict math their sum stays."""
    m = regions.Model([1])
    x = m.input("f", [1, 8, 10, 10])
    y = m.node("Add", [convolve(m, x, 8, attributes=same(m, x)), convolve(m, x, 8, attributes=same(m, x, 1))],
               dims=x.dims)
    m.output(m.node("Relu", [m.node("Add", [y, x], dims=x.dims)], dims=x.dims))
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    for mode, left in (("fast", 1), ("strict", 2)):
        text = subprocess.run([regions.TAMIS, "opt", str(path), "-O2", f"--math={mode}"], check=True,
                              capture_output=True, text=True).stdout
        assert text.count("= Conv(") == left, mode


@pytest.mark.parametrize("sve", ["none", "256", "512"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_on_aarch64(family, sve, tmp_path):
    m = regions.Model([3, 100 + list(FAMILIES).index(family)])
    m.fixed = True
    for _ in range(CASES[family]):
        FAMILIES[family](m)
    path = tmp_path / "model.onnx"
    path.write_bytes(m.make().SerializeToString())
    feeds = m.feeds({}, False)
    wanted = regions.run_artifact(regions.compile_model(path, tmp_path, "plain", ["-O0"]), feeds, tmp_path)
    have = run_on_aarch64(path, feeds, wanted, tmp_path, sve)
    assert not regions.differences(have, wanted, f"aarch64, SVE {sve}")
