"""Histopathology patches, with or without metastasis, as a DataModule: `data=histopathology data.root=<folder>`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungdet.data.image_augment import ImageAugmentation
from lungdet.data.images import ImageDataModule
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.io.histopathology import read_histopathology
from lungdet.io.image_collection import ImageCollection
from lungdet.io.phantom_images import ImagePhantomSpec
from lungdet.store.image_preprocess import ImageSpec


class HistopathologyDataModule(ImageDataModule):
    """Patches of Kaggle's competition or of PCam (Veeling et al. 2018, doi 10.1007/978-3-030-00934-2_24).

    A patch whose slide nobody knows is a patient of its own, and the split says so.

    Args:
        root: holds train_labels.csv and train/, or PCam's HDF5 files.
        slides: CSV with id and slide_id, which the split then keeps together; None where there is none.
        store_path, store, sampling, augment, split, batch_size, num_workers, seed, join_duplicates, cohort:
            see `ImageDataModule`.
    """

    data_name = "histopathology"
    channels = 3

    def __init__(
        self,
        *,
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
        cohort: ImagePhantomSpec | None = None,
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
            cohort=cohort,
        )
        self.slides = None if slides is None else Path(slides)

    def read_collection(self) -> ImageCollection:
        """The patches, and what is to be said where slides are unknown; errors as `read_histopathology`."""
        found = read_histopathology(self.root, slides=self.slides)
        patches = found.patches
        table = patches.rename(columns={"patch_id": "image_id"}).assign(
            label=patches["is_tumor"].astype(np.int8),
            patient_id=patches["slide_id"].where(patches["slide_id"] != "", patches["patch_id"]),
        )
        notes = (found.slide_remark or "The split keeps slides together: what is called a patient here is a slide.",)
        return ImageCollection(("normal", "tumor"), "patch", "patches", self.channels, table, notes)
