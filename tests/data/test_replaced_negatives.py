"""Background and noise in the place of real negatives: where, how many, and what the voxels are."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.replaced_negatives import NOWHERE_MM, BackgroundNegatives, NoiseNegatives
from lungdet.errors import ConfigError, StoreError, TableError
from lungdet.store.reader import CtStore

Factory = Callable[..., Luna16DataModule]
CENTERS = ["center_x_mm", "center_y_mm", "center_z_mm"]


@pytest.fixture
def lung_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cohort's noise has no lungs."""

    def mask(self: CtStore, series_uid: str) -> npt.NDArray[np.uint8]:
        return np.ones(self.geometry(series_uid).shape_zyx, np.uint8)

    monkeypatch.setattr(CtStore, "lung_mask", mask)


def set_up(make_datamodule: Factory, samples: Any) -> Luna16DataModule:
    datamodule = make_datamodule(samples=samples)
    datamodule.setup()
    return datamodule


@pytest.mark.usefixtures("lung_everywhere")
def test_background_replaces_the_negatives_of_train_and_val_only(make_datamodule: Factory) -> None:
    real = set_up(make_datamodule, None)
    datamodule = set_up(make_datamodule, BackgroundNegatives(per_scan=5, minimum_distance_mm=6.0))
    assert datamodule.split_result.hash == real.split_result.hash
    (note,) = datamodule.split_result.notes
    assert note.startswith("The negatives of train and val are random places in the lungs, 6 mm or more")
    records = datamodule.records
    columns = [c for c in records if c != "is_made"]
    kept = records[~records["is_made"]]
    expected = real.records[(real.records["label"] == 1) | (real.records["partition"] == "test")]
    pd.testing.assert_frame_equal(
        kept[columns].reset_index(drop=True), expected[columns].reset_index(drop=True), check_exact=True
    )
    made = records[records["is_made"]]
    assert set(made["partition"]) == {"train", "val"}
    assert set(made["label"]) == {0}
    assert (made["candidate_id"] >= 12 * 24).all()
    assert records["candidate_id"].is_unique
    scans = real.records[real.records["partition"] != "test"]["series_uid"].unique()
    assert made["series_uid"].value_counts().to_dict() == dict.fromkeys(scans, 5)
    patients = real.records.drop_duplicates("series_uid").set_index("series_uid")[["patient_id", "partition"]]
    assert (made[["patient_id", "partition"]].to_numpy() == patients.loc[made["series_uid"]].to_numpy()).all()
    nodules = real.collection.annotations
    for uid, rows in made.groupby("series_uid"):
        own = nodules[nodules["series_uid"] == uid]
        apart = np.linalg.norm(rows[CENTERS].to_numpy()[:, None] - own[CENTERS].to_numpy(), axis=-1)
        assert (apart > own["diameter_mm"].to_numpy() / 2 + 6).all()


@pytest.mark.usefixtures("lung_everywhere")
def test_the_seed_decides_where(make_datamodule: Factory) -> None:
    one, again, other = (
        set_up(make_datamodule, BackgroundNegatives(per_scan=2, minimum_distance_mm=1.0, seed=seed)).records
        for seed in (0, 0, 1)
    )
    assert one.equals(again)
    made = one["is_made"]
    assert not (one.loc[made, CENTERS].to_numpy() == other.loc[made, CENTERS].to_numpy()).all(axis=1).any()


def test_background_needs_lung_masks_and_places(make_datamodule: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"preprocess with data\.store\.lung_mask=true"):
        set_up(make_datamodule, BackgroundNegatives(per_scan=2))
    monkeypatch.setattr(CtStore, "lung_mask", lambda self, uid: np.zeros(self.geometry(uid).shape_zyx, np.uint8))
    with pytest.raises(TableError, match="no negatives could be made for train, val: the lungs of the"):
        set_up(make_datamodule, BackgroundNegatives(per_scan=2))


def test_annotations_as_positives(make_datamodule: Factory) -> None:
    datamodule = set_up(make_datamodule, NoiseNegatives(per_scan=3, positives="annotations"))
    positives = datamodule.records[datamodule.records["label"] == 1]
    assert len(positives) == len(datamodule.collection.annotations)
    assert positives["diameter_mm"].tolist() == [8.0] * len(positives)
    assert datamodule.records["candidate_id"].is_unique
    real = datamodule.records[~datamodule.records["is_made"] & (datamodule.records["label"] == 0)]
    assert set(real["partition"]) == {"test"}


def test_annotations_and_made_negatives_need_no_candidate_table(
    make_datamodule: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_datamodule().read_collection()
    without = dataclasses.replace(whole, candidates=None)
    monkeypatch.setattr(Luna16DataModule, "read_collection", lambda self: without)
    everywhere = NoiseNegatives(per_scan=3, positives="annotations", partitions=("train", "val", "test"))
    records = set_up(make_datamodule, everywhere).records
    assert records["is_made"].sum() == 3 * 12
    with pytest.raises(TableError, match=r"has no candidates_V2\.csv"):
        set_up(make_datamodule, NoiseNegatives(per_scan=3, positives="annotations"))


def test_noise_rows_are_noise_and_the_others_are_crops(make_datamodule: Factory) -> None:
    datamodule = set_up(make_datamodule, NoiseNegatives(per_scan=12, mean_hu=-300, sd_hu=200))
    records = datamodule.records
    dataset = datamodule._dataset(training=True)
    everything = dataset.__getitems__(range(len(records)))["hu"][:, 0]
    made = torch.tensor(records["is_made"].to_numpy())
    noise = everything[made].double()
    assert noise.mean().item() == pytest.approx(-300, abs=3)
    assert noise.std().item() == pytest.approx(200, abs=3)
    flat = noise.flatten(1)
    correlation = torch.corrcoef(flat)[~torch.eye(len(flat), dtype=torch.bool)]
    assert correlation.abs().max() < 0.25, "960 voxels: a standard deviation of 0.032"
    beside = (noise[..., 1:] + 300) * (noise[..., :-1] + 300)
    assert (beside.mean() / 200**2).item() == pytest.approx(0, abs=0.03)
    for row in np.flatnonzero(~records["is_made"])[:5]:
        assert (everything[row].numpy() == datamodule.load_crop(records.iloc[row])[0]).all()
    assert (records.loc[records["is_made"], CENTERS] == NOWHERE_MM).all(axis=None)


def test_noise_depends_on_seed_and_row_alone(make_datamodule: Factory) -> None:
    def cubes(seed: int, rows: list[int]) -> torch.Tensor:
        datamodule = set_up(make_datamodule, NoiseNegatives(per_scan=4, seed=seed))
        dataset = pickle.loads(pickle.dumps(datamodule._dataset(training=False)))
        first = int(np.flatnonzero(datamodule.records["is_made"])[0])
        n = len(datamodule.records)
        hu: torch.Tensor = dataset.__getitems__([first + row for row in rows] + [first + n])["hu"]
        return hu

    one = cubes(0, [0, 1, 2])
    assert torch.equal(one[[1, 0, 2]], cubes(0, [1, 0, 2])[:3])
    assert torch.equal(one[0], one[3]), "another draw number of the same row"
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], cubes(1, [0])[0])


def test_wrong_values() -> None:
    with pytest.raises(ConfigError, match=r"per_scan=0 must be.*\n.*partitions=\['train', 'all'\].*\n.*positives='x'"):
        NoiseNegatives(per_scan=0, partitions=("train", "all"), positives="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sd_hu=0"):
        NoiseNegatives(per_scan=1, sd_hu=0)
    with pytest.raises(ConfigError, match="minimum_distance_mm=-1"):
        BackgroundNegatives(per_scan=1, minimum_distance_mm=-1)
