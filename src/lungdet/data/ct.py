"""The DataModule of CT collections: records and split of any kind of sample."""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader

from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset
from lungdet.data.candidate_records import keep_stored_points
from lungdet.data.candidates import CandidateSamples
from lungdet.data.clinical import ClinicalFeatures, ClinicalTable
from lungdet.data.collection_data import CollectionData
from lungdet.data.crop_cache import CropCachedStore, check_limit
from lungdet.data.extra_negatives import ExtraNegatives
from lungdet.data.intensity import Window
from lungdet.data.option_checks import check_options
from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.data.sample_kind import BatchDataset, SampleKind
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.errors import RunError, StoreError
from lungdet.io.luna16 import Luna16
from lungdet.store.location import as_location
from lungdet.store.reader import CtStore
from lungdet.store.schema import CropSize, StoreSpec

logger = logging.getLogger(__name__)


class CtDataModule(CollectionData):
    """Samples of one kind from stored scans, for training, evaluation and for scoring any list of points.

    Workers hand over int16 HU; augmentation (training only) and window happen on the device after the transfer. A
    collection is a subclass with `scan_paths` and `read_collection`.

    Args:
        store_path: the preprocessed store: a folder, or an address in an object store (docs/object_stores.md).
        store: what the store has to be like.
        crop: size of the crops, in voxels or mm.
        window: from HU to what the network sees.
        sampling: which training rows an epoch shows.
        augment: what happens to training crops, None for nothing.
        split: which patients train, validate and test; None allows `score_points` only.
        batch_size: samples per step of all processes together, so that one and two devices train alike; must be a
            multiple of their number. Batches of training are always whole.
        num_workers: loader processes for each training process.
        seed: of batch order and augmentation.
        samples: what a sample is; None stands for candidates.
        extra_negatives: tables of `lungdet mine`, or others in the challenge's format, that join the training
            candidates (`lungdet.data.extra_negatives`).
        extra_negatives_share: the part of the training negatives that they are to be; None shows each row once.
        clinical: a table whose features every batch holds beside its images.
        crop_cache: folder for training crops as they are cut (`lungdet.data.crop_cache`); None keeps none.
        crop_cache_gb: 10^9 bytes that it may take for crops of one shape from one store.

    Raises:
        ConfigError: batch_size < 1, num_workers < 0, extra negatives for samples that are not candidates or a share
            without them, clinical features for masks, or crop_cache_gb <= 0.
        StoreError: a crop in mm on a store of native spacing.
    """

    def __init__(
        self,
        *,
        store_path: Path | str,
        store: StoreSpec,
        crop: CropSize,
        window: Window,
        sampling: SamplingRule,
        augment: CropAugmentation | None,
        split: SplitRule | None,
        batch_size: int,
        num_workers: int,
        seed: int,
        samples: SampleKind | None,
        extra_negatives: str | Sequence[str] | None = None,
        extra_negatives_share: float | None = None,
        clinical: ClinicalTable | None = None,
        crop_cache: Path | str | None = None,
        crop_cache_gb: float = 20.0,
    ) -> None:
        super().__init__(sampling=sampling, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.store_path, self.store_spec = as_location(store_path), store
        self.window, self.augment, self.split = window, augment, split
        self.samples: SampleKind = CandidateSamples() if samples is None else samples
        check_options(
            self.samples,
            window=window,
            extra_negatives=extra_negatives,
            extra_negatives_share=extra_negatives_share,
            clinical=clinical,
        )
        self.extra_negatives = ExtraNegatives(extra_negatives, share=extra_negatives_share) if extra_negatives else None
        self.clinical = clinical
        check_limit(crop_cache_gb)
        self.crop_cache, self.crop_cache_gb = crop_cache, crop_cache_gb
        self._clinical_features: ClinicalFeatures | None = None
        # Here, so that a crop in mm on a store of native spacing is refused before anything runs.
        self._shape_zyx = crop.shape_zyx(store.spacing_mm)
        self._store: CtStore | None = None
        self._collection: Luna16 | None = None
        self._points: pd.DataFrame | None = None
        self._datasets: dict[bool, BatchDataset] = {}

    # -- what a collection says ----------------------------------------------------------------------------------------

    @abstractmethod
    def scan_paths(self) -> dict[str, Path]:
        """Series UID -> scan file, for preprocessing."""

    @abstractmethod
    def read_collection(self) -> Luna16:
        """Tables of the scans on disk."""

    # -- what others ask for -------------------------------------------------------------------------------------------

    @property
    def spec(self) -> SampleSpec:
        """What a batch looks like after `on_after_batch_transfer`; known before any file is opened."""
        spec = self.samples.spec(self._shape_zyx, window=self.window)
        return dataclasses.replace(spec, has_features=self.clinical is not None)

    @property
    def classes(self) -> tuple[str, str]:
        """Class names in label order, the negative one first."""
        return self.samples.classes

    @property
    def store(self) -> CtStore:
        """The store, opened on first use.

        Raises:
            StoreError: missing, unfinished or made with other settings.
        """
        if self._store is None:
            self._store = CtStore(self.store_path, expect=self.store_spec, command=self.preprocess_command)
        return self._store

    @property
    def collection(self) -> Luna16:
        """Tables of the scans on disk, read on first use; errors as `read_collection`."""
        if self._collection is None:
            self._collection = self.read_collection()
        return self._collection

    @property
    def store_fingerprint(self) -> str:
        """Of everything that decides the store's content."""
        return self.store.fingerprint

    @property
    def clinical_features(self) -> ClinicalFeatures | None:
        """What the clinical table says about each record, after `setup`; None without one, and for listed points."""
        return self._clinical_features

    @property
    def label_rule(self) -> str | None:
        """How readers' ratings became labels, of samples that say so."""
        return getattr(self.samples, "label_rule", None)

    @property
    def description(self) -> dict[str, Any]:
        """The clinical table in short: file, features, share of missing values in each partition."""
        return {} if self._clinical_features is None else {"clinical": self._clinical_features.summary}

    @property
    def mined_with(self) -> Mapping[str, str | None]:
        """Tables of mined negatives -> hash of the split that their network was trained under."""
        return {} if self.extra_negatives is None else self.extra_negatives.mined_with

    def stored_scans(self) -> pd.DataFrame:
        """Scans of the collection that are stored: series_uid, patient_id."""
        series = self.collection.series
        series = series[series["series_uid"].isin(list(self.store.series_uids))]
        return series[["series_uid", "patient_id"]].astype("str")

    def pixel_hashes(self, series_uids: Sequence[str]) -> dict[str, str]:
        """Of the stored voxels; see `CtStore.pixel_hashes`."""
        return self.store.pixel_hashes(series_uids)

    def is_of_one_value(self, series_uid: str) -> bool:
        """Whether all stored voxels of a scan are the same."""
        voxels = self.store.volume(series_uid)
        return bool(voxels.size and (voxels == voxels.flat[0]).all())

    def evaluation_batch(self, rows: npt.NDArray[np.int64]) -> ClassBatch:
        """See `CollectionData.evaluation_batch`; float32 [N, 1, D, H, W], with features where there is a table."""
        batch = self._dataset(training=False).__getitems__(rows.tolist())
        finished: ClassBatch = self.samples.finish(batch, window=self.window, augment=None, shape_zyx=self._shape_zyx)
        if self._clinical_features is not None:
            finished["features"] = torch.from_numpy(self._clinical_features.values[rows])
        return finished

    def store_problems(self) -> list[str]:
        """Why the store cannot be used, [] if it can. Cheap: reads metadata only; asked before anything is trained."""
        try:
            _ = self.store
        except StoreError as error:
            return [str(error)]
        return []

    def score_points(self, points: pd.DataFrame) -> None:
        """Let `predict_dataloader` give these points instead of the collection's candidates; no split is needed.

        Args:
            points: series_uid, center_x_mm, center_y_mm, center_z_mm; other columns are kept. After `setup`, `records`
                holds those that lie in stored scans.
        """
        if self.clinical is not None:
            logger.warning("listed points have no clinical features: the image branch alone scores them")
        self._points = points
        self._records = self._split_result = self._clinical_features = None
        self._datasets = {}

    def load_crop(self, row: pd.Series) -> tuple[npt.NDArray[np.int16], tuple[float, float, float], tuple[float, ...]]:
        """A candidate's voxels for people to look at: as stored, without window or augmentation.

        Args:
            row: series_uid, center_x_mm, center_y_mm, center_z_mm.

        Returns:
            int16 [D, H, W] HU, spacing (z, y, x) in mm, nine direction cosines.
        """
        uid = str(row["series_uid"])
        geometry = self.store.geometry(uid)
        center = [float(row[name]) for name in CENTER_COLUMNS]
        hu, _ = self.store.crop(uid, center, self._shape_zyx)
        return hu, geometry.spacing_zyx_mm, geometry.direction

    # -- Lightning -----------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Refuse to start without the store, and let the samples prepare what they need; once per machine.

        Raises:
            StoreError: with the command that makes the store.
        """
        problems = self.store_problems()
        if problems:
            raise StoreError("\n".join(problems))
        if self._points is None:
            self.samples.prepare(self.collection, store=self.store)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and make the records, in every process, once.

        Args:
            stage: of Lightning; the records are the same in all of them.

        Raises:
            RunError: no split was given and no points to score.
            StoreError, TableError, SplitError: see `SampleKind.make_records`.
        """
        if self._records is not None:
            return
        if self._points is not None:
            self._records = keep_stored_points(self._points, stored=self.store.series_uids)
        elif self.split is None:
            raise RunError(
                "no split was given: type split=grouped_kfold, or score points (lungdet predict candidates=[...])"
            )
        else:
            self._records, self._split_result = self.samples.make_records(
                self.collection, store=self.store, rule=self.split, shape_zyx=self._shape_zyx
            )
            if self.extra_negatives is not None:
                self._records = self.extra_negatives.added_to(
                    self._records, collection=self.collection, split=self._split_result, stored=self.store.series_uids
                )
            if self.clinical is not None:
                self._clinical_features = self.clinical.encode(
                    self._records, root=self.collection.root, store=self.store
                )
            logger.info("%s: %s", self._split_result.rule, self.count_by_partition())

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Validation, then test candidates; or the points of `score_points`."""
        if self._points is not None:
            return [self._in_order(np.arange(len(self.records)))]
        return [self.val_dataloader(), self.test_dataloader()]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """In training, decide how each sample is augmented; the few numbers travel to the device with the batch.

        So do clinical features, where there are any.
        """
        if self._clinical_features is not None:
            batch["features"] = torch.from_numpy(self._clinical_features.values[batch["index"].numpy()])
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            batch["augmentation"] = self.augment.draw(
                batch["draw"].numpy(),
                seed=self.seed,
                epoch=self.trainer.current_epoch,
                spacing_zyx_mm=self._dataset(training=True).spacing_zyx_mm(batch["index"].numpy()),
            )
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment (if decided) and window, on the device: see `SampleKind.finish`."""
        finished = self.samples.finish(batch, window=self.window, augment=self.augment, shape_zyx=self._shape_zyx)
        return finished | {"features": batch["features"]} if "features" in batch else finished

    def _dataset(self, *, training: bool) -> BatchDataset:
        if training not in self._datasets:
            self._datasets[training] = (
                CandidateDataset(self.store, self.records, shape_zyx=self._shape_zyx)
                if self._points is not None
                else self.samples.dataset(
                    self._training_store if training else self.store,
                    self.records,
                    shape_zyx=self._shape_zyx,
                    training=training,
                )
            )
        return self._datasets[training]

    @property
    def _training_store(self) -> CtStore:
        if self.crop_cache is None:
            return self.store
        return CropCachedStore(self.store, folder=self.crop_cache, limit_gb=self.crop_cache_gb)

    def _evaluation_batch_size(self) -> int:
        return self.samples.evaluation_batch_size(self.batch_size)

    def _shown_rows(self) -> npt.NDArray[np.int64]:
        rows = self._rows("train")
        if self.extra_negatives is None:
            return rows
        return self.extra_negatives.shown(rows, self.records["label"].to_numpy(np.int64)[rows])
