"""What a candidate classifier sees: crops around candidates, cut from the scan in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ScanError
from lungdet.pipeline.inference import check_choice

Border = Literal["pad", "shift"]
Scale = Literal["unit", "hu"]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CropInput:
    """The input contract of a classifier: which crop, on which grid, in which numbers.

    The crop starts at the centre voxel minus half its size, so the centre is element [size // 2] on every axis.

    Args:
        shape_zyx: voxels of the crop.
        spacing_zyx_mm: grid the network was trained on; None for the scan's own voxels.
        window_hu: HU are clipped to this range.
        scale: "unit" maps the window to [0, 1], "hu" keeps HU, as the seed book's networks expect.
        border: what happens where a crop reaches over the volume. "pad" fills with air and keeps the candidate in the
            middle; "shift" moves the crop inside, as the book does, and needs a volume of at least the crop's size.

    Raises:
        ConfigError: a size below 1, an empty window, a spacing that is not positive, another scale or border.
    """

    shape_zyx: tuple[int, int, int] = (32, 48, 48)
    spacing_zyx_mm: tuple[float, float, float] | None = None
    window_hu: tuple[float, float] = (-1000.0, 1000.0)
    scale: Scale = "hu"
    border: Border = "pad"

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, Scale)
        check_choice("border", self.border, Border)
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise ConfigError([f"shape_zyx={self.shape_zyx}: needs three sizes >= 1, such as (32, 48, 48)"])
        check_window(self.window_hu)
        check_spacing(self.spacing_zyx_mm)


def check_window(window_hu: tuple[float, float]) -> None:
    """Refuse a HU range that is empty or infinite.

    Raises:
        ConfigError: what was given and an example.
    """
    if len(window_hu) != 2 or not -np.inf < window_hu[0] < window_hu[1] < np.inf:
        raise ConfigError([f"window_hu={window_hu}: needs a lower and a higher end in HU, such as (-1000, 400)"])


def check_spacing(spacing_zyx_mm: tuple[float, float, float] | None) -> None:
    """Refuse a grid spacing that is not three positive numbers; None is the scan's own grid.

    Raises:
        ConfigError: what was given and an example.
    """
    if spacing_zyx_mm is not None and (len(spacing_zyx_mm) != 3 or not all(0 < s < np.inf for s in spacing_zyx_mm)):
        raise ConfigError([f"spacing_zyx_mm={spacing_zyx_mm}: needs three positive numbers in mm, or None"])


def apply_window(hu: Tensor, window_hu: tuple[float, float], scale: Scale) -> Tensor:
    """Clip to a window and scale, in a new float32 tensor; the same arithmetic as in training."""
    low, high = window_hu
    clipped = hu.to(torch.float32, copy=True).clamp_(low, high)
    return clipped if scale == "hu" else clipped.sub_(low).div_(high - low)


def crop_batches(
    hu: npt.NDArray[np.int16], center_zyx: IndexArray, *, contract: CropInput, batch_size: int
) -> Iterator[npt.NDArray[np.int16]]:
    """Cut crops around voxels, a batch at a time.

    Args:
        hu: int16 [D, H, W], on the grid of the contract.
        center_zyx: int64 [N, 3], voxels inside the volume.
        contract: crop size and what to do at the border.
        batch_size: crops per batch.

    Yields:
        int16 [b, d, h, w], b <= batch_size, a new array each time, in the order of the centres.

    Raises:
        ScanError: border "shift" and a volume smaller than the crop.
    """
    size = np.asarray(contract.shape_zyx)
    volume = np.asarray(hu.shape)
    if contract.border == "shift" and np.any(volume < size):
        raise ScanError(
            f"the scan has {tuple(hu.shape)} voxels (z, y, x), the classifier needs {contract.shape_zyx} and shifts "
            "crops inside the volume: give a larger scan, or a recipe that pads at the border"
        )
    starts = center_zyx - size // 2
    if contract.border == "shift":
        starts = np.clip(starts, 0, volume - size)
    air = round(max(contract.window_hu[0], np.iinfo(np.int16).min))
    inside = np.all((starts >= 0) & (starts + size <= volume), axis=1)
    for first in range(0, len(starts), batch_size):
        chunk = starts[first : first + batch_size]
        crops = np.empty((len(chunk), *contract.shape_zyx), dtype=np.int16)
        for crop, start, is_inside in zip(crops, chunk, inside[first : first + batch_size], strict=True):
            low = start if is_inside else np.maximum(start, 0)
            high = start + size if is_inside else np.minimum(start + size, volume)
            source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            if is_inside:
                crop[...] = hu[source]
            else:
                crop[...] = air
                crop[tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))] = hu[source]
        yield crops
