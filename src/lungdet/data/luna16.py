"""The LUNA16 challenge as a DataModule: `data=luna16 data.root=/data/luna16`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lungdet.data.augment import CropAugmentation
from lungdet.data.clinical import ClinicalTable
from lungdet.data.ct import CtDataModule
from lungdet.data.intensity import Window
from lungdet.data.sample_kind import SampleKind
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.io.luna16 import Luna16, find_scans, read_luna16
from lungdet.store.schema import CropSize, StoreSpec


class Luna16DataModule(CtDataModule):
    """Candidates of a LUNA16 folder (https://luna16.grand-challenge.org).

    Args:
        root: holds subset0, subset1, ... and the CSV files.
        candidates_file: name of the candidate table; None prefers candidates_V2.csv over candidates.csv.
        subsets: numbers of the subset folders to use; None takes those on disk.
        store_path, store, crop, window, sampling, augment, split, batch_size, num_workers, seed, samples,
            extra_negatives, extra_negatives_share, clinical, crop_cache, crop_cache_gb: see `CtDataModule`.
    """

    def __init__(
        self,
        *,
        root: Path | str,
        store_path: Path | str,
        store: StoreSpec,
        crop: CropSize,
        window: Window,
        sampling: SamplingRule,
        augment: CropAugmentation | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        samples: SampleKind | None = None,
        candidates_file: str | None = None,
        subsets: Sequence[int] | None = None,
        extra_negatives: str | Sequence[str] | None = None,
        extra_negatives_share: float | None = None,
        clinical: ClinicalTable | None = None,
        crop_cache: Path | str | None = None,
        crop_cache_gb: float = 20.0,
    ) -> None:
        super().__init__(
            store_path=store_path,
            store=store,
            crop=crop,
            window=window,
            sampling=sampling,
            augment=augment,
            split=split,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            samples=samples,
            extra_negatives=extra_negatives,
            extra_negatives_share=extra_negatives_share,
            clinical=clinical,
            crop_cache=crop_cache,
            crop_cache_gb=crop_cache_gb,
        )
        self.root, self.candidates_file = Path(root), candidates_file
        self.subsets = None if subsets is None else tuple(int(number) for number in subsets)

    def scan_paths(self) -> dict[str, Path]:
        """Series UID -> scan file of the chosen subsets."""
        return find_scans(self.root, subsets=self.subsets)

    def store_problems(self) -> list[str]:
        """As `CtDataModule.store_problems`, and a folder or a clinical table that is not there."""
        problems = super().store_problems()
        if problems and not self.root.is_dir():  # without it no store can be made either
            return [f"root: {self.root}: no such folder; give the one that holds subset0, subset1, ...: data.root=..."]
        table = None if self.clinical is None else self.clinical.file(self.root)
        if table is None or table.is_file():
            return problems
        return [*problems, f"no clinical table {table}; give data.clinical.path=... or type data.clinical=null"]

    def read_collection(self) -> Luna16:
        """The tables of the folder; errors as `lungdet.io.luna16.read_luna16`."""
        return read_luna16(self.root, subsets=self.subsets, candidates_file=self.candidates_file)

    @property
    def preprocess_command(self) -> str:
        """What to type to make the store."""
        return f"lungdet preprocess data=luna16 data.root={self.root} data.store_path={self.store_path}"
