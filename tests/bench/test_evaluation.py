"""The evaluation benchmark at a small size: files that read back as drawn, and every contender named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.bench import evaluation as module
from lungdet.bench.drawn.results import draw_predictions, draw_submission
from lungdet.io.luna16_tables import read_excluded, read_marks
from lungdet.metrics.froc import evaluate_froc


def test_the_files_hold_the_submission(tmp_path: Path) -> None:
    submission = draw_submission(n_marks=400, n_series=9, n_nodules=12)
    files = module.write_submission(submission, tmp_path)
    marks = read_marks(files["marks"])
    assert marks["series_uid"].tolist() == submission.marks["series_uid"].tolist()
    assert np.array_equal(marks["probability"], submission.marks["probability"])
    assert np.array_equal(read_excluded(files["annotations"])["diameter_mm"], submission.annotations["diameter_mm"])
    assert (read_excluded(files["excluded"])["diameter_mm"] == -1).all()


def test_the_drawn_detector_finds_most_nodules_and_raises_false_alarms() -> None:
    result = evaluate_froc(*draw_submission(n_marks=20_000, n_series=100, n_nodules=130), n_bootstraps=0)
    assert 0.9 < result.counts.sensitivity < 1
    assert result.counts.marks_capped > 0
    assert 0.2 < result.cpm < 0.98


def test_the_drawn_predictions_are_off_by_a_prior() -> None:
    table = draw_predictions(n_rows=20_000, n_series=40)
    assert int(table["label"].sum()) == 20_000 // 485
    assert table["probability"].mean() > 5 * table["label"].mean()
    assert set(table["partition"]) == {"val", "test"}
    assert table.groupby("patient_id")["partition"].nunique().max() == 1


def test_measures_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK", module.Sizes(5000, 5, 6000, 20, 2, 2, 1))
    lines = module.measure(quick=True, folder=tmp_path)
    assert [line.name for line in lines] == [
        module.PLAIN_FROC,
        module.FROC,
        module.PLAIN_AREAS,
        module.REPORT,
        module.CALIBRATED,
    ]
    assert all(line.low > 0 for line in lines)
    assert "5,000 marks of 888 series, 5 resamples" in lines[0].section
