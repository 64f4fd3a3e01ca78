"""Headers and voxels of small scans: known HU at known places, scans that cannot be read, directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.errors import ScanError
from lungdet.exploration.scan_survey import NEAR_MM, near_point, standing, survey_headers, survey_volumes
from lungdet.geometry import Geometry

GRID = Geometry((30, 40, 50), (-10.0, 5.0, 100.0), (1.0, 1.0, 2.0))
POINTS = pd.DataFrame(
    [
        ("s1", 0, 10.0, 20.0, 130.0),
        ("s1", 1, 30.0, 30.0, 140.0),
        ("s2", 1, 10.0, 20.0, 130.0),
        ("bad", 1, 0.0, 0.0, 0.0),
    ],
    columns=["series_uid", "label", "center_x_mm", "center_y_mm", "center_z_mm"],
)


def volume(uid: str) -> tuple[npt.NDArray[np.int16], Geometry]:
    """Air, with 100 HU in the voxel of the second point and, in s2, 40 HU everywhere."""
    if uid == "bad":
        raise ScanError("bad: damaged")
    hu = np.full(GRID.shape_zyx, 40 if uid == "s2" else -1000, np.int16)
    if uid == "s1":
        hu[tuple(np.rint(GRID.world_to_index([30.0, 30.0, 140.0])).astype(int))] = 100
    return hu, GRID


def test_headers() -> None:
    def read(uid: str) -> Geometry:
        if uid == "bad":
            raise ScanError("bad: damaged")
        return GRID

    survey = survey_headers(["s1", "bad", "s2"], read)
    assert survey.failures == {"bad": "bad: damaged"}
    first = survey.scans.iloc[0].to_dict()
    assert (first["slices"], first["rows"], first["columns"]) == (30, 40, 50)
    assert (first["spacing_x_mm"], first["spacing_z_mm"], first["size_z_mm"]) == (1.0, 2.0, 60.0)
    assert survey.scans["standing"].tolist() == ["axial", "axial"]


@pytest.mark.parametrize(
    ("direction", "name"),
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 1), "axial"),
        ((1, 0, 0, 0, -1, 0, 0, 0, 1), "flipped"),
        ((0, 1, 0, 1, 0, 0, 0, 0, 1), "permuted"),
        ((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1), "oblique"),
        ((1, 1e-6, 0, -1e-6, 1, 0, 0, 0, 1), "axial"),
    ],
)
def test_standing(direction: tuple[float, ...], name: str) -> None:
    assert standing(direction) == name


def test_voxels_are_counted_everywhere_and_near_the_points_of_a_class() -> None:
    told: list[tuple[int, int, str]] = []
    survey = survey_volumes(
        ["bad", "s1", "s2"],
        volume,
        points=POINTS,
        classes=("non_nodule", "nodule"),
        shown=[1, 3, 2],
        generator=np.random.default_rng(0),
        advance=lambda *words: told.append(words),
    )
    n = 30 * 40 * 50
    assert survey.read == ["s1", "s2"]
    assert survey.failures == {"bad": "bad: damaged"}
    assert [words[:2] for words in told] == [(1, 3), (2, 3), (3, 3)], "the damaged one counts as done"
    assert survey.everywhere.n_values == 2 * n
    assert survey.everywhere.mean[0] == pytest.approx((-1000 * (n - 1) + 100 + 40 * n) / (2 * n))
    box = 17 * 17 * 9  # 8 mm to every side at 1, 1, 2 mm
    assert survey.near["non_nodule"].n_values == box
    assert survey.near["nodule"].mean[0] == pytest.approx((-1000 * (box - 1) + 100 + 40 * box) / (2 * box))
    assert set(survey.views) == {1, 2}
    view = survey.views[1]
    middle = tuple(n // 2 for n in view.hu.shape)
    assert view.hu[middle] == pytest.approx(100)
    assert view.plane == "axial"


def test_points_at_the_border_take_what_is_there() -> None:
    hu, grid = volume("s2")
    corner = grid.index_to_world([0, 0, 0])
    assert near_point(hu, grid, corner).shape == (5, 9, 9)
    assert near_point(hu, grid, corner - [0, 0, NEAR_MM + 3]).size == 0


def test_a_scan_with_many_points_does_not_count_for_all() -> None:
    many = pd.concat([POINTS.iloc[[0]]] * 300, ignore_index=True)
    survey = survey_volumes(["s1"], volume, points=many, classes=("a",), shown=[], generator=np.random.default_rng(0))
    assert survey.near["a"].n_values == 20 * 17 * 17 * 9
