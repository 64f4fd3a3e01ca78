"""Mined tables in the records: training patients only, new ids, never on a nodule; and how often they are shown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.nodules import NoduleSamples
from lungdet.data.sampling import BalancedSampling, NaturalSampling
from lungdet.errors import ConfigError, MissingFileError, TableError
from lungdet.io.negatives_table import write_negatives

Factory = Callable[..., Luna16DataModule]
CENTERS = ["center_x_mm", "center_y_mm", "center_z_mm"]


@pytest.fixture
def plain(make_datamodule: Factory) -> Luna16DataModule:
    """Without extra rows."""
    datamodule = make_datamodule()
    datamodule.setup()
    return datamodule


@pytest.fixture
def table(plain: Luna16DataModule) -> pd.DataFrame:
    """Two places far above each of the twelve scans, and one of a scan that is not there."""
    uids = [uid for uid in plain.store.series_uids for _ in range(2)]
    rows = pd.DataFrame({"series_uid": [*uids, "9.9"], "center_x_mm": np.arange(25.0)})
    return rows.assign(center_y_mm=12.5, center_z_mm=900.0, probability=0.9, source="background")


@pytest.fixture
def mined(plain: Luna16DataModule, table: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "mined.csv"
    write_negatives(path, table, card={"split_hash": plain.split_result.hash})
    return path


def test_rows_of_training_patients_join_the_training_rows(
    plain: Luna16DataModule, mined: Path, make_datamodule: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    datamodule = make_datamodule(extra_negatives=str(mined))
    with caplog.at_level(logging.INFO):
        datamodule.setup()
    n = len(plain.records)
    pd.testing.assert_frame_equal(datamodule.records.iloc[:n], plain.records)
    added = datamodule.records.iloc[n:]
    train = set(plain.split_result.train)
    of_train = plain.collection.series[plain.collection.series["patient_id"].isin(train)]["series_uid"]
    assert len(of_train) < 12
    assert sorted(added["series_uid"]) == sorted([*of_train, *of_train])
    assert set(added["patient_id"]) == train
    assert set(added["partition"]) == {"train"}
    assert set(added["label"]) == {0}
    assert added["candidate_id"].tolist() == list(range(12 * 24, 12 * 24 + len(added)))
    assert added["diameter_mm"].isna().all()
    dropped = 24 - len(added)
    assert f"{len(added)} extra negatives; {dropped} rows of validation or test patients dropped, 1 of" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    counts = plain.train_class_counts
    assert datamodule.train_class_counts == (counts[0] + len(added), counts[1])


def test_several_tables_give_each_place_once(
    mined: Path, table: pd.DataFrame, make_datamodule: Factory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other.csv"
    more = pd.concat([table, table.assign(center_z_mm=910.0)])
    write_negatives(other, more, card={"split_hash": "of another split"})
    one, both = make_datamodule(extra_negatives=[str(mined)]), make_datamodule(extra_negatives=[str(mined), str(other)])
    one.setup()
    with caplog.at_level(logging.INFO):
        both.setup()
    n = len(one.records) - 12 * 24
    assert len(both.records) - 12 * 24 == 2 * n
    assert both.records["candidate_id"].is_unique
    assert f"{n} rows name a place that another row names" in caplog.text
    assert "other.csv was mined with another split (of another " in caplog.text


def test_a_table_without_a_card_is_taken_with_a_warning(
    mined: Path, make_datamodule: Factory, caplog: pytest.LogCaptureFixture
) -> None:
    mined.with_suffix(".json").unlink()
    make_datamodule(extra_negatives=str(mined)).setup()
    assert "has no card" in caplog.text


def test_a_place_in_a_nodule_of_a_training_patient_is_refused(
    plain: Luna16DataModule, table: pd.DataFrame, make_datamodule: Factory, tmp_path: Path
) -> None:
    """Nodules have a radius of 4 mm: 3.9 mm from the centre is inside, 4.1 mm is not."""
    nodules = plain.collection.annotations.merge(plain.collection.series, on="series_uid")
    nodule = nodules[nodules["patient_id"].isin(plain.split_result.train)].iloc[0]
    path = tmp_path / "wrong.csv"
    for distance, refused in ((4.1, False), (3.9, True)):
        row = table.iloc[[0]].assign(series_uid=nodule["series_uid"])
        row[CENTERS] = nodule[CENTERS].to_numpy(float) + np.array([distance, 0, 0])
        write_negatives(path, row, card={"split_hash": plain.split_result.hash})
        datamodule = make_datamodule(extra_negatives=str(path))
        if refused:
            with pytest.raises(TableError, match=r"1 rows of series .* lie within a nodule"):
                datamodule.setup()
        else:
            datamodule.setup()


def test_a_nodule_of_another_partition_does_not_matter(
    plain: Luna16DataModule, table: pd.DataFrame, make_datamodule: Factory, tmp_path: Path
) -> None:
    nodules = plain.collection.annotations.merge(plain.collection.series, on="series_uid")
    nodule = nodules[nodules["patient_id"].isin(plain.split_result.test)].iloc[0]
    row = table.iloc[[0]].assign(series_uid=nodule["series_uid"])
    row[CENTERS] = nodule[CENTERS].to_numpy(float)
    write_negatives(tmp_path / "t.csv", pd.concat([row, table]), card={})
    make_datamodule(extra_negatives=str(tmp_path / "t.csv")).setup()


def test_refusals(
    plain: Luna16DataModule, table: pd.DataFrame, make_datamodule: Factory, tmp_path: Path, mined: Path
) -> None:
    with pytest.raises(MissingFileError, match=r"none\.csv: no such table"):
        make_datamodule(extra_negatives=str(tmp_path / "none.csv")).setup()
    with pytest.raises(ConfigError, match="extra_negatives is for data/samples=candidates, not for NoduleSamples"):
        make_datamodule(extra_negatives=str(mined), samples=NoduleSamples())
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="extra_negatives_share="):
            make_datamodule(extra_negatives=str(mined), extra_negatives_share=share)
    write_negatives(tmp_path / "foreign.csv", table.tail(1), card={"split_hash": plain.split_result.hash})
    with pytest.raises(TableError, match="no row lies in a stored scan of a training patient"):
        make_datamodule(extra_negatives=str(tmp_path / "foreign.csv")).setup()


def shown(datamodule: Luna16DataModule) -> pd.DataFrame:
    """The records that the first epoch of training shows."""
    datamodule.setup()
    draws = np.concatenate([batch["draw"].numpy() for batch in datamodule.train_dataloader()])
    assert len(np.unique(draws)) == len(draws), "a repeated row is drawn under numbers of its own"
    return datamodule.records.iloc[draws % len(datamodule.records)]


def test_a_share_of_no_table_is_refused(make_datamodule: Factory) -> None:
    with pytest.raises(ConfigError, match=r"share=0.5 needs a table .* type data\.extra_negatives=R/mined"):
        make_datamodule(extra_negatives_share=0.5)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.5), (0.75, 0.75), (None, None), (0.0001, None)])
def test_share_of_the_negatives_shown(
    share: float | None, expected: float | None, mined: Path, make_datamodule: Factory
) -> None:
    """Without a share, or with one that they exceed anyway, they are as frequent as they are numerous."""
    datamodule = make_datamodule(
        extra_negatives=str(mined), extra_negatives_share=share, sampling=NaturalSampling(), batch_size=1
    )
    rows = shown(datamodule)
    train = datamodule.records[datamodule.records["partition"] == "train"]
    n_extra = int((train["candidate_id"] >= 12 * 24).sum())
    negatives = rows[rows["label"] == 0]
    share_shown = (negatives["candidate_id"] >= 12 * 24).mean()
    assert share_shown == pytest.approx(expected or n_extra / (train["label"] == 0).sum(), abs=0.005)
    assert set(rows.index) == set(train.index), "nothing is left out"


def test_share_under_balanced_sampling(mined: Path, make_datamodule: Factory) -> None:
    """Of 1,000 negatives, drawn in turn from a pool of which half is extra."""
    rows = shown(
        make_datamodule(
            extra_negatives=str(mined), extra_negatives_share=0.5, sampling=BalancedSampling(epoch_size=2000)
        )
    )
    assert (rows["label"] == 1).sum() == 1000
    assert ((rows["label"] == 0) & (rows["candidate_id"] >= 12 * 24)).sum() == pytest.approx(500, abs=40)
