from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungdet.io.phantom.readers import Reading, draw_readings, two_readers_4
from lungdet.io.phantom.traits import draw_traits


def readings_of(*ratings: int) -> tuple[Reading, ...]:
    return tuple(Reading(rating, 0.0, (0.0, 0.0, 0.0)) for rating in ratings)


@pytest.mark.parametrize(
    ("ratings", "expected"),
    [((4, 2, 4, 2), True), ((3, 2, 3), False), ((5, 3, 4), True), ((5, 3, 3, 3), False), ((4, 4, 4, 4), True)],
)
def test_two_readers_4_by_hand(ratings: tuple[int, ...], expected: bool) -> None:
    assert two_readers_4(readings_of(*ratings)) is expected


def test_ratings_are_noisy_about_the_truth() -> None:
    rng = np.random.default_rng(4)
    traits = [draw_traits(rng, largest_mm=32.3) for _ in range(2000)]
    readings = [draw_readings(rng, t) for t in traits]
    assert {len(r) for r in readings} == {3, 4}
    assert np.mean([len(r) == 4 for r in readings]) == pytest.approx(0.65, abs=0.04)
    ratings = np.array([r.malignancy for readers in readings for r in readers])
    assert set(ratings.tolist()) == {1, 2, 3, 4, 5}
    assert np.bincount(ratings)[1:].min() / len(ratings) > 0.10
    means = [np.mean([r.malignancy for r in readers]) for readers in readings]
    assert 0.8 < np.corrcoef(means, [t.suspicion for t in traits])[0, 1] < 0.97
    scatter = np.mean([np.std([r.malignancy for r in readers], ddof=1) for readers in readings])
    assert scatter == pytest.approx(0.75, abs=0.15)  # LIDC: 0.75


def test_outlines_scatter_by_a_fraction_of_a_small_nodule() -> None:
    rng = np.random.default_rng(5)
    small = dataclasses.replace(draw_traits(rng, largest_mm=5.0), diameter_mm=3.3)
    outlines = np.array([r.outline_mm for _ in range(500) for r in draw_readings(rng, small)])
    assert outlines.std() == pytest.approx(0.06 * 3.3, rel=0.1)
    assert abs(outlines).max() < 1.0
