"""`data/samples=slices` and `patches`: images with nodule masks, to train and evaluate segmentation."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pandas as pd

from lungdet.data.augment import CropAugmentation
from lungdet.data.background import Spheres, draw_in_lung
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset
from lungdet.data.candidate_records import split_patients
from lungdet.data.intensity import Window
from lungdet.data.mask_dataset import MaskCropDataset, MaskTileDataset, RawMaskBatch, Shape
from lungdet.data.mask_targets import MaskTargets
from lungdet.data.partitions import Split
from lungdet.data.sample import MaskBatch, SampleSpec
from lungdet.data.sample_kind import BatchDataset
from lungdet.data.splits import SplitRule
from lungdet.errors import ConfigError, TableError
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore

logger = logging.getLogger(__name__)


class MaskSamples:
    """Images with the masks of their nodules.

    Training shows crops around annotated nodules, and around places without one, `sampling` decides how many of each;
    the crop is cut out of a larger one by augmentation (`data.augment.offset_mm`), so that nodules lie anywhere in it.
    Evaluation covers every validation and test scan, each voxel once: all that a detector would be asked to segment.

    Args:
        whole_slices: 2.5-D: the first number of `data.crop.vox` are neighbouring slices that become channels, the mask
            is that of the middle one, and evaluation sees full slices. Else 3-D boxes of `data.crop`.
        margin_vox: voxels around a crop that are read with it (z, y, x).
        background_per_scan: places without a nodule, in the lungs, drawn for each training scan.
        targets: see `MaskTargets`.
        min_readers: a voxel is nodule when so many readers outlined it; the rule's masks count always.
        evaluation_batch: slices or boxes evaluated together.

    Raises:
        ConfigError: a number out of range, an unknown word.
    """

    classes = ("background", "nodule")

    def __init__(
        self,
        *,
        whole_slices: bool,
        margin_vox: tuple[int, int, int] = (0, 16, 16),
        background_per_scan: int = 0,
        targets: MaskTargets | None = None,
        min_readers: int = 2,
        evaluation_batch: int = 4,
    ) -> None:
        problems = []
        if len(margin_vox) != 3 or min(margin_vox) < 0:
            problems.append(f"data.samples.margin_vox={list(margin_vox)} must be three numbers >= 0, z, y, x")
        if background_per_scan < 0:
            problems.append(f"data.samples.background_per_scan={background_per_scan} must be >= 0")
        if not 1 <= min_readers <= 4:
            problems.append(f"data.samples.min_readers={min_readers} must be 1 to 4: LIDC has four readers")
        if evaluation_batch < 1:
            problems.append(f"data.samples.evaluation_batch={evaluation_batch} must be at least 1")
        if problems:
            raise ConfigError(problems)
        self.whole_slices, self.background_per_scan = whole_slices, background_per_scan
        z, y, x = (int(n) for n in margin_vox)
        self.margin_vox: Shape = (z, y, x)
        self.targets = MaskTargets() if targets is None else targets
        self.min_readers, self.evaluation_batch = min_readers, evaluation_batch
        self._nodules: pd.DataFrame | None = None

    def spec(self, shape_zyx: Shape, *, window: Window) -> SampleSpec:
        """Slices are images whose channels are neighbours, boxes are volumes of one channel."""
        if self.whole_slices:
            return SampleSpec("image", shape_zyx[0], shape_zyx[1:], "mask", self.classes, window.description)
        return SampleSpec("volume", 1, shape_zyx, "mask", self.classes, window.description)

    def prepare(self, collection: Luna16, *, store: CtStore) -> None:
        """Write the masks that are missing; errors as `MaskTargets.write`."""
        self.targets.write(collection, store=store)

    def make_records(
        self, collection: Luna16, *, store: CtStore, rule: SplitRule, shape_zyx: Shape
    ) -> tuple[pd.DataFrame, Split]:
        """Crops of the training patients, tiles of the others.

        Returns:
            candidate_id int64 (number within the series), series_uid, patient_id, center_x_mm, center_y_mm,
            center_z_mm, label int8 (whether it shows an annotated nodule), diameter_mm, partition; RangeIndex.

        Raises:
            TableError: no annotated nodule lies in a stored scan.
            SplitError: the rule cannot split these patients.
        """
        series = collection.series[collection.series["series_uid"].isin(list(store.series_uids))]
        series = series.sort_values("series_uid", ignore_index=True)
        nodules = collection.annotations
        nodules = nodules[nodules["series_uid"].isin(series["series_uid"])].reset_index(drop=True)
        if nodules.empty:
            raise TableError(
                f"none of the {len(collection.annotations)} annotated nodules lies in one of the "
                f"{len(series)} stored scans of this collection; preprocess its scans first"
            )
        self._nodules = nodules
        split = split_patients(series, collection.annotations, rule=rule)
        partition = dict(zip(series["series_uid"], split.partition_of(series["patient_id"].astype(str)), strict=True))
        by_series = dict(iter(nodules.groupby("series_uid")))
        tables = []
        for uid, patient in zip(series["series_uid"], series["patient_id"].astype(str), strict=True):
            own = by_series.get(uid, nodules.iloc[:0])
            is_training = partition[uid] == "train"
            if is_training:
                table = self._crops(uid, own, store=store)
            else:
                table = self._tiles(uid, own, store=store, shape_zyx=shape_zyx)
            tables.append(table.assign(series_uid=uid, patient_id=patient, partition=partition[uid]))
        records = pd.concat([table for table in tables if len(table)], ignore_index=True)
        return records.astype({"candidate_id": np.int64, "label": np.int8}), split

    def dataset(self, store: CtStore, records: pd.DataFrame, *, shape_zyx: Shape, training: bool) -> BatchDataset:
        """Crops with a margin for training, tiles for evaluation."""
        masks = self.targets.store_of(store)
        if training:
            z, y, x = (n + 2 * m for n, m in zip(shape_zyx, self.margin_vox, strict=True))
            crops = CandidateDataset(store, records, shape_zyx=(z, y, x))
            return MaskCropDataset(crops, masks, shape_zyx=(z, y, x), min_readers=self.min_readers)
        assert self._nodules is not None, "make_records comes first"
        return MaskTileDataset(
            store,
            masks,
            records=records,
            nodules=self._nodules,
            shape_zyx=shape_zyx,
            whole_slices=self.whole_slices,
            min_readers=self.min_readers,
        )

    def evaluation_batch_size(self, batch_size: int) -> int:
        """Tiles are larger than crops, so they come in batches of their own size."""
        return self.evaluation_batch

    def finish(
        self, batch: RawMaskBatch, *, window: Window, augment: CropAugmentation | None, shape_zyx: Shape
    ) -> MaskBatch:
        """Augment volume and mask alike (if decided), cut the margin off, window."""
        hu, mask = batch["hu"], batch["mask"]
        if "valid" in batch:  # a tile
            valid, near, is_repeat = batch["valid"], batch["near"], batch["is_repeat"]
        else:
            if augment is not None and "augmentation" in batch:
                hu, mask = augment.apply(hu, batch["augmentation"]), augment.move_mask(mask, batch["augmentation"])
            z, y, x = (slice(m, m + n) for m, n in zip(self.margin_vox, shape_zyx, strict=True))
            hu, mask = hu[..., z, y, x], mask[..., z, y, x]
            if self.whole_slices:
                middle = shape_zyx[0] // 2
                mask = mask[:, :, middle : middle + 1]
            valid = near = mask.new_ones(mask.shape)
            is_repeat = mask.new_zeros(len(mask))
        image = window(hu)
        if self.whole_slices:
            image, mask, valid, near = image[:, 0], mask[:, :, 0], valid[:, :, 0], near[:, :, 0]
        return {
            "image": image,
            "mask": mask,
            "valid": valid,
            "near": near,
            "index": batch["index"],
            "is_repeat": is_repeat,
        }

    def _crops(self, uid: str, nodules: pd.DataFrame, *, store: CtStore) -> pd.DataFrame:
        """Centres of training crops of one scan: its nodules (each of their slices, in 2.5-D), then background."""
        geometry = store.geometry(uid)
        centers = nodules[CENTER_COLUMNS].to_numpy(np.float64)
        diameters = nodules["diameter_mm"].to_numpy(np.float64)
        if self.whole_slices:
            index = geometry.world_to_index(centers)
            slices = [int(diameter / 2 / geometry.spacing_zyx_mm[0]) for diameter in diameters]
            nodule = np.repeat(np.arange(len(centers)), [2 * n + 1 for n in slices])
            offset = np.concatenate([np.arange(-n, n + 1) for n in slices]) if slices else np.empty(0)
            index = index[nodule]
            index[:, 0] += offset
            inside = (index[:, 0] > -0.5) & (index[:, 0] < geometry.shape_zyx[0] - 0.5)
            centers, diameters = geometry.index_to_world(index[inside]), diameters[nodule[inside]]
        avoid = Spheres(centers, diameters / 2)
        background = np.empty((0, 3))
        if self.background_per_scan:
            background = draw_in_lung(
                store, uid, n=self.background_per_scan, avoid=avoid, minimum_distance_mm=0.0, seed=0
            )
        return _table(
            np.concatenate([centers, background]),
            label=np.repeat([1, 0], [len(centers), len(background)]),
            diameter_mm=np.concatenate([diameters, np.full(len(background), np.nan)]),
        )

    def _tiles(self, uid: str, nodules: pd.DataFrame, *, store: CtStore, shape_zyx: Shape) -> pd.DataFrame:
        """Centres of the tiles that cover a scan."""
        geometry = store.geometry(uid)
        shape = (1, *geometry.shape_zyx[1:]) if self.whole_slices else shape_zyx
        starts = np.array(
            list(itertools.product(*(range(0, n, step) for n, step in zip(geometry.shape_zyx, shape, strict=True)))),
            dtype=np.int64,
        )
        low, high = starts, starts + shape
        label = np.zeros(len(starts), np.int64)
        index = geometry.world_to_index(nodules[CENTER_COLUMNS].to_numpy(np.float64))
        for center, diameter in zip(index, nodules["diameter_mm"].to_numpy(np.float64), strict=True):
            reach = diameter / 2 / np.asarray(geometry.spacing_zyx_mm)
            label |= np.all((center + reach > low - 0.5) & (center - reach < high - 0.5), axis=1)
        return _table(
            geometry.index_to_world(starts + np.asarray(shape) // 2),
            label=label,
            diameter_mm=np.full(len(starts), np.nan),
        )


def _table(centers: np.ndarray, *, label: np.ndarray, diameter_mm: np.ndarray) -> pd.DataFrame:
    columns = dict(zip(CENTER_COLUMNS, centers.reshape(-1, 3).T, strict=True))
    return pd.DataFrame(
        {"candidate_id": np.arange(len(centers)), **columns, "label": label, "diameter_mm": diameter_mm}
    )
