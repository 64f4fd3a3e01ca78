"""Nodules: their shapes, their places in the lung, and how they are painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.bodies import Body, make_body, random_directions, random_rotation, spicules
from lungdet.io.phantom.canvas import Canvas, LocalBox, add_denser
from lungdet.io.phantom.readers import Reading, draw_readings
from lungdet.io.phantom.traits import Attachment, Traits, draw_traits
from lungdet.io.phantom.trees import Trees, Tubes

FloatArray = npt.NDArray[np.float64]

_GAP_MM = 4.0  # between the surfaces of two nodules
_EDGE_OF_GROUND_GLASS_MM = 1.8
_TRIES = 160


@dataclass(frozen=True)
class Nodule:
    """A nodule in its place; positions in mm about the scan centre, the patient's axes.

    Attributes:
        traits: what was drawn.
        position: [3] where `body` sits.
        body: the whole outline, the part behind the pleura included.
        rays: spicules, not part of the outline.
        attachment: what it touches, measured.
        center: [3] centre of mass of the part inside the lung: the annotation.
        diameter_mm: of the sphere of equal volume to that part: the annotation.
        core: inner body (solid part or cavity) and where it sits, None without.
        outer_hu: attenuation outside of the core; core_hu: of the core.
        readings: by three or four readers.
    """

    traits: Traits
    position: FloatArray
    body: Body
    rays: Tubes | None
    attachment: Attachment
    center: FloatArray
    diameter_mm: float
    core: tuple[Body, FloatArray] | None
    outer_hu: float
    core_hu: float
    readings: tuple[Reading, ...]


def largest_diameter(thorax: Thorax) -> float:
    """What fits into this chest: 0.62 of the width of a lung, in mm; 32.3 (the largest of LUNA16) in an adult."""
    return float(np.clip(0.62 * 0.62 * thorax.cavity_x, 6.0, 32.3))


def place_nodules(
    rng: np.random.Generator, thorax: Thorax, trees: Trees, *, count: int, contrast: float
) -> tuple[Nodule, ...]:
    """Draws and places nodules, the largest first, none closer than 4 mm to another where there is room."""
    drawn = [draw_traits(rng, largest_mm=largest_diameter(thorax)) for _ in range(count)]
    placed: list[Nodule] = []
    for traits in sorted(drawn, key=lambda t: -t.diameter_mm):
        body = _shape(rng, traits)
        position = _position(rng, thorax, trees, traits, placed)
        body, center, diameter_mm = _measured(thorax, position, body, traits.diameter_mm)
        outer_hu, core_hu, core_share = _attenuation(rng, traits, thorax.lung_hu, contrast)
        core = None
        if core_share:
            inner = make_body(
                core_share * traits.diameter_mm, proportions=rng.uniform(0.85, 1.0, 3), rotation=random_rotation(rng),
                lobes=random_directions(rng, 2), heights=rng.uniform(0, 0.15, 2),
            )  # fmt: skip
            core = (inner, center + random_directions(rng, 1)[0] * 0.06 * traits.diameter_mm)
        placed.append(
            Nodule(
                traits=traits,
                position=position,
                body=body,
                rays=spicules(rng, position, body) if traits.margin == "spiculated" else None,
                attachment=_attachment(thorax, trees, position, 0.5 * diameter_mm),
                center=center,
                diameter_mm=diameter_mm,
                core=core,
                outer_hu=outer_hu,
                core_hu=core_hu,
                readings=draw_readings(rng, traits),
            )
        )
    return tuple(placed)


def paint_nodule(canvas: Canvas, thorax: Thorax, nodule: Nodule) -> None:
    """Adds one nodule to the volume; it never thins what is already denser, except where a cavity is."""
    rays = nodule.rays
    if rays is not None:
        canvas.tubes(rays, nodule.outer_hu, background_hu=thorax.lung_hu)
    box = canvas.local(nodule.position, nodule.body.reach_mm + 3)
    if box is None:
        return
    fuzzy = nodule.traits.texture in ("ground_glass", "part_solid")
    share = nodule.body.occupancy(box, _EDGE_OF_GROUND_GLASS_MM if fuzzy else 0.0)
    share *= _within_lung(thorax, box, nodule.position)
    part = canvas.hu[box.where]
    add_denser(part, share, nodule.outer_hu, thorax.lung_hu)
    if nodule.core is None:
        return
    inner, at = nodule.core
    box = canvas.local(at, inner.reach_mm + 2)
    if box is None:
        return
    share = inner.occupancy(box, 0.0)
    part = canvas.hu[box.where]
    if nodule.traits.texture == "cavitary":
        part += share * (nodule.core_hu - part)
    else:
        add_denser(part, share, nodule.core_hu, nodule.outer_hu)


def reader_counts(canvas: Canvas, thorax: Thorax, nodules: tuple[Nodule, ...]) -> npt.NDArray[np.uint8]:
    """How many readers outlined each voxel: uint8 [D, H, W], as the real masks; 2 and more is the consensus."""
    counts = np.zeros(canvas.hu.shape, dtype=np.uint8)
    for nodule in nodules:
        box = canvas.local(nodule.position, nodule.body.reach_mm + 2)
        if box is None:
            continue
        inside_lung = _lung_distance(thorax, box, nodule.position) < 0
        part = counts[box.where]
        for reading in nodule.readings:
            x, y, z = reading.shift_xyz_mm
            distance, surface = nodule.body.extent(box.x - x, box.y - y, box.z - z)
            outlined = (distance < surface + reading.outline_mm) & inside_lung
            # A reader who marks a nodule draws at least one voxel.
            offsets = [o - c for o, c in zip((box.x, box.y, box.z), nodule.center - nodule.position, strict=True)]
            outlined.flat[np.argmin(sum(o * o for o in offsets))] = True
            part[...] = np.minimum(part + outlined, 4)
    return counts


def _shape(rng: np.random.Generator, traits: Traits) -> Body:
    lobes, low, high = {"smooth": (3, 0.0, 0.06), "lobulated": (6, 0.18, 0.45), "spiculated": (8, 0.05, 0.22)}[
        traits.margin
    ]
    return make_body(
        traits.diameter_mm,
        proportions=rng.uniform(0.8, 1.0, 3),
        rotation=random_rotation(rng),
        lobes=random_directions(rng, lobes),
        heights=rng.uniform(low, high, lobes),
        sharpness=8.0 if traits.margin == "spiculated" else 5.0,
    )


def _attenuation(
    rng: np.random.Generator, traits: Traits, lung_hu: float, contrast: float
) -> tuple[float, float, float]:
    """HU of the outer part, HU of the core, diameter of the core relative to the nodule (0: no core)."""
    dense = rng.uniform(180, 500) if traits.calcified else rng.uniform(-40, 60)
    hazy = rng.uniform(-590, -440)
    dense, hazy = (lung_hu + contrast * (hu - lung_hu) for hu in (dense, hazy))
    if traits.texture == "ground_glass":
        return hazy, hazy, 0.0
    if traits.texture == "part_solid":
        return hazy, dense, rng.uniform(0.5, 0.65)
    if traits.texture == "cavitary":
        wall = 1.5 / traits.diameter_mm
        return dense, rng.uniform(-960, -880), min(rng.uniform(0.5, 0.62), 1 - 2 * wall)
    return dense, dense, 0.0


def _position(
    rng: np.random.Generator, thorax: Thorax, trees: Trees, traits: Traits, placed: list[Nodule]
) -> FloatArray:
    """The roomiest of many random places of the wanted kind."""
    radius = 0.5 * traits.diameter_mm
    points = lung_points(rng, thorax, _TRIES)
    if traits.attachment == "vessel":
        tubes = trees.vessel_tubes
        wanted = np.flatnonzero((tubes.radius_end > 0.5) & (tubes.radius_end < 2.0))
        chosen = rng.choice(wanted, _TRIES) if len(wanted) else np.zeros(_TRIES, np.int64)
        side = np.cross(tubes.end[chosen] - tubes.start[chosen], random_directions(rng, _TRIES))
        side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
        points = 0.5 * (tubes.start[chosen] + tubes.end[chosen])
        points = points + side * (tubes.radius_end[chosen] + 0.6 * radius)[:, None]
    if traits.attachment == "pleura":
        points = at_depth(thorax, points, rng.uniform(0.35, 0.75) * radius)
    depth, _ = thorax.lung_depth(points)
    free = 40.0 + np.zeros(len(points))
    for other in placed:
        gap = np.linalg.norm(points - other.position, axis=1) - radius - 0.5 * other.diameter_mm
        free = np.minimum(free, gap)
    # Larger is better; each requirement that is missed costs as many points as it is missed by, in mm.
    score = -5 * np.maximum(_GAP_MM - free, 0)
    score -= 3 * np.maximum(np.abs(points[:, 2]) + 0.5 * radius - 0.78 * thorax.half_height, 0)
    if traits.attachment == "pleura":
        score -= 4 * np.maximum(depth + 0.2 * radius, 0)
    else:
        score -= 4 * np.maximum(depth + radius + 0.8, 0)
    if traits.attachment == "isolated":
        score -= 2 * np.maximum(radius + 0.5 - trees.vessel_tubes.distance(points), 0)
    position: FloatArray = points[int(np.argmax(score))]
    return position


def lung_points(rng: np.random.Generator, thorax: Thorax, count: int) -> FloatArray:
    """[count, 3] points spread evenly over both lungs, within the scan."""
    reach = np.array([thorax.cavity_x, thorax.cavity_y, 0.8 * thorax.half_height])
    found = np.zeros((0, 3))
    while len(found) < count:
        points = rng.uniform(-reach, reach, (4 * count, 3))
        found = np.concatenate([found, points[thorax.lung_distance(*points.T) < -0.5]])
    return found[:count]


def at_depth(thorax: Thorax, points: FloatArray, depth_mm: float | FloatArray) -> FloatArray:
    """The points moved along the normal of the lung surface until they lie `depth_mm` inside it."""
    for _ in range(3):
        distance, normal = thorax.lung_depth(points)
        points = points - normal * np.clip(distance + depth_mm, -30, 30)[:, None]
    return points


def _measured(thorax: Thorax, position: FloatArray, body: Body, diameter_mm: float) -> tuple[Body, FloatArray, float]:
    """Grows the body until its part inside the lung has the diameter; its centre of mass and diameter there."""
    center, measured = position, diameter_mm
    for _ in range(4):
        reach = body.reach_mm
        axis = np.linspace(-reach, reach, 41)
        x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
        distance, surface = body.extent(x, y, z)
        lung = thorax.lung_distance(x + position[0], y + position[1], z + position[2])
        step = axis[1] - axis[0]
        share = np.clip((surface - distance) / step + 0.5, 0, 1) * np.clip(0.5 - lung / step, 0, 1)
        volume = float(share.sum()) * step**3
        measured = (6 * volume / np.pi) ** (1 / 3)
        center = position + np.array([(share * c).sum() for c in (x, y, z)]) / share.sum()
        if abs(measured / diameter_mm - 1) < 0.02:
            break
        body = body.scaled(float(np.clip(diameter_mm / measured, 0.8, 1.25)))
    return body, center, measured


def _attachment(thorax: Thorax, trees: Trees, position: FloatArray, radius: float) -> Attachment:
    if thorax.lung_depth(position[None])[0][0] > -0.95 * radius:
        return "pleura"
    return "vessel" if trees.vessel_tubes.distance(position[None])[0] < radius else "isolated"


def _lung_distance(thorax: Thorax, box: LocalBox, at: FloatArray) -> FloatArray:
    return np.asarray(thorax.lung_distance(box.x + at[0], box.y + at[1], box.z + at[2]), dtype=np.float64)


def _within_lung(thorax: Thorax, box: LocalBox, at: FloatArray) -> npt.NDArray[np.float32]:
    """1 inside the lung and half a voxel beyond its surface, so that no dark line parts nodule and wall."""
    share = np.clip(1.0 - _lung_distance(thorax, box, at) / box.voxel, 0, 1)
    return share.astype(np.float32)
