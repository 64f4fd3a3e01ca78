"""Crops around points, a whole batch at a time: int16 HU in one contiguous tensor, no Python object per candidate."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.context import BaseContext
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lungdet.data.augment import AugmentationDraw
from lungdet.data.sampling import row_of_draw
from lungdet.errors import ConfigError
from lungdet.store.object_client import is_in_use
from lungdet.store.reader import CtStore

CENTER_COLUMNS = ["center_x_mm", "center_y_mm", "center_z_mm"]


class RawBatch(TypedDict):
    """What workers hand over: int16, because the copy between processes is what limits a loader.

    hu: int16 [B, 1, D, H, W], HU.
    label: int64 [B], -1 where nobody knows.
    index: int64 [B], rows of the DataModule's records.
    draw: int64 [B], draw numbers (see `EpochSampler`).
    augmentation: what to do to each sample; only in training, added before the batch goes to the device.
    """

    hu: Tensor
    label: Tensor
    index: Tensor
    draw: Tensor
    augmentation: NotRequired[AugmentationDraw]


class CandidateDataset(Dataset[RawBatch]):
    """Crops of a store around the points of a table.

    Args:
        store: where the voxels are.
        records: one row per point: series_uid, center_x_mm, center_y_mm, center_z_mm and, where known, label.
        shape_zyx: voxels of a crop.
    """

    def __init__(self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int]) -> None:
        self.store, self.shape_zyx = store, shape_zyx
        series = pd.Categorical(records["series_uid"])
        self.series_uids = np.asarray(series.categories, dtype=object)
        self.series_code = series.codes.astype(np.int32)
        self.center_xyz_mm = records[CENTER_COLUMNS].to_numpy(np.float64)
        n = len(records)
        self.label = records["label"].to_numpy(np.int64) if "label" in records else np.full(n, -1, dtype=np.int64)
        self._spacing_zyx_mm = np.full((len(self.series_uids), 3), np.nan)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, draw: int) -> RawBatch:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[int]) -> RawBatch:
        """The batch of these draw numbers; DataLoader calls this instead of one `__getitem__` per sample."""
        drawn = np.asarray(draws, dtype=np.int64)
        rows = row_of_draw(drawn, n_records=len(self))
        uids = self.series_uids[self.series_code[rows]].tolist()
        hu = self.store.crops(uids, self.center_xyz_mm[rows], self.shape_zyx)
        return {
            "hu": torch.from_numpy(hu)[:, None],
            "label": torch.from_numpy(self.label[rows]),
            "index": torch.from_numpy(rows),
            "draw": torch.from_numpy(drawn),
        }

    def spacing_zyx_mm(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Voxel spacing of the crops of these rows: float64 [B, 3]; asked of the store once per scan."""
        codes = self.series_code[rows]
        for code in np.unique(codes[np.isnan(self._spacing_zyx_mm[codes, 0])]):
            self._spacing_zyx_mm[code] = self.store.geometry(self.series_uids[code]).spacing_zyx_mm
        spacing: npt.NDArray[np.float64] = self._spacing_zyx_mm[codes]
        return spacing


def make_loader(
    dataset: Any,
    sampler: Sampler[int],
    *,
    batch_size: int,
    world_size: int,
    num_workers: int,
    pin_memory: bool,
) -> DataLoader[Any]:
    """The loader of one process.

    Args:
        dataset: whose `__getitems__` makes whole batches.
        sampler: draw numbers of this process.
        batch_size: of all processes together.
        world_size: number of processes.
        num_workers: loader processes of this process.
        pin_memory: for a CUDA device.

    Raises:
        ConfigError: the processes cannot share the batch evenly.
    """
    if batch_size % world_size:
        fitting = -(-batch_size // world_size) * world_size
        raise ConfigError(
            [
                f"data.batch_size={batch_size} is shared by {world_size} processes (trainer.devices x nodes) and must "
                f"be a multiple of that; type data.batch_size={fitting}"
            ]
        )
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=batch_size // world_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=_as_is,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        multiprocessing_context=_unforked() if num_workers > 0 and is_in_use() else None,
    )
    return loader


def _unforked() -> BaseContext:
    """Workers that are no copies of this process: a fork leaves the threads behind requests to object stores out."""
    context = multiprocessing.get_context("forkserver")
    # Or each worker would import them for itself; Lightning's is what prepares its random numbers.
    context.set_forkserver_preload([__name__, "pytorch_lightning"])
    return context


def _as_is(batch: Any) -> Any:
    """Collate nothing: `__getitems__` has made the batch already."""
    return batch
