"""Four readers as in LIDC: how malignant each finds a nodule, and where each draws its outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungdet.io.phantom.traits import Traits

N_READERS = 4

# 65 % of the LUNA16 nodules have four readings and the rest three; readings of one nodule scatter by 0.75 on average.
_ALL_FOUR = 0.65
_RATING_SCATTER = 0.9
_RATING_PER_LOGIT = 0.42
_NEUTRAL_RATING = 3.2
_OUTLINE_SCATTER_MM = 0.3


@dataclass(frozen=True)
class Reading:
    """What one reader made of one nodule.

    Attributes:
        malignancy: 1 (highly unlikely) to 5 (highly suspicious).
        outline_mm: how far this reader's outline lies outside the true surface (negative: inside).
        shift_xyz_mm: displacement of the outline.
    """

    malignancy: int
    outline_mm: float
    shift_xyz_mm: tuple[float, float, float]


def draw_readings(rng: np.random.Generator, traits: Traits) -> tuple[Reading, ...]:
    """Three or four readings, noisy about `traits.suspicion`."""
    seen_by = N_READERS if rng.uniform() < _ALL_FOUR else N_READERS - 1
    expected = _NEUTRAL_RATING + _RATING_PER_LOGIT * traits.suspicion
    readings = []
    for _ in range(seen_by):
        rating = int(np.clip(np.rint(expected + rng.normal(0, _RATING_SCATTER)), 1, 5))
        # A hand slips in proportion to what it draws, but never by more than a fraction of it.
        slip = min(_OUTLINE_SCATTER_MM, 0.06 * traits.diameter_mm)
        x, y, z = rng.normal(0, 0.5 * slip, 3)
        readings.append(Reading(rating, float(rng.normal(-0.3 * slip, slip)), (float(x), float(y), float(z))))
    return tuple(readings)


def two_readers_4(readings: tuple[Reading, ...]) -> bool:
    """The label rule of `mal_bool` in the annotations_with_malignancy table: at least two ratings of 4 or 5."""
    return sum(reading.malignancy >= 4 for reading in readings) >= 2
