"""Malignancy on a small cohort: from scratch, fine-tuned from a candidate classifier, resumed, scored, reported."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions
from lungdet.metrics.ranking import auroc

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

TINY = ("model=malignancy", "data.sampling.epoch_size=16", "data.crop.vox=[16,24,24]")
FROZEN = ("tail_batchnorm", "block1", "block2", "block3")
DEPTH_2 = "model.frozen=[" + ",".join(FROZEN) + "]"


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
    return {name.removeprefix("net."): tensor for name, tensor in state.items() if name.startswith("net.")}


@pytest.fixture
def candidates(workplace: Path, train: Train) -> Path:
    """A candidate classifier of one epoch, trained by the first test that needs it."""
    run = workplace / "runs" / "candidates"
    return run if (run / "report.html").exists() else train("candidates", "trainer.max_epochs=1")


@pytest.fixture
def fine_tuned(workplace: Path, train: Train, candidates: Path) -> Path:
    run = workplace / "runs" / "fine_tuned"
    if (run / "report.html").exists():
        return run
    return train("fine_tuned", *TINY, "trainer.max_epochs=2", "model.init_from=candidates", DEPTH_2)


def test_from_scratch_every_part_is_there_and_named(train: Train, workplace: Path) -> None:
    run = train("scratch", *TINY, "trainer.max_epochs=1", "data.samples.label_rule=median")
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["classes"] == ["benign", "malignant"]
    assert provenance["label_rule"] == "median"
    assert provenance["baseline"] == "diameter alone"
    assert "initial_weights" not in provenance
    table = read_predictions(run / "predictions.parquet")
    rated = pd.read_csv(workplace / "cohorts" / "phantom" / "annotations_with_malignancy.csv")
    assert 0 < len(table) < len(rated)
    assert table["diameter_mm"].notna().all()


def test_the_report_carries_diameter_difference_rule_and_pairs(fine_tuned: Path) -> None:
    record = json.loads((fine_tuned / "report.json").read_text())
    assert record["label_rule"]["name"] == "two_readers_4"
    (alone,) = record["baselines"]
    assert alone["name"] == "diameter alone"
    part = read_predictions(fine_tuned / "predictions.parquet").query("partition == 'test'")
    assert alone["ranking"]["auroc"]["value"] == pytest.approx(auroc(part["label"], part["diameter_mm"]))
    model = record["ranking"]["test"]["auroc"]["value"]
    assert alone["auroc_difference"]["value"] == pytest.approx(model - alone["ranking"]["auroc"]["value"])
    assert record["size_matched"]["tolerance"] == 0.1
    text = re.sub(r"<[^>]+>", "", (fine_tuned / "report.html").read_text())
    assert "Label rule two_readers_4: a nodule is malignant if at least two readers rated it 4 or 5" in text
    assert "Is it more than size?" in text


def test_frozen_blocks_are_the_candidate_classifiers_bit_for_bit(fine_tuned: Path, candidates: Path) -> None:
    given, tuned = weights(candidates, "best"), weights(fine_tuned)
    assert given.keys() == tuned.keys()
    for name, tensor in tuned.items():
        assert torch.equal(tensor, given[name]) == (name.split(".")[0] in FROZEN), name
    provenance = json.loads((fine_tuned / "provenance.json").read_text())
    assert provenance["initial_weights"] == str(candidates / "checkpoints" / "best.ckpt")
    assert provenance["frozen"] == list(FROZEN)


def test_resumed_and_scored_after_the_first_run_is_gone(
    fine_tuned: Path, candidates: Path, train: Train, lungdet: Command, workplace: Path
) -> None:
    """One epoch and one more equal two at once; for the second, and for scoring, the weights' file is away."""
    name, more = "parts", ("model.init_from=candidates", DEPTH_2)
    train(name, *TINY, "trainer.max_epochs=1", *more)
    away = workplace / "away"
    shutil.move(candidates, away)
    try:
        parts = train(name, *TINY, "trainer.max_epochs=2", "ckpt_path=last", *more)
        before = (parts / "predictions.parquet").read_bytes()
        lungdet(
            "predict", f"run={parts}", "trainer=cpu", "trainer.enable_progress_bar=false", "evaluation.n_resamples=50"
        )
        assert (parts / "predictions.parquet").read_bytes() == before
    finally:
        shutil.move(away, candidates)
    whole, resumed = weights(fine_tuned), weights(parts)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())
    assert str(candidates) in (parts / "config.yaml").read_text()


def test_mistakes_are_found_before_training(
    candidates: Path, lungdet: Command, tiny_training: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for override, said in (
        ("model.frozen=[blok1]", "no module 'blok1'; did you mean 'block1'?"),
        ("model.net.conv_channels=4", "train both with the same model.net"),
        ("data.window.scale=hu", "add data.window.scale=unit"),
        ("model.init_from=nowhere", "model.init_from: no run 'nowhere'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            lungdet("train", *tiny_training, *TINY, "model.init_from=candidates", override)
        assert said in capsys.readouterr().err, override
