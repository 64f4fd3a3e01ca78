"""Train, mine the training scans, train again with the mined negatives; and the earlier notebooks' negatives."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from lungdet.config.build import build
from lungdet.data.ct import CtDataModule
from lungdet.data.partitions import Split
from lungdet.evaluation.predictions import read_predictions

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

# The other tests' scans are too small to have lungs.
COHORT = ("data.cohort.shape_zyx=[80,100,100]", "data.root=cohorts/lungs", "data.store_path=stores/lungs.zarr")
MINING = ("pool.background_per_scan=40", "keep.per_scan=6", "keep.minimum_probability=0", "device=cpu")


def data_of(run: Path) -> CtDataModule:
    """The data that a run was trained on."""
    cfg = OmegaConf.load(run / "config.yaml")
    assert isinstance(cfg, DictConfig)
    datamodule: CtDataModule = build(cfg.data, split=build(cfg.split), seed=cfg.seed)
    datamodule.setup()
    return datamodule


@pytest.fixture
def mined(workplace: Path, train: Train, lungdet: Command) -> Path:
    """A run of one epoch and the table mined with it, made by the first test that needs it."""
    run = workplace / "runs" / "to-mine"
    if not (run / "mined.csv").exists():
        train("to-mine", "trainer.max_epochs=1", *COHORT)
        lungdet("mine", "run=to-mine", *MINING)
    return run / "mined.csv"


def test_mined_places_are_negatives_of_training_scans(mined: Path, workplace: Path) -> None:
    table, card = pd.read_csv(mined), json.loads(mined.with_suffix(".json").read_text())
    datamodule = data_of(mined.parent)
    patients = datamodule.collection.series.set_index("series_uid")["patient_id"]
    train_scans = [uid for uid in datamodule.store.series_uids if patients[uid] in datamodule.split_result.train]
    assert table["seriesuid"].unique().tolist() == sorted(train_scans)
    assert set(table["class"]) == {0}
    assert set(table["source"]) == {"background", "candidates"}
    assert (table.groupby("seriesuid").size() <= 6).all()
    nodules = pd.read_csv(workplace / "cohorts" / "lungs" / "annotations.csv")
    for uid, rows in table.groupby("seriesuid"):
        places = rows[["coordX", "coordY", "coordZ"]].to_numpy()
        own = nodules[nodules["seriesuid"] == uid]
        apart = np.linalg.norm(places[:, None] - own[["coordX", "coordY", "coordZ"]].to_numpy(), axis=-1)
        assert (apart > own["diameter_mm"].to_numpy() / 2 + 10).all()
        between = np.linalg.norm(places[:, None] - places, axis=-1)[~np.eye(len(places), dtype=bool)]
        assert (between >= 10).all(), "the kept ones are different places"
        assert rows["probability"].is_monotonic_decreasing
    assert card["split_hash"] == datamodule.split_result.hash
    assert card["counts"]["scans"] == len(train_scans)
    assert card["counts"]["pool_background"] == 40 * len(train_scans)
    assert card["counts"]["kept_background"] + card["counts"]["kept_candidates"] == card["n_rows"] == len(table)


def test_probabilities_are_those_of_the_run(mined: Path, lungdet: Command, workplace: Path) -> None:
    """`lungdet predict` scores the mined places by another way."""
    lungdet(
        "predict", "run=to-mine", f"candidates={mined}", "out=mined_scored.csv", "trainer=cpu",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    columns = ["seriesuid", "coordX", "coordY", "coordZ"]
    both = pd.read_csv(mined).merge(pd.read_csv(workplace / "mined_scored.csv"), on=columns, suffixes=("", "_again"))
    assert len(both) == len(pd.read_csv(mined))
    assert np.allclose(both["probability"], both["probability_again"], atol=1e-5)


def test_mining_again_gives_the_same_bytes_also_after_an_interruption(
    mined: Path, lungdet: Command, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lungdet.io.scan_parts import ScanParts

    written: list[str] = []
    found: list[bool] = []
    keep, read = ScanParts.write, ScanParts.read

    def interrupted(self: ScanParts, series_uid: str, result: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(series_uid)
        keep(self, series_uid, result)

    out = workplace / "again.csv"
    with monkeypatch.context() as patch:
        patch.setattr(ScanParts, "write", interrupted)
        with pytest.raises(SystemExit, match="130"):
            lungdet("mine", "run=to-mine", "out=again.csv", *MINING)
    assert not out.exists()
    assert len(list((workplace / "again.parts").glob("scan-*.json"))) == 2

    def counted(self: ScanParts, series_uid: str) -> object:
        part = read(self, series_uid)
        found.append(part is not None)
        return part

    monkeypatch.setattr(ScanParts, "read", counted)
    lungdet("mine", "run=to-mine", "out=again.csv", *MINING)
    assert sum(found) == 2
    assert out.read_bytes() == mined.read_bytes()
    assert out.with_suffix(".json").read_bytes() == mined.with_suffix(".json").read_bytes()
    assert not (workplace / "again.parts").exists()


def test_a_table_of_other_settings_is_not_overwritten(
    mined: Path, lungdet: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mined.read_bytes()
    with pytest.raises(SystemExit, match="2"):
        lungdet("mine", "run=to-mine", *MINING, "seed=1")
    assert "was mined otherwise (see mined.json); give another by out=" in capsys.readouterr().err
    lungdet("mine", "run=to-mine", *MINING)
    assert mined.read_bytes() == before


def test_a_run_whose_patients_are_split_otherwise_now_is_refused(
    mined: Path, lungdet: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after scans were added: a patient who validates could have become one to mine."""
    shutil.copytree(mined.parent, tmp_path / "run")
    split = Split.from_json((mined.parent / "split.json").read_text())
    moved = dataclasses.replace(split, train=(*split.train, split.val[0]), val=split.val[1:])
    (tmp_path / "run" / "split.json").write_text(moved.to_json())
    with pytest.raises(SystemExit, match="2"):
        lungdet("mine", f"run={tmp_path / 'run'}", *MINING)
    assert "was trained on other patients than its configuration gives now" in capsys.readouterr().err


def test_wrong_values_are_named_together(lungdet: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("mine", "pool.background_per_scan=0", "pool.candidates=false", "batch_size=0")
    said = capsys.readouterr().err
    assert "leave nothing to score" in said
    assert "batch_size=0 must be at least 1" in said


def test_training_with_the_mined_rows(mined: Path, train: Train) -> None:
    run = train(
        "hardened", "trainer.max_epochs=1", *COHORT, f"data.extra_negatives={mined}", "data.extra_negatives_share=0.5"
    )
    plain, hardened = data_of(mined.parent), data_of(run)
    table = pd.read_csv(mined)
    added = hardened.records.iloc[len(plain.records) :]
    assert set(added["partition"]) == {"train"}
    assert set(added["label"]) == {0}
    assert added[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy().tolist() == (
        table[["coordX", "coordY", "coordZ"]].to_numpy().tolist()
    )
    pd.testing.assert_frame_equal(hardened.records.iloc[: len(plain.records)], plain.records)
    assert hardened.split_result.hash == plain.split_result.hash
    scored = [read_predictions(path / "predictions.parquet") for path in (mined.parent, run)]
    assert scored[0]["candidate_id"].tolist() == scored[1]["candidate_id"].tolist()


@pytest.mark.parametrize("kind", ["background_negatives", "noise_negatives"])
def test_the_notebooks_negatives_train_and_meet_real_candidates_in_the_test(kind: str, train: Train) -> None:
    run = train(kind, "trainer.max_epochs=1", *COHORT, f"data/samples={kind}", "data.sampling.epoch_size=32",
                "data.crop.vox=[16,24,24]", "data.batch_size=8")  # fmt: skip
    predictions = read_predictions(run / "predictions.parquet")
    datamodule = data_of(run)
    negatives = datamodule.records[datamodule.records["label"] == 0]
    assert negatives.groupby("partition")["is_made"].agg(["min", "max"]).to_dict("index") == {
        "train": {"min": True, "max": True}, "val": {"min": True, "max": True}, "test": {"min": False, "max": False},
    }  # fmt: skip
    listed = datamodule.collection.candidates
    assert listed is not None
    tested = predictions[predictions["partition"] == "test"]
    assert len(tested.merge(listed, on=["candidate_id", "series_uid", "center_x_mm"])) == len(tested)
    (note,) = json.loads((run / "split.json").read_text())["notes"]
    assert note.startswith("The negatives of train and val are ")
