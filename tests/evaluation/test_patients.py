"""The patient-level answer against counts by hand and against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungdet.evaluation.patients import describe_answer, evaluate_patients


def table(nodule: list[float], malignancy: list[float] | None = None) -> pd.DataFrame:
    uids = [f"s{n}" for n in range(len(nodule))]
    scores = [np.nan] * len(nodule) if malignancy is None else malignancy
    return pd.DataFrame({"series_uid": uids, "nodule_probability": nodule, "malignancy_probability": scores})


def annotated(**nodules: Any) -> pd.DataFrame:
    """`annotated(s0=[True, None])`: two nodules in s0, one malignant, one not rated."""
    rows = [{"series_uid": uid, "is_malignant": value} for uid, values in nodules.items() for value in values]
    return pd.DataFrame(rows, columns=["series_uid", "is_malignant"]).astype({"is_malignant": object})


def test_by_hand() -> None:
    """Positives .9 and .4, negatives .6 and .1: 3 of 4 pairs are in order. s4 could not be judged."""
    annotations = annotated(s0=[True], s2=[False, False], s4=[True], elsewhere=[True])
    answers = evaluate_patients(table([0.9, 0.6, 0.4, 0.1, np.nan]), annotations, n_resamples=200, seed=0)
    nodule = answers["nodule"]
    assert (nodule["n_scans"], nodule["n_positive"], nodule["n_unjudged"], nodule["n_unknown"]) == (4, 2, 1, 0)
    assert nodule["auroc"] == 0.75
    assert nodule["low"] <= 0.75 <= nodule["high"]
    assert describe_answer(nodule).startswith("0.750 (")
    assert describe_answer(nodule).endswith("2 of 4 scans positive")
    assert answers["malignancy"]["auroc"] is None
    assert describe_answer(answers["malignancy"]) == "undefined (no scan was judged)"


def test_malignancy_counts_scans_of_known_truth_only() -> None:
    """s0 malignant, s1 malignant beside an unrated one, s2 benign, s3 benign and unrated: unknown, s4 no nodule."""
    annotations = annotated(s0=[True], s1=[None, True], s2=[False], s3=[False, None])
    scores = [0.9, 0.2, 0.3, 0.99, 0.1]
    answer = evaluate_patients(table(scores, scores), annotations, n_resamples=0, seed=0)["malignancy"]
    assert (answer["n_scans"], answer["n_positive"], answer["n_unknown"]) == (4, 2, 1)
    assert answer["auroc"] == 0.75
    assert answer["low"] is None


def test_without_ratings_there_is_one_question() -> None:
    answers = evaluate_patients(table([0.9, 0.1]), annotated(s0=[None])[["series_uid"]], n_resamples=10, seed=0)
    assert list(answers) == ["nodule"]


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [(annotated(s0=[True], s1=[True]), "all 2 scans have label 1"), (annotated(), "all 2 scans have label 0")],
)
def test_one_class_has_no_area(annotations: pd.DataFrame, reason: str) -> None:
    answer = evaluate_patients(table([0.9, 0.1]), annotations, n_resamples=10, seed=0)["nodule"]
    assert answer["auroc"] is None
    assert answer["reason"] == reason


def test_against_another_implementation_and_bootstrap() -> None:
    rng = np.random.default_rng(5)
    label = rng.random(60) < 0.4
    score = np.round(rng.random(60) + 0.3 * label, 1)  # with ties
    annotations = annotated(**{f"s{n}": [True] for n in np.flatnonzero(label)})
    answer = evaluate_patients(table(score.tolist()), annotations, n_resamples=400, seed=3)["nodule"]
    assert answer["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    drawn = [rng.integers(0, 60, 60) for _ in range(500)]
    areas = [roc_auc_score(label[rows], score[rows]) for rows in drawn]
    assert np.allclose([answer["low"], answer["high"]], np.quantile(areas, [0.025, 0.975]), atol=0.04)
    assert answer == evaluate_patients(table(score.tolist()), annotations, n_resamples=400, seed=3)["nodule"]
