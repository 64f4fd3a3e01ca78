"""Runs that were really trained: two seeds and noise negatives are compared, other patients are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]


@pytest.fixture(scope="module")
def folder(workplace: Path) -> Path:
    return workplace / "comparisons" / "compared_1_compared_2_compared_noise"


def test_trained_runs_are_compared(train: Train, lungdet: Command, folder: Path) -> None:
    short = ("trainer.max_epochs=1",)
    train("compared_1", "seed=1", *short)
    train("compared_2", "seed=2", *short)
    train("compared_noise", "data/samples=noise_negatives", "optim.lr=0.003", *short)
    arguments = ("runs=[compared_1,compared_2,compared_noise]", "evaluation.n_resamples=200", "evaluation.n_gallery=2")
    lungdet("compare", *arguments)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {"compare.json", "compare.html", "compare.md"}
    record = json.loads(first["compare.json"])
    assert record["names"] == ["compared_1", "compared_2", "compared_noise"]
    assert len(record["pairs"]) == 3
    keys = {setting["key"]: setting["values"] for setting in record["settings"]}
    assert keys["seed"] == ["1", "2", "0"]
    assert keys["optim.lr"][2] == "0.003"
    assert "data.samples._target_" in keys
    assert not any(key.startswith("paths") for key in keys)
    # Its validation negatives are noise; the test rows are the same candidates.
    codes = {finding["code"] for finding in record["findings"]}
    assert "other_validation" in codes
    assert "other_split" not in codes
    assert record["pictures_left_out"] == ""
    assert b"data:image/png;base64" in first["compare.html"]
    assert b"figure-learning-val-loss" in first["compare.html"]

    lungdet("compare", *arguments)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_runs_of_another_split_are_refused(
    train: Train, lungdet: Command, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train("compared_other", "split.seed=5", "trainer.max_epochs=1")
    with pytest.raises(SystemExit) as stopped:
        lungdet("compare", "runs=[compared_1,compared_other]")
    assert stopped.value.code == 2
    said = capfd.readouterr().err
    assert "compared_1 and compared_other were not evaluated on the same test rows" in said
    assert "rows only in compared_other" in said
    assert "split hashes: " in said
