"""Lung masks of drawn chests: lungs are found, table, padding and bowel are not; nothing found is an empty mask."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.geometry import Geometry
from lungdet.store import lung_mask as module
from lungdet.store.lung_mask import lung_mask

SHAPE = (60, 120, 160)
GEOMETRY = Geometry(SHAPE, (0.0, 0.0, 0.0), (1.5, 1.5, 2.0))


def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    grid = np.indices(SHAPE)
    return np.asarray(sum(((g - c) / r) ** 2 for g, c, r in zip(grid, center, radii, strict=True)) <= 1)


def chest() -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Air, a body that leaves the volume above and below, two lungs, a table, gas in the bowel."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[ellipsoid((30, 55, 80), (200, 45, 70))] = 40
    lungs = ellipsoid((30, 55, 50), (28, 32, 24)) | ellipsoid((30, 55, 110), (28, 32, 24))
    hu[lungs] = -850
    hu[:, 108:111, 20:140] = 200
    hu[ellipsoid((57, 40, 80), (3, 4, 4))] = -950
    return hu, lungs


def dice(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(2 * (a.astype(bool) & b.astype(bool)).sum() / (a.astype(bool).sum() + b.astype(bool).sum()))


def test_finds_both_lungs_and_nothing_else() -> None:
    hu, lungs = chest()
    mask = lung_mask(hu, GEOMETRY)
    assert mask.dtype == np.uint8
    assert mask.shape == SHAPE
    assert dice(mask, lungs) > 0.95
    assert not mask[:, 100:].any(), "the table"
    assert not mask[56:, 38:43, 78:83].any(), "bowel gas"


def test_nodules_inside_and_on_the_pleura_stay_in_the_mask() -> None:
    hu, lungs = chest()
    inside, pleura = ellipsoid((30, 55, 50), (4, 5, 5)), ellipsoid((30, 55, 28), (2, 3, 3)) & lungs
    hu[inside | pleura] = 40
    mask = lung_mask(hu, GEOMETRY).astype(bool)
    assert mask[inside].all()
    assert mask[pleura].mean() > 0.7, "the mask is drawn at 2 mm"


@pytest.mark.parametrize("padding", [-2048, -3024])
def test_padding_outside_the_field_of_view_is_not_lung(padding: int) -> None:
    hu, lungs = chest()
    y, x = np.indices(SHAPE[1:])
    hu[:, (y - 60) ** 2 / 62**2 + (x - 80) ** 2 / 82**2 > 1] = padding
    assert dice(lung_mask(hu, GEOMETRY), lungs) > 0.95


def test_a_lung_that_the_field_of_view_cuts_off_is_kept() -> None:
    """The round field of view ends inside the left lung: lung and padding touch."""
    hu, lungs = chest()
    y, x = np.indices(SHAPE[1:])
    cut = (y - 55) ** 2 + (x - 95) ** 2 > 60**2
    hu[:, cut] = -1024
    assert 0.05 < (lungs & cut).sum() / lungs.sum() < 0.2, "the cut goes through the lung"
    assert dice(lung_mask(hu, GEOMETRY), lungs & ~cut) > 0.95


def test_a_large_bubble_of_gas_is_not_lung() -> None:
    hu, lungs = chest()
    gas = ellipsoid((30, 17, 80), (29, 4, 22))
    assert gas.sum() > module.LEAST_SHARE * lungs.sum() / 2
    hu[gas] = -1000
    noise = np.random.default_rng(0).normal(0, 8, SHAPE)
    mask = lung_mask((hu + noise).astype(np.int16), GEOMETRY).astype(bool)
    assert not mask[gas].any()
    assert dice(mask, lungs) > 0.95


def test_a_mass_in_the_middle_of_the_lung_is_filled() -> None:
    """25 mm across: more than the closing reaches."""
    hu, _ = chest()
    mass = ellipsoid((30, 55, 50), (6, 8.5, 8.5))
    hu[mass] = 40
    assert lung_mask(hu, GEOMETRY)[mass].all()


def test_a_volume_at_the_working_resolution_is_not_resampled() -> None:
    hu, lungs = chest()
    geometry = Geometry(SHAPE, (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    assert dice(lung_mask(hu, geometry), lungs) > 0.95


def test_lungs_that_reach_the_first_and_last_slice_are_kept() -> None:
    hu, lungs = chest()
    slab = slice(20, 40)
    geometry = Geometry((20, *SHAPE[1:]), GEOMETRY.origin_xyz_mm, GEOMETRY.spacing_xyz_mm)
    assert dice(lung_mask(hu[slab], geometry), lungs[slab]) > 0.93


@pytest.mark.parametrize("content", [-1000, 40])
def test_no_lungs_is_an_empty_mask_and_said_so(content: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        mask = lung_mask(np.full(SHAPE, content, np.int16), GEOMETRY)
    assert mask.shape == SHAPE
    assert not mask.any()
    assert "no lungs found" in caplog.text


def test_five_thick_slices_work() -> None:
    hu, lungs = chest()
    geometry = Geometry((5, *SHAPE[1:]), (0.0, 0.0, 0.0), (1.5, 1.5, 10.0))
    assert dice(lung_mask(hu[10:60:10], geometry), lungs[10:60:10]) > 0.9


@pytest.mark.realdata
@pytest.mark.slow
def test_the_coarse_mask_equals_the_fine_one(realdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lungdet.io.luna16 import find_scans
    from lungdet.io.scan import read_scan
    from lungdet.store.resample import resample_linear

    scan = read_scan(next(iter(find_scans(realdata / "luna16").values())))
    target = scan.geometry.resampled((1.0, 1.0, 1.0))
    hu = resample_linear(scan.hu, scan.geometry, target)
    coarse = lung_mask(hu, target)
    monkeypatch.setattr(module, "WORKING_MM", 1.0)
    assert dice(coarse, lung_mask(hu, target)) >= 0.98
    liters = coarse.sum() / 1e6
    assert 2 < liters < 7
