"""The earlier notebooks' cubes as a DataModule: `data=patches data.root=<folder with patch_index.csv>`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from lungdet.data.augment import CropAugmentation
from lungdet.data.candidates import CandidateSamples
from lungdet.data.ct import CtDataModule
from lungdet.data.intensity import Window
from lungdet.data.sample_kind import SampleKind
from lungdet.data.sampling import SamplingRule
from lungdet.data.splits import SplitRule
from lungdet.errors import ConfigError, LungdetError
from lungdet.io.luna16 import Luna16
from lungdet.io.patch_folder import PatchFolder, read_patch_folder
from lungdet.store.patch_store import PatchStore, Values
from lungdet.store.reader import CtStore
from lungdet.store.schema import CropSize, StoreSpec


class PatchFolderDataModule(CtDataModule):
    """Cubes of a folder, nodules against the rest; each counts as a scan of its own, named by its file.

    Patients are those of the group column (`lungdet.io.patch_folder`). Where it is missing, every cube is a patient of
    its own, and the split says so: cubes of one patient may then lie on both sides of it.

    Args:
        root: holds patch_index.csv, bg_index.csv and the cubes.
        values: what float cubes hold: "hu", or "unit" for [0, 1]; must be said, see `PatchStore`.
        unit_range_hu: the HU that 0 and 1 stand for.
        store: `spacing_mm` of the cubes.
        crop: what is shown of each cube, around its middle; at most the cube.
        window, sampling, augment, split, batch_size, num_workers, seed, samples: see `CtDataModule`.

    Raises:
        ConfigError: samples that are not candidates, or an empty range.
    """

    def __init__(
        self,
        *,
        root: Path | str,
        store: StoreSpec,
        crop: CropSize,
        window: Window,
        sampling: SamplingRule,
        values: Values | None = None,
        unit_range_hu: tuple[float, float] = (-1000.0, 400.0),
        augment: CropAugmentation | None = None,
        split: SplitRule | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
        samples: SampleKind | None = None,
    ) -> None:
        super().__init__(
            store_path=root,
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
        )
        if not isinstance(self.samples, CandidateSamples):
            raise ConfigError([f"data=patches holds labelled cubes, not what {type(self.samples).__name__} needs; type "
                               "data/samples=candidates"])  # fmt: skip
        if not unit_range_hu[0] < unit_range_hu[1]:
            raise ConfigError([f"data.unit_range_hu={list(unit_range_hu)} must be a lower and a higher end in HU"])
        self.root, self.values = Path(root), values
        self.unit_range_hu = (float(unit_range_hu[0]), float(unit_range_hu[1]))
        self._folder: PatchFolder | None = None

    @property
    def folder(self) -> PatchFolder:
        """The index, read on first use; errors as `read_patch_folder`."""
        if self._folder is None:
            self._folder = read_patch_folder(self.root)
        return self._folder

    @property
    def store(self) -> CtStore:
        """The cubes.

        Raises:
            MissingFileError, TableError: see `read_patch_folder`.
            ConfigError: see `PatchStore`; a crop larger than the cubes.
        """
        if self._store is None:
            if any(n > m for n, m in zip(self._shape_zyx, self.folder.shape_zyx, strict=True)):
                given, cube = (",".join(map(str, shape)) for shape in (self._shape_zyx, self.folder.shape_zyx))
                raise ConfigError(
                    [f"data.crop is [{given}] voxels, the cubes are [{cube}]; type data.crop.vox=[{cube}]"]
                )
            self._store = PatchStore(
                self.folder, spec=self.store_spec, values=self.values, unit_range_hu=self.unit_range_hu
            )
        return self._store

    def store_problems(self) -> list[str]:
        """Why the folder cannot be used, [] if it can; reads the index and every header."""
        try:
            _ = self.store
        except LungdetError as error:
            return [str(error)]
        return []

    def scan_paths(self) -> dict[str, Path]:
        """There are no scans to preprocess.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(["data=patches needs no preprocessing: its cubes are used as they are"])

    def read_collection(self) -> Luna16:
        """The cubes as candidates at their centres, in one series each."""
        patches = self.folder.patches
        points = patches[["center_x_mm", "center_y_mm", "center_z_mm"]].fillna(0.0)
        candidates = points.assign(
            series_uid=patches["name"],
            candidate_id=np.arange(len(patches), dtype=np.int64),
            is_nodule=patches["is_nodule"],
            diameter_mm=np.nan,
            annotation_row=np.int64(-1),
        )
        patient = patches["group"].where(patches["group"] != "", patches["name"])
        series = pd.DataFrame({"series_uid": patches["name"], "patient_id": patient})
        # Patients are stratified by their nodules; those of cubes are the positive ones.
        nodules = candidates[patches["is_nodule"]].reset_index(drop=True)
        paths = {name: Path(path) for name, path in zip(patches["name"], patches["path"], strict=True)}
        return Luna16(self.root, paths, series, nodules, nodules.iloc[:0], candidates, None, {"cubes": len(patches)})

    @property
    def preprocess_command(self) -> str:
        """What to type to make the store."""
        return f"nothing: data=patches uses the cubes in {self.root} as they are"

    def setup(self, stage: str | None = None) -> None:
        """As `CtDataModule.setup`; the split notes how many cubes are patients of their own."""
        if self._records is not None:
            return
        super().setup(stage)
        alone = int((self.folder.patches["group"] == "").sum())
        if self._split_result is not None and alone:
            note = (
                f"{alone} of {len(self.folder.patches)} cubes do not say whose they are and count as patients of their "
                "own: cubes of one patient may lie in different partitions."
            )
            self._split_result = dataclasses.replace(self._split_result, notes=(*self._split_result.notes, note))
