"""Images with masks: training crops show nodules with their masks, tiles show every voxel of a scan once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lungdet.data.augment import CropAugmentation
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.mask_samples import MaskSamples
from lungdet.data.sample import MaskBatch
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import ConfigError, StoreError, TableError
from lungdet.store.schema import CropSize

Factory = Callable[..., Luna16DataModule]

SLICES: dict[str, Any] = {"whole_slices": True, "margin_vox": (0, 4, 4), "evaluation_batch": 3}
BOXES: dict[str, Any] = {"whole_slices": False, "margin_vox": (2, 2, 2), "evaluation_batch": 3}
STILL = CropAugmentation(
    flip=False, rotation_deg=0.0, scale=(1, 1), offset_mm=0.0, contrast=(1, 1), intensity_shift_hu=0, noise_hu_sd=0
)


def made(
    make_datamodule: Factory, kind: dict[str, Any], crop: tuple[int, int, int], **changed: Any
) -> Luna16DataModule:
    settings = {"sampling": NaturalSampling(), "augment": None, "batch_size": 4, **changed}
    datamodule = make_datamodule(samples=MaskSamples(**kind), crop=CropSize(vox=crop), **settings)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def finished(datamodule: Luna16DataModule, batch: Any) -> MaskBatch:
    done: MaskBatch = datamodule.on_after_batch_transfer(batch, 0)
    return done


def evaluated(datamodule: Luna16DataModule) -> dict[str, dict[str, np.ndarray]]:
    """What tiles say of each evaluated voxel, put back into volumes: how often it came, its mask, near, its HU."""
    spec = datamodule.spec
    volumes: dict[str, dict[str, np.ndarray]] = {}
    for loader in (datamodule.val_dataloader(), datamodule.test_dataloader()):
        for raw in loader:
            batch = finished(datamodule, raw)
            for n, row in enumerate(batch["index"].tolist()):
                record = datamodule.records.iloc[row]
                uid = record["series_uid"]
                geometry = datamodule.store.geometry(uid)
                names = ("times", "mask", "near")
                volume = volumes.setdefault(uid, {k: np.zeros(geometry.shape_zyx, np.int64) for k in names})
                center = geometry.world_to_index(record[[f"center_{a}_mm" for a in "xyz"]].to_numpy(float))
                tile = batch["valid"][n, 0].numpy()
                tile = tile[None] if spec.layout == "image" else tile
                shape = (1, *geometry.shape_zyx[1:]) if spec.layout == "image" else spec.shape
                start = np.rint(center).astype(int) - np.asarray(shape) // 2
                where = np.argwhere(tile)
                at = tuple((where + start).T)
                volume["times"][at] += 1
                for name in ("mask", "near"):
                    values = batch[name][n, 0].numpy()
                    volume[name][at] = (values[None] if spec.layout == "image" else values)[tuple(where.T)]
    return volumes


@pytest.mark.parametrize(("kind", "crop"), [(SLICES, (5, 16, 16)), (BOXES, (16, 16, 16))])
def test_tiles_show_every_voxel_of_the_held_out_scans_once(
    kind: dict[str, Any], crop: tuple[int, int, int], make_datamodule: Factory
) -> None:
    datamodule = made(make_datamodule, kind, crop)
    volumes = evaluated(datamodule)
    held_out = datamodule.records.loc[datamodule.records["partition"] != "train", "series_uid"]
    assert set(volumes) == set(held_out)
    samples = datamodule.samples
    assert isinstance(samples, MaskSamples)
    masks = samples.targets.store_of(datamodule.store)
    nodules = datamodule.collection.annotations
    for uid, volume in volumes.items():
        assert (volume["times"] == 1).all()
        assert np.array_equal(volume["mask"] > 0, masks.volume(uid) >= 2)
        assert (volume["near"] > 0).any() == bool((nodules["series_uid"] == uid).any())
        assert not (volume["near"] > 0).all()


def test_slices_and_their_neighbours_are_those_of_the_scan(make_datamodule: Factory) -> None:
    """At the ends of a scan the last slice stands in for what is missing, as in the detector."""
    datamodule = made(make_datamodule, SLICES, (5, 16, 16))
    for raw in datamodule.val_dataloader():
        batch = finished(datamodule, raw)
        for n, row in enumerate(batch["index"].tolist()):
            record = datamodule.records.iloc[row]
            volume = datamodule.store.volume(record["series_uid"])
            z = int(record["candidate_id"])
            rows = (np.arange(5) + z - 2).clip(0, len(volume) - 1)
            expected = datamodule.window(torch.from_numpy(volume[rows]))
            height, width = volume.shape[1:]
            assert torch.equal(batch["image"][n, :, :height, :width], expected)
            assert not batch["valid"][n, 0, height:].any()
            assert not batch["valid"][n, 0, :, width:].any()


@pytest.mark.parametrize(("kind", "crop"), [(SLICES, (5, 16, 16)), (BOXES, (16, 16, 16))])
@pytest.mark.parametrize("augment", [None, STILL])
def test_crops_without_augmentation_are_centred_and_show_their_mask(
    kind: dict[str, Any], crop: tuple[int, int, int], augment: CropAugmentation | None, make_datamodule: Factory
) -> None:
    datamodule = made(make_datamodule, kind, crop, augment=augment)
    samples = datamodule.samples
    assert isinstance(samples, MaskSamples)
    masks = samples.targets.store_of(datamodule.store)
    raw = next(iter(datamodule.train_dataloader()))
    batch = finished(datamodule, raw)
    for n, row in enumerate(batch["index"].tolist()):
        record = datamodule.records.iloc[row]
        center = record[[f"center_{a}_mm" for a in "xyz"]].to_numpy(float)
        hu, _ = datamodule.store.crop(record["series_uid"], center, crop)
        readers = masks.crops([record["series_uid"]], center[None], crop)[0] >= 2
        image = batch["image"][n] if kind is SLICES else batch["image"][n, 0]
        assert torch.equal(image, datamodule.window(torch.from_numpy(hu)))
        mask = batch["mask"][n, 0].numpy()
        assert np.array_equal(mask, readers[2] if kind is SLICES else readers)
        assert mask.any()
    assert batch["valid"].all()
    assert not batch["is_repeat"].any()
    assert batch["mask"].shape[2:] == torch.Size(datamodule.spec.shape)


def test_augmentation_moves_image_and_mask_alike(make_datamodule: Factory) -> None:
    """Nodules are at 30 HU in -800 HU of lung: wherever the image goes, bright voxels and the mask stay together."""
    moving = CropAugmentation(rotation_deg=20.0, offset_mm=3.0, noise_hu_sd=0, intensity_shift_hu=0, contrast=(1, 1))
    datamodule = made(make_datamodule, BOXES, (16, 16, 16), augment=moving)
    raw = next(iter(datamodule.train_dataloader()))
    raw["augmentation"] = moving.draw(raw["draw"].numpy(), seed=0, epoch=1, spacing_zyx_mm=(1.0, 1.0, 1.0))
    still = finished(datamodule, {k: v for k, v in raw.items() if k != "augmentation"})
    moved = finished(datamodule, raw)
    assert not torch.equal(still["image"], moved["image"])
    for batch in (still, moved):
        bright = batch["image"] > 0.4
        overlap = (bright & batch["mask"]).sum() / (bright | batch["mask"]).sum()
        assert overlap > 0.8


def test_each_slice_of_a_nodule_is_a_training_crop(make_datamodule: Factory) -> None:
    datamodule = made(make_datamodule, SLICES, (5, 16, 16))
    train = datamodule.records[datamodule.records["partition"] == "train"]
    nodules = datamodule.collection.annotations
    for name, rows in train.groupby("series_uid"):
        uid = str(name)
        spacing = datamodule.store.geometry(uid).spacing_zyx_mm[0]
        own = nodules[nodules["series_uid"] == uid]
        # 8 mm nodules: 4 mm to both sides, as far as the scan goes.
        index = datamodule.store.geometry(uid).world_to_index(own[[f"center_{a}_mm" for a in "xyz"]].to_numpy())[:, 0]
        depth = datamodule.store.geometry(uid).shape_zyx[0]
        reach = int(4.0 / spacing)
        expected = sum(((index + k > -0.5) & (index + k < depth - 0.5)).sum() for k in range(-reach, reach + 1))
        assert len(rows) == expected
        assert (rows["label"] == 1).all()


def test_repeated_rows_of_several_processes_are_marked(make_datamodule: Factory) -> None:
    datamodule = made(make_datamodule, SLICES, (5, 16, 16))
    dataset = datamodule._dataset(training=False)
    n = len(datamodule.records)
    batch = dataset.__getitems__([n - 1, n + n - 1])
    assert batch["index"].tolist() == [n - 1, n - 1]
    assert batch["is_repeat"].tolist() == [False, True]


def test_background_needs_lung_masks_and_lies_in_them(make_datamodule: Factory) -> None:
    with pytest.raises(StoreError, match="holds no lung masks"):
        made(make_datamodule, {**SLICES, "background_per_scan": 3}, (5, 16, 16))


def test_every_wrong_number_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        MaskSamples(whole_slices=True, margin_vox=(0, -1, 0), background_per_scan=-1, min_readers=5, evaluation_batch=0)
    assert len(caught.value.problems) == 4


def test_no_nodule_in_the_stored_scans(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(samples=MaskSamples(**SLICES), crop=CropSize(vox=(5, 16, 16)))
    collection = datamodule.collection
    object.__setattr__(collection, "annotations", collection.annotations.iloc[:0])
    with pytest.raises(TableError, match="none of the 0 annotated nodules"):
        datamodule.setup()
