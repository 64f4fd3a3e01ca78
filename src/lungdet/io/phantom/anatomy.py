"""The shape of a chest: body wall, lungs, mediastinum, diaphragm and spine as analytic distance functions.

Coordinates are mm about the centre of the scan: x towards the patient's left, y towards the back, z towards the head.
Every function takes broadcastable arrays, so an axial grid costs little more than its planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 for voxels, float64 for points: what comes in goes out.
FloatArray = npt.NDArray[np.floating[Any]]

_EXPONENT = 2.5  # of the superellipses: between an ellipse and a box, as a chest is


@dataclass(frozen=True)
class Thorax:
    """Shape and attenuation of one patient's chest; lengths in mm, see `draw_thorax` for where they come from.

    Attributes:
        half_width, half_depth: of the body; cavity_x, cavity_y: of the pleural cavity.
        half_height: half the extent of the scan along z.
        fat: thickness of the subcutaneous fat.
        apex_z, taper_z: top of the lungs, and where the cavity starts to narrow towards it.
        dome_z: top of the diaphragm, right and left; dome_drop: how far it falls off per normalised radius squared.
        heart, heart_radii: centre and semi-axes.
        aorta: x, y, radius of the descending aorta, and the z of the arch.
        spine_y, spine_radii: centre and semi-axes of the vertebral bodies; vertebra: their distance along z.
        waves: [K, 5] wave vector (3), phase, amplitude of the pleura's unevenness.
        lung_hu, gravity_hu: mean attenuation of lung, and the difference between dependent and upper parts.
        blood_hu: attenuation of blood, with or without contrast medium.
        table_side: +1 on the back (supine), -1 on the belly.
    """

    half_width: float
    half_depth: float
    cavity_x: float
    cavity_y: float
    half_height: float
    fat: float
    apex_z: float
    taper_z: float
    dome_z: tuple[float, float]
    dome_drop: float
    heart: tuple[float, float, float]
    heart_radii: tuple[float, float, float]
    aorta: tuple[float, float, float, float]
    spine_y: float
    spine_radii: tuple[float, float]
    vertebra: float
    waves: npt.NDArray[np.float64]
    lung_hu: float
    gravity_hu: float
    blood_hu: float
    table_side: int

    @property
    def hila(self) -> npt.NDArray[np.float64]:
        """[2, 3]: where vessels and bronchi enter the right and the left lung."""
        x, y, h = self.cavity_x, self.cavity_y, self.half_height
        return np.array([[-0.36 * x, 0.05 * y, 0.18 * h], [0.38 * x, 0.08 * y, 0.14 * h]])

    def cavity_section(self, z: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Size of the cavity's cross-section at height z, relative to its widest: 0 to 1."""
        top = np.clip((np.asarray(z, dtype=np.float64) - self.taper_z) / (self.apex_z - self.taper_z), 0.0, 1.0)
        section: npt.NDArray[np.float64] = (1.0 - top**_EXPONENT) ** (1 / _EXPONENT)
        return section

    def body_distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Approximate mm to the skin, negative inside."""
        rho = (_power(x / self.half_width) + _power(y / self.half_depth)) ** (1 / _EXPONENT)
        distance: FloatArray = (rho - 1) * self.half_depth
        return distance

    def cavity_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm to the outer pleura, negative inside."""
        top = np.maximum((z - self.taper_z) / (self.apex_z - self.taper_z), 0)
        total = _power(x / self.cavity_x) + _power(y / self.cavity_y) + _power(top)
        distance: FloatArray = (total ** (1 / _EXPONENT) - 1) * self.cavity_y
        for kx, ky, kz, phase, amplitude in self.waves.astype(np.float32):
            distance = distance + amplitude * np.cos(kx * x + ky * y + kz * z + phase)
        return distance

    def mediastinum_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm to the mediastinum (spine, heart and aorta included), negative inside."""
        width = self.cavity_x * (0.06 + 0.2 * np.sqrt(np.maximum(1 - (y / self.cavity_y) ** 2, 0)))
        distance = _smooth_max(width - np.abs(x), -self.heart_distance(x, y, z), self.cavity_x * 0.08)
        distance = np.maximum(distance, -self.aorta_distance(x, y, z))
        return -_smooth_max(distance, -self.spine_distance(x, y), self.cavity_x * 0.05)

    def heart_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm to the heart's surface, negative inside."""
        (cx, cy, cz), (rx, ry, rz) = self.heart, self.heart_radii
        rho = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2)
        distance: FloatArray = (rho - 1) * min(rx, ry, rz)
        return distance

    def aorta_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm to the descending aorta, negative inside."""
        ax, ay, radius, arch_z = self.aorta
        distance: FloatArray = np.maximum(np.sqrt((x - ax) ** 2 + (y - ay) ** 2) - radius, z - arch_z)
        return distance

    def spine_distance(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Approximate mm to the vertebral bodies, negative inside."""
        rx, ry = self.spine_radii
        distance: FloatArray = (np.sqrt((x / rx) ** 2 + ((y - self.spine_y) / ry) ** 2) - 1) * ry
        return distance

    def diaphragm_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm above the diaphragm, negative above it (on the side of the lungs)."""
        right, left = self.dome_z
        blend = 0.5 + 0.5 * np.tanh(x / (0.1 * self.cavity_x))
        away = ((np.abs(x) - 0.45 * self.cavity_x) / (0.85 * self.cavity_x)) ** 2 + (y / self.cavity_y) ** 2
        surface = right + (left - right) * blend - self.dome_drop * away
        distance: FloatArray = (surface - z) * 0.85
        return distance

    def lung_distance(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Approximate mm to the surface of either lung, negative inside; right lung x < 0, left lung x > 0."""
        return self.join_lung(
            self.cavity_distance(x, y, z), self.mediastinum_distance(x, y, z), self.diaphragm_distance(x, y, z)
        )

    def join_lung(self, cavity: FloatArray, mediastinum: FloatArray, diaphragm: FloatArray) -> FloatArray:
        """The lung surface from the three distances that bound it, with rounded recesses."""
        sharpness = 0.06 * self.cavity_x
        return _smooth_max(_smooth_max(cavity, -mediastinum, sharpness), diaphragm, sharpness)

    def lung_depth(
        self, points_xyz_mm: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Distance to the lung surface in true mm (first order) and the unit normal, which points out of the lung.

        Args:
            points_xyz_mm: [N, 3].

        Returns:
            [N], negative inside the lung, and [N, 3].
        """
        step = 0.05
        points = np.asarray(points_xyz_mm, dtype=np.float64)
        value = self.lung_distance(*points.T)
        gradient = np.stack(
            [(self.lung_distance(*(points + step * axis).T) - value) / step for axis in np.eye(3)],
            axis=1,
        )
        norm = np.maximum(np.linalg.norm(gradient, axis=1), 1e-3)
        return value / norm, gradient / norm[:, None]


def draw_thorax(rng: np.random.Generator, *, half_fov_mm: float, half_height_mm: float, table_side: int) -> Thorax:
    """A chest that fills a field of view: proportions of an adult, whatever the scale."""
    width = half_fov_mm * rng.uniform(0.86, 0.95)
    depth = width * rng.uniform(0.67, 0.76)
    fat = width * rng.uniform(0.03, 0.09)
    wall = fat + width * rng.uniform(0.095, 0.12)
    cavity_x, cavity_y = width - wall, depth - 0.85 * wall
    apex = half_height_mm * rng.uniform(0.82, 0.92)
    dome = -half_height_mm * rng.uniform(0.25, 0.40)
    left_dome = dome - half_height_mm * rng.uniform(0.03, 0.10)
    vectors = rng.normal(size=(4, 3)) * (2.2 / cavity_y)
    waves = np.column_stack([vectors, rng.uniform(0, 2 * np.pi, 4), cavity_y * rng.uniform(0.008, 0.025, 4)])
    return Thorax(
        half_width=width,
        half_depth=depth,
        cavity_x=cavity_x,
        cavity_y=cavity_y,
        half_height=half_height_mm,
        fat=fat,
        apex_z=apex,
        taper_z=apex - half_height_mm * rng.uniform(1.0, 1.3),
        dome_z=(dome, left_dome),
        dome_drop=half_height_mm * rng.uniform(0.26, 0.36),
        heart=(cavity_x * rng.uniform(0.12, 0.2), -0.25 * cavity_y, left_dome + 0.24 * half_height_mm),
        heart_radii=(cavity_x * rng.uniform(0.38, 0.48), 0.5 * cavity_y, half_height_mm * rng.uniform(0.30, 0.38)),
        aorta=(0.17 * cavity_x, 0.5 * cavity_y, 0.095 * cavity_x, 0.42 * half_height_mm),
        spine_y=0.80 * cavity_y,
        spine_radii=(0.17 * cavity_x, 0.13 * cavity_x),
        vertebra=half_height_mm * rng.uniform(0.15, 0.18),
        waves=waves,
        lung_hu=rng.uniform(-880, -800),
        gravity_hu=rng.uniform(15, 60),
        blood_hu=float(rng.choice([rng.uniform(38, 55), rng.uniform(120, 220)], p=[0.65, 0.35])),
        table_side=table_side,
    )


def _power(value: FloatArray) -> FloatArray:
    size = np.abs(value)
    power: FloatArray = size * size * np.sqrt(size)  # |v| ** 2.5, several times faster than a general power
    return power


def _smooth_max(a: FloatArray, b: FloatArray, width: float) -> FloatArray:
    """Maximum with the crease rounded over `width` mm; equal to it elsewhere."""
    overlap = np.maximum(width - np.abs(a - b), 0)
    joined: FloatArray = np.maximum(a, b) + overlap * overlap / (4 * width)
    return joined
