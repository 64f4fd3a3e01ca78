"""The candidate DataModule under real Trainers: what reaches the model, when it is augmented, and that runs repeat."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lungdet.data.augment import CropAugmentation
from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sample import ClassBatch
from lungdet.data.sampling import NaturalSampling
from lungdet.data.splits import GroupedKFold, Official
from lungdet.errors import ConfigError, RunError, SplitError, StoreError, TableError
from lungdet.store.schema import CropSize, StoreSpec

Factory = Callable[..., Luna16DataModule]

# Lightning advises more loader workers whenever there are fewer than cores; the number is what these tests are about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # Python 3.12 warns whenever a process with threads forks, as every DataLoader with workers then does.
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning"),
]


class Recorder(pl.LightningModule):
    """Keeps every batch it is shown, by stage and epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[ClassBatch]] = {}

    def keep(self, stage: str, batch: ClassBatch) -> None:
        assert set(batch) == {"image", "label", "index"}
        copied: Any = {name: value.clone() for name, value in batch.items()}  # type: ignore[attr-defined]
        self.seen.setdefault(stage, []).append(copied)

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        self.keep(f"train{self.current_epoch}", batch)
        return (self.weight * batch["image"].mean()).sum()

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        self.keep("sanity" if self.trainer.sanity_checking else f"val{self.current_epoch}", batch)

    def test_step(self, batch: ClassBatch, batch_idx: int) -> None:
        self.keep("test", batch)

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        self.keep(f"predict{dataloader_idx}", batch)
        return batch["index"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder: Path, **changed: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
        "max_epochs": 2,
    }
    return pl.Trainer(**(quiet | changed))


def fit(datamodule: Luna16DataModule, folder: Path, **changed: Any) -> Recorder:
    recorder = Recorder()
    trainer(folder, **changed).fit(recorder, datamodule=datamodule)
    return recorder


def joined(batches: list[ClassBatch], name: str) -> Tensor:
    return torch.cat([batch[name] for batch in batches])  # type: ignore[literal-required]


def plain_image(datamodule: Luna16DataModule, rows: Tensor) -> Tensor:
    """What these rows look like without augmentation, read one by one."""
    hu = [datamodule.load_crop(datamodule.records.iloc[int(row)])[0] for row in rows]
    return datamodule.window(torch.from_numpy(np.stack(hu))[:, None])


# -- records ---------------------------------------------------------------------------------------------------------


def test_records_hold_every_candidate_with_its_patient(make_datamodule: Factory, luna_root: Path) -> None:
    datamodule = make_datamodule()
    datamodule.setup("fit")
    records = datamodule.records
    table = pd.read_csv(luna_root / "candidates_V2.csv").rename_axis("candidate_id").reset_index()
    assert len(records) == len(table) == 12 * 24
    merged = records.merge(table, on="candidate_id")
    assert (merged["series_uid"] == merged["seriesuid"]).all()
    assert (merged["center_z_mm"] == merged["coordZ"]).all()
    assert (merged["label"] == merged["class"]).all()
    assert (records["diameter_mm"].notna() == (records["label"] == 1)).all()
    both = records[records["series_uid"].isin(["1.2.000", "1.2.003"])]
    assert both["patient_id"].unique().tolist() == ["P00"]
    assert len(set(both["partition"])) == 1
    assert set(records["partition"]) == {"train", "val", "test"}


def test_properties_agree_with_the_records(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(split=GroupedKFold(n_folds=3, fold=2))
    datamodule.setup()
    train = datamodule.records[datamodule.records["partition"] == "train"]
    assert datamodule.train_class_counts == (int((train["label"] == 0).sum()), int((train["label"] == 1).sum()))
    assert datamodule.fold == datamodule.split_result.fold == 2
    assert set(train["patient_id"]) == set(datamodule.split_result.train)
    assert datamodule.store_fingerprint == datamodule.store.fingerprint
    assert make_datamodule().spec == datamodule.spec, "known before setup"
    assert datamodule.spec.shape == (8, 12, 10)
    assert datamodule.spec.intensity == "HU clipped to [-1000, 400], scaled to [0, 1]"
    first = datamodule.records
    datamodule.setup("predict")
    assert datamodule.records is first, "setup is done once"


def test_split_without_folds_is_fold_minus_one(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    datamodule.setup()
    assert datamodule.fold == -1


def test_setup_says_what_it_found(make_datamodule: Factory, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        make_datamodule().setup()
    assert "Holdout(" in caplog.text
    assert re.search(r"val \d+ nodule of \d+", caplog.text)


def test_official_split_of_the_small_cohort(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(split=Official(fold=3, val_fraction=0.3))
    datamodule.setup()
    assert "P00" not in datamodule.split_result.test
    assert set(datamodule.split_result.test) == {"P07", "P11"}
    assert any("P00" in note for note in datamodule.split_result.notes)


def test_load_crop_gives_stored_voxels_and_geometry(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(augment=CropAugmentation())
    datamodule.setup()
    row = datamodule.records.iloc[-1]
    hu, spacing, direction = datamodule.load_crop(row)
    center = [row["center_x_mm"], row["center_y_mm"], row["center_z_mm"]]
    assert (hu == datamodule.store.crop(row["series_uid"], center, (8, 12, 10))[0]).all()
    assert hu.dtype == np.int16
    assert spacing == (2.0, 0.7, 0.7)
    assert direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


# -- what reaches the model ------------------------------------------------------------------------------------------


def test_only_training_is_augmented(make_datamodule: Factory, tmp_path: Path) -> None:
    datamodule = make_datamodule()
    recorder = fit(datamodule, tmp_path)
    assert {"sanity", "train0", "val0", "train1", "val1"} == set(recorder.seen)
    for stage, batches in recorder.seen.items():
        image, rows = joined(batches, "image"), joined(batches, "index")
        assert image.dtype == torch.float32
        assert image.shape[1:] == (1, 8, 12, 10)
        assert image.min() >= 0
        assert image.max() <= 1
        same = [bool(torch.allclose(a, b)) for a, b in zip(image, plain_image(datamodule, rows), strict=True)]
        assert not any(same) if stage.startswith("train") else all(same)


def test_partitions_reach_their_own_stage_completely(make_datamodule: Factory, tmp_path: Path) -> None:
    datamodule = make_datamodule(sampling=NaturalSampling())
    recorder = fit(datamodule, tmp_path, max_epochs=1)
    runner = trainer(tmp_path)
    runner.test(recorder, datamodule=datamodule, verbose=False)
    runner.predict(recorder, datamodule=datamodule, return_predictions=False)
    partition = datamodule.records["partition"].to_numpy()
    stages = {"train0": "train", "val0": "val", "test": "test", "predict0": "val", "predict1": "test"}
    for stage, name in stages.items():
        rows = joined(recorder.seen[stage], "index").numpy()
        assert set(partition[rows]) == {name}
        expected = np.flatnonzero(partition == name)
        if name == "train":
            assert set(rows) == set(expected)
        else:
            assert rows.tolist() == expected.tolist()
        labels = joined(recorder.seen[stage], "label").numpy()
        assert (labels == datamodule.records["label"].to_numpy()[rows]).all()


def test_without_augmentation_training_sees_plain_crops(make_datamodule: Factory, tmp_path: Path) -> None:
    datamodule = make_datamodule(augment=None, window=Window(range_hu=(-1000, 1000), scale="hu"))
    batches = fit(datamodule, tmp_path, max_epochs=1).seen["train0"]
    assert torch.equal(joined(batches, "image"), plain_image(datamodule, joined(batches, "index")))


def test_epochs_differ_in_order_and_augmentation(make_datamodule: Factory, tmp_path: Path) -> None:
    seen = fit(make_datamodule(), tmp_path).seen
    assert joined(seen["train0"], "index").tolist() != joined(seen["train1"], "index").tolist()
    first = {
        int(i): image for i, image in zip(joined(seen["train0"], "index"), joined(seen["train0"], "image"), strict=True)
    }
    again = [
        (first[int(i)], image)
        for i, image in zip(joined(seen["train1"], "index"), joined(seen["train1"], "image"), strict=True)
        if int(i) in first
    ]
    assert again
    assert not any(torch.allclose(a, b) for a, b in again)


def test_row_shown_twice_in_an_epoch_is_augmented_in_two_ways(make_datamodule: Factory, tmp_path: Path) -> None:
    seen = fit(make_datamodule(), tmp_path, max_epochs=1).seen["train0"]
    rows, images = joined(seen, "index"), joined(seen, "image")
    repeated = [int(row) for row, n in zip(*torch.unique(rows, return_counts=True), strict=True) if n > 1]
    assert repeated
    for row in repeated:
        a, b = images[rows == row][:2]
        assert not torch.allclose(a, b)


# -- repeatability ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_to_the_bit(make_datamodule: Factory, tmp_path: Path, workers: int) -> None:
    """Once every worker drew the same random numbers, and any change of their number changed the run."""
    alone = fit(make_datamodule(), tmp_path).seen
    shared = fit(make_datamodule(num_workers=workers), tmp_path).seen
    assert alone.keys() == shared.keys()
    for stage in alone:
        for a, b in zip(alone[stage], shared[stage], strict=True):
            for name in ("index", "label", "image"):
                assert torch.equal(a[name], b[name])


def test_every_sample_of_an_epoch_is_augmented_differently(make_datamodule: Factory, tmp_path: Path) -> None:
    shift_only = CropAugmentation(
        flip=False,
        rotation_deg=0,
        scale=(1, 1),
        offset_mm=0,
        contrast=(1, 1),
        intensity_shift_hu=50,
        noise_hu_sd=0,
    )
    datamodule = make_datamodule(augment=shift_only, num_workers=2, window=Window(range_hu=(-3000, 3000), scale="hu"))
    batches = fit(datamodule, tmp_path, max_epochs=1).seen["train0"]
    image, rows = joined(batches, "image"), joined(batches, "index")
    shifts = (image - plain_image(datamodule, rows)).mean(dim=(1, 2, 3, 4))
    assert len(set(shifts.round(decimals=3).tolist())) == len(shifts) == 32


def test_batch_size_does_not_change_a_samples_augmentation(make_datamodule: Factory, tmp_path: Path) -> None:
    by_eight, by_four = (fit(make_datamodule(batch_size=n), tmp_path, max_epochs=1).seen["train0"] for n in (8, 4))
    assert torch.equal(joined(by_eight, "index"), joined(by_four, "index"))
    assert torch.equal(joined(by_eight, "image"), joined(by_four, "image"))


def test_seed_decides_order_and_augmentation(make_datamodule: Factory, tmp_path: Path) -> None:
    first, second, other = (fit(make_datamodule(seed=s), tmp_path, max_epochs=1).seen["train0"] for s in (1, 1, 2))
    assert torch.equal(joined(first, "image"), joined(second, "image"))
    assert joined(first, "index").tolist() != joined(other, "index").tolist()


def test_resumed_epochs_are_the_epochs_of_an_unbroken_run(make_datamodule: Factory, tmp_path: Path) -> None:
    unbroken = fit(make_datamodule(), tmp_path, max_epochs=3).seen
    runner = trainer(tmp_path, max_epochs=1)
    runner.fit(Recorder(), datamodule=make_datamodule())
    runner.save_checkpoint(tmp_path / "after_one.ckpt")
    resumed = Recorder()
    trainer(tmp_path, max_epochs=3).fit(
        resumed, datamodule=make_datamodule(), ckpt_path=tmp_path / "after_one.ckpt", weights_only=True
    )
    assert "train0" not in resumed.seen
    for stage in ("train1", "train2"):
        assert torch.equal(joined(unbroken[stage], "image"), joined(resumed.seen[stage], "image"))


def test_two_ranks_see_the_global_batches_of_one(make_datamodule: Factory) -> None:
    """Without processes: the loaders that rank 0 and 1 would get, side by side."""
    alone = make_datamodule()
    alone.setup()
    ranks = []
    for rank in (0, 1):
        datamodule = make_datamodule()
        datamodule.setup()
        datamodule.trainer = FakeTrainer(world_size=2, global_rank=rank)  # type: ignore[assignment]
        ranks.append(datamodule)
    for one, *two in zip(alone.train_dataloader(), *(m.train_dataloader() for m in ranks), strict=True):
        assert [len(part["draw"]) for part in two] == [4, 4]
        assert sorted(torch.cat([part["draw"] for part in two]).tolist()) == sorted(one["draw"].tolist())


class FakeTrainer:
    """Says where in a group of processes we are."""

    def __init__(self, *, world_size: int, global_rank: int) -> None:
        self.world_size, self.global_rank = world_size, global_rank
        self.strategy = self
        self.root_device = torch.device("cpu")


def test_survives_pickling_after_setup(make_datamodule: Factory) -> None:
    """As ddp_spawn needs it."""
    datamodule = make_datamodule()
    datamodule.setup()
    copy = pickle.loads(pickle.dumps(datamodule))
    a, b = next(iter(datamodule.val_dataloader())), next(iter(copy.val_dataloader()))
    assert torch.equal(a["hu"], b["hu"])


# -- scoring points --------------------------------------------------------------------------------------------------


def test_points_are_scored_in_order_without_a_split(make_datamodule: Factory, tmp_path: Path) -> None:
    whole = make_datamodule()
    whole.setup()
    chosen = whole.records.sample(11, random_state=0)
    points = chosen[["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"]].assign(source="list.csv")
    datamodule = make_datamodule(split=None)
    datamodule.score_points(pd.concat([points, points.head(1).assign(series_uid="9.9")]))
    recorder = Recorder()
    trainer(tmp_path).predict(recorder, datamodule=datamodule, return_predictions=False)
    assert datamodule.records["source"].tolist() == ["list.csv"] * 11
    assert datamodule.records["center_x_mm"].tolist() == chosen["center_x_mm"].tolist()
    batches = recorder.seen["predict0"]
    assert joined(batches, "index").tolist() == list(range(11))
    assert joined(batches, "label").tolist() == [-1] * 11
    assert torch.equal(joined(batches, "image"), plain_image(whole, torch.tensor(chosen.index.to_numpy())))
    with pytest.raises(RunError, match="not set up"):
        _ = datamodule.split_result


def test_points_replace_the_candidates_of_an_earlier_setup(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    datamodule.setup()
    points = datamodule.records.head(3)
    datamodule.score_points(points)
    datamodule.setup("predict")
    assert len(datamodule.records) == 3
    assert len(datamodule.predict_dataloader()) == 1


# -- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_is_known_before_setup(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    for ask in (lambda: datamodule.records, lambda: datamodule.train_class_counts, datamodule.train_dataloader):
        with pytest.raises(RunError, match=r"call setup\(\) first"):
            ask()


def test_setup_without_a_split(make_datamodule: Factory) -> None:
    with pytest.raises(RunError, match="type split=grouped_kfold, or score points"):
        make_datamodule(split=None).setup()


def test_missing_store_is_a_problem_with_a_remedy(make_datamodule: Factory, tmp_path: Path, luna_root: Path) -> None:
    datamodule = make_datamodule(store_path=tmp_path / "none.zarr")
    (problem,) = datamodule.store_problems()
    assert "no store at" in problem
    assert f"lungdet preprocess data=luna16 data.root={luna_root} data.store_path={tmp_path / 'none.zarr'}" in problem
    with pytest.raises(StoreError, match="no store at"):
        datamodule.prepare_data()


def test_store_made_with_other_settings(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(store=StoreSpec(spacing_mm=(1, 1, 1), lung_mask=False))
    (problem,) = datamodule.store_problems()
    assert "lungdet preprocess data=luna16" in problem
    assert make_datamodule().store_problems() == []
    make_datamodule().prepare_data()


def test_sizes_must_be_sizes(make_datamodule: Factory) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size=0 must be at least 1\ndata\.num_workers=-1 must be 0"):
        make_datamodule(batch_size=0, num_workers=-1)


def test_crop_in_mm_on_native_spacing_is_refused_at_once(make_datamodule: Factory) -> None:
    with pytest.raises(StoreError, match="needs one spacing"):
        make_datamodule(crop=CropSize(mm=(16, 16, 16)))


def test_crop_in_mm(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(crop=CropSize(mm=(16, 16, 8)), store=StoreSpec(spacing_mm=(2, 1, 1), lung_mask=False))
    assert datamodule.spec.shape == (8, 16, 8)


def test_fold_that_the_cohort_cannot_fill(make_datamodule: Factory) -> None:
    with pytest.raises(SplitError, match="have positives, and every fold needs one"):
        make_datamodule(split=GroupedKFold(n_folds=10)).setup()


def test_points_outside_the_store(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    points = pd.DataFrame({"series_uid": ["9.9"], "center_x_mm": [0.0], "center_y_mm": [0.0], "center_z_mm": [0.0]})
    datamodule.score_points(points)
    with pytest.raises(TableError, match="none of the 1 points"):
        datamodule.setup("predict")
