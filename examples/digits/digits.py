# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures of the ten digits, 8 x 8, of two sources.

drawn(count, seed): strokes of a pen, bent, slanted, moved and smeared at random; nothing is needed for it. scanned(folder):
the 1,797 handwritten digits that the PyPI package scikit-learn contains, which is fetched into the folder without what it
declares to depend on. Both count the black pixels of a picture of 32 x 32 in squares of 4 x 4: 0 to 16, here divided by 16.

    x float32 [N, 1, 8, 8], labels int64 [N]
"""

import gzip
import pathlib
import subprocess
import sys

import numpy as np

PACKAGE = "scikit-learn==1.9.1"
PIXELS, SQUARE = 32, 4
TRAINED = 1000  # of the scanned digits, the first; the others judge


def arc(x, y, width, height, begin, end, points=10):
    """Degrees, clockwise from the right, since y points down."""
    angle = np.radians(np.linspace(begin, end, points))
    return [(x + width * np.cos(a), y + height * np.sin(a)) for a in angle]


# Each digit in a square from -1 to 1, y down, as one line or several.
STROKES = [
    [arc(0, 0, 0.55, 0.9, 0, 360, 18)],
    [[(-0.35, -0.5), (0.05, -0.9), (0.05, 0.9)]],
    [arc(0, -0.4, 0.5, 0.5, 190, 370) + [(-0.5, 0.9), (0.55, 0.9)]],
    [arc(0, -0.45, 0.5, 0.45, 200, 440), arc(0, 0.42, 0.55, 0.48, 280, 520)],
    [[(0.25, 0.9), (0.25, -0.9), (-0.6, 0.3), (0.6, 0.3)]],
    [[(0.5, -0.9), (-0.4, -0.9), (-0.45, -0.1)], arc(0, 0.35, 0.55, 0.53, 220, 510)],
    [[(0.4, -0.9), (-0.1, -0.6), (-0.45, 0.1)], arc(0, 0.4, 0.48, 0.48, 0, 360, 14)],
    [[(-0.55, -0.85), (0.55, -0.85), (-0.1, 0.9)]],
    [arc(0, -0.45, 0.42, 0.42, 0, 360, 14), arc(0, 0.45, 0.52, 0.45, 0, 360, 14)],
    [arc(0, -0.4, 0.48, 0.46, 0, 360, 14), [(0.47, -0.35), (0.35, 0.3), (0.1, 0.9)]],
]


def segments(digit):
    lines = [np.array(line) for line in STROKES[digit]]
    return np.concatenate([np.stack([line[:-1], line[1:]], 1) for line in lines])  # [S, 2 ends, 2]


def bent(ends, count, rng):
    """[count, S, 2, 2]: every picture by a map of its own."""
    slant, turn = rng.normal(0, 0.18, count), rng.normal(0, 0.12, count)
    width, height = rng.uniform(0.65, 1.1, count), rng.uniform(0.8, 1.05, count)
    x, y = ends[None, ..., 0], ends[None, ..., 1]
    spread = (count, 1, 1)
    wave = rng.normal(0, 0.07, spread) * np.sin(3 * y + rng.uniform(0, 6, spread))
    x = width.reshape(spread) * (x + wave) - slant.reshape(spread) * y
    y = height.reshape(spread) * y + turn.reshape(spread) * x
    moved = [part + rng.normal(0, 0.06, spread) for part in (x, y)]
    return np.stack(moved, -1) * (PIXELS * 0.45) + PIXELS / 2


def rendered(ends, thick, rng):
    """Pixels nearer to a line than the pen is wide, less some that are flipped, counted in squares."""
    count, squares = len(ends), PIXELS // SQUARE
    row = np.arange(PIXELS, dtype=np.float32) + 0.5
    near = np.full((count, PIXELS, PIXELS), np.inf, np.float32)
    for s in range(ends.shape[1]):
        begin, along = ends[:, s, 0], ends[:, s, 1] - ends[:, s, 0]
        (ax, ay), (dx, dy) = (part.T.astype(np.float32)[..., None, None] for part in (begin, along))
        x, y = row[None, None, :] - ax, row[None, :, None] - ay
        share = np.clip((x * dx + y * dy) / np.maximum(dx * dx + dy * dy, 1e-6), 0, 1)
        near = np.minimum(near, (x - share * dx) ** 2 + (y - share * dy) ** 2)
    black = (near < thick[:, None, None] ** 2) ^ (rng.random(near.shape) < 0.03)
    return black.reshape(count, squares, SQUARE, squares, SQUARE).sum((2, 4)) / 16


def drawn(count, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    x = np.empty((count, 1, PIXELS // SQUARE, PIXELS // SQUARE), np.float32)
    for digit in range(10):
        rows = np.flatnonzero(labels == digit)
        ends = bent(segments(digit), len(rows), rng)
        x[rows, 0] = rendered(ends, rng.uniform(1.2, 3.0, len(rows)), rng)
    return x, labels


def scanned(folder):
    """In the order of the file, which is that of the writers."""
    folder = pathlib.Path(folder)
    path = folder / "sklearn" / "datasets" / "data" / "digits.csv.gz"
    if not path.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--target", str(folder), PACKAGE], check=True)
    rows = np.loadtxt(gzip.open(path, "rt"), delimiter=",", dtype=np.float32)
    return (rows[:, :64] / 16).reshape(-1, 1, 8, 8), rows[:, 64].astype(np.int64)
