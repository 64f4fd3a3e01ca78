"""The ribs: hoops around the cavity that slope forward, with a cortex, marrow and knobs at their front ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.trees import Tubes

FloatArray = npt.NDArray[np.float64]

CORTEX_HU, MARROW_HU = 620.0, 180.0

_PAIRS = 10
_STEPS = 15
_POWER = 2 / 2.5  # of the superellipse that the cavity is


@dataclass(frozen=True)
class Ribs:
    """All ribs of a chest, mm about the scan centre.

    Attributes:
        cortex: outer surface; marrow: inner surface.
        ends: [N, 3] front ends, where cartilage meets bone and bulges towards the lung.
    """

    cortex: Tubes
    marrow: Tubes
    ends: FloatArray


def make_ribs(rng: np.random.Generator, thorax: Thorax) -> Ribs:
    """Ten pairs, evenly spaced, within the scan or not."""
    radius = thorax.cavity_x * rng.uniform(0.042, 0.052)
    top = 0.95 * thorax.half_height + rng.uniform(-0.05, 0.05) * thorax.half_height
    starts, finishes, sizes, ends = [], [], [], []
    for pair in range(_PAIRS):
        for side in (-1, 1):
            path = _path(thorax, side, top - pair * 0.2 * thorax.half_height, 0.95 * radius)
            if len(path) < 3:
                continue
            starts.append(path[:-1])
            finishes.append(path[1:])
            sizes.append(np.full(len(path) - 1, radius))
            # The knob is a short, thicker piece that reaches inwards.
            inwards = path[-1] * [0.95, 0.95, 1.0]
            starts.append(inwards[None])
            finishes.append(path[-1][None])
            sizes.append(np.array([radius * rng.uniform(1.05, 1.35)]))
            ends.append(inwards)
    size = np.concatenate(sizes)
    cortex = Tubes(np.concatenate(starts), np.concatenate(finishes), size, size)
    marrow = Tubes(cortex.start, cortex.end, 0.62 * size, 0.62 * size)
    return Ribs(cortex, marrow, np.stack(ends))


def _path(thorax: Thorax, side: int, z_back: float, outside_mm: float) -> FloatArray:
    """Points along one rib from the spine to the front, just outside the pleura."""
    progress = np.linspace(0, 1, _STEPS)
    angle = np.pi * (0.10 + 0.68 * progress)
    z = z_back - 0.30 * thorax.half_height * progress**1.3
    section = thorax.cavity_section(z)
    a, b = thorax.cavity_x * section + outside_mm, thorax.cavity_y * section + outside_mm
    sine, cosine = np.sin(angle), np.cos(angle)
    x = side * a * np.abs(sine) ** _POWER
    y = b * np.sign(cosine) * np.abs(cosine) ** _POWER
    path = np.stack([x, y, z], axis=1)
    kept: FloatArray = path[section > 0.35]
    return kept
