# SPDX-License-Identifier: Apache-2.0
"""Synthetic light curves: how bright an object is, night after night, through a green and a red filter.

Fourteen kinds of objects, each a short formula with random parameters: caricatures of what sky surveys see,
not physics. A curve is float32 [100, 2]: 100 times spread evenly over `DAYS` days, filters g and r; noise is
added, then the curve is divided by its largest absolute value.

    x, labels = make(count=1400, seed=1)      # x [1400, 100, 2], labels int64 [1400], all kinds equally often
"""

import numpy as np

TIMES = 100
DAYS = 200.0
KINDS = [
    "supernova Ia",
    "supernova Ia, subluminous",
    "supernova Iax",
    "supernova II",
    "supernova Ibc",
    "superluminous supernova",
    "tidal disruption",
    "kilonova",
    "microlensing",
    "M-dwarf flare",
    "active galaxy",
    "Mira",
    "RR Lyrae",
    "eclipsing binary",
]


def pulse(t, peak, rise, fall):
    """Smooth rise and exponential fall, 1 at most (about)."""
    early = np.exp(-np.clip((t - peak) / fall, -30, 30))
    late = 1 + np.exp(-np.clip((t - peak) / rise, -30, 30))
    shape = early / late
    return shape / max(shape.max(), 1e-6)


def bump(t, centre, width):
    return np.exp(-(((t - centre) / width) ** 2))


def supernova(t, rng, rise, fall, red, second=0.0, plateau=0.0):
    """red: brightness of r over g at peak; second: height of the later bump in r; plateau: its days."""
    peak, stretch = rng.uniform(40, 130), rng.normal(1, 0.06)
    rise, fall = rise * stretch, fall * stretch
    green = pulse(t, peak, rise, fall)
    redder = pulse(t, peak + 3, rise * 1.2, fall * 1.5)
    if second > 0:
        redder = redder + second * rng.normal(1, 0.1) * bump(t, peak + 27 * stretch, 9)
    if plateau > 0:
        end = peak + plateau * rng.normal(1, 0.1)
        redder = np.maximum(
            redder,
            0.85
            / (1 + np.exp(np.clip((t - end) / 4, -30, 30)))
            / (1 + np.exp(np.clip((peak - t) / rise, -30, 30))),
        )
        green = np.maximum(green, 0.35 * redder)
    return green, red * rng.normal(1, 0.06) * redder


def tidal_disruption(t, rng):
    peak = rng.uniform(30, 100)
    since = np.maximum(t - peak, 0) / rng.uniform(18, 32)
    shape = np.where(t < peak, bump(t, peak, rng.uniform(12, 20)), (1 + since) ** (-5 / 3))
    return shape, rng.uniform(0.55, 0.65) * shape


def kilonova(t, rng):
    peak = rng.uniform(30, 150)
    return pulse(t, peak, 0.8, rng.uniform(1.5, 2.5)), rng.uniform(1.0, 1.3) * pulse(
        t, peak + 1, 1.0, rng.uniform(5, 8)
    )


def microlensing(t, rng):
    distance = np.sqrt(rng.uniform(0.05, 0.4) ** 2 + ((t - rng.uniform(50, 150)) / rng.uniform(12, 30)) ** 2)
    shape = (distance**2 + 2) / (distance * np.sqrt(distance**2 + 4)) - 1
    return rng.uniform(0.75, 0.95) * shape, shape


def flare(t, rng):
    shape = np.zeros_like(t)
    for start in rng.uniform(10, 190, size=rng.integers(1, 4)):
        shape += rng.uniform(0.5, 1) * np.where(
            t < start, 0, np.exp(-np.maximum(t - start, 0) / rng.uniform(1, 3))
        )
    return shape, rng.uniform(0.15, 0.3) * shape


def active_galaxy(t, rng):
    keep = np.exp(-(t[1] - t[0]) / rng.uniform(15, 60))
    walk = np.zeros_like(t)
    walk[0] = rng.normal()
    for i in range(1, len(t)):
        walk[i] = keep * walk[i - 1] + np.sqrt(1 - keep**2) * rng.normal()
    return walk, rng.uniform(0.6, 0.8) * walk


def mira(t, rng):
    phase = 2 * np.pi * (t / rng.uniform(100, 250) + rng.uniform())
    wave = np.exp(1.2 * np.sin(phase)) - 1.4
    return rng.uniform(0.25, 0.5) * wave, wave


def rr_lyrae(t, rng):
    phase = (t / rng.uniform(9, 14) + rng.uniform()) % 1.0
    wave = np.where(phase < 0.15, phase / 0.15, 1 - (phase - 0.15) / 0.85) - 0.5
    return wave, rng.uniform(0.6, 0.75) * wave


def eclipsing_binary(t, rng):
    phase = (t / rng.uniform(18, 40) + rng.uniform()) % 1.0
    width = rng.uniform(0.05, 0.09)
    dips = -bump(phase, 0.25, width) - rng.uniform(0.3, 0.9) * bump(phase, 0.75, width)
    return dips, rng.uniform(0.9, 1.05) * dips


MAKERS = [
    lambda t, rng: supernova(t, rng, 4, 18, 0.95, second=0.35),
    lambda t, rng: supernova(t, rng, 3.5, 11, 1.5, second=0.05),
    lambda t, rng: supernova(t, rng, 3.0, 15, 1.15),
    lambda t, rng: supernova(t, rng, 2.5, 22, 1.0, plateau=75),
    lambda t, rng: supernova(t, rng, 5, 15, 1.7),
    lambda t, rng: supernova(t, rng, 12, 45, 0.75),
    tidal_disruption,
    kilonova,
    microlensing,
    flare,
    active_galaxy,
    mira,
    rr_lyrae,
    eclipsing_binary,
]


def make(count, seed):
    rng = np.random.default_rng(seed)
    t = np.linspace(0, DAYS, TIMES)
    labels = np.arange(count, dtype=np.int64) % len(KINDS)
    x = np.empty((count, TIMES, 2), np.float32)
    for row, kind in zip(x, labels):
        curve = np.stack(MAKERS[kind](t, rng), axis=-1)
        curve /= np.abs(curve).max() + 1e-6
        curve += rng.normal(scale=1 / rng.uniform(8, 50), size=curve.shape)
        row[:] = curve / np.abs(curve).max()
    order = rng.permutation(count)
    return x[order], labels[order]
