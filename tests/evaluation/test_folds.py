from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.folds import compare_folds
from lungdet.evaluation.predictions import check_predictions, sigmoid
from lungdet.evaluation.thresholds import choose_thresholds
from lungdet.metrics.ranking import auroc


@pytest.fixture
def folds(simulate: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return check_predictions(three_folds(simulate))


def three_folds(simulate: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """A third of the patients is tested in each fold, the next third validates; networks are 2 logits apart."""
    base = simulate()
    third = base["patient_id"].str[-4:].astype(int) % 3
    tables = []
    for fold in range(3):
        partition = np.select([third == fold, third == (fold + 1) % 3], ["test", "val"], "train")
        table = base.assign(fold=fold, partition=partition, logit=base["logit"] + np.float32(2 * fold))
        tables.append(table[table["partition"] != "train"])
    return pd.concat(tables)


def test_each_fold_is_judged_on_its_own_rows(folds: pd.DataFrame) -> None:
    calibration = fit_calibration(folds, "platt")
    found = compare_folds(folds, partition="test", calibration=calibration, n_resamples=50, seed=0)
    assert found is not None
    assert [fold.fold for fold in found.folds] == [0, 1, 2]
    assert found.is_calibrated
    for fold in found.folds:
        rows = folds[folds["fold"] == fold.fold]
        val, test = rows[rows["partition"] == "val"], rows[rows["partition"] == "test"]
        assert (fold.candidates, fold.positives) == (len(test), test["label"].sum())
        assert fold.auroc.value == pytest.approx(auroc(test["label"], test["logit"]))
        assert fold.auroc.low < fold.auroc.value < fold.auroc.high
        expected = np.mean((sigmoid(calibration.logits(test)) - test["label"]) ** 2)
        assert fold.brier.value == pytest.approx(expected)
        threshold = choose_thresholds(val["label"], val["logit"])["recall_90"].logit
        assert fold.threshold_logit == threshold
        called = test["logit"] >= threshold
        assert fold.sensitivity.value == pytest.approx(called[test["label"] == 1].mean())


def test_mean_and_spread_over_folds(folds: pd.DataFrame) -> None:
    found = compare_folds(folds, partition="test", calibration=None, n_resamples=20, seed=0)
    assert found is not None
    assert not found.is_calibrated
    values = [fold.auroc.value for fold in found.folds]
    assert found.spread["auroc"].mean == pytest.approx(np.mean(values))
    assert found.spread["auroc"].sd == pytest.approx(np.std(values, ddof=1))
    pooled = auroc(*(folds.loc[folds["partition"] == "test", name] for name in ("label", "logit")))
    assert pooled < min(values)  # scales that differ between the networks cost the pooled number


def test_a_fold_without_positives_is_left_out_of_the_mean(folds: pd.DataFrame) -> None:
    empty = (folds["fold"] == 1) & (folds["partition"] == "test")
    found = compare_folds(
        folds.assign(label=folds["label"].where(~empty, 0)),
        partition="test",
        calibration=None,
        n_resamples=20,
        seed=0,
    )
    assert found is not None
    assert found.folds[1].auroc.reason == "no positives"
    assert found.spread["auroc"].n == 2
    assert math.isfinite(found.spread["auroc"].sd)


def test_one_fold_has_no_folds(folds: pd.DataFrame) -> None:
    only = folds[folds["fold"] == 0]
    assert compare_folds(only, partition="test", calibration=None, n_resamples=20, seed=0) is None
