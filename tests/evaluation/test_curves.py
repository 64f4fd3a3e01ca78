"""Curves keep their area after thinning; the histogram keeps every row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from lungdet.evaluation.curves import ranking_curves, score_histogram, why_no_area


@pytest.mark.parametrize("levels", [None, 12], ids=["distinct", "tied"])
def test_thinned_curves_have_the_area_of_all_points(predictions: pd.DataFrame, levels: int | None) -> None:
    if levels:
        predictions["logit"] = np.digitize(predictions["logit"], np.linspace(-7, 1, levels)).astype(np.float32)
    curves = ranking_curves({"model": predictions, "other": predictions.assign(logit=-predictions["logit"])})
    assert list(curves.columns) == ["partition", "model", "curve", "x", "y", "logit"]
    for (partition, model), rows in curves.groupby(["partition", "model"]):
        part = predictions[predictions["partition"] == partition]
        label, score = part["label"], part["logit"] * (1 if model == "model" else -1)
        roc, precision_recall = (rows[rows["curve"] == name] for name in ("roc", "precision_recall"))
        assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(sk.roc_auc_score(label, score), abs=1e-12)
        steps = np.diff(precision_recall["x"]) * precision_recall["y"].to_numpy()[1:]
        assert steps.sum() == pytest.approx(sk.average_precision_score(label, score), abs=1e-12)
        assert len(roc) == len(precision_recall) <= 2 * label.sum() + 2 < len(label)
        assert roc["logit"].iloc[0] == np.inf
        assert tuple(roc.iloc[-1][["x", "y"]]) == (1.0, 1.0)
        assert tuple(precision_recall.iloc[0][["x", "y"]]) == (0.0, 1.0)
        for row in roc.iloc[1:].itertuples():
            called = score >= row.logit
            assert row.y == pytest.approx(label[called].sum() / label.sum())


def test_one_class_has_no_curve(predictions: pd.DataFrame) -> None:
    curves = ranking_curves({"model": predictions[predictions["label"] == 0]})
    assert curves.empty
    assert list(curves.columns) == ["partition", "model", "curve", "x", "y", "logit"]


def test_why_there_is_no_area(predictions: pd.DataFrame) -> None:
    assert why_no_area(predictions) == ""
    assert why_no_area(predictions.iloc[:0]) == "no rows"
    assert why_no_area(predictions[predictions["label"] == 0]) == "no positives"
    assert why_no_area(predictions[predictions["label"] == 1]) == "no negatives"


def test_histogram_counts_every_row_once(predictions: pd.DataFrame) -> None:
    histogram = score_histogram(predictions, n_bins=7)
    assert len(histogram) == 7
    assert (histogram["positives"].sum(), histogram["negatives"].sum()) == (60, 1940)
    np.testing.assert_array_equal(histogram["high"].iloc[:-1], histogram["low"].iloc[1:])
    inside = (predictions["logit"] >= histogram["low"].iloc[2]) & (predictions["logit"] < histogram["high"].iloc[2])
    assert histogram["negatives"].iloc[2] == (inside & (predictions["label"] == 0)).sum()
    constant = score_histogram(predictions.assign(logit=1.0))
    assert constant["positives"].sum() == 60
