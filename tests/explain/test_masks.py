from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lungdet.errors import ConfigError
from lungdet.explain.masks import centre_square, centre_square_of_fraction, quadrants, ring, sliding_boxes


def test_a_centre_square_by_hand() -> None:
    square = centre_square((4, 6), size=2).masks(0, 1)[0]
    assert square.nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    assert centre_square((3, 4), size=1).masks(0, 1)[0].nonzero().tolist() == [[1, 1]]
    cube = centre_square((3, 5, 5), size=3).masks(0, 1)[0]
    assert (int(cube.sum()), bool(cube[:, 1:4, 1:4].all())) == (27, True)


@pytest.mark.parametrize(("fraction", "side"), [(0.5, 5), (1.0, 10), (0.26, 3), (0.001, 1)])
def test_a_fraction_is_of_the_shortest_side(fraction: float, side: int) -> None:
    assert centre_square_of_fraction((10, 14), fraction=fraction).pixels().tolist() == [side**2]
    assert centre_square_of_fraction((12, 10, 14), fraction=fraction).pixels().tolist() == [side**3]


def test_sides_that_no_centre_square_has() -> None:
    with pytest.raises(ConfigError, match=r"size=5.*side of 1 to 4"):
        centre_square((4, 6), size=5)
    with pytest.raises(ConfigError, match=r"fraction=1\.5.*at most 1"):
        centre_square_of_fraction((4, 6), fraction=1.5)


def test_quadrants_divide_the_image() -> None:
    regions = quadrants((5, 4))
    assert regions.names == ("top left", "top right", "bottom left", "bottom right")
    assert regions.pixels().tolist() == [6, 6, 4, 4]
    masks = regions.masks(0, 4)
    assert set(masks.sum(0).flatten().tolist()) == {1}
    assert masks[1].nonzero().amin(0).tolist() == [0, 2]
    assert masks[2].nonzero().amin(0).tolist() == [3, 0]


def test_octants_divide_the_volume() -> None:
    regions = quadrants((3, 4, 5))
    assert (regions.names[0], regions.names[5], len(regions)) == ("first top left", "last top right", 8)
    assert set(regions.masks(0, 8).sum(0).flatten().tolist()) == {1}
    assert regions.masks(5, 6)[0].nonzero().amin(0).tolist() == [2, 0, 3]


@pytest.mark.parametrize("shape", [(9, 13), (8, 8), (6, 8, 10)])
def test_a_ring_holds_the_pixels_at_its_distances(shape: tuple[int, ...]) -> None:
    mask = ring(shape, inner=0.4, outer=0.9).masks(0, 1)[0]
    for pixel in itertools.product(*map(range, shape)):
        distance = math.dist(pixel, [(side - 1) / 2 for side in shape]) / (min(shape) / 2)
        assert bool(mask[pixel]) == (0.4 <= distance < 0.9)


def test_a_ring_needs_two_radii() -> None:
    with pytest.raises(ConfigError, match="0 <= inner < outer"):
        ring((8, 8), inner=0.5, outer=0.5)


@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple),
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_boxes_reach_every_pixel_and_lie_inside(shape: tuple[int, ...], sides: tuple[int, int]) -> None:
    stride, size = sorted(sides)
    regions = sliding_boxes(shape, size=size, stride=stride)
    assert bool(regions.masks(0, len(regions)).any(0).all())
    expected = math.prod(min(size, side) for side in shape)
    assert set(regions.pixels().tolist()) == {expected}
    assert torch.equal(regions.masks(0, len(regions)).flatten(1).sum(1), regions.pixels())


def test_boxes_by_hand() -> None:
    regions = sliding_boxes((4, 7), size=4, stride=2)
    assert regions.corners == ((0, 0), (0, 2), (0, 3))
    with pytest.raises(ConfigError, match="1 <= stride <= size"):
        sliding_boxes((8, 8), size=2, stride=3)
