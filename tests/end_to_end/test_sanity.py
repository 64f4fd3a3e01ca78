"""`lungdet sanity` on the tiny phantom: verdicts, files and exit codes; a planted leak fails the permuted training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.pages import assert_self_contained

from lungdet.data.candidate_dataset import CandidateDataset, RawBatch
from lungdet.evaluation.predictions import read_predictions

# Two channels cannot learn much.
LARGER = ("model.net.conv_channels=4", "optim.lr=0.003")

Train = Callable[..., Path]
Command = Callable[..., None]
Sanity = Callable[..., dict[str, Any]]


@pytest.fixture
def trained(workplace: Path, train: Train) -> Path:
    """A run of one epoch, made by the first test that needs it."""
    run = workplace / "runs" / "to-check"
    return run if (run / "report.json").exists() else train("to-check", "trainer.max_epochs=1")


@pytest.fixture
def sanity(workplace: Path, lungdet: Command, tiny_training: tuple[str, ...]) -> Sanity:
    """`sanity("name", "what=shortcut")`: sanity.json of sanity/name; the command leaves with 1 if a check failed."""

    def check(name: str, *arguments: str) -> dict[str, Any]:
        code = 0
        try:
            lungdet("sanity", *tiny_training, f"out=sanity/{name}", *arguments)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        record: dict[str, Any] = json.loads((workplace / "sanity" / name / "sanity.json").read_text())
        assert code == (1 if record["verdict"] == "failed" else 0)
        return record

    return check


def test_checks_of_a_run_read_its_predictions(trained: Path, sanity: Sanity, workplace: Path) -> None:
    record = sanity("run", "what=[shuffled_labels,class_prior]", f"run={trained}", "shuffled.n_permutations=60")
    assert list(record["checks"]) == ["shuffled_labels", "class_prior"]
    report = json.loads((trained / "report.json").read_text())
    shuffled = record["checks"]["shuffled_labels"]
    assert shuffled["verdict"] == "passed"
    assert len(shuffled["curve"]["rows"]) == 60
    found, reported = shuffled["numbers"]["AUROC, true labels"], report["ranking"]["test"]["auroc"]
    assert [found[end] for end in ("value", "low", "high")] == [reported[end] for end in ("value", "low", "high")]
    split = json.loads((trained / "split.json").read_text())
    assert record["provenance"]["split_hash_of_run"] == split["hash"]
    assert 0.05 < record["checks"]["class_prior"]["numbers"]["Share of positives, training"]["value"] < 0.6
    assert_self_contained((workplace / "sanity" / "run" / "sanity.html").read_text(encoding="utf-8"))


def test_a_shortcut_is_compared_with_a_run_on_the_same_rows(trained: Path, sanity: Sanity) -> None:
    numbers = sanity("shortcut", "what=shortcut", f"run={trained}")["checks"]["shortcut"]["numbers"]
    assert numbers["AUROC of the run"]["value"] is not None
    other = sanity("other", "what=shortcut", f"run={trained}", "split.test_fraction=0.5")["checks"]["shortcut"][
        "numbers"
    ]
    assert "tested on other rows" in other["AUROC of the run"]["reason"]


def test_without_any_run_three_checks_say_so(sanity: Sanity) -> None:
    record = sanity("no-run", "what=[shuffled_labels,class_prior]", "run=null")
    assert record["verdict"] == "cannot be judged"
    assert record["checks"]["class_prior"]["says"] == "No run is looked at (run=null)."


def test_one_batch_is_learned_by_a_classifier_and_not_without_a_learning_rate(sanity: Sanity) -> None:
    record = sanity("overfit", "what=overfit_one_batch", "run=null", "model.net.conv_channels=4")
    assert record["verdict"] == "passed"
    losses = record["checks"]["overfit_one_batch"]["curve"]["loss"]
    assert losses[-1] < 0.05 < losses[0]
    stuck = sanity("stuck", "what=overfit_one_batch", "run=null", "optim.lr=1e-9", "overfit.steps=10")
    assert stuck["verdict"] == "failed"


def with_label_in_the_crop(self: CandidateDataset, draws: Sequence[int]) -> RawBatch:
    batch = honest(self, draws)
    batch["hu"][:, 0, :3] = -1000
    batch["hu"][batch["label"] == 1, 0, :3] = 400
    return batch


honest = CandidateDataset.__getitems__


def test_training_on_permuted_labels_passes_and_fails_when_the_label_is_written_into_the_crop(
    sanity: Sanity, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("what=permuted_training", "run=null", "permuted.epochs=4", "permuted.n_trainings=2", *LARGER)
    record = sanity("permuted", *settings)
    assert record["verdict"] == "passed"
    runs = sorted((workplace / "sanity" / "permuted" / "permuted_training").iterdir())
    assert [run.name for run in runs] == ["seed_0", "seed_1"]
    assert not (runs[0] / "config.yaml").exists(), "no command takes it for a run"
    assert "permuted at random (seed 0)" in json.loads((runs[0] / "split.json").read_text())["notes"][-1]
    labels = [read_predictions(run / "predictions.parquet") for run in runs]
    tests, vals = ([t[t["partition"] == p]["label"].tolist() for t in labels] for p in ("test", "val"))
    assert tests[0] == tests[1]
    assert vals[0] != vals[1]
    assert sorted(vals[0]) == sorted(vals[1])

    monkeypatch.setattr(CandidateDataset, "__getitems__", with_label_in_the_crop)
    leaked = sanity("leaked", *settings)
    found = leaked["checks"]["permuted_training"]["numbers"]["Validation AUROC, permuted labels"]
    assert not found["low"] <= 0.5 <= found["high"]
    assert "another way than what is in them" in leaked["checks"]["permuted_training"]["says"]


def test_wrong_values_are_named_together(lungdet: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("sanity", "what=[shortcut,shotcut]", "permuted.n_trainings=0", "overfit.dice=2", "run=null")
    said = capsys.readouterr().err
    assert "there is no check shotcut; allowed: all, shuffled_labels, class_prior, shortcut" in said
    assert "permuted.n_trainings=0 must be at least 1" in said
    assert "overfit.dice=2" in said


def test_a_run_that_is_named_and_not_there_is_a_mistake(
    lungdet: Command, tiny_training: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("sanity", *tiny_training, "run=nowhere", "what=class_prior")
    assert "no run 'nowhere'" in capsys.readouterr().err
