# SPDX-License-Identifier: Apache-2.0
"""Units of a loop, which threads share among them, store to places of their own.

level_runner with no pieces runs each unit alone and compares what they change.
"""

import numpy as np
import pytest
from levels import Model, is_x86, levels, run, runner  # noqa: F401

pytestmark = pytest.mark.skipif(not is_x86(), reason="runs artifacts for x86-64")


def random_values(random, *dims):
    return random.standard_normal(dims).astype(np.float32)


def check(model, tmp_path, runner, x):
    artifact = model.compile(tmp_path, symbolic=False)
    for level in levels("x86-64-v3", "x86-64-v4"):
        together = run(runner, artifact, level, x)
        assert (together == run(runner, artifact, level, x, pieces=3)).all(), level
        assert (together == run(runner, artifact, level, x, pieces=0)).all(), level


# Columns of an image that strips do not divide: the last strip starts among those of its neighbour.
@pytest.mark.parametrize("columns,stride,window", [(131, 1, 3), (127, 2, 3), (149, 1, 5), (71, 1, 3)])
def test_bottleneck(tmp_path, runner, columns, stride, window):  # noqa: F811
    random = np.random.default_rng(columns)
    model = Model([None, 8, 57, columns])
    wide = model.add("Relu", model.add("Conv", "x", random_values(random, 48, 8, 1, 1), kernel_shape=[1, 1]))
    model.add("Conv", wide, random_values(random, 48, 1, window, window), group=48, strides=[stride] * 2,
              kernel_shape=[window] * 2, pads=[window // 2] * 4)
    check(model, tmp_path, runner, random_values(random, 1, 8, 57, columns))


@pytest.mark.parametrize("filters,columns,group", [(40, 171, 1), (96, 7, 1), (24, 13, 4)])
def test_convolution(tmp_path, runner, filters, columns, group):  # noqa: F811
    random = np.random.default_rng(filters)
    model = Model([None, 16, 9, columns])
    model.add("Conv", "x", random_values(random, filters, 16 // group, 3, 3), group=group, pads=[1] * 4,
              kernel_shape=[3, 3])
    check(model, tmp_path, runner, random_values(random, 1, 16, 9, columns))
