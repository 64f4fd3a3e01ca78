from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.canvas import Canvas
from lungdet.io.phantom.lookalikes import KINDS, Lookalike, clear_of, paint_lookalike, place_lookalikes
from lungdet.io.phantom.nodules import Nodule, place_nodules
from lungdet.io.phantom.trees import Trees


@pytest.fixture(scope="module")
def nodules(thorax: Thorax, trees: Trees) -> tuple[Nodule, ...]:
    return place_nodules(np.random.default_rng(0), thorax, trees, count=4, contrast=1.0)


def placed(
    thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...], *, elongation: float = 2.5
) -> tuple[Lookalike, ...]:
    rng = np.random.default_rng(1)
    return place_lookalikes(rng, thorax, trees, nodules, count=150, elongation=elongation, contrast=0.8)


def test_as_many_as_asked_of_every_kind_and_clear_of_nodules(
    thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...]
) -> None:
    items = placed(thorax, trees, nodules)
    assert len(items) == 150
    assert {item.kind for item in items} == set(KINDS)
    assert clear_of(nodules, np.stack([item.center for item in items]), 4.0).all()
    assert not clear_of(nodules, nodules[0].center[None], 0.0)[0]
    depth = thorax.lung_depth(np.stack([item.center for item in items]))[0]
    assert np.mean(depth < 1.0) > 0.9
    on_vessels = np.stack([item.center for item in items if item.kind in ("vessel_bulge", "branching_spot")])
    assert np.median(trees.vessel_tubes.distance(on_vessels)) < 0


def test_elongation_is_what_tells_them_from_nodules(thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...]) -> None:
    ratios = []
    for elongation in (1.6, 3.0):
        bodies = [i.body for i in placed(thorax, trees, nodules, elongation=elongation) if i.kind == "vessel_bulge"]
        ratios.append(np.mean([body.axes.max() / body.axes.min() for body in bodies if body is not None]))
    assert ratios[0] == pytest.approx(1.6, abs=0.25)
    assert ratios[1] == pytest.approx(3.0, abs=0.35)


def test_long_axes_follow_the_vessel_and_plaques_lie_flat(
    thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...]
) -> None:
    plaques = [item for item in placed(thorax, trees, nodules) if item.kind == "pleural_plaque"]
    for item in plaques:
        assert item.body is not None
        normal = thorax.lung_depth(item.center[None])[1][0]
        assert abs(item.body.rotation[:, 0] @ normal) > 0.99
        assert item.body.axes[0] == item.body.axes.min()


def test_painting_adds_density_at_the_place(thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...]) -> None:
    geometry = Geometry((128, 112, 112), (0, 0, 0), (1.0, 1.0, 1.0))
    half = (np.array(geometry.shape_zyx) - 1) / 2
    for item in placed(thorax, trees, nodules)[:40]:
        canvas = Canvas(np.full(geometry.shape_zyx, thorax.lung_hu, np.float32), geometry)
        paint_lookalike(canvas, thorax, item)
        painted = np.stack(np.nonzero(canvas.hu > thorax.lung_hu + 1), axis=1)
        assert len(painted) > 3
        offset = np.linalg.norm((painted - half)[:, ::-1] - item.center, axis=1)
        assert offset.min() < 2.5
        assert canvas.hu.max() <= max(item.hu, thorax.lung_hu) + 1e-3


def test_outside_of_the_volume_nothing_happens(thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...]) -> None:
    geometry = Geometry((4, 4, 4), (0, 0, 0), (0.5, 0.5, 0.5))
    canvas = Canvas(np.full(geometry.shape_zyx, -850, np.float32), geometry)
    for item in placed(thorax, trees, nodules):
        if np.linalg.norm(item.center) > 25:
            paint_lookalike(canvas, thorax, item)
    assert (canvas.hu == -850).all()
