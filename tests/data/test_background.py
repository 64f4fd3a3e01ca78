"""Random places in the lungs: inside the mask, far from findings, evenly spread, and the same for the same seed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.data.background import NO_SPHERES, Spheres, draw_background, draw_in_lung, places_to_avoid
from lungdet.geometry import Geometry
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


class MaskOnly(CtStore):
    """A store whose only content is a lung mask."""

    def __init__(self, mask: npt.NDArray[np.uint8], geometry: Geometry) -> None:
        self.mask, self.grid = mask, geometry

    def lung_mask(self, series_uid: str) -> npt.NDArray[np.uint8]:
        return self.mask

    def geometry(self, series_uid: str) -> Geometry:
        return self.grid


@pytest.fixture
def lungs() -> MaskOnly:
    """Two boxes of codes 3 and 4, as LUNA16's masks number the lungs, on an oblique grid with three spacings."""
    mask = np.zeros((40, 60, 50), np.uint8)
    mask[5:35, 10:50, 4:20] = 3
    mask[5:35, 10:50, 30:46] = 4
    return MaskOnly(mask, Geometry(mask.shape, (-30.0, 12.0, 100.0), (0.7, 0.8, 2.0), OBLIQUE))


@pytest.fixture
def nodules(lungs: MaskOnly) -> Spheres:
    return Spheres(lungs.grid.index_to_world([[20.0, 30.0, 12.0], [10.3, 20.7, 33.1]]), np.array([4.0, 6.5]))


def test_places_are_in_the_lungs_and_far_from_every_finding(lungs: MaskOnly, nodules: Spheres) -> None:
    places = draw_in_lung(lungs, "1.2", n=3000, avoid=nodules, minimum_distance_mm=5.0, seed=0)
    index = np.rint(lungs.grid.world_to_index(places)).astype(int)
    assert (lungs.mask[tuple(index.T)] > 0).all()
    apart = np.linalg.norm(places[:, None] - nodules.center_xyz_mm, axis=-1) - nodules.radius_mm
    assert apart.min() > 5
    assert apart.min() < 5.5, "no more than asked for is left out"
    assert len(np.unique(index, axis=0)) == 3000


def test_every_allowed_voxel_and_no_other_can_be_drawn(lungs: MaskOnly, nodules: Spheres) -> None:
    """Against distances computed for all voxels at once."""
    grid = np.argwhere(lungs.mask > 0)
    apart = np.linalg.norm(lungs.grid.index_to_world(grid)[:, None] - nodules.center_xyz_mm, axis=-1)
    allowed = grid[(apart > nodules.radius_mm + 5).all(axis=1)]
    places = draw_in_lung(lungs, "1.2", n=10**6, avoid=nodules, minimum_distance_mm=5.0, seed=0)
    drawn = np.rint(lungs.grid.world_to_index(places)).astype(int)
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, allowed))


def test_places_are_equally_likely(lungs: MaskOnly, nodules: Spheres) -> None:
    """8,000 draws fall on halves of the allowed voxels as a binomial does: five standard deviations are 0.028."""
    everything = draw_in_lung(lungs, "1.2", n=10**6, avoid=nodules, minimum_distance_mm=5.0, seed=0)
    draws = [draw_in_lung(lungs, "1.2", n=400, avoid=nodules, minimum_distance_mm=5.0, seed=seed) for seed in range(20)]
    for axis in range(3):
        middle = np.median(everything[:, axis])
        share = (everything[:, axis] < middle).mean()
        assert (np.concatenate(draws)[:, axis] < middle).mean() == pytest.approx(share, abs=0.028)


def test_seed_and_series_decide(lungs: MaskOnly) -> None:
    def draw(uid: str, seed: int) -> list[list[float]]:
        return draw_in_lung(lungs, uid, n=5, avoid=NO_SPHERES, minimum_distance_mm=0, seed=seed).tolist()  # type: ignore[no-any-return]

    assert draw("1.2", 0) == draw("1.2", 0)
    assert draw("1.2", 0) != draw("1.2", 1)
    assert draw("1.2", 0) != draw("1.3", 0)


def test_a_sphere_outside_the_volume_or_beyond_its_border(lungs: MaskOnly) -> None:
    outside = Spheres(np.array([[5000.0, 0.0, 0.0]]), np.array([10.0]))
    n = int((lungs.mask > 0).sum())
    assert len(draw_in_lung(lungs, "1.2", n=n, avoid=outside, minimum_distance_mm=9, seed=0)) == n
    around = Spheres(lungs.grid.index_to_world([[20.0, 30.0, 25.0]]), np.array([500.0]))
    assert len(draw_in_lung(lungs, "1.2", n=n, avoid=around, minimum_distance_mm=0, seed=0)) == 0


def test_scans_without_enough_places_are_named(lungs: MaskOnly, caplog: pytest.LogCaptureFixture) -> None:
    around = Spheres(lungs.grid.index_to_world([[20.0, 30.0, 25.0]]), np.array([500.0]))
    with caplog.at_level(logging.WARNING):
        table = draw_background(lungs, ["1.1", "1.2", "1.3"], per_scan=7, avoid={"1.2": around}, seed=0)
    assert table["series_uid"].value_counts().to_dict() == {"1.1": 7, "1.3": 7}
    assert "1 scan(s) have fewer than 7 voxels" in caplog.text
    assert "1.2 (0)" in caplog.text


def collection(**tables: Any) -> Luna16:
    columns = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm", "diameter_mm"]
    frames = {name: pd.DataFrame(tables.get(name, []), columns=columns) for name in ("annotations", "excluded")}
    candidates = pd.DataFrame(
        tables.get("candidates", []), columns=[*columns[:4], "is_nodule", "annotation_row", "candidate_id"]
    )
    series = pd.DataFrame({"series_uid": ["a"], "patient_id": ["A"]})
    return Luna16(Path(), {}, series, frames["annotations"], frames["excluded"], candidates, None, {})


def test_what_is_avoided() -> None:
    """The nodule of radius 3 and the lone positive get the distance; excluded ones do not; -1 stands for radius 5."""
    given = collection(
        annotations=[("a", 0, 0, 0, 6.0)],
        excluded=[("a", 50, 0, 0, -1.0), ("a", 50, 0, 0, -1.0), ("b", 0, 0, 0, 8.0)],
        candidates=[
            ("a", 0, 0, 1, True, 0, 0),
            ("a", 90, 0, 0, True, -1, 1),
            ("a", 70, 0, 0, False, -1, 2),
        ],
    )
    without = places_to_avoid(given, minimum_distance_mm=10, excluded=False)
    assert set(without) == {"a"}
    assert without["a"].radius_mm.tolist() == [13, 10]
    assert without["a"].center_xyz_mm[:, 0].tolist() == [0, 90]
    with_excluded = places_to_avoid(given, minimum_distance_mm=10, excluded=True)
    assert with_excluded["a"].radius_mm.tolist() == [13, 10, 5]
    assert with_excluded["b"].radius_mm.tolist() == [4]
    points = np.array([[13.0, 0, 0], [13.001, 0, 0], [55, 0, 0], [55.001, 0, 0]])
    assert with_excluded["a"].contain(points).tolist() == [True, False, True, False]


def test_a_collection_without_findings() -> None:
    assert places_to_avoid(collection(), minimum_distance_mm=10, excluded=True) == {}
