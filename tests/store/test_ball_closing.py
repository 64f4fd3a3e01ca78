"""Closing by a ball against two distance maps, for every spacing."""

from __future__ import annotations

import edt
import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import gaussian_filter

from lungdet.store.ball_closing import close_by_ball


def by_distance(
    mask: npt.NDArray[np.bool_], radius_mm: float, spacing: tuple[float, float, float]
) -> npt.NDArray[np.bool_]:
    """Within the radius of the mask, then further than it from what that leaves out."""
    grown = edt.edtsq(~mask, anisotropy=spacing) <= radius_mm**2
    closed: npt.NDArray[np.bool_] = edt.edtsq(grown, anisotropy=spacing) > radius_mm**2
    return closed


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.5, 2.0, 2.0), (5.0, 2.13, 3.7), (10.0, 2.0, 2.0)])
@pytest.mark.parametrize("shape", [(20, 31, 17), (1, 30, 30), (3, 1, 9), (40, 6, 25)])
def test_equals_distance_maps(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    generator = np.random.default_rng(0)
    for share in (0.05, 0.3, 0.6, 0.95):
        noise = gaussian_filter(generator.normal(size=shape), 1.0)
        mask = noise < np.quantile(noise, share)
        closed = close_by_ball(mask, radius_mm=8.0, spacing_zyx_mm=spacing)
        assert closed.dtype == bool
        assert np.array_equal(closed, by_distance(mask, 8.0, spacing))
        assert closed[mask].all()


def test_a_gap_of_two_radii_stays_and_a_narrower_one_closes() -> None:
    """Two walls 5 voxels of 2 mm apart are bridged by a ball of 8 mm, 9 voxels apart they are not."""
    for gap, is_filled in ((5, True), (9, False)):
        mask = np.ones((9, 9, gap + 8), bool)
        mask[:, :, 4 : 4 + gap] = False
        closed = close_by_ball(mask, radius_mm=8.0, spacing_zyx_mm=(2.0, 2.0, 2.0))
        assert closed[4, 4, 4 + gap // 2] == is_filled
