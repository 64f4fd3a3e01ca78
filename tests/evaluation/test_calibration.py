from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.evaluation.calibration import calibration_from_dict, fit_calibration, read_calibration
from lungdet.evaluation.predictions import check_predictions
from lungdet.metrics.calibrators import Platt, fit_calibrator


@pytest.fixture
def table(predictions: pd.DataFrame) -> pd.DataFrame:
    return check_predictions(predictions)


@pytest.fixture
def two_folds(predictions: pd.DataFrame) -> pd.DataFrame:
    """In fold 1 the partitions are swapped, and its network says logits that are 3 higher."""
    other = predictions.assign(
        fold=1,
        partition=predictions["partition"].map({"val": "test", "test": "val"}),
        logit=predictions["logit"] + np.float32(3),
    )
    return check_predictions(pd.concat([predictions, other]))


def test_only_validation_rows_are_looked_at(table: pd.DataFrame) -> None:
    fitted = fit_calibration(table, "platt", predictions_sha256="abc", checkpoint="checkpoints/best.ckpt")
    val = table[table["partition"] == "val"]
    assert fitted.single == fit_calibrator("platt", val["logit"], val["label"])
    assert (fitted.fits[0].n_rows, fitted.fits[0].n_positives) == (len(val), val["label"].sum())
    changed = table.copy()
    changed.loc[changed["partition"] == "test", "label"] = 1
    changed.loc[changed["partition"] == "test", "logit"] *= -2
    assert fit_calibration(changed, "platt").single == fitted.single


def test_each_fold_has_its_own_calibrator_so_that_probabilities_share_a_scale(two_folds: pd.DataFrame) -> None:
    fitted = fit_calibration(two_folds, "platt")
    assert [fit.fold for fit in fitted.fits] == [0, 1]
    assert fitted.single is None
    for fold in (0, 1):
        rows = two_folds[(two_folds["fold"] == fold) & (two_folds["partition"] == "val")]
        assert fitted.fits[fold].calibrator == fit_calibrator("platt", rows["logit"], rows["label"])
    test = two_folds[two_folds["partition"] == "test"]
    logits = fitted.logits(test)
    by_fold = [logits[test["fold"] == fold].mean() for fold in (0, 1)]
    raw = [test.loc[test["fold"] == fold, "logit"].mean() for fold in (0, 1)]
    assert abs(by_fold[1] - by_fold[0]) < 0.5 < 2.5 < raw[1] - raw[0]


def test_a_fold_that_cannot_be_fitted_is_named(two_folds: pd.DataFrame) -> None:
    is_val_1 = (two_folds["fold"] == 1) & (two_folds["partition"] == "val")
    fitted = fit_calibration(two_folds.assign(label=two_folds["label"].where(~is_val_1, 0)), "platt")
    assert fitted.missing == "fold 1: no positives to fit a calibration on; it needs both classes"
    with pytest.raises(TableError, match=r"fold 1 has no calibrator .*lungdet eval"):
        fitted.logits(two_folds)
    only = fit_calibration(two_folds[two_folds["partition"] == "test"], "platt")
    assert only.missing.startswith("fold 0: no rows to fit a calibration on")


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_what_is_written_is_read_again(two_folds: pd.DataFrame, method: str, tmp_path: Path) -> None:
    two_folds["label"] = two_folds["label"].where(two_folds["fold"] == 0, 0)
    two_folds["logit"] += 4
    fitted = fit_calibration(two_folds, method, predictions_sha256="abc")  # type: ignore[arg-type]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(fitted.to_dict()))
    assert read_calibration(path) == fitted
    record = json.loads(path.read_text())
    assert record["fitted_on"] == "val"
    assert record["fits"][0]["parameters"]["method"] == method
    assert record["fits"][1]["parameters"] is None


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="lungdet eval"):
        read_calibration(tmp_path / "calibration.json")
    good = fit_calibration_record()
    for text in ("{", "[]", "{}", json.dumps({**good, "fits": [{"fold": 0}]})):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(TableError, match="is no calibration"):
            read_calibration(tmp_path / "calibration.json")


def fit_calibration_record() -> dict[str, object]:
    fit = {"fold": 0, "n_rows": 9, "n_positives": 3, "parameters": Platt(1.5, -2.0).to_dict(), "not_fitted_because": ""}
    record: dict[str, object] = {"method": "platt", "fits": [fit], "predictions_sha256": None, "checkpoint": None}
    assert calibration_from_dict(record).single == Platt(1.5, -2.0)
    return record
