# SPDX-License-Identifier: Apache-2.0
"""Whether two engines gave the same answer. A wrong answer is no time.

Two measures. A recorded answer comes with the tolerances of its case: `differs`. Answers of engines are
compared as wholes, `distance`: the root of the mean square of the difference against that of the answer, over
all floating outputs, so that one number tells float32 noise (1e-6) from bfloat16 (1e-2) and both from a wrong
answer (1).
"""

import numpy as np

CLOSE = {"f32": 1e-3, "bf16": 5e-2}  # greatest distance from the reference


def tensors(value):
    """The arrays in a value: an array, a list of values, a dict of values, or nothing (an empty optional)."""
    if isinstance(value, dict):
        value = [item for key in sorted(value) for item in (np.asarray(key), value[key])]
    if isinstance(value, (list, tuple)):
        return [array for item in value for array in tensors(item)]
    return [] if value is None else [np.asarray(value)]


def is_float(array):
    return array.dtype.kind in "fcV" or array.dtype.name.startswith(("bfloat", "float"))


def differs(got, want, rtol, atol):
    """Why `got` is not `want`, or None."""
    got, want = tensors(got), tensors(want)
    if len(got) != len(want):
        return f"{len(got)} tensors instead of {len(want)}"
    for mine, other in zip(got, want, strict=True):
        if mine.shape != other.shape:
            return f"shape {mine.shape} instead of {other.shape}"
        if not is_float(other):
            if not np.array_equal(mine, other):
                return "other values"
            continue
        mine, other = mine.astype(np.complex128), other.astype(np.complex128)
        if not np.allclose(mine, other, rtol, atol, equal_nan=True):
            return f"differs by up to {np.nanmax(np.abs(mine - other)):.3g}"
    return None


def distance(got, want):
    """0 for equal, inf for answers of other shape, or not finite where the reference is."""
    got, want = tensors(got), tensors(want)
    if [array.shape for array in got] != [array.shape for array in want]:
        return float("inf")
    square = total = 0.0
    for mine, other in zip(got, want, strict=True):
        if not is_float(other):
            continue
        mine, other = mine.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(other)
        if not np.isfinite(mine[finite]).all():
            return float("inf")
        square += np.square(mine[finite] - other[finite]).sum()
        total += np.square(other[finite]).sum()
    return float(np.sqrt(square / total)) if total > 0 else float(np.sqrt(square))
