"""What a training asks of its data, CT or images: records with a split, class counts, a store, an audit trail."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.clinical import ClinicalFeatures
from lungdet.data.partition_loaders import PartitionLoaders
from lungdet.data.partitions import Split
from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.data.sampling import SamplingRule
from lungdet.errors import RunError

T = TypeVar("T")


class CollectionData(PartitionLoaders):
    """A collection under a split; subclasses are `CtDataModule` and `ImageDataModule`.

    Args:
        sampling, batch_size, num_workers, seed: see `PartitionLoaders`.
    """

    def __init__(self, *, sampling: SamplingRule, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__(sampling=sampling, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self._records: pd.DataFrame | None = None
        self._split_result: Split | None = None

    # -- what a kind of data says --------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def spec(self) -> SampleSpec:
        """What a batch looks like after `on_after_batch_transfer`; known before any file is opened."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, str]:
        """Class names in label order, the negative one first."""

    @property
    @abstractmethod
    def store_fingerprint(self) -> str:
        """Of everything that decides the store's content."""

    @property
    @abstractmethod
    def preprocess_command(self) -> str:
        """What to type to make the store."""

    @abstractmethod
    def store_problems(self) -> list[str]:
        """Why the store cannot be used, [] if it can. Cheap: reads metadata only; asked before anything is trained."""

    @abstractmethod
    def evaluation_batch(self, rows: npt.NDArray[np.int64]) -> ClassBatch:
        """Exactly what the network is given of these rows in evaluation: not augmented, on the CPU.

        Args:
            rows: int64 [N], rows of `records`.

        Raises:
            RunError: before `setup`.
        """

    @abstractmethod
    def stored_scans(self) -> pd.DataFrame:
        """Everything that is stored, with rows in `records` or not: series_uid, patient_id (text)."""

    @abstractmethod
    def pixel_hashes(self, series_uids: Sequence[str]) -> dict[str, str]:
        """A hash of each stored scan or image; equal pixels give equal hashes."""

    @abstractmethod
    def is_of_one_value(self, series_uid: str) -> bool:
        """Whether all stored pixels are the same, so that being equal to another says nothing."""

    # -- what some collections have ------------------------------------------------------------------------------------

    @property
    def label_rule(self) -> str | None:
        """How readers' ratings became labels, where they did."""
        return None

    @property
    def description(self) -> dict[str, Any]:
        """What else provenance.json is to say of the data."""
        return {}

    @property
    def clinical_features(self) -> ClinicalFeatures | None:
        """What a clinical table says about each record, after `setup`; None without one."""
        return None

    @property
    def mined_with(self) -> Mapping[str, str | None]:
        """Tables of mined negatives -> hash of the split that their network was trained under."""
        return {}

    # -- after setup ---------------------------------------------------------------------------------------------------

    @property
    def records(self) -> pd.DataFrame:
        """One row a sample, with at least series_uid, patient_id, candidate_id, center_x_mm, center_y_mm, center_z_mm,
        diameter_mm, label and partition; the row number is `index` in the batches.

        Raises:
            RunError: before `setup`.
        """
        return after_setup(self._records)

    @property
    def split_result(self) -> Split:
        """Which patients are where.

        Raises:
            RunError: before `setup`, or where there is no split.
        """
        return after_setup(self._split_result)

    @property
    def fold(self) -> int:
        """The fold that is tested, -1 for a split without folds."""
        fold = self.split_result.fold
        return -1 if fold is None else fold

    @property
    def train_class_counts(self) -> tuple[int, ...]:
        """Training rows of each class, in label order."""
        labels = self.records["label"].to_numpy()[self._rows("train")]
        return tuple(np.bincount(labels, minlength=len(self.classes)).tolist())

    def count_by_partition(self) -> str:
        """For the log: "train 20 nodule of 400; val ..."."""
        counts = self.records.groupby("partition")["label"].agg(["size", "sum"])
        return "; ".join(f"{name} {row['sum']} {self.classes[1]} of {row['size']}" for name, row in counts.iterrows())


def after_setup(value: T | None) -> T:
    """The value, which exists only after `setup`.

    Raises:
        RunError: it does not exist yet.
    """
    if value is None:
        raise RunError("the data are not set up: call setup() first (a Trainer does)")
    return value
