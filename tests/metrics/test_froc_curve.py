"""The curve against scikit-learn and by hand: corners, ties, denominators, empty cases, the last bit of fps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lungdet.metrics.froc_curve import FrocCurve, froc_curve, tie_ends


def curve(nodules: list[float | None], false: list[float], n_series: int) -> FrocCurve:
    scores = np.array([math.nan if score is None else score for score in nodules], dtype=np.float64)
    return froc_curve(scores, np.array(false, dtype=np.float64), n_series=n_series)


def test_a_curve_counted_by_hand() -> None:
    """2 series, 3 nodules scored .9 and .6, one missed; false positives .8 and .7, .3.

    From high to low: .9 hit (1/3), .8 false (0.5 per scan), .7 false (1), .6 hit (2/3), .3 false (1.5). The point of .8
    lies on the level from .9 to .7 and is dropped.
    """
    found = curve([0.9, 0.6, None], [0.8, 0.7, 0.3], 2)
    assert found.fps.tolist() == [0, 0, 1, 1, 1.5]
    assert found.sensitivity.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3], abs=1e-15)
    assert found.threshold.tolist() == [math.inf, 0.9, 0.7, 0.6, 0.3]


def test_a_tie_is_one_sloped_step() -> None:
    """One nodule and one false positive, both .5, 1 series: half of the step is taken at 0.5 per scan."""
    found = curve([0.5], [0.5], 1)
    assert found.fps.tolist() == [0, 1]
    assert found.sensitivity_at([0.25, 0.5, 1, 8]).tolist() == [0.25, 0.5, 1, 1]


def test_cpm_is_the_mean_at_seven_rates() -> None:
    """4 series, 2 nodules: .9 before all false positives, .1 after 6 of them, that is at 1.5 per scan.

    Sensitivity is 1/2 at 1/8, 1/4, 1/2 and 1, and 1 at 2, 4 and 8: (4 x 1/2 + 3) / 7 = 5/7.
    """
    found = curve([0.9, 0.1], [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.05], 4)
    assert found.cpm == pytest.approx(5 / 7, abs=1e-15)


def test_a_perfect_detector_has_no_false_positives_anywhere() -> None:
    """All rows positive: fps is 0 at every corner and the sensitivity its last one at every rate."""
    found = curve([0.9, 0.2, 0.2], [], 5)
    assert not found.fps.any()
    assert found.cpm == 1
    assert curve([0.9, None], [], 5).cpm == 0.5


def test_nothing_detected_is_zero_not_nan() -> None:
    """Two nodules, both missed, three false positives: sensitivity 0 along the whole curve."""
    found = curve([None, None], [0.3, 0.2, 0.1], 2)
    assert found.fps.tolist() == [0, 0.5, 1.5]
    assert found.sensitivity.tolist() == [0, 0, 0]
    assert found.cpm == 0


def test_no_marks_at_all_is_zero() -> None:
    found = curve([None, None], [], 2)
    assert [column.tolist() for column in found] == [[0], [0], [math.inf]]
    assert found.cpm == 0


def test_no_nodules_is_nan() -> None:
    found = curve([], [0.5], 2)
    assert found.fps.tolist() == [0, 0.5]
    assert math.isnan(found.cpm)
    assert math.isnan(curve([], [], 2).cpm)


@pytest.mark.parametrize(
    ("n_series", "n_false", "k", "expected", "why"),
    [
        (
            7,
            25,
            7,
            0.5,
            "7/25*25/7 is one unit in the last place above 1: the step at 7 false positives is not reached",
        ),
        (8, 25, 8, 1.0, "8/25*25/8 is 1: np.interp takes the upper end of a vertical step"),
        (49, 49, 49, 1.0, "49/49*49/49 is 1"),
    ],
)
def test_the_vertical_step_at_a_rate(n_series: int, n_false: int, k: int, expected: float, why: str) -> None:
    """Two nodules: one first, one after exactly k false positives, where 1 per scan is reached."""
    scores = np.linspace(0.9, 0.1, n_false).tolist()
    second = (scores[k - 1] + (scores[k] if k < n_false else 0)) / 2
    found = curve([0.99, second], scores, n_series)
    assert found.sensitivity_at(1.0) == expected, why


def test_a_step_one_unit_below_its_rate() -> None:
    """8 series, 49 false positives: 1/49*49/8 is one unit below 1/8, so 1/8 lies on the level after it."""
    assert 1 / 49 * 49 / 8 < 0.125
    found = curve([0.85], [0.9, *np.linspace(0.8, 0.1, 48).tolist()], 8)
    assert found.fps[1] < 0.125
    assert found.sensitivity_at(0.125) == 1


scores = st.sampled_from([-2.0, 0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1.0]) | st.floats(-1, 1)


@settings(deadline=None)  # the first example imports scikit-learn
@given(st.lists(st.none() | scores, max_size=12), st.lists(scores, max_size=25), st.integers(1, 6))
@example([0.5, 0.5, 0.3, 0.3], [0.5, 0.3, 0.1], 2)  # two equal slopes: the point between them is dropped
def test_equals_the_official_curve(slow: Any, nodules: list[float | None], false: list[float], n_series: int) -> None:
    found = curve(nodules, false, n_series)
    detected = [score for score in nodules if score is not None]
    if not detected and not false:
        assert len(found.fps) == 1
        return
    labels = [1.0] * len(nodules) + [0.0] * len(false)
    listed = [-1e9 if score is None else score for score in nodules] + false
    missed = [float(score is None) for score in nodules] + [0.0] * len(false)
    fps, sensitivity, threshold = slow.curve(labels, listed, missed, n_series)
    if nodules and not detected:
        sensitivity = np.zeros(len(fps))
    np.testing.assert_array_equal(found.fps, fps)
    np.testing.assert_array_equal(found.sensitivity, sensitivity)
    np.testing.assert_array_equal(found.threshold, threshold)


def test_tie_ends() -> None:
    assert tie_ends(np.array([0.9, 0.9, 0.5, 0.1, 0.1])).tolist() == [1, 2, 4]
    assert tie_ends(np.array([])).tolist() == []
