"""The DataModule of 2-D collections: store on demand, patients kept together, what a batch holds, who augments how."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from tests.store.image_files import collection_of, write_pictures

from lungdet.data.image_augment import ImageAugmentation, QuarterTurns
from lungdet.data.image_dataset import EpochInDraw
from lungdet.data.images import ImageDataModule
from lungdet.data.permuted_labels import permute_before_training
from lungdet.data.sampling import NaturalSampling
from lungdet.data.splits import Holdout, Official
from lungdet.errors import RunError, SplitError, StoreError
from lungdet.io.image_collection import ImageCollection
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.image_statistics import read_statistics

SPEC = ImageSpec(size_hw=(16, 16), dark_frame=None)


class Pictures(ImageDataModule):
    """Pictures of a folder; the second of each patient is positive."""

    data_name = "pictures"
    channels = 1
    change: Callable[[pd.DataFrame], pd.DataFrame] = staticmethod(lambda images: images)

    def read_collection(self) -> ImageCollection:
        collection = collection_of(self.root)
        return dataclasses.replace(collection, images=type(self).change(collection.images), notes=("A note.",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 40)
    return tmp_path / "pictures"


@pytest.fixture
def make(folder: Path, tmp_path: Path) -> Callable[..., Pictures]:
    def build(kind: type[Pictures] = Pictures, **changes: Any) -> Pictures:
        arguments: dict[str, Any] = {
            "root": folder, "store_path": tmp_path / "store.zarr", "store": SPEC, "sampling": NaturalSampling(),
            "split": Holdout(seed=1), "batch_size": 8,
        }  # fmt: skip
        datamodule = kind(**(arguments | changes))
        datamodule.prepare_data()
        return datamodule

    return build


def test_the_store_is_made_once_and_other_settings_are_a_problem(make: Callable[..., Pictures], tmp_path: Path) -> None:
    datamodule = make()
    marker = tmp_path / "store.zarr/zarr.json"
    made = marker.stat().st_mtime_ns
    datamodule.prepare_data()
    assert marker.stat().st_mtime_ns == made
    assert datamodule.store_problems() == []
    other = Pictures(
        root=tmp_path, store_path=tmp_path / "store.zarr", store=ImageSpec(size_hw=(8, 8)), sampling=NaturalSampling()
    )
    (problem,) = other.store_problems()
    assert "asked [8, 8]" in problem
    assert "lungdet preprocess data=pictures" in problem
    with pytest.raises(StoreError, match=r"asked \[8, 8\]"):
        _ = other.store


def test_records_hold_every_image_once_with_patients_together(make: Callable[..., Pictures]) -> None:
    datamodule = make()
    datamodule.setup()
    datamodule.setup()
    records = datamodule.records
    assert sorted(records["series_uid"]) == [f"{n:03d}" for n in range(40)]
    assert records.groupby("patient_id")["partition"].nunique().eq(1).all()
    assert set(records["partition"]) == {"train", "val", "test"}
    assert (records["label"] == records["series_uid"].astype(int) % 2).all()
    assert datamodule.split_result.notes == ("A note.",)
    assert sum(datamodule.train_class_counts) == int((records["partition"] == "train").sum())
    assert datamodule.fold == -1
    assert datamodule.description == {"item": "picture", "items": "pictures"}


def test_without_a_split_nothing_is_set_up(make: Callable[..., Pictures]) -> None:
    datamodule = make(split=None)
    with pytest.raises(RunError, match="type split=holdout"):
        datamodule.setup()
    with pytest.raises(RunError, match="call setup"):
        _ = datamodule.records


def test_identical_images_tie_their_patients_together(make: Callable[..., Pictures], folder: Path) -> None:
    shutil.copy(folder / "001.png", folder / "021.png")
    shutil.copy(folder / "020.png", folder / "030.png")
    joined = make()
    joined.setup()
    by_image = joined.records.set_index("series_uid")["patient_id"]
    tied = {by_image[name] for name in ("000", "001", "020", "021", "030", "031")}
    assert tied == {"p0"}
    assert "4 pictures go with another patient than the name says" in joined.split_result.notes[1]
    apart = make(join_duplicates=False)
    apart.setup()
    assert apart.records["patient_id"].nunique() == 20
    hashes = apart.pixel_hashes(["001", "021", "000"])
    assert hashes["001"] == hashes["021"] != hashes["000"]


def test_unreadable_images_are_left_out_and_said(make: Callable[..., Pictures], folder: Path) -> None:
    (folder / "007.png").write_bytes(b"")
    datamodule = make()
    datamodule.setup()
    assert "007" not in set(datamodule.records["series_uid"])
    assert datamodule.split_result.notes[1] == "1 of 40 pictures could not be read and are left out."
    row = datamodule.records[datamodule.records["series_uid"] == "008"].iloc[0]
    assert row["candidate_id"] == 8  # its place in the collection, whatever is left out


class Shipped(Pictures):
    """Images 0 to 9 are shipped as test, 10 and 11 as validation; patient p4 has 8 (test) and 9 (train)."""

    @staticmethod
    def change(images: pd.DataFrame) -> pd.DataFrame:
        number = images["image_id"].astype(int)
        part = np.select([number == 9, number < 10, number < 12], ["train", "test", "val"], "train")
        return images.assign(partition=part)


def test_official_keeps_the_shipped_test_part(make: Callable[..., Pictures]) -> None:
    datamodule = make(Shipped, split=Official(val_fraction=0.2))
    datamodule.setup()
    records = datamodule.records
    assert set(records.loc[records["partition"] == "test", "series_uid"]) == {f"{n:03d}" for n in range(9)}
    assert "009" not in set(records["series_uid"])  # of a tested patient: may not train, is not in the test part
    assert "1 picture is left out: of patients in the shipped test part" in datamodule.split_result.notes[-1]
    assert len(records) == 39
    free = make(Shipped, split=Holdout(seed=1))
    free.setup()
    assert len(free.records) == 40
    with pytest.raises(SplitError, match=r"split\.fold=3: the shipped test part is one"):
        make(Shipped, split=Official(fold=3)).setup()
    with pytest.raises(SplitError, match="this one ships none: type split=holdout"):
        make(split=Official()).setup()


def test_an_evaluation_batch_is_the_stored_image_in_unit_range(make: Callable[..., Pictures]) -> None:
    datamodule = make(augment=ImageAugmentation([QuarterTurns()]))
    datamodule.setup()
    batch = datamodule.evaluation_batch(np.array([3, 0]))
    assert batch["image"].dtype == torch.float32
    assert batch["image"].shape == (2, *(1, 16, 16))
    assert batch["index"].tolist() == [3, 0]
    assert batch["label"].tolist() == datamodule.records["label"].iloc[[3, 0]].tolist()
    shown = datamodule.load_image(datamodule.records.iloc[3])
    np.testing.assert_allclose(batch["image"][0, 0].numpy(), shown / 255, atol=1e-7)
    assert datamodule.spec.shape == (16, 16)
    assert not datamodule.is_of_one_value("003")


def batches_of(datamodule: Pictures, *, epoch: int) -> dict[int, torch.Tensor]:
    """Row -> pixels as training sees them at its first appearance in an epoch."""
    loader = datamodule.train_dataloader()
    assert isinstance(loader.sampler, EpochInDraw)
    loader.sampler.set_epoch(epoch)
    seen: dict[int, torch.Tensor] = {}
    for batch in loader:
        for index, image in zip(batch["index"].tolist(), batch["pixels"], strict=True):
            seen.setdefault(index, image)
    return seen


@pytest.mark.parametrize("num_workers", [0, 1])
def test_augmentation_depends_on_seed_epoch_and_image_only(make: Callable[..., Pictures], num_workers: int) -> None:
    datamodule = make(augment=ImageAugmentation([QuarterTurns()]), seed=3, num_workers=num_workers)
    datamodule.setup()
    first, again, second = (batches_of(datamodule, epoch=epoch) for epoch in (0, 0, 1))
    stored = {row: torch.from_numpy(datamodule.load_image(datamodule.records.iloc[row]))[None] for row in first}
    assert all(torch.equal(first[row], again[row]) for row in first)
    assert any(not torch.equal(first[row], second[row]) for row in first.keys() & second.keys())
    assert any(not torch.equal(first[row], stored[row]) for row in first)
    other = make(augment=ImageAugmentation([QuarterTurns()]), seed=3, batch_size=4)  # other batches, same images
    other.setup()
    differing = batches_of(other, epoch=0)
    assert all(torch.equal(first[row], differing[row]) for row in first.keys() & differing.keys())


def test_validation_is_never_augmented(make: Callable[..., Pictures]) -> None:
    datamodule = make(augment=ImageAugmentation([QuarterTurns()]))
    datamodule.setup()
    for loader in (datamodule.val_dataloader(), datamodule.test_dataloader(), *datamodule.predict_dataloader()):
        for batch in loader:
            for row, image in zip(batch["index"].tolist(), batch["pixels"], strict=True):
                assert (image[0].numpy() == datamodule.load_image(datamodule.records.iloc[row])).all()


def test_moments_are_those_of_the_stored_images_and_kept(make: Callable[..., Pictures]) -> None:
    datamodule = make()
    stored = datamodule.store.read(np.arange(40)) / 255
    moments = datamodule.input_moments
    assert moments.mean == pytest.approx((stored.mean(),), abs=1e-9)
    assert moments.std == pytest.approx((stored.std(),), abs=1e-9)
    assert read_statistics(datamodule.store_path) == datamodule.input_moments == moments


class Counts(LightningModule):
    """Looks at batches as Lightning hands them over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[torch.Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch["image"])
        loss: torch.Tensor = self.weight * batch["image"].mean()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        assert batch["image"].max() <= 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_trains_on_unit_range_and_another_augmentation_each_epoch(
    make: Callable[..., Pictures], tmp_path: Path
) -> None:
    datamodule = make(augment=ImageAugmentation([QuarterTurns()]), batch_size=4)
    task = Counts()
    trainer = Trainer(
        max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, default_root_dir=tmp_path, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=datamodule)
    half = len(task.seen) // 2
    first, second = torch.cat(task.seen[:half]), torch.cat(task.seen[half:])
    assert first.shape == second.shape
    assert float(first.min()) > 0
    assert float(first.max()) <= 1
    assert not torch.equal(first.sort(dim=0).values, second.sort(dim=0).values)


def test_labels_can_be_dealt_out_anew_before_training(make: Callable[..., Pictures]) -> None:
    own, permuted = make(), make()
    own.setup()
    permute_before_training(permuted, seed=3)
    permuted.setup("fit")  # as a Trainer does, and changes nothing any more
    pd.testing.assert_frame_equal(own.records.drop(columns="label"), permuted.records.drop(columns="label"))
    for partition, changes in (("train", True), ("val", False), ("test", False)):
        rows = own.records["partition"] == partition
        before, after = (datamodule.records.loc[rows, "label"] for datamodule in (own, permuted))
        assert before.sum() == after.sum()
        assert bool((before != after).any()) or not changes
    tested = own.records["partition"] == "test"
    assert own.records.loc[tested, "label"].equals(permuted.records.loc[tested, "label"])
    assert permuted.split_result.hash == own.split_result.hash
    assert permuted.split_result.notes[-1].startswith("The labels of train and val are permuted at random (seed 3)")
    everything = np.arange(len(own.records))
    before_batch, after_batch = own.evaluation_batch(everything), permuted.evaluation_batch(everything)
    assert torch.equal(before_batch["image"], after_batch["image"])
    assert after_batch["label"].tolist() == permuted.records["label"].tolist()
