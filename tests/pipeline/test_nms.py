from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungdet.errors import ConfigError
from lungdet.pipeline.nms import suppress_neighbours


def plainly(points: list[list[float]], scores: list[float], radius: float) -> list[int]:
    """The rule as a double loop."""
    kept: list[int] = []
    for row in sorted(range(len(points)), key=lambda r: (-scores[r], r)):
        if all(np.linalg.norm(np.subtract(points[row], points[other])) >= radius for other in kept):
            kept.append(row)
    return kept


@settings(max_examples=80, deadline=None)
@given(
    points=st.lists(st.lists(st.integers(-6, 6).map(float), min_size=3, max_size=3), max_size=25),
    radius=st.sampled_from([0.0, 1.0, 2.5, 5.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_equals_the_double_loop(points: list[list[float]], radius: float, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, len(points)).astype(float)  # with ties
    kept = suppress_neighbours(np.asarray(points).reshape(-1, 3), scores, radius_mm=radius)
    assert kept.tolist() == plainly(points, scores.tolist(), radius)


def test_a_chain_keeps_its_ends() -> None:
    """Three points 4 mm apart, the middle one second best: the best removes it, and the third is 8 mm away: stays."""
    points = np.array([[0.0, 0, 0], [4, 0, 0], [8, 0, 0]])
    assert suppress_neighbours(points, np.array([0.9, 0.8, 0.7]), radius_mm=5).tolist() == [0, 2]
    # The middle one best: both ends go.
    assert suppress_neighbours(points, np.array([0.8, 0.9, 0.7]), radius_mm=5).tolist() == [1]


def test_exactly_at_the_radius_both_stay() -> None:
    points = np.array([[0.0, 0, 0], [5, 0, 0]])
    assert len(suppress_neighbours(points, np.array([1.0, 0.5]), radius_mm=5)) == 2
    assert len(suppress_neighbours(points, np.array([1.0, 0.5]), radius_mm=5.0001)) == 1


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_impossible_radii_are_refused(radius: float) -> None:
    with pytest.raises(ConfigError, match=r"radius_mm=.* must be a finite number >= 0"):
        suppress_neighbours(np.zeros((1, 3)), np.zeros(1), radius_mm=radius)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 of 2 scores are NaN"):
        suppress_neighbours(np.zeros((2, 3)), np.array([0.5, np.nan]), radius_mm=1)
