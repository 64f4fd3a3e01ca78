"""Augmentation of CT crops, batched on the device: one resampling for flip, rotation, scale and offset, then intensity.

What happens to a sample depends on (seed, epoch, draw number) only. `CropAugmentation.draw` computes it on the CPU, a
few numbers per sample that travel with the batch; `apply` does the work where the batch is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lungdet.data.counter_random import normal_noise, sample_keys, uniforms
from lungdet.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

_AIR_HU = -1000.0
_CPU_PART = 8
# Places of the uniform numbers of one sample.
_FLIP, _ANGLE, _OFFSET = slice(0, 3), slice(3, 6), slice(6, 9)
_SCALE, _CONTRAST, _SHIFT, _NOISE, _N = 9, 10, 11, 12, 13


class AugmentationDraw(TypedDict):
    """What happens to each sample of a batch.

    matrix: float32 [B, 3, 4], from output to input voxel, both counted (z, y, x) from the middle of the crop.
    contrast: float32 [B], factor on (HU + 1000), so that air stays air.
    shift_hu: float32 [B], added after the contrast.
    noise_hu_sd: float32 [B], standard deviation of the white noise.
    noise_key: int64 [B], decides the noise itself.
    """

    matrix: Tensor
    contrast: Tensor
    shift_hu: Tensor
    noise_hu_sd: Tensor
    noise_key: Tensor


@dataclass(frozen=True, kw_only=True)
class CropAugmentation:
    """Random flip, rotation, scale, offset, contrast, intensity shift and noise of CT crops.

    Rotation, scale and offset are meant in the patient: a crop with anisotropic voxels is turned in millimetres, not in
    voxels. Whatever comes from outside the crop repeats its border.

    Args:
        flip: mirror each axis with probability 0.5.
        rotation_deg: largest angle about the z, y and x axis, uniform in +- that; one number for all three.
        scale: smallest and largest magnification, uniform; 1.1 shows everything 10 % larger.
        offset_mm: largest displacement along z, y and x, uniform in +- that; one number for all three.
        contrast: smallest and largest factor on (HU + 1000), uniform.
        intensity_shift_hu: largest change of all HU, uniform in +- that.
        noise_hu_sd: largest standard deviation of white Gaussian noise; that of a sample is uniform in [0, this].

    Raises:
        ConfigError: every argument that is out of range, together.
    """

    flip: bool = True
    rotation_deg: float | Sequence[float] = 15.0
    scale: Sequence[float] = (0.9, 1.1)
    offset_mm: float | Sequence[float] = 1.5
    contrast: Sequence[float] = (0.95, 1.05)
    intensity_shift_hu: float = 20.0
    noise_hu_sd: float = 20.0

    def __post_init__(self) -> None:
        problems = []
        for name in ("rotation_deg", "offset_mm"):
            given = getattr(self, name)
            three = (float(given),) * 3 if isinstance(given, int | float) else tuple(float(v) for v in given)
            object.__setattr__(self, name, three)
            if len(three) != 3 or not all(0 <= v < math.inf for v in three):
                problems.append(f"data.augment.{name}={given} must be one number >= 0 or three of them (z, y, x)")
        for name in ("scale", "contrast"):
            ends = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, ends)
            if len(ends) != 2 or not 0 < ends[0] <= ends[1] < math.inf:
                problems.append(
                    f"data.augment.{name}={list(ends)} must be two numbers, 0 < lowest <= highest; [1,1] is off"
                )
        for name in ("intensity_shift_hu", "noise_hu_sd"):
            if not 0 <= getattr(self, name) < math.inf:
                problems.append(f"data.augment.{name}={getattr(self, name)} must be >= 0; 0 is off")
        if problems:
            raise ConfigError(problems)

    def draw(
        self, draws: npt.NDArray[np.int64], *, seed: int, epoch: int, spacing_zyx_mm: npt.ArrayLike
    ) -> AugmentationDraw:
        """Decide what happens to each sample, from (seed, epoch, draw number) only.

        Args:
            draws: int64 [B], draw numbers (see `EpochSampler`).
            seed: any integer.
            epoch: number of the epoch.
            spacing_zyx_mm: [B, 3] or [3], voxel spacing of the crops.

        Returns:
            Small CPU tensors, [B, ...].
        """
        keys = sample_keys(draws, seed=seed, epoch=epoch)
        u = uniforms(keys, n=_N)
        both = 2 * u - 1  # in [-1, 1)
        flips = np.where(self.flip & (u[:, _FLIP] < 0.5), -1.0, 1.0)
        scale = _between(self.scale, u[:, _SCALE])
        # From output to input voxel: undo the offset, to mm, undo scale, rotation and flip, back to voxels.
        spacing = np.broadcast_to(np.asarray(spacing_zyx_mm, dtype=np.float64), (len(draws), 3))
        turned = _rotations(both[:, _ANGLE] * np.deg2rad(self.rotation_deg))
        linear = flips[:, :, None] * turned / scale[:, None, None] * spacing[:, None, :] / spacing[:, :, None]
        offset_vox = both[:, _OFFSET] * np.asarray(self.offset_mm) / spacing
        shift = -(linear * offset_vox[:, None, :]).sum(axis=-1, keepdims=True)
        return {
            "matrix": _float32(np.concatenate([linear, shift], axis=-1)),
            "contrast": _float32(_between(self.contrast, u[:, _CONTRAST])),
            "shift_hu": _float32(both[:, _SHIFT] * self.intensity_shift_hu),
            "noise_hu_sd": _float32(u[:, _NOISE] * self.noise_hu_sd),
            "noise_key": torch.from_numpy(keys.view(np.int64).copy()),
        }

    @torch.no_grad()
    def apply(self, hu: Tensor, drawn: AugmentationDraw) -> Tensor:
        """Augment a batch where it is.

        Args:
            hu: [B, 1, D, H, W], int16 or float32, HU.
            drawn: of the same batch, on the same device.

        Returns:
            float32 [B, 1, D, H, W], HU, not clipped.
        """
        if hu.device.type != "cpu":
            return self._apply(hu, drawn)
        # A part at a time, so that grid and noise stay in the cache: 43 instead of 53 ms for 32 crops of (32, 48, 48).
        parts = [slice(first, first + _CPU_PART) for first in range(0, len(hu), _CPU_PART)]
        return torch.cat([self._apply(hu[part], _taken(drawn, part)) for part in parts])

    @torch.no_grad()
    def move_mask(self, mask: Tensor, drawn: AugmentationDraw) -> Tensor:
        """Move masks as `apply` moves their volumes; intensities do not matter to them.

        Args:
            mask: bool [B, 1, D, H, W].
            drawn: of the same batch, on the same device.

        Returns:
            bool [B, 1, D, H, W], each voxel that of the nearest one.
        """
        if not self._moves:
            return mask
        grid = _sampling_grid(drawn["matrix"], mask.shape[2:])
        moved = F.grid_sample(mask.float(), grid, mode="nearest", padding_mode="border", align_corners=False)
        return moved > 0.5

    def _apply(self, hu: Tensor, drawn: AugmentationDraw) -> Tensor:
        out = hu.float()
        if self._moves:
            grid = _sampling_grid(drawn["matrix"], hu.shape[2:])
            out = F.grid_sample(out, grid, mode="bilinear", padding_mode="border", align_corners=False)
        elif out is hu:
            out = hu.clone()
        by_sample = (-1, 1, 1, 1, 1)
        out.sub_(_AIR_HU).mul_(drawn["contrast"].view(by_sample)).add_(_AIR_HU).add_(drawn["shift_hu"].view(by_sample))
        if self.noise_hu_sd > 0:
            noise = normal_noise(drawn["noise_key"], n=math.prod(hu.shape[1:]))
            out.add_(noise.view_as(out).mul_(drawn["noise_hu_sd"].view(by_sample)))
        return out

    @property
    def _moves(self) -> bool:
        """Whether anything but the intensity changes."""
        return self.flip or bool(np.any(self.rotation_deg) or np.any(self.offset_mm)) or tuple(self.scale) != (1.0, 1.0)


def _rotations(angles_rad: FloatArray) -> FloatArray:
    """Rotation about z, then y, then x, for column vectors in (z, y, x) order: float64 [B, 3, 3] from [B, 3]."""
    # math, not NumPy: vectorised sines may differ in the last bit between positions of an array.
    cosines, sines = (
        np.array([function(angle) for angle in angles_rad.flat]).reshape(angles_rad.shape)
        for function in (math.cos, math.sin)
    )
    total = np.broadcast_to(np.eye(3), (len(angles_rad), 3, 3))
    for axis in range(3):
        a, b = [other for other in range(3) if other != axis]
        turn = np.zeros((len(angles_rad), 3, 3))
        turn[:, axis, axis] = 1
        turn[:, a, a] = turn[:, b, b] = cosines[:, axis]
        turn[:, a, b], turn[:, b, a] = -sines[:, axis], sines[:, axis]
        # Not matmul: its blocking, and with it the rounding, may depend on the batch.
        total = (turn[:, :, :, None] * total[:, None, :, :]).sum(axis=2)
    return total


def _sampling_grid(matrix: Tensor, shape_zyx: Sequence[int]) -> Tensor:
    """Where each output voxel looks, as `grid_sample` wants it: float32 [B, D, H, W, 3], last axis x, y, z in [-1, 1].

    The three terms of each coordinate are broadcast sums: 2.7 ms for 32 crops of (32, 48, 48) on two cores where
    `affine_grid` takes 49, and each voxel gets the same bits whatever the batch, which a matrix product need not do.
    """
    z, y, x = (torch.arange(n, dtype=torch.float32, device=matrix.device) - (n - 1) / 2 for n in shape_zyx)
    grid = torch.empty((len(matrix), *shape_zyx, 3), dtype=torch.float32, device=matrix.device)
    for axis, size in enumerate(shape_zyx):
        # Voxels from the middle to [-1, 1] of the whole extent (align_corners=False): times 2 / size.
        row = matrix[:, axis] * (2 / size)
        along_z = (row[:, 0, None] * z + row[:, 3, None])[:, :, None, None]
        along_y = (row[:, 1, None] * y)[:, None, :, None]
        along_x = (row[:, 2, None] * x)[:, None, None, :]
        torch.add(along_z + along_y, along_x, out=grid[..., 2 - axis])
    return grid


def _taken(drawn: AugmentationDraw, part: slice) -> AugmentationDraw:
    return {
        "matrix": drawn["matrix"][part],
        "contrast": drawn["contrast"][part],
        "shift_hu": drawn["shift_hu"][part],
        "noise_hu_sd": drawn["noise_hu_sd"][part],
        "noise_key": drawn["noise_key"][part],
    }


def _between(ends: Sequence[float], u: FloatArray) -> FloatArray:
    return ends[0] + u * (ends[1] - ends[0])


def _float32(values: FloatArray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
