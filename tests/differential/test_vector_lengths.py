# SPDX-License-Identifier: Apache-2.0
"""The random models of test_regions.py on aarch64 (under an emulator) with each length of SVE's vectors.

They are compared with -O0 here; symbols are pinned, since programs that link an object get its dims by then.
An artifact whose only level is one of SVE runs with the length it is for and is refused with any other, which shows
that a length is what chooses the code.
"""

import subprocess

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
