"""Painting into the voxels: tubes, small bodies and noise, each in its own local box, with partial volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lungdet.geometry import Geometry
from lungdet.io.phantom.trees import Tubes

FloatArray = npt.NDArray[np.float64]
HuArray = npt.NDArray[np.float32]

_SLAB_VOXELS = 4_000_000  # memory of the temporaries: about ten float32 arrays of this size


@dataclass(frozen=True)
class LocalBox:
    """A box of voxels around a point.

    Attributes:
        where: slices into the volume.
        x, y, z: float64 offsets of the voxel centres from the point in mm along the patient's axes, [d, h, w].
        voxel: extent of a voxel along the direction from the point to it, mm, [d, h, w].
    """

    where: tuple[slice, slice, slice]
    x: FloatArray
    y: FloatArray
    z: FloatArray
    voxel: FloatArray


class Canvas:
    """A HU volume with the mapping from the patient's mm (about the scan centre) to its voxels.

    Args:
        hu: float32 [D, H, W], changed in place.
        geometry: of the same shape; its direction is the only part used besides the spacing, as patient
            coordinates are relative to the centre of the volume.
    """

    def __init__(self, hu: HuArray, geometry: Geometry) -> None:
        self.hu = hu
        self.spacing_xyz = np.asarray(geometry.spacing_xyz_mm)
        self.cosines = np.asarray(geometry.direction).reshape(3, 3)
        shape_xyz = np.asarray(geometry.shape_zyx[::-1])
        # Voxel centres along each index axis, mm about the centre of the volume.
        self._axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape_xyz, self.spacing_xyz, strict=True)]

    def slabs(self) -> list[tuple[slice, HuArray, HuArray, HuArray]]:
        """Patient coordinates of the whole volume, a few slices at a time: (slices, x, y, z), broadcastable."""
        depth, height, width = self.hu.shape
        step = max(1, _SLAB_VOXELS // (height * width))
        x, y = self._axes[0][None, None, :], self._axes[1][None, :, None]
        result = []
        for lo in range(0, depth, step):
            z = self._axes[2][lo : lo + step, None, None]
            # Zero cosines are left out, so that an axial grid stays three thin arrays.
            coordinates = [
                sum((c * axis for c, axis in zip(row, (x, y, z), strict=True) if c != 0), np.zeros((1, 1, 1)))
                for row in self.cosines
            ]
            px, py, pz = (np.asarray(c, dtype=np.float32) for c in coordinates)
            result.append((slice(lo, lo + step), px, py, pz))
        return result

    def local(self, center_xyz_mm: npt.ArrayLike, reach_mm: float) -> LocalBox | None:
        """The voxels within a cube of half-width reach_mm, None where it lies outside the volume."""
        grid_center = np.asarray(center_xyz_mm) @ self.cosines
        where = self._window(grid_center - reach_mm, grid_center + reach_mm)
        if where is None:
            return None
        gx, gy, gz = np.meshgrid(
            *(axis[part] - c for axis, part, c in zip(self._axes, where[::-1], grid_center, strict=True)), indexing="ij"
        )
        grid = [np.ascontiguousarray(g.transpose(2, 1, 0)) for g in (gx, gy, gz)]
        distance = np.sqrt(sum(g * g for g in grid))
        towards: FloatArray = sum(np.abs(g) * s for g, s in zip(grid, self.spacing_xyz, strict=True))
        voxel = towards / np.maximum(distance, 1e-6)
        x, y, z = (sum(c * g for c, g in zip(row, grid, strict=True)) for row in self.cosines)
        return LocalBox(where, x, y, z, np.maximum(voxel, self.spacing_xyz.min()))

    def tubes(self, tubes: Tubes, value_hu: float, *, background_hu: float | None) -> None:
        """Paint tubes.

        Args:
            tubes: what to paint.
            value_hu: attenuation inside.
            background_hu: a number keeps the denser of tube and volume, the tube's edge passing into a surrounding of
                at most that value (so that overlapping tubes show no seam); None replaces what is there (a lumen).
        """
        start, end = tubes.start @ self.cosines, tubes.end @ self.cosines
        margin = self.spacing_xyz
        reach = np.maximum(tubes.radius_start, tubes.radius_end)[:, None] + margin
        low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        for i in range(len(tubes)):
            where = self._window(low[i], high[i])
            if where is None:
                continue
            occupancy = self._tube(start[i], end[i], tubes.radius_start[i], tubes.radius_end[i], where)
            part = self.hu[where]
            if background_hu is None:
                part += occupancy * (value_hu - part)
            else:
                add_denser(part, occupancy, value_hu, background_hu)

    def blur(self, sigma_xy_mm: float, sigma_z_mm: float) -> None:
        """Point spread of scanner and reconstruction: Gaussian along the index axes."""
        sigmas = np.array([sigma_z_mm, sigma_xy_mm, sigma_xy_mm]) / self.spacing_xyz[::-1]
        ndimage.gaussian_filter(self.hu, sigmas, output=self.hu, mode="nearest", truncate=3.0)

    def add_noise(self, rng: np.random.Generator, sigma_hu: float, grain_mm: float) -> None:
        """Noise with the spectrum of filtered back-projection.

        White noise is band-passed in the plane (a difference of Gaussians: little power at low frequency, as the ramp
        filter leaves), correlated along z (first-order recursion: slices overlap) and made weaker towards the air
        around the body.

        Args:
            rng: decides the noise.
            sigma_hu: standard deviation in the middle of the body.
            grain_mm: width of the finer Gaussian.
        """
        depth, height, width = self.hu.shape
        fine = grain_mm / self.spacing_xyz[0]
        impulse = np.zeros((65, 65), dtype=np.float32)
        impulse[32, 32] = 1
        gain = float(np.sqrt((_band_pass(impulse, fine) ** 2).sum()))
        radius = np.hypot(self._axes[0][None, :] / self._axes[0][-1], self._axes[1][:, None] / self._axes[1][-1])
        strength = (sigma_hu * (0.4 + 0.6 * np.exp(-((radius / 0.75) ** 4))) / gain).astype(np.float32)
        # Slices of 2.5 mm are nearly independent, those of 0.6 mm share most of their photons.
        memory = float(np.exp(-self.spacing_xyz[2] / 1.2))
        field = _band_pass(rng.standard_normal((height, width), dtype=np.float32), fine)
        for k in range(depth):
            fresh = _band_pass(rng.standard_normal((height, width), dtype=np.float32), fine)
            field = memory * field + float(np.sqrt(1 - memory**2)) * fresh
            self.hu[k] += strength * field

    def _window(self, low: FloatArray, high: FloatArray) -> tuple[slice, slice, slice] | None:
        """Slices (z, y, x) of the voxels between two corners given along the index axes."""
        slices = []
        for axis, spacing, lo, hi in zip(self._axes, self.spacing_xyz, low, high, strict=True):
            first = max(0, int(np.ceil((lo - axis[0]) / spacing)))
            last = min(len(axis) - 1, int(np.floor((hi - axis[0]) / spacing)))
            if last < first:
                return None
            slices.append(slice(first, last + 1))
        return slices[2], slices[1], slices[0]

    def _tube(
        self, start: FloatArray, end: FloatArray, r0: float, r1: float, where: tuple[slice, slice, slice]
    ) -> npt.NDArray[np.float32]:
        """Share of each voxel that lies inside one tube."""
        x = (self._axes[0][where[2]] - start[0]).astype(np.float32)[None, None, :]
        y = (self._axes[1][where[1]] - start[1]).astype(np.float32)[None, :, None]
        z = (self._axes[2][where[0]] - start[2]).astype(np.float32)[:, None, None]
        ax, ay, az = (float(v) for v in end - start)
        length2 = max(ax * ax + ay * ay + az * az, 1e-9)
        t = np.clip((x * (ax / length2) + y * (ay / length2)) + z * (az / length2), 0, 1)
        ox, oy, oz = x - t * ax, y - t * ay, z - t * az
        d = np.sqrt(ox * ox + oy * oy + oz * oz)
        sx, sy, sz = (float(s) for s in self.spacing_xyz)
        voxel = np.maximum((np.abs(ox) * sx + np.abs(oy) * sy + np.abs(oz) * sz) / np.maximum(d, 1e-6), min(sx, sy))
        return slab_occupancy(d, r0 + t * float(r1 - r0), voxel)


def add_denser(part: HuArray, share: npt.NDArray[np.float32], value_hu: float, background_hu: float) -> None:
    """Puts tissue into part of a volume, in place, where it is denser than what is there.

    Args:
        part: HU, changed.
        share: how much of each voxel the tissue fills.
        value_hu: of the tissue.
        background_hu: what the rest of the voxel is at most: where the volume is denser already (the edge of another
            structure), its share is not counted twice.
    """
    rest = np.minimum(part, np.float32(background_hu))
    np.maximum(part, rest + share * (np.float32(value_hu) - rest), out=part)


def slab_occupancy(
    distance: npt.NDArray[np.floating], radius: npt.NDArray[np.floating], voxel: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Share of a voxel of extent `voxel` at `distance` from an axis that lies within `radius` of it.

    Exact for a slab; for a tube or a ball the usual partial-volume approximation. A structure thinner than the voxel
    fills only its share, so thin vessels fade instead of vanishing between slices.
    """
    near = np.clip((radius - distance) / voxel + 0.5, 0, 1)
    far = np.clip((radius + distance) / voxel + 0.5, 0, 1)
    share: npt.NDArray[np.float32] = (near + far - 1).clip(0, 1).astype(np.float32, copy=False)
    return share


def _band_pass(plane: npt.NDArray[np.float32], sigma_vox: float) -> npt.NDArray[np.float32]:
    fine = ndimage.gaussian_filter(plane, sigma_vox, mode="wrap", truncate=3.0)
    coarse = ndimage.gaussian_filter(plane, 2.2 * sigma_vox, mode="wrap", truncate=3.0)
    band: npt.NDArray[np.float32] = fine - 0.7 * coarse
    return band
