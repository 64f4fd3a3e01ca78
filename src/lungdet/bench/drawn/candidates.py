"""Points in the drawn scans as a collection of candidates, so that loaders are those of a training; all rows train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lungdet.bench.drawn.volumes import CROP_ZYX, Volumes, draw_crops
from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset, RawBatch
from lungdet.data.ct import CtDataModule
from lungdet.data.intensity import Window
from lungdet.data.partitions import Split
from lungdet.data.sample_kind import BatchDataset
from lungdet.data.sampling import NaturalSampling
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore
from lungdet.store.schema import CropSize

#: Crops kept in memory: more than the processor's caches hold.
POOL = 512
BATCH_SIZE = 32


def everything_trains(patients: pd.DataFrame) -> Split:
    """A split without validation and test."""
    return Split(train=tuple(patients["patient_id"]), val=(), test=(), rule="everything trains")


class DrawnCandidates(CtDataModule):
    """Candidates anywhere in the drawn scans, one half of them positive.

    Args:
        volumes: the scans.
        codec: of the store.
        count: how many candidates.
        num_workers: of its loaders.
        crop_cache: folder of kept crops, None for none.
    """

    def __init__(
        self, volumes: Volumes, *, codec: str, count: int, num_workers: int, crop_cache: Path | None = None
    ) -> None:
        path = volumes.stores[codec]
        super().__init__(
            store_path=path,
            store=CtStore(path).spec,
            crop=CropSize(vox=CROP_ZYX),
            window=Window(),
            sampling=NaturalSampling(),
            augment=CropAugmentation(),
            split=everything_trains,
            batch_size=BATCH_SIZE,
            num_workers=num_workers,
            seed=0,
            samples=None,
            crop_cache=crop_cache,
        )
        self.volumes, self.count = volumes, count

    def scan_paths(self) -> dict[str, Path]:
        """None: the store is there."""
        return {}

    @property
    def preprocess_command(self) -> str:
        """The store is made by the benchmark."""
        return "lungdet bench loader"

    def read_collection(self) -> Luna16:
        """The tables."""
        crops = draw_crops(self.volumes, self.count, seed=0)
        candidates = pd.DataFrame(crops.center_xyz_mm, columns=CENTER_COLUMNS)
        candidates["series_uid"] = crops.series_uids
        candidates["candidate_id"] = np.arange(self.count)
        candidates["is_nodule"] = np.arange(self.count) % 2 == 0
        candidates["diameter_mm"] = np.nan
        uids = sorted(self.volumes.geometries)
        nothing = pd.DataFrame({"series_uid": pd.Series([], dtype="str")})
        return Luna16(
            root=self.store_path.parent if isinstance(self.store_path, Path) else Path(),
            scan_paths={},
            series=pd.DataFrame({"series_uid": uids, "patient_id": uids, "subset": -1}),
            annotations=nothing,
            excluded=nothing,
            candidates=candidates,
            malignancy=None,
            counts={},
        )


class CandidatesInMemory(DrawnCandidates):
    """The same batches, copied out of memory: what the loader itself and one copy cost."""

    def _dataset(self, *, training: bool) -> BatchDataset:
        if training not in self._datasets:
            self._datasets[training] = InMemory(self.store, self.records, shape_zyx=CROP_ZYX)
        return self._datasets[training]


class InMemory(CandidateDataset):
    """The same interface over crops that were read beforehand."""

    def __init__(self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int]) -> None:
        super().__init__(store, records, shape_zyx=shape_zyx)
        self._hu = super().__getitems__(range(min(POOL, len(self))))["hu"].numpy()

    def __getitems__(self, draws: Sequence[int]) -> RawBatch:
        """The rows of the pool that these draw numbers fall on, copied into a new batch."""
        drawn = np.asarray(draws, np.int64)
        return {
            "hu": torch.from_numpy(self._hu.take(drawn % len(self._hu), axis=0)),
            "label": torch.from_numpy(self.label[drawn]),
            "index": torch.from_numpy(drawn),
            "draw": torch.from_numpy(drawn),
        }
