"""The test candidates of a run as marks: which rows, which score, and what is no run of candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.predictions import check_predictions, write_predictions
from lungdet.evaluation.run_marks import marks_of_run


@pytest.fixture
def two_folds(predictions: pd.DataFrame) -> pd.DataFrame:
    """In fold 1 the partitions are swapped, and its network says logits that are 3 higher."""
    other = predictions.assign(
        fold=1,
        partition=predictions["partition"].map({"val": "test", "test": "val"}),
        logit=predictions["logit"] + np.float32(3),
    ).drop(columns="probability", errors="ignore")
    return check_predictions(pd.concat([predictions.drop(columns="probability", errors="ignore"), other]))


def test_one_fold_gives_its_test_rows_by_raw_logit(tmp_path: Path, predictions: pd.DataFrame) -> None:
    table = check_predictions(predictions)
    write_predictions(table, tmp_path / "predictions.parquet")
    marks = marks_of_run(tmp_path)
    test = table[table["partition"] == "test"]
    assert 0 < len(test) < len(table)
    assert marks["series_uid"].tolist() == test["series_uid"].tolist()
    assert np.array_equal(marks["probability"], test["logit"].astype(np.float64))
    for axis in "xyz":
        assert np.array_equal(marks[f"center_{axis}_mm"], test[f"center_{axis}_mm"])


def test_several_folds_share_the_calibrated_scale(tmp_path: Path, two_folds: pd.DataFrame) -> None:
    write_predictions(two_folds, tmp_path / "predictions.parquet")
    with pytest.raises(MissingFileError, match="fit one: lungdet eval"):
        marks_of_run(tmp_path)
    fitted = fit_calibration(two_folds, "platt")
    (tmp_path / "calibration.json").write_text(pd.Series(fitted.to_dict()).to_json())
    test = two_folds[two_folds["partition"] == "test"]
    score = marks_of_run(tmp_path)["probability"].to_numpy()
    assert score == pytest.approx(fitted.logits(test))
    in_fold_1 = (test["fold"] == 1).to_numpy()
    assert abs(score[in_fold_1].mean() - score[~in_fold_1].mean()) < 0.5


def test_what_has_no_marks_is_refused(tmp_path: Path, predictions: pd.DataFrame) -> None:
    with pytest.raises(MissingFileError, match=r"predictions\.parquet"):
        marks_of_run(tmp_path)
    table = check_predictions(predictions)
    write_predictions(table[table["partition"] == "val"], tmp_path / "predictions.parquet")
    with pytest.raises(TableError, match="no test candidates in its predictions; a FROC takes a run that has a test"):
        marks_of_run(tmp_path)
    (tmp_path / "provenance.json").write_text('{"classes": ["benign", "malignant"]}')
    with pytest.raises(TableError, match="its classes are benign, malignant; a FROC takes a run that finds nodules"):
        marks_of_run(tmp_path)
