# SPDX-License-Identifier: Apache-2.0
"""Random convolutions, pools and small ConvNets at -O2 for each level, against ONNX Runtime and against -O0.

As test_regions.py does it; the models are those of convolution_cases.py. TAMIS_SEEDS=FROM:TO looks further.
"""

import pytest
import test_regions as regions
from convolution_cases import FAMILIES, sizes_of

CASES = {"convolution": 4, "pool": 2, "net": 2, "bottleneck": 1, "weights": 2}




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
