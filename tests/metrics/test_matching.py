"""The cap and the distance rule, on cases counted by hand and against all pairs by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungdet.metrics.matching import Marks, Spheres, cap_marks, find_hits, match_marks


def spheres(*rows: tuple[int, float, float, float, float]) -> Spheres:
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Spheres(table[:, 0].astype(np.int64), table[:, 1:4], table[:, 4])


def marks(*rows: tuple[int, float, float, float, float]) -> Marks:
    return Marks(*spheres(*rows))


def kept(probability: list[float], max_marks: int | None = 100) -> list[int]:
    series = np.zeros(len(probability), dtype=np.int64)
    return np.flatnonzero(cap_marks(series, np.array(probability), n_series=1, max_marks=max_marks)).tolist()


class TestCap:
    def test_101_different_marks_lose_the_lowest(self) -> None:
        """101 marks 0.01 ... 1.01: the 101st largest is 0.01, so the 100 above it stay, in file order."""
        probability = [(i + 1) / 100 for i in range(101)]
        assert kept(probability) == list(range(1, 101))
        assert kept(probability[::-1]) == list(range(100))

    def test_exactly_100_marks_stay_whatever_their_probabilities(self) -> None:
        """The cap needs a 101st mark: 100 equal ones all stay."""
        assert kept([0.5] * 100) == list(range(100))

    def test_ties_at_the_threshold_all_go(self) -> None:
        """98 marks of 0.9, 5 of 0.5: the 101st largest is 0.5, strictly above are 98 (not 100, not 103)."""
        assert kept([0.5, 0.5, *[0.9] * 98, 0.5, 0.5, 0.5]) == list(range(2, 100))

    def test_all_equal_leaves_nothing(self) -> None:
        """150 marks of 0.5: none is above 0.5."""
        assert kept([0.5] * 150) == []

    def test_no_cap(self) -> None:
        assert kept([0.5] * 150, None) == list(range(150))

    def test_each_series_has_its_own_cap(self) -> None:
        """Cap 2. Series 0 holds .9 .8 .7: .7 goes. Series 1 holds .1 .2: both stay. Series 2 (.5 .5 .5): none stays."""
        series = np.array([2, 0, 1, 0, 2, 1, 0, 2])
        probability = np.array([0.5, 0.7, 0.1, 0.9, 0.5, 0.2, 0.8, 0.5])
        keep = cap_marks(series, probability, n_series=3, max_marks=2)
        assert np.flatnonzero(keep).tolist() == [2, 3, 5, 6]

    def test_more_series_than_16_bits_number(self) -> None:
        """Cap 1 in series 3 and 65,539, which are the same number in 16 bits."""
        series = np.array([3, 65539, 65539, 3, 65539])
        probability = np.array([0.1, 0.9, 0.8, 0.2, 0.7])
        keep = cap_marks(series, probability, n_series=70_000, max_marks=1)
        assert np.flatnonzero(keep).tolist() == [1, 3]

    def test_negative_scores_are_scores(self) -> None:
        """Logits: cap 1 of -3 and -2 keeps -2."""
        assert kept([-3.0, -2.0], 1) == [1]


class TestHits:
    def test_a_mark_on_the_surface_is_outside(self) -> None:
        """Diameter 10 at the origin: (3, 4, 0) is 5 away, not nearer than the radius; (3, 3.99, 0) is."""
        hits = find_hits(spheres((0, 0, 0, 0, 10)), marks((0, 3, 4, 0, 0.5), (0, 3, 3.99, 0, 0.5), (0, 5, 0, 0, 0.5)))
        assert hits.mark.tolist() == [1]

    @pytest.mark.parametrize(("offset", "hit"), [(0.6, True), (4.99, True), (5.0, False), (9.0, False)])
    def test_diameter_minus_1_has_radius_5(self, offset: float, hit: bool) -> None:
        """Not 0.5, as half of |-1| would be, and not 10."""
        hits = find_hits(spheres((0, 0, 0, 0, -1)), marks((0, 0, 0, offset, 0.5)))
        assert bool(hits.mark.size) is hit

    def test_diameter_0_hits_nothing(self) -> None:
        """A mark on the very centre has distance 0, which is not below 0."""
        assert not find_hits(spheres((0, 7, 8, 9, 0)), marks((0, 7, 8, 9, 0.5))).mark.size

    def test_the_same_place_in_another_series_is_no_hit(self) -> None:
        hits = find_hits(spheres((1, 0, 0, 0, 10)), marks((0, 0, 0, 0, 0.5), (1, 0, 0, 0, 0.5), (2, 0, 0, 0, 0.5)))
        assert (hits.sphere.tolist(), hits.mark.tolist()) == ([0], [1])

    def test_nothing_to_match(self) -> None:
        assert not find_hits(spheres(), marks((0, 0, 0, 0, 0.5))).mark.size
        assert not find_hits(spheres((0, 0, 0, 0, 10)), marks()).mark.size

    def test_far_coordinates_do_not_overflow_into_a_hit(self) -> None:
        far = marks((0, 0, 1e200, 0, 0.5), (0, -1e300, 0, 0, 0.5))
        assert not find_hits(spheres((0, 0, 0, 0, 10)), far).mark.size

    @pytest.mark.parametrize(
        ("x", "y", "diameter"),
        [
            (3.594586937889121, 3.4803974848981047, 10.006842040709575),
            (2.9526746579314818, 4.650133236168249, 11.016719429976854),
            (2.3901896702223406, 1.5735823787587424, 5.723344533531982),
            (4.765149653277316, 2.568001829939754, 10.826132202537128),
        ],
    )
    def test_the_last_bit_of_a_square_is_that_of_the_c_library(self, x: float, y: float, diameter: float) -> None:
        """Marks within one rounding of the surface, where pow(x, 2) and x * x may decide differently."""
        hits = find_hits(spheres((0, 0, 0, 0, diameter)), marks((0, x, y, 0, 0.5)))
        assert bool(hits.mark.size) is (math.pow(x, 2.0) + math.pow(y, 2.0) < math.pow(diameter / 2, 2.0))

    tenths = st.integers(-40, 40).map(lambda n: n / 10)

    @given(
        st.lists(st.tuples(st.integers(0, 2), tenths, tenths, tenths, st.sampled_from([-1, 0, 0.2, 1, 3, 5, 8]))),
        st.lists(st.tuples(st.integers(0, 2), tenths, tenths, tenths, st.just(0.5))),
    )
    def test_equals_brute_force(
        self,
        places: list[tuple[int, float, float, float, float]],
        points: list[tuple[int, float, float, float, float]],
    ) -> None:
        hits = find_hits(spheres(*places), marks(*points))
        expected: list[list[int]] = [
            [i, j]
            for i, (s, *center, diameter) in enumerate(places)
            for j, (t, *point, _) in enumerate(points)
            if s == t
            and math.pow(center[0] - point[0], 2.0)
            + math.pow(center[1] - point[1], 2.0)
            + math.pow(center[2] - point[2], 2.0)
            < math.pow((10.0 if diameter < 0 else diameter) / 2, 2.0)
        ]
        assert sorted(np.stack(hits, axis=1).tolist()) == expected
        assert hits.sphere.tolist() == sorted(hits.sphere.tolist())


class TestMatching:
    def test_several_marks_on_one_nodule(self) -> None:
        """Marks .2 .9 .4 on one nodule: score .9 (the maximum, not the first), 2 surplus, no false positive."""
        found = match_marks(
            spheres((0, 0, 0, 0, 10)), spheres(), marks((0, 0, 0, 1, 0.2), (0, 0, 1, 0, 0.9), (0, 1, 0, 0, 0.4))
        )
        assert (found.score.tolist(), found.n_hits.tolist()) == ([0.9], [3])
        assert (found.n_detected, found.n_double) == (1, 2)
        assert not found.is_false_positive.any()

    def test_one_mark_detects_two_nodules(self) -> None:
        """Two overlapping nodules, one mark in both: two true positives, nothing surplus."""
        found = match_marks(spheres((0, 0, 0, 0, 10), (0, 3, 0, 0, 10)), spheres(), marks((0, 1, 0, 0, 0.7)))
        assert (found.score.tolist(), found.n_detected, found.n_double) == ([0.7, 0.7], 2, 0)

    def test_a_mark_used_by_one_nodule_still_raises_the_next(self) -> None:
        """Marks a (.8, in both) and b (.3, in the second only): scores .8 and .8; the second has one surplus."""
        found = match_marks(
            spheres((0, 0, 0, 0, 10), (0, 6, 0, 0, 10)), spheres(), marks((0, 3, 0, 0, 0.8), (0, 8, 0, 0, 0.3))
        )
        assert (found.score.tolist(), found.n_double) == ([0.8, 0.8], 1)
        assert not found.is_false_positive.any()

    def test_included_come_before_excluded(self) -> None:
        """The mark lies in both and nearer to the excluded centre: a true positive all the same, nothing ignored."""
        found = match_marks(spheres((0, 0, 0, 0, 10)), spheres((0, 2, 0, 0, -1)), marks((0, 2, 0, 0, 0.6)))
        assert (found.score.tolist(), found.is_on_excluded.tolist()) == ([0.6], [False])

    def test_a_mark_on_overlapping_excluded_places_is_ignored_once(self) -> None:
        """One mark in three excluded spheres (two the same): one ignored mark, no false positive."""
        places = spheres((0, 0, 0, 0, -1), (0, 0, 0, 0, -1), (0, 1, 0, 0, 6))
        found = match_marks(spheres(), places, marks((0, 0, 0, 0, 0.6), (0, 90, 0, 0, 0.6)))
        assert found.is_on_excluded.tolist() == [True, False]
        assert found.is_false_positive.tolist() == [False, True]

    def test_equal_marks_far_from_everything_are_two_false_positives(self) -> None:
        """Duplicates of the submission are not merged: the rule ignores surplus marks on nodules only."""
        found = match_marks(spheres((0, 0, 0, 0, 10)), spheres(), marks((0, 50, 0, 0, 0.4), (0, 50, 0, 0, 0.4)))
        assert found.is_false_positive.tolist() == [True, True]
        assert math.isnan(found.score[0])
        assert found.n_detected == 0
