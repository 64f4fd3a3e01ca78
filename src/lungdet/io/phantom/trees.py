"""Branching trees that fill a lung: vessels and airways, grown towards points spread over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.anatomy import Thorax

FloatArray = npt.NDArray[np.float64]

_MURRAY = 2.7  # exponent of radius against flow measured in pulmonary arteries, 2.5 to 3
_ADULT_HALF_FOV_MM = 180.0
_TERMINAL_GAP_MM = 12.5  # between the end points of one tree in an adult lung
_MIN_LUMEN_MM = 0.7  # radius below which a bronchus is no longer drawn


@dataclass(frozen=True)
class Tubes:
    """Straight capsules whose radius changes linearly.

    Attributes:
        start, end: [N, 3] xyz mm about the scan centre.
        radius_start, radius_end: [N] mm.
    """

    start: FloatArray
    end: FloatArray
    radius_start: FloatArray
    radius_end: FloatArray

    def __len__(self) -> int:
        return len(self.start)

    def distance(self, points_xyz_mm: FloatArray) -> FloatArray:
        """Mm from each point to the nearest tube surface, negative inside: [P]."""
        nearest = np.full(len(points_xyz_mm), np.inf)
        along = self.end - self.start
        length2 = np.maximum((along**2).sum(1), 1e-9)
        for lo in range(0, len(self), 256):
            part = slice(lo, lo + 256)
            offset = points_xyz_mm[:, None] - self.start[part]
            t = np.clip((offset * along[part]).sum(2) / length2[part], 0.0, 1.0)
            gap = np.linalg.norm(offset - t[..., None] * along[part], axis=2)
            radius = self.radius_start[part] + t * (self.radius_end - self.radius_start)[part]
            nearest = np.minimum(nearest, (gap - radius).min(axis=1))
        return nearest


@dataclass(frozen=True)
class Tree:
    """A rooted tree in space.

    Attributes:
        nodes: [M, 3] xyz mm; node 0 is the root, every node comes after its parent.
        parent: [M] index, -1 for the root.
        leaves: [M] number of end points beyond the node (1 for an end point).
        radius: [M] mm, of the branch that leads to the node.
    """

    nodes: FloatArray
    parent: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.int64]
    radius: FloatArray

    @property
    def branchings(self) -> npt.NDArray[np.int64]:
        """Indices of the nodes where one branch becomes two."""
        return np.flatnonzero((np.bincount(self.parent[1:], minlength=len(self.parent)) > 1) & (self.parent >= 0))

    def tubes(self) -> Tubes:
        """The branches, each bent smoothly into the next and drawn as two capsules."""
        child = np.arange(1, len(self.nodes))
        start, end = self.nodes[self.parent[child]], self.nodes[child]
        before = self.nodes[np.maximum(self.parent[self.parent[child]], 0)]
        heading = start - before
        length = np.linalg.norm(end - start, axis=1, keepdims=True)
        norm = np.linalg.norm(heading, axis=1, keepdims=True)
        heading = np.divide(heading, norm, out=np.zeros_like(heading), where=norm > 1e-6)
        # A branch leaves in the direction of its parent before it turns: pull its midpoint that way.
        straight = (end - start) / np.maximum(length, 1e-6)
        middle = 0.5 * (start + end) + 0.12 * length * (heading - straight)
        thick, thin = np.minimum(self.radius[self.parent[child]], 1.25 * self.radius[child]), self.radius[child]
        mid = 0.5 * (thick + thin)
        return Tubes(
            np.concatenate([start, middle]), np.concatenate([middle, end]),
            np.concatenate([thick, mid]), np.concatenate([mid, thin]),
        )  # fmt: skip


@dataclass(frozen=True)
class Trees:
    """What grows in both lungs.

    Attributes:
        vessels: arteries and veins, four trees.
        vessel_tubes: their branches, for painting and for distances.
        airway_lumen, airway_wall: the bronchi inside the lungs, inner and outer surface; the same rows in both.
        trachea_lumen, trachea_wall: trachea and main bronchi.
        great_vessels: aortic arch, pulmonary arteries and upper vena cava.
    """

    vessels: tuple[Tree, ...]
    vessel_tubes: Tubes
    airway_lumen: Tubes
    airway_wall: Tubes
    trachea_lumen: Tubes
    trachea_wall: Tubes
    great_vessels: Tubes


def grow_trees(rng: np.random.Generator, thorax: Thorax) -> Trees:
    """Arteries with the bronchi beside them, veins, trachea."""
    scale = thorax.half_width / _ADULT_HALF_FOV_MM
    vessels, lumens, walls = [], [], []
    for side, hilum in zip((-1, 1), thorax.hila, strict=True):
        for kind in ("artery", "vein"):
            terminals = _terminals(rng, thorax, side, gap_mm=_TERMINAL_GAP_MM * scale**0.35)
            down = np.array([0.0, 0.0, -0.12 * thorax.half_height]) if kind == "vein" else np.zeros(3)
            tree = grow_tree(rng, hilum + down, terminals, end_radius_mm=rng.uniform(0.32, 0.44))
            vessels.append(tree)
            if kind == "artery":
                lumen, wall = _bronchi(rng, thorax, tree)
                lumens.append(lumen)
                walls.append(wall)
    trachea_lumen, trachea_wall = _trachea(thorax)
    return Trees(
        vessels=tuple(vessels),
        vessel_tubes=join_tubes([tree.tubes() for tree in vessels]),
        airway_lumen=join_tubes(lumens),
        airway_wall=join_tubes(walls),
        trachea_lumen=trachea_lumen,
        trachea_wall=trachea_wall,
        great_vessels=_great_vessels(thorax),
    )


def grow_tree(rng: np.random.Generator, root: FloatArray, terminals: FloatArray, *, end_radius_mm: float) -> Tree:
    """Space-filling bifurcation: at each node the points still to be reached are split across their widest direction.

    Args:
        rng: decides where a set is split and how far a branch runs before it forks.
        root: [3] xyz mm.
        terminals: [N, 3] end points, N >= 1.
        end_radius_mm: radius of a branch with one end point; a branch with n has n ** (1 / 2.7) times that
            (Murray 1926, doi:10.1073/pnas.12.3.207).
    """
    nodes, parents, leaves = [np.asarray(root, dtype=np.float64)], [-1], [len(terminals)]
    stack = [(0, np.asarray(terminals, dtype=np.float64))]
    while stack:
        at, points = stack.pop()
        for part in _split(rng, points, points.mean(axis=0) - nodes[at]) if len(points) > 1 else (points,):
            here, reach = nodes[at], rng.uniform(0.38, 0.58)
            nodes.append(part[0] if len(part) == 1 else here + reach * (part.mean(axis=0) - here))
            parents.append(at)
            leaves.append(len(part))
            if len(part) > 1:
                stack.append((len(nodes) - 1, part))
    count = np.asarray(leaves)
    return Tree(np.stack(nodes), np.asarray(parents), count, end_radius_mm * count ** (1 / _MURRAY))


def join_tubes(parts: list[Tubes]) -> Tubes:
    """All tubes of the parts, in order."""
    return Tubes(
        np.concatenate([p.start for p in parts]), np.concatenate([p.end for p in parts]),
        np.concatenate([p.radius_start for p in parts]), np.concatenate([p.radius_end for p in parts]),
    )  # fmt: skip


def _split(rng: np.random.Generator, points: FloatArray, heading: FloatArray) -> tuple[FloatArray, FloatArray]:
    centred = points - points.mean(axis=0)
    axis = heading / max(float(np.linalg.norm(heading)), 1e-9)
    across = centred - (centred @ axis)[:, None] * axis
    widest = np.linalg.eigh(across.T @ across)[1][:, -1]
    rank = np.argsort(centred @ widest, kind="stable")
    cut = min(max(1, round(len(points) * rng.uniform(0.28, 0.72))), len(points) - 1)
    return points[rank[:cut]], points[rank[cut:]]


def _terminals(rng: np.random.Generator, thorax: Thorax, side: int, *, gap_mm: float) -> FloatArray:
    """End points on a jittered grid over one lung: evenly spread, never in step with the voxels."""
    reach = np.array([thorax.cavity_x, thorax.cavity_y, thorax.half_height])
    axes = [np.arange(-r + rng.uniform(0, gap_mm), r, gap_mm) for r in reach]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid + rng.uniform(-0.45, 0.45, grid.shape) * gap_mm
    inside = thorax.lung_distance(*grid.T) < -0.18 * gap_mm
    chosen: FloatArray = grid[inside & (grid[:, 0] * side > 0) & (np.abs(grid[:, 2]) < 0.98 * thorax.half_height)]
    return chosen if len(chosen) else thorax.hila[(side + 1) // 2][None] + [[side * 0.2 * thorax.cavity_x, 0.0, 0.0]]


def _bronchi(rng: np.random.Generator, thorax: Thorax, arteries: Tree) -> tuple[Tubes, Tubes]:
    """Bronchi run beside the arteries: the same branches, moved sideways, as far as their lumen can be seen."""
    lumen = 0.85 * arteries.radius
    sideways = rng.normal(size=3) * [1.0, 1.0, 0.3]
    sideways /= np.linalg.norm(sideways)
    wall = 0.2 + 0.22 * lumen
    moved = Tree(
        arteries.nodes + sideways * (arteries.radius + lumen + wall)[:, None], arteries.parent, arteries.leaves, lumen
    )
    tubes = moved.tubes()
    # Moved sideways, some would run through the heart.
    within = np.maximum(thorax.lung_distance(*tubes.start.T), thorax.lung_distance(*tubes.end.T))
    seen = (tubes.radius_end >= _MIN_LUMEN_MM) & (within < 0.5)
    tubes = Tubes(tubes.start[seen], tubes.end[seen], tubes.radius_start[seen], tubes.radius_end[seen])
    return tubes, thicken(tubes, 0.2, 0.22)


def thicken(tubes: Tubes, by_mm: float, by_share: float) -> Tubes:
    """The outer surface of a wall of thickness by_mm + by_share * radius."""
    grown = (r * (1 + by_share) + by_mm for r in (tubes.radius_start, tubes.radius_end))
    return Tubes(tubes.start, tubes.end, *grown)


def _trachea(thorax: Thorax) -> tuple[Tubes, Tubes]:
    radius = 0.075 * thorax.cavity_x
    top = np.array([0.0, 0.02 * thorax.cavity_y, 1.1 * thorax.half_height])
    carina = np.array([0.0, 0.12 * thorax.cavity_y, 0.36 * thorax.half_height])
    right, left = thorax.hila
    start, end = np.stack([top, carina, carina]), np.stack([carina, right, left])
    lumen = Tubes(start, end, np.array([1.0, 0.75, 0.7]) * radius, np.array([1.0, 0.6, 0.55]) * radius)
    return lumen, thicken(lumen, 0.5, 0.12)


def _great_vessels(thorax: Thorax) -> Tubes:
    a, b, h = thorax.cavity_x, thorax.cavity_y, thorax.half_height
    aorta_x, aorta_y, radius, arch_z = thorax.aorta
    root = np.array([-0.02 * a, -0.2 * b, 0.05 * h])
    bend = np.array([-0.08 * a, -0.22 * b, arch_z - radius])
    arch = np.array([0.05 * a, 0.12 * b, arch_z])
    down = np.array([aorta_x, aorta_y, arch_z - radius])
    trunk, fork = np.array([0.1 * a, -0.32 * b, 0.05 * h]), np.array([0.06 * a, -0.05 * b, 0.22 * h])
    cava_low, cava_high = np.array([-0.2 * a, -0.1 * b, 0.0]), np.array([-0.17 * a, -0.2 * b, 0.75 * h])
    start = np.stack([root, bend, arch, trunk, fork, fork, cava_low])
    end = np.stack([bend, arch, down, fork, thorax.hila[0], thorax.hila[1], cava_high])
    size = np.array([1.0, 1.0, 1.0, 0.95, 0.75, 0.75, 0.7]) * radius
    return Tubes(start, end, size, size * [1.0, 1.0, 1.0, 0.95, 0.8, 0.8, 1.0])
