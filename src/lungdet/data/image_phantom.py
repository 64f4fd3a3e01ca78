"""Simulated X-rays and patches as DataModules: written when they are missing, so that both tasks run offline."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from lungdet.data.chest_xray import ChestXrayDataModule
from lungdet.data.histopathology import HistopathologyDataModule
from lungdet.data.image_augment import ImageAugmentation
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.io.file_lock import sole_holder
from lungdet.io.image_collection import ImageCollection
from lungdet.io.phantom_images import (
    ChestXrayPhantomSpec,
    HistopathologyPhantomSpec,
    write_chest_xray_phantom,
    write_histopathology_phantom,
)
from lungdet.store.image_preprocess import ImageSpec

logger = logging.getLogger(__name__)


class ChestXrayPhantomDataModule(ChestXrayDataModule):
    """Simulated chest X-rays in Kermany's layout, some with an opacity in a lung.

    Args:
        cohort: what is simulated.
        root: where the images go.
        store_path, store, sampling, augment, split, batch_size, num_workers, seed, join_duplicates: see
            `ImageDataModule`.
    """

    data_name = "chest_xray_phantom"

    def __init__(
        self,
        *,
        cohort: ChestXrayPhantomSpec,
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
    ) -> None:
        super().__init__(
            root=root,
            store_path=store_path,
            store=store,
            sampling=sampling,
            augment=augment,
            split=split,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            join_duplicates=join_duplicates,
        )
        self.cohort = cohort

    def read_collection(self) -> ImageCollection:
        """The simulated images, which are written first where they are missing."""
        with _sole_maker(self.root):
            if write_chest_xray_phantom(self.root, self.cohort):
                logger.info("%s: %d simulated chest X-rays", self.root, self.cohort.n_images)
        return super().read_collection()


class HistopathologyPhantomDataModule(HistopathologyDataModule):
    """Simulated lymph node patches in Kaggle's layout or PCam's, some with a nest of tumour cells in the middle.

    Args:
        cohort: what is simulated.
        root: where the patches go.
        slides: CSV with id and slide_id; null leaves slides unknown, as in the real collection.
        store_path, store, sampling, augment, split, batch_size, num_workers, seed, join_duplicates: see
            `ImageDataModule`.
    """

    data_name = "histopathology_phantom"

    def __init__(
        self,
        *,
        cohort: HistopathologyPhantomSpec,
        root: Path | str,
        store_path: Path | str,
        store: ImageSpec,
        sampling: SamplingRule,
        slides: Path | str | None = None,
        augment: ImageAugmentation | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        join_duplicates: bool = True,
    ) -> None:
        super().__init__(
            root=root,
            slides=slides,
            store_path=store_path,
            store=store,
            sampling=sampling,
            augment=augment,
            split=split,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
            join_duplicates=join_duplicates,
        )
        self.cohort = cohort

    def read_collection(self) -> ImageCollection:
        """The simulated patches, which are written first where they are missing."""
        with _sole_maker(self.root):
            if write_histopathology_phantom(self.root, self.cohort):
                logger.info("%s: %d simulated patches", self.root, self.cohort.n_images)
        return super().read_collection()


def _sole_maker(root: Path) -> AbstractContextManager[None]:
    """Trainings that start together make the images once: the others wait."""
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = root.with_name(f".{root.name}.lock")
    return sole_holder(lock, busy=f"{root}: another run is making these images; waiting for it", waits=True)
