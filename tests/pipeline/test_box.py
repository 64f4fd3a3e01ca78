from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.pipeline.box import Box, bounding_box, whole_volume


def test_bounding_box_holds_every_voxel_and_no_more() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[1, 2, 6] = mask[3, 4, 0] = True
    box = bounding_box(mask)
    assert box == Box((1, 2, 0), (4, 5, 7))
    assert box.shape_zyx == (3, 3, 7)
    assert mask[box.slices].sum() == 2


def test_an_empty_mask_has_no_box() -> None:
    assert bounding_box(np.zeros((2, 3, 4), bool)) is None


def test_growing_stops_at_the_border() -> None:
    box = Box((1, 2, 3), (4, 5, 6)).grown((2, 0, 10), shape_zyx=(9, 9, 9))
    assert box == Box((0, 2, 0), (6, 5, 9))
    assert whole_volume((4, 5, 6)).grown((1, 1, 1), shape_zyx=(4, 5, 6)) == Box((0, 0, 0), (4, 5, 6))


def test_geometry_of_a_box_places_its_voxels_where_they_were() -> None:
    turn = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)
    whole = Geometry((10, 20, 30), (5.0, -7.0, 100.0), (0.7, 0.8, 2.5), turn)
    box = Box((2, 3, 4), (5, 9, 10))
    part = box.geometry(whole)
    assert part.shape_zyx == (3, 6, 6)
    assert part.index_to_world([1, 1, 1]) == pytest.approx(whole.index_to_world([3, 4, 5]))
