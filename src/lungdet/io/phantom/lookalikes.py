"""Objects drawn to be mistaken for nodules: thickened vessels, branching spots, plaques, scars, plugged airways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.bodies import Body, frame_along, make_body, random_directions
from lungdet.io.phantom.canvas import Canvas, add_denser
from lungdet.io.phantom.nodules import Nodule, at_depth, lung_points
from lungdet.io.phantom.trees import Trees, Tubes

FloatArray = npt.NDArray[np.float64]

Kind = Literal["vessel_bulge", "branching_spot", "pleural_plaque", "scar", "plugged_airway"]

KINDS: tuple[Kind, ...] = ("vessel_bulge", "branching_spot", "pleural_plaque", "scar", "plugged_airway")
_WEIGHTS = (0.40, 0.25, 0.08, 0.17, 0.10)
_DIAMETER_MM = (3.2, 9.0)
_CLEAR_OF_NODULES_MM = 4.0


@dataclass(frozen=True)
class Lookalike:
    """One object, mm about the scan centre.

    Attributes:
        kind: what it imitates.
        center: [3].
        body: its shape, None for a branching spot.
        branches: the stubs of a branching spot, None otherwise.
        hu: attenuation.
    """

    kind: Kind
    center: FloatArray
    body: Body | None
    branches: Tubes | None
    hu: float


def place_lookalikes(
    rng: np.random.Generator, thorax: Thorax, trees: Trees, nodules: tuple[Nodule, ...], *, count: int,
    elongation: float, contrast: float,
) -> tuple[Lookalike, ...]:  # fmt: skip
    """Places `count` objects, at least 4 mm off every nodule.

    Args:
        rng: decides everything.
        thorax: the chest.
        trees: vessels and airways to sit on.
        nodules: what to stay clear of.
        count: how many.
        elongation: mean ratio of the long to the short axis.
        contrast: as for nodules, so that brightness does not tell them apart.
    """
    placed: list[Lookalike] = []
    while len(placed) < count:
        kind = KINDS[int(rng.choice(len(KINDS), p=_WEIGHTS))]
        center, axis = _site(rng, thorax, trees, kind)
        low, high = np.log(_DIAMETER_MM)
        diameter = float(np.exp(rng.uniform(low, low + (high - low) * rng.uniform(0.3, 1))))
        if not clear_of(nodules, center[None], 0.5 * diameter + _CLEAR_OF_NODULES_MM)[0]:
            continue
        ratio = max(1.15, float(rng.normal(elongation, 0.22 * elongation)))
        tissue = rng.uniform(-40, 60) if rng.uniform() < 0.82 else rng.uniform(-600, -300)
        hu = thorax.lung_hu + contrast * (tissue - thorax.lung_hu)
        if kind == "branching_spot":
            placed.append(Lookalike(kind, center, None, _stubs(rng, center, axis, 0.5 * diameter, ratio), hu))
            continue
        long = {"pleural_plaque": (ratio**-0.6, ratio**0.4, ratio**0.4), "scar": (ratio**0.7, 1.0, ratio**-0.6)}
        body = make_body(
            diameter, proportions=long.get(kind, (ratio**0.67, ratio**-0.33, ratio**-0.33)), rotation=frame_along(axis),
            lobes=random_directions(rng, 4), heights=rng.uniform(0, 0.22, 4),
        )  # fmt: skip
        placed.append(Lookalike(kind, center, body, None, hu))
    return tuple(placed)


def paint_lookalike(canvas: Canvas, thorax: Thorax, item: Lookalike) -> None:
    """Adds one object; like a nodule it only makes the volume denser."""
    if item.branches is not None:
        canvas.tubes(item.branches, item.hu, background_hu=thorax.lung_hu)
    if item.body is None:
        return
    box = canvas.local(item.center, item.body.reach_mm + 2)
    if box is None:
        return
    lung = thorax.lung_distance(box.x + item.center[0], box.y + item.center[1], box.z + item.center[2])
    share = item.body.occupancy(box, 0.0) * np.clip(1.0 - lung / box.voxel, 0, 1).astype(np.float32)
    add_denser(canvas.hu[box.where], share, item.hu, thorax.lung_hu)


def clear_of(nodules: tuple[Nodule, ...], points: FloatArray, gap_mm: float) -> npt.NDArray[np.bool_]:
    """Which points lie at least `gap_mm` from the surface of every nodule."""
    clear = np.ones(len(points), dtype=bool)
    for nodule in nodules:
        clear &= np.linalg.norm(points - nodule.center, axis=1) > 0.5 * nodule.diameter_mm + gap_mm
    return clear


def _site(rng: np.random.Generator, thorax: Thorax, trees: Trees, kind: Kind) -> tuple[FloatArray, FloatArray]:
    """A place for an object of this kind, and the direction of its first axis."""
    if kind in ("vessel_bulge", "plugged_airway", "branching_spot"):
        tubes = trees.airway_lumen if kind == "plugged_airway" and len(trees.airway_lumen) else trees.vessel_tubes
        i = int(rng.integers(len(tubes)))
        along = tubes.end[i] - tubes.start[i]
        if kind != "branching_spot":
            return tubes.start[i] + rng.uniform() * along, along + 1e-9
        branchings = np.concatenate([tree.nodes[tree.branchings] for tree in trees.vessels])
        return branchings[int(rng.integers(len(branchings)))], along + 1e-9
    point = lung_points(rng, thorax, 1)
    if kind == "pleural_plaque":
        point = at_depth(thorax, point, 0.3)
        return point[0], thorax.lung_depth(point)[1][0]
    return point[0], random_directions(rng, 1)[0]


def _stubs(rng: np.random.Generator, center: FloatArray, axis: FloatArray, radius: float, ratio: float) -> Tubes:
    """A knot with three or four tapering stubs, all near one plane."""
    count = int(rng.integers(3, 5))
    frame = frame_along(axis)
    angle = rng.uniform(0, 2 * np.pi) + np.arange(count) * 2 * np.pi / count + rng.uniform(-0.4, 0.4, count)
    out = np.stack([np.cos(angle), np.sin(angle), rng.uniform(-0.35, 0.35, count)], axis=1) @ frame.T
    length = radius * ratio * rng.uniform(0.6, 1.0, count)
    thick = np.full(count, min(0.62 * radius, 2.2))
    return Tubes(np.tile(center, (count, 1)), center + out * length[:, None], thick, 0.35 * thick)
