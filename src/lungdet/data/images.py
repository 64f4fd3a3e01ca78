"""The DataModule of 2-D collections: store, split and loaders. A collection is a subclass that says which images."""

from __future__ import annotations

import dataclasses
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader

from lungdet.data.collection_data import CollectionData
from lungdet.data.image_augment import ImageAugmentation
from lungdet.data.image_dataset import EpochInDraw, ImageDataset, RawImageBatch
from lungdet.data.image_records import image_records
from lungdet.data.progress import Advance, silent
from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.errors import RunError, StoreError
from lungdet.io.file_lock import sole_holder
from lungdet.io.image_collection import ImageCollection, write_manifest
from lungdet.io.phantom_images import ImagePhantomSpec, write_image_phantom
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.image_statistics import FILE_NAME as STATISTICS
from lungdet.store.image_statistics import ImageMoments, image_moments, read_statistics, write_statistics
from lungdet.store.image_store import ImageStore, check_image_marker
from lungdet.store.image_writer import ImageReport, is_finished, store_images
from lungdet.store.location import local_folder

logger = logging.getLogger(__name__)


class ImageDataModule(CollectionData):
    """Labelled images of one collection, for training and evaluation; the store is made when it is missing.

    Workers hand over uint8, augmented in training (`lungdet.data.image_augment`); the device scales to [0, 1]. What
    else an image has to go through (size, mean and deviation) belongs to the network and travels with it.

    A subclass gives `data_name`, `channels` and `read_collection`; docs/images.md walks through one.

    Args:
        root: the collection as downloaded: a folder, or a file that lists it.
        store_path: the preprocessed store.
        store: what the store has to be like.
        sampling: which training rows an epoch shows.
        augment: what happens to training images, None for nothing.
        split: which patients train, validate and test; None for commands that only look at the collection.
        batch_size, num_workers, seed: see `PartitionLoaders`.
        join_duplicates: treat patients that share a pixel-identical image as one, so that no split parts the images.
        cohort: of a simulated collection, which is written to `root` where it is missing; None for a real one.

    Attributes:
        data_name: of the YAML file, as typed in `data=`.
        channels: of the stored images, 1 for grey, 3 for RGB.
    """

    data_name: ClassVar[str]
    channels: ClassVar[Literal[1, 3]]
    sampler_class = EpochInDraw

    def __init__(
        self,
        *,
        root: Path | str,
        store_path: Path | str,
        store: ImageSpec,
        sampling: SamplingRule,
        augment: ImageAugmentation | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        join_duplicates: bool = True,
        cohort: ImagePhantomSpec | None = None,
    ) -> None:
        super().__init__(sampling=sampling, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.root, self.cohort = Path(root), cohort
        self.store_path, self.store_spec = local_folder(store_path), store
        self.augment, self.split, self.join_duplicates = augment, split, join_duplicates
        self._store: ImageStore | None = None
        self._collection: ImageCollection | None = None
        self._datasets: dict[bool, ImageDataset] = {}
        # A command line puts its progress bar here: `progress(title, total=n, items=...)`.
        self.progress: Callable[..., AbstractContextManager[Advance]] = silent

    # -- what a collection says ----------------------------------------------------------------------------------------

    @abstractmethod
    def read_collection(self) -> ImageCollection:
        """The images on disk, their labels and whose they are."""

    # -- what others ask for -------------------------------------------------------------------------------------------

    @property
    def preprocess_command(self) -> str:
        """What to type to make the store."""
        data = f"{self.data_name}_phantom" if self.cohort is not None else self.data_name
        return f"lungdet preprocess data={data} data.root={self.root} data.store_path={self.store_path}"

    @property
    def collection(self) -> ImageCollection:
        """The images on disk, read on first use; a simulated collection is written first. Errors: `read_collection`."""
        if self._collection is None:
            if self.cohort is not None and write_image_phantom(self.root, self.cohort):
                logger.info("%s: %d simulated images", self.root, self.cohort.n_images)
            self._collection = self.read_collection()
        return self._collection

    @property
    def classes(self) -> tuple[str, str]:
        """Class names in label order, the negative one first."""
        return self.collection.classes

    @property
    def spec(self) -> SampleSpec:
        """What a batch looks like after `on_after_batch_transfer`; class names are those of the collection, later."""
        height, width = self.store_spec.size_hw
        shape = (int(height), int(width))
        classes = ("negative", "positive")
        return SampleSpec("image", self.channels, shape, "class", classes, "grey values 0 to 255 scaled to [0, 1]")

    @property
    def store(self) -> ImageStore:
        """The store, opened on first use.

        Raises:
            MissingFileError, StoreError: missing, unfinished or made with other settings.
        """
        if self._store is None:
            self._store = ImageStore(
                self.store_path, expect=self.store_spec, channels=self.channels, command=self.preprocess_command
            )
        return self._store

    @property
    def store_fingerprint(self) -> str:
        """Of everything that decides the stored pixels."""
        return self.store.fingerprint

    @property
    def description(self) -> dict[str, Any]:
        """What reports call an image, and what the collection has to say."""
        return {"item": self.collection.item, "items": self.collection.items}

    @property
    def input_moments(self) -> ImageMoments:
        """Mean and deviation of the stored images, for networks that standardise by them; measured once, then read."""
        if not (self.store_path / STATISTICS).is_file():
            rows = self.store.images["row"].to_numpy(np.int64)
            images = (self.store.read(rows[n : n + 1])[0] for n in range(len(rows)))
            write_statistics(
                self.store_path,
                image_moments(images, n_channels=self.channels, fingerprint=self.store_fingerprint),
            )
        return read_statistics(self.store_path, fingerprint=self.store_fingerprint)

    def store_problems(self) -> list[str]:
        """A store made with other settings is a problem; a missing or unfinished one is made by `prepare_data`."""
        try:
            if self.store_path.exists() and any(self.store_path.iterdir()):
                check_image_marker(
                    self.store_path, self.store_spec, channels=self.channels, command=self.preprocess_command
                )
        except StoreError as error:
            return [str(error)]
        return []

    def preprocess(self, *, workers: int, overwrite: bool = False) -> ImageReport:
        """Write the store, as far as it is missing.

        Args:
            workers: processes.
            overwrite: throw away what is there.

        Raises:
            StoreError: see `store_images`.
        """
        with self.progress("preprocess", total=len(self.collection.images), items="images") as advance:
            return store_images(
                self.collection,
                self.store_path,
                self.store_spec,
                workers=workers,
                overwrite=overwrite,
                progress=advance,
                command=self.preprocess_command,
            )

    def stored_scans(self) -> pd.DataFrame:
        """Every stored image: series_uid, patient_id."""
        return self.records[["series_uid", "patient_id"]].astype("str")

    def pixel_hashes(self, series_uids: Sequence[str]) -> dict[str, str]:
        """Of the original pixels."""
        images = self.store.images
        known = dict(zip(images["image_id"], images["pixel_key"], strict=True))
        return {uid: known[uid] for uid in series_uids}

    def is_of_one_value(self, series_uid: str) -> bool:
        """Whether an image is all of one grey value."""
        image = self.store.image(series_uid)
        return bool((image == image.flat[0]).all())

    def load_image(self, row: pd.Series) -> npt.NDArray[np.uint8]:
        """An image for people to look at, as stored: uint8 [H, W] or [H, W, 3].

        Args:
            row: series_uid.
        """
        return self.store.image(str(row["series_uid"]))

    def write_manifest(self, path: Path) -> None:
        """Write which image is in which partition, with file, label and patient (`image_collection.write_manifest`)."""
        write_manifest(path, self.collection, self.records)

    def evaluation_batch(self, rows: npt.NDArray[np.int64]) -> ClassBatch:
        """See `CollectionData.evaluation_batch`; float32 [N, C, H, W]."""
        return self.on_after_batch_transfer(self._dataset(training=False).__getitems__(rows.tolist()), 0)

    # -- Lightning -----------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Make the store where it is missing or unfinished; trainings that start together make it once.

        Raises:
            StoreError: see `store_images`.
        """
        self.store_path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.store_path.with_name(f".{self.store_path.name}.lock")
        with sole_holder(lock, busy=f"{self.store_path}: another run is making it; waiting for it", waits=True):
            if not is_finished(self.store_path, self.collection):
                report = self.preprocess(workers=os.cpu_count() or 1)
                logger.info("%d images stored in %.1f s: %s", report.n_stored, report.seconds, self.store_path)

    def setup(self, stage: str | None = None) -> None:
        """Open the store and make the records, in every process, once.

        Args:
            stage: of Lightning; the records are the same in all of them.

        Raises:
            RunError: no split was given.
            StoreError, SplitError: see `lungdet.data.image_records.image_records`.
        """
        if self._records is not None:
            return
        if self.split is None:
            raise RunError("no split was given: type split=holdout")
        self._records, split = image_records(
            self.collection, self.store, rule=self.split, join_duplicates=self.join_duplicates
        )
        self._split_result = dataclasses.replace(split, notes=(*self.collection.notes, *split.notes))
        logger.info("%s: %s", split.rule, self.count_by_partition())

    def relabel(self, label: npt.NDArray[np.int8], *, note: str) -> None:
        """Give the records other labels, after `setup` and before any loader is asked for.

        Args:
            label: int8 [N], by row of `records`.
            note: what reports say of it.
        """
        split = self.split_result
        self._records = self.records.assign(label=label)
        self._split_result = dataclasses.replace(split, notes=(*split.notes, note))
        self._datasets.clear()

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Validation, then test images."""
        return [self.val_dataloader(), self.test_dataloader()]

    def on_after_batch_transfer(self, batch: RawImageBatch, dataloader_idx: int) -> ClassBatch:
        """Scale to [0, 1], on the device."""
        image = batch["pixels"].to(torch.float32) / 255
        return {"image": image, "label": batch["label"], "index": batch["index"]}

    def _dataset(self, *, training: bool) -> ImageDataset:
        if training not in self._datasets:
            self._datasets[training] = ImageDataset(
                self.store,
                self.records["series_uid"].to_numpy(),
                label=self.records["label"].to_numpy(np.int64),
                augment=self.augment if training else None,
                seed=self.seed,
            )
        return self._datasets[training]

    def _evaluation_batch_size(self) -> int:
        return self.batch_size

    def _shown_rows(self) -> npt.NDArray[np.int64]:
        return self._rows("train")
