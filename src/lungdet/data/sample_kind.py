"""What one sample of a CT collection is: a candidate, a nodule with its malignancy, a slice or a patch with its mask.

`data=` says which scans, `data/samples=` which kind of sample is drawn from them; a model names the kind it trains on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import CandidateDataset, RawBatch
from lungdet.data.candidate_records import make_records
from lungdet.data.intensity import Window
from lungdet.data.partitions import Split
from lungdet.data.sample import ClassBatch, MaskBatch, SampleSpec
from lungdet.data.splits import SplitRule
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore


class BatchDataset(Protocol):
    """A dataset that makes whole batches from draw numbers (see `EpochSampler`)."""

    def __len__(self) -> int:
        """Rows of the records."""
        ...

    def __getitems__(self, draws: Sequence[int]) -> Any:
        """One batch, on the CPU, int16 HU."""
        ...

    def spacing_zyx_mm(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Voxel spacing of the samples of these rows: float64 [B, 3]."""
        ...


class SampleKind(Protocol):
    """What `data.samples` names.

    Attributes:
        classes: class names in label order, the negative one first.
    """

    classes: tuple[str, str]

    def spec(self, shape_zyx: tuple[int, int, int], *, window: Window) -> SampleSpec:
        """What a finished batch looks like."""
        ...

    def prepare(self, collection: Luna16, *, store: CtStore) -> None:
        """Write what the samples need besides the store; once per machine, before `make_records`."""
        ...

    def make_records(
        self, collection: Luna16, *, store: CtStore, rule: SplitRule, shape_zyx: tuple[int, int, int]
    ) -> tuple[pd.DataFrame, Split]:
        """One row a sample, and the split; columns as `lungdet.data.candidate_records.make_records` at least."""
        ...

    def dataset(
        self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int], training: bool
    ) -> BatchDataset:
        """Where batches come from; training and evaluation may see the rows differently."""
        ...

    def evaluation_batch_size(self, batch_size: int) -> int:
        """Samples of an evaluation batch, where training takes `batch_size`."""
        ...

    def finish(
        self, batch: Any, *, window: Window, augment: CropAugmentation | None, shape_zyx: tuple[int, int, int]
    ) -> Any:
        """Augment (where the batch says how) and window, on the device: a ClassBatch or a MaskBatch."""
        ...


class PointSamples(ABC):
    """Crops around labelled points: what candidates and nodules have in common. Subclasses give `points`."""

    classes: tuple[str, str]

    @abstractmethod
    def points(self, collection: Luna16) -> pd.DataFrame:
        """The labelled points.

        Returns:
            candidate_id int64, series_uid, center_x_mm, center_y_mm, center_z_mm, is_nodule bool (the label),
            diameter_mm (NaN where unknown); other columns are not looked at.
        """

    def spec(self, shape_zyx: tuple[int, int, int], *, window: Window) -> SampleSpec:
        """Volumes of one channel with a class."""
        return SampleSpec("volume", 1, shape_zyx, "class", self.classes, window.description)

    def prepare(self, collection: Luna16, *, store: CtStore) -> None:  # noqa: B027  nothing to do is an answer
        """The store is all that is needed."""

    def make_records(
        self, collection: Luna16, *, store: CtStore, rule: SplitRule, shape_zyx: tuple[int, int, int]
    ) -> tuple[pd.DataFrame, Split]:
        """See `lungdet.data.candidate_records.make_records`."""
        return make_records(
            collection.series,
            self.points(collection),
            nodules=collection.annotations,
            stored=store.series_uids,
            rule=rule,
        )

    def dataset(
        self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int], training: bool
    ) -> BatchDataset:
        """Crops; the same in training and evaluation."""
        return CandidateDataset(store, records, shape_zyx=shape_zyx)

    def evaluation_batch_size(self, batch_size: int) -> int:
        """The same as in training."""
        return batch_size

    def finish(
        self, batch: RawBatch, *, window: Window, augment: CropAugmentation | None, shape_zyx: tuple[int, int, int]
    ) -> ClassBatch:
        """Augment (if decided) and window."""
        hu = batch["hu"]
        if augment is not None and "augmentation" in batch:
            hu = augment.apply(hu, batch["augmentation"])
        return {"image": window(hu), "label": batch["label"], "index": batch["index"]}


__all__ = ["BatchDataset", "ClassBatch", "MaskBatch", "PointSamples", "SampleKind"]
