"""Boxes counted by hand: where they begin, what of them lies inside the volume, and centres that are none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.store.crop_boxes import crop_overlap, crop_starts, finite_points


@pytest.mark.parametrize(
    ("given_points", "n"), [([], 0), ([1, 2, 3], 1), ([[1, 2, 3], [4, 5, 6]], 2), (np.empty((0, 3)), 0)]
)
def test_points_become_rows_of_three(given_points: npt.ArrayLike, n: int) -> None:
    points = finite_points(given_points)
    assert points.shape == (n, 3)
    assert points.dtype == np.float64


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_first_point_that_is_not_finite_is_named(wrong: float) -> None:
    with pytest.raises(StoreError, match=rf"three finite numbers, x, y, z in mm; got \[4\.0, {wrong}, 6\.0\]$"):
        finite_points([[1.0, 2.0, 3.0], [4.0, wrong, 6.0], [np.nan, np.nan, np.nan]])


@pytest.mark.parametrize("given_points", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [[1, 2], [3, 4], [5, 6]], 7.0])
def test_numbers_that_are_not_three_a_point_are_not_regrouped(given_points: npt.ArrayLike) -> None:
    """Three points of two numbers are not two points of three."""
    with pytest.raises(StoreError, match="must be three finite numbers, x, y, z in mm; got shape"):
        finite_points(given_points)


def test_starts_are_half_a_crop_before_the_nearest_voxel_of_each_geometry() -> None:
    """Voxel of 2 mm in z, 1 mm in y and x; index 5, 6, 7 is x 7 + 1, y 6 + 2, z 10 + 3."""
    one = Geometry((20, 30, 40), (1.0, 2.0, 3.0), (1.0, 1.0, 2.0))
    other = Geometry((20, 30, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    starts = crop_starts([one, other, one], np.array([[8, 8, 13], [8, 8, 13], [8.4, 7.6, 12.1]]), (4, 5, 2))
    assert starts.dtype == np.int64
    assert starts.tolist() == [[5 - 2, 6 - 2, 7 - 1], [13 - 2, 8 - 2, 8 - 1], [5 - 2, 6 - 2, 7 - 1]]
    assert crop_starts([other], np.zeros((1, 3)), (4, 5, 2)).tolist() == [[-2, -2, -1]], "outside, not wrapped"


@pytest.mark.parametrize("far", [1e18, 1e25, -1e300, 1.7e308])
def test_a_centre_that_no_index_reaches_lies_outside_on_its_side(far: float) -> None:
    (start,) = crop_starts([Geometry((8, 8, 8), (0, 0, 0), (1, 1, 1))], np.array([[0.0, 0.0, far]]), (4, 4, 4)).tolist()
    assert start[1:] == [-2, -2]
    assert (start[0] > 2**50) == (far > 0)
    _, box = crop_overlap(start, (4, 4, 4), (8, 8, 8))
    assert box[0].start == box[0].stop


@pytest.mark.parametrize(
    ("start", "low", "kept"),
    [
        ((2, 2, 2), [2, 2, 2], [(0, 4)] * 3),
        ((-1, 0, 7), [0, 0, 7], [(1, 4), (0, 4), (0, 3)]),
        ((0, 0, 6), [0, 0, 6], [(0, 4)] * 3),
        ((-4, 0, 0), [0, 0, 0], [(4, 4), (0, 4), (0, 4)]),
        ((-9, 10, 25), [0, 10, 25], [(9, 9), (0, 0), (0, 0)]),
    ],
)
def test_the_part_inside(start: tuple[int, int, int], low: list[int], kept: list[tuple[int, int]]) -> None:
    found, box = crop_overlap(start, (4, 4, 4), (10, 10, 10))
    assert found == low
    assert [(s.start, s.stop) for s in box] == kept


@given(*[st.tuples(*[st.integers(low, 9)] * 3) for low in (-9, 1, 1)])
def test_every_voxel_of_the_volume_in_the_box_is_copied_to_its_own_place(
    start: tuple[int, int, int], shape: tuple[int, int, int], whole: tuple[int, int, int]
) -> None:
    volume = np.arange(np.prod(whole)).reshape(whole)
    copied = np.full(shape, -1)
    low, box = crop_overlap(start, shape, whole)
    part = copied[box]
    part[...] = volume[tuple(slice(b, b + n) for b, n in zip(low, part.shape, strict=True))]
    for place in np.ndindex(*shape):
        at = tuple(np.add(place, start))
        inside = all(0 <= a < n for a, n in zip(at, whole, strict=True))
        assert copied[place] == (volume[at] if inside else -1)
