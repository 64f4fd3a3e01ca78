from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom.anatomy import Thorax, draw_thorax


def lung_at(thorax: Thorax, *point: float) -> float:
    return float(thorax.lung_distance(*(np.array([v]) for v in point))[0])


def test_two_lungs_with_a_mediastinum_between(thorax: Thorax) -> None:
    z = 0.2 * thorax.half_height
    for side in (-1, 1):
        assert lung_at(thorax, side * 0.65 * thorax.cavity_x, 0.0, z) < -3
    assert lung_at(thorax, 0.0, 0.0, z) > 3
    assert lung_at(thorax, 1.2 * thorax.cavity_x, 0.0, z) > 2
    assert lung_at(thorax, 0.65 * thorax.cavity_x, 0.0, -0.95 * thorax.half_height) > 2
    assert lung_at(thorax, 0.65 * thorax.cavity_x, 0.0, 1.05 * thorax.half_height) > 0


def test_heart_aorta_and_spine_are_outside_of_the_lung(thorax: Thorax) -> None:
    aorta_x, aorta_y, radius, _ = thorax.aorta
    assert lung_at(thorax, *thorax.heart) > 2
    assert lung_at(thorax, aorta_x, aorta_y, 0.0) > 0.5 * radius
    assert lung_at(thorax, 0.0, thorax.spine_y, 0.0) > 2


def test_depth_is_a_distance_and_the_normal_points_outwards(thorax: Thorax) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (4000, 3)) * [thorax.cavity_x, thorax.cavity_y, 0.8 * thorax.half_height]
    depth, normal = thorax.lung_depth(points)
    near = np.abs(depth) < 1.5
    assert near.sum() > 50
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-9)
    # Walking the stated distance along the normal ends on the surface.
    arrived, _ = thorax.lung_depth(points[near] - depth[near, None] * normal[near])
    assert np.median(np.abs(arrived)) < 0.1
    inside = points[near] - (depth[near] + 1.0)[:, None] * normal[near]
    assert np.mean(thorax.lung_depth(inside)[0] < 0) > 0.95


def test_voxels_and_points_agree(thorax: Thorax) -> None:
    x, y, z = (
        np.array(v, np.float32).reshape(s) for v, s in (([-30, 5], (1, 1, 2)), ([2], (1, 1, 1)), ([7], (1, 1, 1)))
    )
    distance = thorax.lung_distance(x, y, z)
    assert distance.dtype == np.float32
    assert distance.shape == (1, 1, 2)
    assert distance[0, 0, 1] == pytest.approx(lung_at(thorax, 5, 2, 7), abs=1e-3)


def test_section_narrows_towards_the_apex(thorax: Thorax) -> None:
    section = thorax.cavity_section(np.linspace(thorax.taper_z - 20, thorax.apex_z, 20))
    assert section[0] == 1
    assert section[-1] == 0
    assert (np.diff(section) <= 0).all()


@pytest.mark.parametrize("scale", [1.0, 3.2])
def test_anatomy_scales_with_the_field_of_view(scale: float) -> None:
    small = draw_thorax(np.random.default_rng(1), half_fov_mm=56, half_height_mm=64, table_side=1)
    other = draw_thorax(np.random.default_rng(1), half_fov_mm=56 * scale, half_height_mm=64 * scale, table_side=-1)
    assert other.cavity_x == pytest.approx(scale * small.cavity_x)
    assert other.apex_z == pytest.approx(scale * small.apex_z)
    np.testing.assert_allclose(other.hila, scale * small.hila)
    assert other.lung_hu == small.lung_hu
    assert other.half_width < 56 * scale
