from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.io.phantom.bodies import (
    Body,
    frame_along,
    make_body,
    random_directions,
    random_rotation,
    sphere_directions,
    spicules,
)
from lungdet.io.phantom.canvas import Canvas


def lumpy(diameter_mm: float, seed: int = 0) -> Body:
    rng = np.random.default_rng(seed)
    return make_body(
        diameter_mm,
        proportions=(0.7, 0.9, 1.0),
        rotation=random_rotation(rng),
        lobes=random_directions(rng, 5),
        heights=rng.uniform(0.1, 0.5, 5),
    )


@pytest.mark.parametrize("seed", range(3))
def test_volume_and_centre_of_mass(seed: int) -> None:
    body = lumpy(10.0, seed)
    axis = np.linspace(-body.reach_mm, body.reach_mm, 121)
    grid = np.meshgrid(axis, axis, axis, indexing="ij")
    distance, surface = body.extent(*grid)
    inside = distance < surface
    volume = inside.sum() * (axis[1] - axis[0]) ** 3
    assert volume == pytest.approx(np.pi / 6 * 1000, rel=0.01)
    center = [c[inside].mean() for c in grid]
    np.testing.assert_allclose(center, 0, atol=0.05)
    assert not inside[0].any(), "reach_mm does not hold the body"


def test_scaling_keeps_the_shape() -> None:
    body, double = lumpy(6.0), lumpy(6.0).scaled(2.0)
    directions = sphere_directions(50) * 0.1
    _, small = body.extent(*directions.T)
    _, large = double.extent(*(2 * directions).T)
    np.testing.assert_allclose(large, 2 * small)
    assert double.reach_mm == pytest.approx(2 * body.reach_mm)


def test_occupancy_adds_up_to_the_volume_on_a_coarse_grid() -> None:
    geometry = Geometry((20, 30, 30), (0, 0, 0), (0.8, 0.8, 1.5))
    box = Canvas(np.zeros(geometry.shape_zyx, np.float32), geometry).local([0.3, -0.2, 0.4], 9.0)
    assert box is not None
    share = lumpy(8.0).occupancy(box, 0.0)
    assert share.min() >= 0
    assert share.max() == 1
    assert share.sum() * 0.8 * 0.8 * 1.5 == pytest.approx(np.pi / 6 * 512, rel=0.06)


def test_directions_and_frames_are_orthonormal() -> None:
    np.testing.assert_allclose(np.linalg.norm(sphere_directions(300), axis=1), 1)
    np.testing.assert_allclose(sphere_directions(300).mean(axis=0), 0, atol=0.01)
    for rotation in (random_rotation(np.random.default_rng(1)), frame_along(np.array([0.2, -3.0, 0.5]))):
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(frame_along(np.array([0.0, 0.0, 2.0]))[:, 0], [0, 0, 1])


def test_spicules_start_inside_and_end_outside() -> None:
    body, center = lumpy(10.0), np.array([3.0, 4.0, 5.0])
    rays = spicules(np.random.default_rng(2), center, body)
    assert 9 <= len(rays) < 18
    for points, outside in ((rays.start, False), (rays.end, True)):
        distance, surface = body.extent(*(points - center).T)
        assert ((distance > surface) == outside).all()
    assert (rays.radius_end < rays.radius_start).all()
