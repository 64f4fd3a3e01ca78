"""Cross-validation: every patient tested once, merged and evaluated once, finished folds left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

Command = Callable[..., None]


@pytest.fixture
def settings(tiny_training: tuple[str, ...]) -> list[str]:
    kept = [word for word in tiny_training if not word.startswith("split")]
    return [*kept, "split=grouped_kfold", "split.n_folds=2", "split.val_fraction=0.4", "trainer.max_epochs=1"]


def test_folds_are_merged_by_id_and_evaluated_once(workplace: Path, lungdet: Command, settings: list[str]) -> None:
    out = workplace / "runs" / "cv"
    lungdet("cv", *settings, f"out={out}")
    folds = [read_predictions(out / f"fold{fold}" / "predictions.parquet") for fold in (0, 1)]
    merged = read_predictions(out / "predictions.parquet")
    tested = merged[merged["partition"] == "test"]
    assert len(tested) == sum(len(fold[fold["partition"] == "test"]) for fold in folds)
    assert not tested.duplicated(["series_uid", "candidate_id"]).any()
    for number, fold in enumerate(folds):
        own = tested[tested["fold"] == number].set_index(["series_uid", "candidate_id"])["logit"]
        there = fold[fold["partition"] == "test"].set_index(["series_uid", "candidate_id"])["logit"]
        assert own.sort_index().equals(there.sort_index())
    report = json.loads((out / "report.json").read_text())
    assert report["counts"]["test"]["candidates"] == len(tested)
    assert report["audit"]["folds"] == [0, 1]
    assert (out / "sweep.html").exists(), "each fold beside it"

    before = {p: p.stat().st_mtime_ns for p in out.glob("fold*/predictions.parquet")}
    (out / "fold1" / "report.html").unlink()  # as if it had been killed there
    first = (out / "report.json").read_bytes()
    lungdet("cv", *settings, f"out={out}")
    after = {p: p.stat().st_mtime_ns for p in out.glob("fold*/predictions.parquet")}
    fold0, fold1 = (out / f"fold{fold}" / "predictions.parquet" for fold in (0, 1))
    assert after[fold0] == before[fold0], "a finished fold is not trained again"
    assert after[fold1] > before[fold1]
    assert (out / "report.json").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["split=holdout"], "Holdout has no folds; type split=grouped_kfold split.n_folds=5"),
        (["folds=[0,7]"], "folds: [0, 7]: give some of 0..1, each once"),
        (["folds=[]"], "give some of 0..1"),
        (["ckpt_path=last"], "every fold goes on where it was interrupted"),
        (["optim.lr=-1"], "optim: Invalid learning rate"),
        (["fold=[1]"], "there is no key 'fold'"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: list[str], message: str, workplace: Path, lungdet: Command, settings: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    kept = [word for word in settings if not (words == ["split=holdout"] and word.startswith("split"))]
    with pytest.raises(SystemExit):
        lungdet("cv", *kept, *words, f"out={workplace}/runs/cv-mistake")
    assert message in capsys.readouterr().err
    assert not (workplace / "runs" / "cv-mistake").exists()
