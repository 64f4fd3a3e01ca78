"""Batches through a torch DataLoader with 0 and 2 workers: crops of the store against crops in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import SequentialSampler

from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.bench.volumes import CROP_ZYX, FULL, QUICK, Volumes, draw_crops, prepare
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset, RawBatch, make_loader
from lungdet.store.reader import CtStore

BATCH_SIZE = 32
WORKERS = (0, 2)
CODECS = ("none", "lz4")
MEMORY = "crops in memory"
#: Crops kept in memory: more than the processor's caches hold.
POOL = 512


class InMemory(CandidateDataset):
    """The same interface over crops that were read beforehand: what the loader and one copy in memory cost."""

    def __init__(self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int]) -> None:
        super().__init__(store, records, shape_zyx=shape_zyx)
        self._hu = super().__getitems__(range(POOL))["hu"].numpy()

    def __getitems__(self, draws: Sequence[int]) -> RawBatch:
        """The rows of the pool that these draw numbers fall on, copied into a new batch."""
        drawn = np.asarray(draws, np.int64)
        return {
            "hu": torch.from_numpy(self._hu.take(drawn % POOL, axis=0)),
            "label": torch.from_numpy(self.label[drawn]),
            "index": torch.from_numpy(drawn),
            "draw": torch.from_numpy(drawn),
        }


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Crops a second that arrive in the main process, for each number of workers."""
    volumes = prepare(folder, QUICK if quick else FULL)
    records = _records(volumes, count=BATCH_SIZE * (32 if quick else 96))
    lines = []
    for workers in WORKERS:
        contenders = {MEMORY: _timed(InMemory(CtStore(volumes.stores["none"]), records, shape_zyx=CROP_ZYX), workers)}
        for codec in CODECS:
            dataset = CandidateDataset(CtStore(volumes.stores[codec]), records, shape_zyx=CROP_ZYX)
            contenders[f"lungdet store, {codec}"] = _timed(dataset, workers)
        rates = interleave(contenders, rounds=5 if quick else 11)
        lines += rows(rates, section=f"DataLoader, {workers} workers", unit="crops/s", baseline=MEMORY)
    return lines


def _records(volumes: Volumes, *, count: int) -> pd.DataFrame:
    crops = draw_crops(volumes, count, seed=0)
    records = pd.DataFrame(crops.center_xyz_mm, columns=CENTER_COLUMNS)
    records["series_uid"] = crops.series_uids
    return records


def _timed(dataset: CandidateDataset, workers: int) -> Contender:
    # Workers stay alive between rounds, and the round that warms up starts them.
    loader = make_loader(
        dataset,
        SequentialSampler(dataset),
        batch_size=BATCH_SIZE,
        world_size=1,
        num_workers=workers,
        pin_memory=False,
    )

    def run(_: int) -> float:
        started = time.perf_counter()
        received = sum(_touch(batch) for batch in loader)
        return received / (time.perf_counter() - started)

    return run


def _touch(batch: Any) -> int:
    """Number of crops in a batch, whose last voxel is read so that it must have arrived."""
    hu: torch.Tensor = batch["hu"]
    hu[-1, -1, -1, -1, -1].item()
    return len(hu)
