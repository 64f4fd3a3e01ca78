from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.io.phantom.anatomy import Thorax, draw_thorax
from lungdet.io.phantom.canvas import Canvas
from lungdet.io.phantom.nodules import (
    Nodule,
    at_depth,
    largest_diameter,
    lung_points,
    paint_nodule,
    place_nodules,
    reader_counts,
)
from lungdet.io.phantom.traits import Traits
from lungdet.io.phantom.trees import Trees


@pytest.fixture(scope="module")
def nodules(thorax: Thorax, trees: Trees) -> list[Nodule]:
    """Sixty nodules, four to a chest."""
    rng = np.random.default_rng(8)
    return [nodule for _ in range(15) for nodule in place_nodules(rng, thorax, trees, count=4, contrast=1.0)]


def test_nodules_lie_in_the_lung_and_apart(thorax: Thorax, nodules: list[Nodule]) -> None:
    centers = np.stack([nodule.center for nodule in nodules])
    assert (thorax.lung_depth(centers)[0] < 0).all()
    assert (np.abs(centers[:, 2]) < 0.85 * thorax.half_height).all()
    for first in range(0, len(nodules), 4):
        group = nodules[first : first + 4]
        for i, a in enumerate(group):
            for b in group[:i]:
                gap = np.linalg.norm(a.center - b.center) - 0.5 * (a.diameter_mm + b.diameter_mm)
                assert gap > 2.0


def test_the_annotated_diameter_is_the_drawn_one(nodules: list[Nodule]) -> None:
    ratio = np.array([nodule.diameter_mm / nodule.traits.diameter_mm for nodule in nodules])
    assert (np.abs(ratio - 1) < 0.03).mean() > 0.9
    assert np.abs(ratio - 1).max() < 0.25


def test_attachment_says_what_is_there(thorax: Thorax, trees: Trees, nodules: list[Nodule]) -> None:
    assert {nodule.attachment for nodule in nodules} == {"isolated", "vessel", "pleura"}
    for nodule in nodules:
        radius = 0.5 * nodule.diameter_mm
        depth = thorax.lung_depth(nodule.position[None])[0][0]
        gap = trees.vessel_tubes.distance(nodule.position[None])[0] - radius
        assert (nodule.attachment == "pleura") == (depth > -0.95 * radius)
        if nodule.attachment == "isolated":
            assert gap >= 0
    # What was asked for is mostly what was found.
    assert np.mean([nodule.attachment == nodule.traits.attachment for nodule in nodules]) > 0.6


def test_pleural_nodules_are_measured_inside_the_lung(thorax: Thorax, nodules: list[Nodule]) -> None:
    pleural = [nodule for nodule in nodules if nodule.traits.attachment == "pleura" and nodule.attachment == "pleura"]
    assert len(pleural) >= 5
    for nodule in pleural:
        inwards = thorax.lung_depth(nodule.center[None])[0][0] - thorax.lung_depth(nodule.position[None])[0][0]
        assert inwards <= 1e-6
    free = [nodule for nodule in nodules if thorax.lung_depth(nodule.position[None])[0][0] < -1.3 * nodule.diameter_mm]
    assert free
    for nodule in free:
        np.testing.assert_allclose(nodule.center, nodule.position, atol=0.05)


def test_small_chests_get_small_nodules() -> None:
    sizes = []
    for half_fov in (45.0, 56.0, 180.0):
        chest = draw_thorax(np.random.default_rng(0), half_fov_mm=half_fov, half_height_mm=half_fov, table_side=1)
        sizes.append(largest_diameter(chest))
    assert 6 <= sizes[0] < sizes[1] < 20
    assert sizes[2] == 32.3


@pytest.mark.parametrize("texture", ["solid", "part_solid", "ground_glass", "cavitary"])
def test_attenuation_at_the_centre_follows_the_texture(
    thorax: Thorax, trees: Trees, texture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    traits = Traits(9.0, texture, "smooth", "isolated", False, 0.0, 0.0)  # type: ignore[arg-type]
    monkeypatch.setattr("lungdet.io.phantom.nodules.draw_traits", lambda rng, largest_mm: traits)
    [found] = place_nodules(np.random.default_rng(9), thorax, trees, count=1, contrast=1.0)
    geometry = Geometry((128, 112, 112), (0, 0, 0), (1.0, 1.0, 1.0))
    canvas = Canvas(np.full(geometry.shape_zyx, thorax.lung_hu, np.float32), geometry)
    paint_nodule(canvas, thorax, found)
    index = np.rint(found.center[::-1] + (np.array(geometry.shape_zyx) - 1) / 2).astype(int)
    hu = canvas.hu[tuple(index)]
    low, high = {"solid": (-60, 510), "part_solid": (-60, 70), "ground_glass": (-595, -435), "cavitary": (-970, -850)}[
        texture
    ]
    assert low <= hu <= high
    if texture == "cavitary":
        assert canvas.hu.max() > -300  # the wall
    if texture == "part_solid":
        hazy = (canvas.hu > -620) & (canvas.hu < -400)
        assert hazy.sum() > (canvas.hu > -200).sum()


def test_contrast_moves_a_nodule_towards_lung(thorax: Thorax, trees: Trees) -> None:
    full, faint = (
        place_nodules(np.random.default_rng(1), thorax, trees, count=3, contrast=contrast) for contrast in (1.0, 0.5)
    )
    for a, b in zip(full, faint, strict=True):
        assert b.outer_hu - thorax.lung_hu == pytest.approx(0.5 * (a.outer_hu - thorax.lung_hu))


def test_readers_count_voxels(thorax: Thorax, trees: Trees) -> None:
    nodules = place_nodules(np.random.default_rng(2), thorax, trees, count=3, contrast=1.0)
    geometry = Geometry((256, 224, 224), (0, 0, 0), (0.5, 0.5, 0.5))
    counts = reader_counts(Canvas(np.zeros(geometry.shape_zyx, np.float32), geometry), thorax, nodules)
    assert counts.dtype == np.uint8
    assert counts.max() <= 4
    volume = (counts >= 2).sum() * 0.125
    assert volume == pytest.approx(sum(np.pi / 6 * nodule.diameter_mm**3 for nodule in nodules), rel=0.2)
    outside = np.stack(np.nonzero(counts), axis=1)[:, ::-1] * 0.5 - 0.5 * (np.array([224, 224, 256]) - 1) / 2
    distance = np.min([np.linalg.norm(outside - n.position, axis=1) - n.body.reach_mm for n in nodules], axis=0)
    assert distance.max() < 2.0


def test_a_reader_marks_at_least_one_voxel_of_a_thick_slice(thorax: Thorax, trees: Trees) -> None:
    nodules = place_nodules(np.random.default_rng(3), thorax, trees, count=4, contrast=1.0)
    geometry = Geometry((16, 20, 20), (0, 0, 0), (6.0, 6.0, 8.0))
    counts = reader_counts(Canvas(np.zeros(geometry.shape_zyx, np.float32), geometry), thorax, nodules)
    half = (np.array(geometry.shape_zyx) - 1) / 2
    for nodule in nodules:
        index = np.rint(nodule.center[::-1] / [8.0, 6.0, 6.0] + half).astype(int)
        assert counts[tuple(index)] >= 3


def test_nothing_is_painted_outside_of_the_volume(thorax: Thorax, trees: Trees) -> None:
    nodules = place_nodules(np.random.default_rng(4), thorax, trees, count=4, contrast=1.0)
    geometry = Geometry((4, 4, 4), (0, 0, 0), (0.5, 0.5, 0.5))
    canvas = Canvas(np.full(geometry.shape_zyx, -850, np.float32), geometry)
    for nodule in nodules:
        paint_nodule(canvas, thorax, nodule)
    assert (canvas.hu == -850).all()
    assert reader_counts(canvas, thorax, nodules).max() == 0


def test_points_in_the_lung_and_at_a_depth(thorax: Thorax) -> None:
    points = lung_points(np.random.default_rng(5), thorax, 200)
    assert points.shape == (200, 3)
    assert (thorax.lung_distance(*points.T) < 0).all()
    assert (points[:, 0] > 0).any()
    assert (points[:, 0] < 0).any()
    depth, _ = thorax.lung_depth(at_depth(thorax, points, 1.5))
    assert np.median(np.abs(depth + 1.5)) < 0.1
