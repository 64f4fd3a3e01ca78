"""A run is calibrated on its validation rows when it is evaluated; `eval` fits again what is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.evaluation.calibration import read_calibration
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.metrics.calibrators import fit_calibrator

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]


@pytest.fixture
def trained(workplace: Path, train: Train) -> Path:
    """A run of one epoch, whose logits are made to rise with the label: nothing so short has learned anything."""
    run = workplace / "runs" / "to-calibrate"
    if not run.exists():
        train("to-calibrate", "trainer.max_epochs=1")
        table = read_predictions(run / "predictions.parquet").drop(columns="probability")
        noise = table["candidate_id"] % 7
        table["logit"] = (table["logit"] + table["label"] * 2.0 + noise - 4.0).astype("float32")
        write_predictions(table, run / "predictions.parquet")
    return run


def evaluate(lungdet: Command, run: Path, *arguments: str) -> dict[str, bytes]:
    lungdet("eval", f"run={run}", "evaluation.n_resamples=20", "evaluation.n_gallery=1", *arguments)
    return {p.name: p.read_bytes() for p in run.glob("*.*") if p.suffix in {".json", ".html"}}


def test_eval_fits_on_validation_stores_and_reports(trained: Path, lungdet: Command) -> None:
    before = evaluate(lungdet, trained)
    table = read_predictions(trained / "predictions.parquet").query("partition == 'val'")
    fitted = read_calibration(trained / "calibration.json")
    assert fitted.single == fit_calibrator("platt", table["logit"], table["label"])
    assert fitted.predictions_sha256 == hashlib.sha256((trained / "predictions.parquet").read_bytes()).hexdigest()
    assert fitted.checkpoint == json.loads((trained / "provenance.json").read_text())["checkpoint"]
    report = json.loads(before["report.json"])
    assert report["calibrator"]["method"] == "platt"
    assert (
        report["calibrated"]["val"]["negative_log_likelihood"]["value"]
        < (report["calibration"]["val"]["negative_log_likelihood"]["value"])
    )
    assert "Platt scaling" in (trained / "report.html").read_text()
    assert evaluate(lungdet, trained) == before


def test_another_method_is_fitted_again_and_none_removes_it(trained: Path, lungdet: Command) -> None:
    evaluate(lungdet, trained, "evaluation.calibration=isotonic")
    assert read_calibration(trained / "calibration.json").method == "isotonic"
    files = evaluate(lungdet, trained, "evaluation.calibration=none")
    assert "calibration.json" not in files
    assert json.loads(files["report.json"])["calibrated"] == {}
