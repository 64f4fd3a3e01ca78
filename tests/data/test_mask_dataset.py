"""Tiles of one scan of a few voxels, counted by hand; `test_mask_samples` holds real scans against their masks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.data.mask_dataset import MaskTileDataset
from lungdet.geometry import Geometry
from lungdet.store.crop_boxes import crop_overlap, crop_starts

AIR = -1000
# Six slices of 10 x 12 pixels, 2 mm apart; a second, larger scan. One voxel of z is 2 mm.
GEOMETRIES = {
    "small": Geometry((6, 10, 12), (0.0, 0.0, 0.0), (1.0, 1.0, 2.0)),
    "wide": Geometry((6, 10, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 2.0)),
}


class Voxels:
    """Stored arrays: HU are 100 z + y, a nodule of three readers covers voxel (2, 5, 6)."""

    def __init__(self, fill: int, *, is_mask: bool = False) -> None:
        self.fill, self.is_mask = fill, is_mask
        self.spec = SimpleNamespace(air_hu=AIR)

    def geometry(self, uid: str) -> Geometry:
        return GEOMETRIES[uid]

    def volume(self, uid: str) -> npt.NDArray[np.int16]:
        z, y, _ = np.indices(GEOMETRIES[uid].shape_zyx, np.int16)
        if not self.is_mask:
            return np.asarray(100 * z + y, np.int16)
        volume = np.zeros(GEOMETRIES[uid].shape_zyx, np.int16)
        volume[2, 5, 6] = 3
        return volume

    def crops(self, uids: list[str], centers: npt.NDArray[Any], shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
        out = np.full((len(uids), *shape), self.fill, np.int16)
        starts = crop_starts([self.geometry(uid) for uid in uids], centers, shape)
        for uid, start, crop in zip(uids, starts.tolist(), out, strict=True):
            low, box = crop_overlap(start, shape, self.geometry(uid).shape_zyx)
            part = crop[box]
            part[...] = self.volume(uid)[tuple(slice(a, a + n) for a, n in zip(low, part.shape, strict=True))]
        return out


def points(*rows: tuple[str, float, float, float], **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(list(rows), columns=["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"])
    return table.assign(**columns)


NODULE = points(("small", 6.0, 5.0, 4.0), diameter_mm=5.0)


def tiles(
    records: pd.DataFrame,
    *,
    whole_slices: bool,
    shape: tuple[int, int, int],
    nodules: pd.DataFrame = NODULE,
    readers: int = 2,
) -> MaskTileDataset:
    store: Any = Voxels(AIR)
    masks: Any = Voxels(0, is_mask=True)
    return MaskTileDataset(
        store, masks, records=records, nodules=nodules, shape_zyx=shape, whole_slices=whole_slices, min_readers=readers
    )


def slices(*z: int, **changed: Any) -> MaskTileDataset:
    records = points(*(("small", 6.0, 5.0, 2.0 * n) for n in z))
    return tiles(records, whole_slices=True, shape=(3, 4, 6), **changed)


def test_slices_have_their_neighbours_and_repeat_the_ends() -> None:
    batch = slices(0, 2, 5).__getitems__([0, 1, 2])
    assert batch["hu"].shape == (3, 1, 3, 16, 16), "planes are filled up to a multiple of 16"
    assert batch["hu"][:, 0, :, 0, 0].tolist() == [[0, 0, 100], [100, 200, 300], [400, 500, 500]]
    assert (batch["hu"][:, :, :, 10:] == AIR).all()
    assert batch["valid"].shape == (3, 1, 1, 16, 16)
    assert batch["valid"][:, 0, 0, :10, :12].all()
    assert batch["valid"].sum() == 3 * 120


def test_a_voxel_is_nodule_where_enough_readers_say_so() -> None:
    for readers, n in ((3, 1), (4, 0)):
        assert slices(2, readers=readers).__getitems__([0])["mask"].sum() == n
    assert slices(2).__getitems__([0])["mask"].nonzero().tolist() == [[0, 0, 0, 5, 6]]
    assert slices(1).__getitems__([0])["mask"].sum() == 0


def test_smaller_planes_are_filled_up_to_the_largest() -> None:
    records = points(("small", 6.0, 5.0, 0.0), ("wide", 6.0, 5.0, 0.0))
    batch = tiles(records, whole_slices=True, shape=(1, 4, 6)).__getitems__([0, 1])
    assert batch["hu"].shape == (2, 1, 1, 16, 32)
    assert batch["valid"].sum(dim=(1, 2, 3, 4)).tolist() == [120, 200]


def test_near_slices_are_those_the_nodule_touches_in_the_crop_around_it() -> None:
    """5 mm at 2 mm a slice: one slice to each side of the third; 4 x 6 pixels around (5, 6)."""
    near = slices(0, 1, 2, 3, 4).__getitems__([0, 1, 2, 3, 4])["near"]
    assert near.sum(dim=(1, 2, 3, 4)).tolist() == [0, 24, 24, 24, 0]
    where = near[2, 0, 0].nonzero()
    assert (where.min(0).values.tolist(), where.max(0).values.tolist()) == ([3, 3], [6, 8])


def test_small_and_cut_nodules_have_near_voxels_too() -> None:
    tiny = points(("small", 6.0, 5.0, 4.0), diameter_mm=3.0)
    near = slices(1, 2, 3, nodules=tiny).__getitems__([0, 1, 2])["near"]
    assert near.sum(dim=(1, 2, 3, 4)).tolist() == [0, 24, 0], "less than a slice to each side"
    corner = points(("small", 0.0, 0.0, 0.0), diameter_mm=3.0)
    assert slices(0, nodules=corner).__getitems__([0])["near"].sum() == 2 * 3, "no index wraps around"
    other = points(("another scan", 6.0, 5.0, 4.0), diameter_mm=5.0)
    assert not slices(2, nodules=other).__getitems__([0])["near"].any()


@pytest.mark.parametrize("n_nodules", [0, 2])
def test_no_nodules_and_several(n_nodules: int) -> None:
    nodules = pd.concat([NODULE, points(("small", 6.0, 5.0, 8.0), diameter_mm=1.0)]).iloc[:n_nodules]
    near = slices(2, 4, nodules=nodules).__getitems__([0, 1])["near"]
    assert near.sum(dim=(1, 2, 3, 4)).tolist() == [12 * n_nodules] * 2


def test_boxes_reach_out_of_the_scan_at_their_far_ends_only() -> None:
    """Boxes of 4 x 4 x 8 from voxel (4, 8, 8) on: 2 x 2 x 4 voxels are left inside."""
    records = points(("small", 4.0, 2.0, 4.0), ("small", 12.0, 10.0, 12.0))
    batch = tiles(records, whole_slices=False, shape=(4, 4, 8)).__getitems__([0, 1])
    assert batch["hu"].shape == batch["valid"].shape == (2, 1, 4, 4, 8)
    assert batch["valid"].sum(dim=(1, 2, 3, 4)).tolist() == [128, 16]
    assert batch["valid"][1, 0, :2, :2, :4].all()
    assert (batch["hu"][1][~batch["valid"][1]] == AIR).all()
    assert batch["hu"][1, 0, 0, 0, 0] == 408


def test_near_in_boxes_is_the_crop_around_the_nodule() -> None:
    """Crop of 4 x 4 x 8 around (2, 5, 6): from (0, 3, 2) to (4, 7, 10), in a box that starts at (0, 0, 0)."""
    near = tiles(points(("small", 4.0, 2.0, 4.0)), whole_slices=False, shape=(4, 4, 8)).__getitems__([0])["near"]
    where = near[0, 0].nonzero()
    assert (where.min(0).values.tolist(), where.max(0).values.tolist()) == ([0, 3, 2], [3, 3, 7])


def test_repeated_rows_are_marked_and_spacing_is_that_of_the_scan() -> None:
    data = slices(0, 2)
    batch = data.__getitems__([1, 3])
    assert batch["index"].tolist() == [1, 1]
    assert batch["draw"].tolist() == [1, 3]
    assert batch["is_repeat"].tolist() == [False, True]
    assert len(data) == 2
    assert data.spacing_zyx_mm(np.array([0, 1])).tolist() == [[2, 1, 1]] * 2
    assert data.spacing_zyx_mm(np.array([], np.int64)).shape == (0, 3)
