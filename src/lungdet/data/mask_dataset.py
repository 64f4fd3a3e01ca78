"""Volumes with their nodule masks, a whole batch at a time: crops to train on, tiles that cover scans to evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lungdet.data.augment import AugmentationDraw
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset
from lungdet.store.mask_store import MaskStore
from lungdet.store.reader import CtStore

Shape = tuple[int, int, int]

# Planes are filled up to a multiple of this: every UNet of up to five levels takes them.
_PLANE_MULTIPLE = 16


class RawMaskBatch(TypedDict):
    """What workers hand over.

    hu: int16 [B, 1, D, H, W], HU.
    mask: bool [B, 1, D, H, W] in training, [B, 1, 1, H, W] for whole slices.
    index, draw: int64 [B], rows of the records and draw numbers.
    valid, near, is_repeat: of evaluation batches, see `MaskBatch`.
    augmentation: what to do to each sample; only in training.
    """

    hu: Tensor
    mask: Tensor
    index: Tensor
    draw: Tensor
    valid: NotRequired[Tensor]
    near: NotRequired[Tensor]
    is_repeat: NotRequired[Tensor]
    augmentation: NotRequired[AugmentationDraw]


class MaskCropDataset(Dataset[RawMaskBatch]):
    """Crops around points and the masks of the same voxels, with a margin that augmentation may move into.

    Args:
        crops: the points.
        masks: of the same scans.
        shape_zyx: voxels of a crop, margin included.
        min_readers: a voxel is nodule when so many readers say so.
    """

    def __init__(self, crops: CandidateDataset, masks: MaskStore, *, shape_zyx: Shape, min_readers: int) -> None:
        self.crops, self.masks, self.shape_zyx, self.min_readers = crops, masks, shape_zyx, min_readers

    def __len__(self) -> int:
        return len(self.crops)

    def __getitems__(self, draws: Sequence[int]) -> RawMaskBatch:
        """The batch of these draw numbers."""
        batch = self.crops.__getitems__(draws)
        rows = batch["index"].numpy()
        uids = self.crops.series_uids[self.crops.series_code[rows]].tolist()
        readers = self.masks.crops(uids, self.crops.center_xyz_mm[rows], self.shape_zyx)
        mask = torch.from_numpy(readers >= self.min_readers)[:, None]
        return {"hu": batch["hu"], "mask": mask, "index": batch["index"], "draw": batch["draw"]}

    def spacing_zyx_mm(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Voxel spacing of the crops of these rows: float64 [B, 3]."""
        return self.crops.spacing_zyx_mm(rows)


class MaskTileDataset(Dataset[RawMaskBatch]):
    """Tiles that cover whole scans, each voxel once: full slices, or boxes side by side.

    Args:
        store: where the voxels are.
        masks: of the same scans.
        records: series_uid and centre of each tile.
        nodules: series_uid, centre and diameter_mm of the annotated nodules, around which voxels count as near.
        shape_zyx: of a training crop; a box has this shape, a slice takes its first number as neighbouring slices.
        whole_slices: tiles are full slices.
        min_readers: a voxel is nodule when so many readers say so.
    """

    def __init__(
        self,
        store: CtStore,
        masks: MaskStore,
        *,
        records: pd.DataFrame,
        nodules: pd.DataFrame,
        shape_zyx: Shape,
        whole_slices: bool,
        min_readers: int,
    ) -> None:
        self.store, self.masks = store, masks
        self.shape_zyx, self.whole_slices, self.min_readers = shape_zyx, whole_slices, min_readers
        self.series_uid = records["series_uid"].to_numpy(object)
        self.center_xyz_mm = records[CENTER_COLUMNS].to_numpy(np.float64)
        self._nodules = {
            str(uid): (table[CENTER_COLUMNS].to_numpy(np.float64), table["diameter_mm"].to_numpy(np.float64))
            for uid, table in nodules.groupby("series_uid")
        }

    def __len__(self) -> int:
        return len(self.series_uid)

    def __getitems__(self, draws: Sequence[int]) -> RawMaskBatch:
        """The batch of these draw numbers; smaller planes are filled up to the largest with what is not valid."""
        drawn = np.asarray(draws, dtype=np.int64)
        rows = drawn % len(self)
        tiles = [self._tile(int(row)) for row in rows]
        (depth, *_), (_, answered, *_) = tiles[0][0].shape, tiles[0][1].shape
        multiple = _PLANE_MULTIPLE if self.whole_slices else 1
        plane = [-(-max(volume.shape[axis] for volume, _ in tiles) // multiple) * multiple for axis in (1, 2)]
        hu = np.full((len(tiles), 1, depth, *plane), self.store.spec.air_hu, np.int16)
        flags = np.zeros((3, len(tiles), 1, answered, *plane), np.bool_)
        for n, (volume, tile) in enumerate(tiles):
            hu[n, 0, :, : volume.shape[1], : volume.shape[2]] = volume
            flags[:, n, 0, :, : tile.shape[2], : tile.shape[3]] = tile
        mask, valid, near = (torch.from_numpy(flag) for flag in flags)
        return {
            "hu": torch.from_numpy(hu),
            "mask": mask,
            "valid": valid,
            "near": near,
            "index": torch.from_numpy(rows),
            "draw": torch.from_numpy(drawn),
            "is_repeat": torch.from_numpy(drawn >= len(self)),
        }

    def spacing_zyx_mm(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Voxel spacing of the tiles of these rows: float64 [B, 3]."""
        return np.array([self.store.geometry(self.series_uid[row]).spacing_zyx_mm for row in rows]).reshape(-1, 3)

    def _tile(self, row: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
        """Voxels; and mask, valid and near, stacked, of those the network answers for."""
        uid, center = str(self.series_uid[row]), self.center_xyz_mm[[row]]
        whole = self.store.geometry(uid).shape_zyx
        shape = (self.shape_zyx[0], whole[1], whole[2]) if self.whole_slices else self.shape_zyx
        answered: Shape = (1, *shape[1:]) if self.whole_slices else shape
        (hu,) = self.store.crops([uid], center, shape)
        if self.whole_slices:
            self._repeat_ends(hu, uid, center[0])
        (readers,) = self.masks.crops([uid], center, answered)
        start = np.rint(self.store.geometry(uid).world_to_index(center[0])).astype(np.int64) - np.asarray(answered) // 2
        valid = np.zeros(answered, np.bool_)
        # Boxes start inside the scan; only their far ends reach out of it.
        valid[tuple(slice(0, max(0, n - low)) for n, low in zip(whole, start.tolist(), strict=True))] = True
        return hu, np.stack([readers >= self.min_readers, valid, self._near(uid, start, answered)])

    def _repeat_ends(self, hu: npt.NDArray[np.int16], uid: str, center_xyz_mm: npt.NDArray[np.float64]) -> None:
        """Slices beyond the ends of the scan repeat its last one, as the detector does, instead of being air."""
        geometry = self.store.geometry(uid)
        first = round(float(geometry.world_to_index(center_xyz_mm)[0])) - len(hu) // 2
        inside = (np.arange(len(hu)) + first).clip(0, geometry.shape_zyx[0] - 1) - first
        hu[:] = hu[inside]

    def _near(self, uid: str, start: npt.NDArray[np.int64], shape: Shape) -> npt.NDArray[np.bool_]:
        """Voxels of the tile that a training crop around a nodule holds, with the nodule in its middle."""
        near = np.zeros(shape, np.bool_)
        geometry = self.store.geometry(uid)
        centers, diameters = self._nodules.get(uid, (np.empty((0, 3)), np.empty(0)))
        for center, diameter in zip(np.rint(geometry.world_to_index(centers)).astype(np.int64), diameters, strict=True):
            half = np.asarray(self.shape_zyx) // 2
            if self.whole_slices:  # crops were cut from the slices that the nodule touches
                half[0] = int(diameter / 2 / geometry.spacing_zyx_mm[0])
            low, high = center - half - start, center + half - start
            high[0] += self.whole_slices  # slices to both sides, that of the centre included
            box = tuple(slice(max(0, a), max(0, b)) for a, b in zip(low.tolist(), high.tolist(), strict=True))
            near[box] = True
        return near
