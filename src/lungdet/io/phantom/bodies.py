"""Star-shaped bodies: an ellipsoid with lobes of known volume and centre of mass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.canvas import LocalBox, slab_occupancy
from lungdet.io.phantom.trees import Tubes

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A body around a point, which is its centre of mass.

    Attributes:
        axes: [3] semi-axes in mm, before the lobes.
        rotation: [3, 3] columns are the directions of the axes.
        lobes: [K, 3] unit vectors, in the frame of the axes.
        heights: [K] how far each lobe stands out, relative to the axes; negative is a notch.
        sharpness: of the lobes; larger is narrower.
        shift: [3] mm from the centre of the axes to the centre of mass.
    """

    axes: FloatArray
    rotation: FloatArray
    lobes: FloatArray
    heights: FloatArray
    sharpness: float
    shift: FloatArray

    def extent(self, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Distance of points from the centre of the axes, and of the surface in their direction.

        Args:
            x: offset from the centre of mass, mm; y and z likewise, same shape.
            y: mm.
            z: mm.
        """
        offsets = np.stack([x, y, z], axis=-1) + self.shift
        distance = np.maximum(np.linalg.norm(offsets, axis=-1), 1e-6)
        scaled = offsets @ self.rotation / self.axes
        rho = np.linalg.norm(scaled, axis=-1)
        rho = np.maximum(rho, 1e-9)
        return distance, distance / rho * self._outline(scaled / rho[..., None])

    def occupancy(self, box: LocalBox, edge_mm: float) -> npt.NDArray[np.float32]:
        """Share of each voxel of a box about the centre of mass that lies inside."""
        distance, surface = self.extent(box.x, box.y, box.z)
        return slab_occupancy(distance, surface, np.maximum(box.voxel, edge_mm))

    @property
    def reach_mm(self) -> float:
        """Radius of a ball about the centre of mass that holds the body."""
        return float(self.axes.max() * (1 + np.maximum(self.heights, 0).sum()) + np.linalg.norm(self.shift))

    def scaled(self, factor: float) -> Body:
        """The same shape, `factor` times as large."""
        return Body(
            self.axes * factor, self.rotation, self.lobes, self.heights, self.sharpness, self.shift * factor
        )  # fmt: skip

    def _outline(self, directions: FloatArray) -> FloatArray:
        outline: FloatArray = 1 + np.exp(self.sharpness * (directions @ self.lobes.T - 1)) @ self.heights
        return outline


def make_body(
    diameter_mm: float, *, proportions: npt.ArrayLike, rotation: FloatArray, lobes: FloatArray, heights: FloatArray,
    sharpness: float = 6.0,
) -> Body:  # fmt: skip
    """A body with the volume of a sphere of the given diameter.

    Args:
        diameter_mm: of the sphere of equal volume.
        proportions: [3] relative lengths of the axes.
        rotation: see `Body`.
        lobes: see `Body`.
        heights: see `Body`.
        sharpness: see `Body`.
    """
    axes = np.asarray(proportions, dtype=np.float64)
    body = Body(axes, rotation, lobes, heights, sharpness, np.zeros(3))
    directions = sphere_directions(2000)
    outline = body._outline(directions)
    # Volume and first moment of a star-shaped body are integrals over directions of r^3 / 3 and n r^4 / 4.
    volume = float(np.prod(axes) * (outline**3).mean())
    moment = (directions * outline[:, None] ** 4).mean(axis=0) / 4 / ((outline**3).mean() / 3)
    factor = 0.5 * diameter_mm / volume ** (1 / 3)
    shift = rotation @ (axes * moment) * factor
    return Body(axes * factor, rotation, lobes, heights, sharpness, shift)


def sphere_directions(count: int) -> FloatArray:
    """[count, 3] unit vectors, evenly spread (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    height = 1 - 2 * k / count
    angle = np.pi * (1 + np.sqrt(5)) * k
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def random_directions(rng: np.random.Generator, count: int) -> FloatArray:
    """[count, 3] unit vectors."""
    vectors = rng.normal(size=(count, 3))
    directions: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """[3, 3] rotation matrix, uniform over orientations."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    rotation: FloatArray = q
    return rotation


def frame_along(axis: FloatArray) -> FloatArray:
    """[3, 3] rotation whose first column is `axis`."""
    first = axis / np.linalg.norm(axis)
    helper = np.eye(3)[int(np.argmin(np.abs(first)))]
    second = np.cross(first, helper)
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def spicules(rng: np.random.Generator, center: FloatArray, body: Body) -> Tubes:
    """Thin rays that leave the surface of a nodule, a few mm long, tapering."""
    directions = random_directions(rng, int(rng.integers(9, 18)))
    radius = body.extent(*(directions * 1e-3).T)[1]
    length = np.clip(radius * rng.uniform(0.5, 1.1, len(directions)), 2.0, 9.0)
    thick = np.clip(0.17 * radius, 0.45, 1.1)
    return Tubes(
        center + directions * (0.6 * radius)[:, None],
        center + directions * (radius + length)[:, None],
        thick,
        np.full(len(directions), 0.25),
    )
