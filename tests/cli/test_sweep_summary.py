"""What the table of a sweep takes from the folders of its jobs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lungdet.cli.sweep_summary import FAILURE, estimates_of, forget_failure, note_failure, read_run, settings_of

ESTIMATE = {"value": 0.8, "low": 0.7, "high": None, "reason": "r"}


def job(folder: Path, *typed: str) -> Path:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {word}\n" for word in typed))
    return folder


def test_settings_are_what_was_typed_but_for_where_it_goes(tmp_path: Path) -> None:
    typed = ("optim=sgd", "+data.x=1", "paths.root=/a", "ckpt_path=auto", "hydra.verbose=true", "model.net=[1,2]")
    assert settings_of(job(tmp_path / "0", *typed)) == {"optim": "sgd", "data.x": "1", "model.net": "[1,2]"}
    assert settings_of(tmp_path) == {}


def test_a_finished_run(tmp_path: Path) -> None:
    folder = job(tmp_path / "0", "seed=1")
    (folder / "provenance.json").write_text(json.dumps({"best_score": 0.75}))
    (folder / "history.csv").write_text("epoch,seconds,val/auroc\n0,30,0.7\n1,31,0.75\n")
    for name in ("report.html", "predictions.parquet"):
        (folder / name).write_text("")
    report = {"ranking": {"test": {"auroc": ESTIMATE, "average_precision": {**ESTIMATE, "value": None}}}}
    (folder / "report.json").write_text(json.dumps(report))
    run = read_run(folder, monitor="val/auroc", mode="max")
    assert (run.status, run.score, run.epochs, run.seconds) == ("finished", 0.75, 2, 61.0)
    assert list(run.estimates) == [("test", "auroc")], "what has no value has no column"
    assert run.estimates["test", "auroc"].low == 0.7
    assert math.isnan(run.estimates["test", "auroc"].high)


@pytest.mark.parametrize(("mode", "score"), [("max", 0.9), ("min", 0.2)])
def test_a_run_that_was_stopped_has_the_best_of_its_history(mode: str, score: float, tmp_path: Path) -> None:
    folder = job(tmp_path / "0")
    (folder / "history.csv").write_text("epoch,seconds,val/auroc\n0,1,0.2\n1,1,0.9\n2,1,\n")
    run = read_run(folder, monitor="val/auroc", mode=mode)
    assert (run.status, run.score) == ("unfinished", score)
    assert read_run(folder, monitor="val/auroc", mode=mode, status="pruned").status == "pruned"


def test_why_a_job_failed_is_kept_until_it_is_tried_again(tmp_path: Path) -> None:
    folder = job(tmp_path / "0")
    note_failure(folder, "no run 'b'")
    run = read_run(folder, monitor="val/auroc", mode="max")
    assert (run.status, run.reason) == ("failed", "no run 'b'")
    assert math.isnan(run.score)
    forget_failure(folder)
    forget_failure(folder)
    assert not (folder / FAILURE).exists()


def test_masks_are_compared_by_dice() -> None:
    report = {"results": {"val": {"whole_volume": {"at_half": {"dice": ESTIMATE}}}}}
    assert estimates_of(report)["val", "dice"].value == 0.8
    assert estimates_of({}) == {}
