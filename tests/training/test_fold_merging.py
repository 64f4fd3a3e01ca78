"""Folds become one run: by id, each sample tested once; folds that do not belong together are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lungdet.errors import RunError
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.training.fold_merging import merge_folds
from lungdet.training.run_directory import RunDirectory


def rows(patients: list[str], *, partition: str, fold: int, shift: float) -> pd.DataFrame:
    n = len(patients)
    return pd.DataFrame(
        {
            "series_uid": [f"s-{p}" for p in patients],
            "patient_id": patients,
            "candidate_id": range(n),
            **{f"center_{axis}_mm": 0.0 for axis in "xyz"},
            "label": [k % 2 for k in range(n)],
            "diameter_mm": 5.0,
            "logit": [shift + k for k in range(n)],
            "fold": fold,
            "partition": partition,
        }
    )


def fold(folder: Path, number: int, *, test: list[str], val: list[str], **provenance: Any) -> RunDirectory:
    folder.mkdir()
    run = RunDirectory(folder)
    table = pd.concat(
        [rows(test, partition="test", fold=number, shift=number), rows(val, partition="val", fold=number, shift=9)]
    )
    write_predictions(table, run.predictions)
    write_predictions(table, run.baseline)
    run.config.write_text("seed: 0\n")
    record = {
        "store_fingerprint": "f", "classes": ["non_nodule", "nodule"], "fold": number, "split_hash": f"h{number}",
        "checkpoint": "checkpoints/best.ckpt", "best_score": 0.5, "split_notes": ["shared"], **provenance,
    }  # fmt: skip
    run.write_json(run.provenance, record)
    return run


def test_two_folds_become_one_run(tmp_path: Path) -> None:
    first = fold(tmp_path / "fold0", 0, test=["a", "b"], val=["c", "d"])
    second = fold(tmp_path / "fold1", 1, test=["c", "d"], val=["a", "b"])
    together = RunDirectory(tmp_path / "out")
    merge_folds([first, second], together)
    merged = read_predictions(together.predictions)
    tested = merged[merged["partition"] == "test"].set_index("series_uid")
    assert tested["logit"].to_dict() == {"s-a": 0.0, "s-b": 1.0, "s-c": 1.0, "s-d": 2.0}
    assert tested["fold"].to_dict() == {"s-a": 0, "s-b": 0, "s-c": 1, "s-d": 1}
    assert len(merged) == 8
    assert len(read_predictions(together.baseline)) == 8
    provenance = together.read_provenance()
    assert [one["split_hash"] for one in provenance["folds"]] == ["h0", "h1"]
    assert "split_hash" not in provenance
    assert provenance["split_notes"] == ["shared"]
    assert together.config.read_text() == "seed: 0\n"


def test_a_patient_may_validate_in_several_folds(tmp_path: Path) -> None:
    runs = [
        fold(tmp_path / f"fold{n}", n, test=[f"t{n}", f"u{n}"], val=["same", "other"]) for n in range(3)
    ]  # fmt: skip
    together = RunDirectory(tmp_path / "out")
    merge_folds(runs, together)
    merged = read_predictions(together.predictions)
    assert (merged["partition"] == "val").sum() == 6


def test_a_sample_that_two_folds_test_is_refused(tmp_path: Path) -> None:
    runs = [fold(tmp_path / f"fold{n}", n, test=["a", "b"], val=["c", "d"]) for n in range(2)]
    with pytest.raises(RunError, match=r"2 samples are tested by two folds, the first is 0 of series s-a"):
        merge_folds(runs, RunDirectory(tmp_path / "out"))


def test_folds_of_different_stores_are_refused(tmp_path: Path) -> None:
    runs = [
        fold(tmp_path / f"fold{n}", n, test=[f"t{n}", "u"], val=["c", "d"], store_fingerprint=f"f{n}") for n in range(2)
    ]
    with pytest.raises(RunError, match=r"the folds differ in store_fingerprint: f0, f1"):
        merge_folds(runs, RunDirectory(tmp_path / "out"))
