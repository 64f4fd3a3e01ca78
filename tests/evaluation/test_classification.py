"""A hand-counted table, intervals against scikit-learn on the same draws, and the corners without data."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from lungdet.errors import TableError
from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.predictions import check_predictions, sigmoid
from lungdet.evaluation.results import ClassificationReport, to_plain

Simulate = Callable[..., pd.DataFrame]

# partition, patient, label, logit, diameter
ROWS = [
    ("val", "v1", 1, 2.0, 7.0),
    ("val", "v1", 0, 1.0, math.nan),
    ("val", "v2", 1, 0.5, 4.0),
    ("val", "v2", 0, -1.0, math.nan),
    ("test", "a", 1, 3.0, 12.0),
    ("test", "a", 0, 1.0, math.nan),
    ("test", "b", 1, 1.0, 5.0),
    ("test", "b", 0, -1.0, math.nan),
    ("test", "c", 1, -2.0, 5.9),
    ("test", "c", 0, 0.0, math.nan),
    ("test", "d", 0, -3.0, math.nan),
    ("test", "d", 0, 2.0, math.nan),
]


def by_hand() -> pd.DataFrame:
    table = pd.DataFrame(ROWS, columns=["partition", "patient_id", "label", "logit", "diameter_mm"])
    return table.assign(
        series_uid="series of " + table["patient_id"],
        candidate_id=range(len(table)),
        center_x_mm=0.0,
        center_y_mm=0.0,
        center_z_mm=0.0,
        fold=0,
    )


def evaluate(table: pd.DataFrame, **kwargs: Any) -> ClassificationReport:
    return evaluate_classification(table, **{"title": "t", "provenance": {}, "n_resamples": 200, **kwargs})


def test_hand_counted_ranking() -> None:
    """Test positives 3, 1, -2; negatives 2, 1, 0, -1, -3.

    Pairs won: 3 wins 5; 1 wins 3 and ties one; -2 wins 1: 9.5 of 15.
    Precision at each found nodule: 1/1, then 2/4 (the tied negative counts), then 3/7; their mean is 9/14.
    """
    report = evaluate(by_hand())
    assert report.partition == "test"
    assert report.ranking["test"].auroc.value == pytest.approx(9.5 / 15)
    assert report.ranking["test"].average_precision.value == pytest.approx(9 / 14)
    counts = report.counts["test"]
    assert (counts.patients, counts.series, counts.candidates, counts.positives, counts.prevalence) == (
        4,
        4,
        8,
        3,
        3 / 8,
    )
    assert report.counts["val"].positives == 2


def test_hand_counted_operating_points() -> None:
    """Val logits from the top: 2 (+), 1 (-), 0.5 (+), -1 (-).

    F1 is 2/3 at 2, 1/2 at 1, 4/5 at 0.5. Youden's J is 1/2 at 2 and at 0.5: the higher wins. Recall 0.9 needs 0.5.
    On test, >= 2 calls 3 (+), 2 (-); >= 0.5 also 1 (+), 1 (-); >= 0 also 0 (-).
    """
    points = evaluate(by_hand()).operating_points
    assert {name: point.threshold.logit for name, point in points.items()} == {
        "half": 0.0,
        "max_f1": 0.5,
        "youden": 2.0,
        "recall_90": 0.5,
        "recall_97": 0.5,
    }
    counted = {name: point.on["test"].confusion for name, point in points.items()}
    assert {name: (c.tp, c.fp, c.fn, c.tn) for name, c in counted.items()} == {
        "half": (2, 3, 1, 2),
        "max_f1": (2, 2, 1, 3),
        "youden": (1, 1, 2, 4),
        "recall_90": (2, 2, 1, 3),
        "recall_97": (2, 2, 1, 3),
    }
    half = points["half"].on["test"]
    assert half.recall.value == pytest.approx(2 / 3)
    assert half.precision.value == pytest.approx(2 / 5)
    assert half.specificity.value == pytest.approx(2 / 5)
    assert half.f1.value == pytest.approx(4 / 8)
    assert half.fp_per_series == 3 / 4
    assert points["youden"].on["val"].recall.value == 0.5


def test_hand_counted_sizes() -> None:
    """3-6 mm: positives 1 and -2 against five negatives: 3.5 + 1 of 10 pairs; at logit 0 one of two is called."""
    rows = {row.name: row for row in evaluate(by_hand()).by_size}
    assert list(rows) == ["3-6 mm", "6-10 mm", "10-20 mm", "20-30 mm", ">= 30 mm"]
    assert {name: row.n for name, row in rows.items() if row.n} == {"3-6 mm": 2, "10-20 mm": 1}
    assert rows["3-6 mm"].auroc.value == pytest.approx(4.5 / 10)
    assert rows["3-6 mm"].sensitivity["half"].value == 0.5
    assert rows["10-20 mm"].auroc.value == 1.0
    assert rows["10-20 mm"].auroc.reason == "positives in one patient only"
    empty = rows["6-10 mm"]
    assert math.isnan(empty.auroc.value)
    assert empty.auroc.reason == empty.sensitivity["half"].reason == "no nodule of this size"


def test_size_classes_hold_their_lower_bound_and_odd_sizes_get_a_row() -> None:
    table = by_hand()
    table.loc[table["patient_id"] == "a", "diameter_mm"] = 6.0
    table.loc[table["patient_id"] == "b", "diameter_mm"] = 2.9
    table.loc[table["patient_id"] == "c", "diameter_mm"] = math.nan
    rows = {row.name: row.n for row in evaluate(table).by_size if row.n}
    assert rows == {"6-10 mm": 1, "< 3 mm": 1, "unknown": 1}


def test_calibration_against_scikit_learn(predictions: pd.DataFrame) -> None:
    report = evaluate(predictions)
    test = check_predictions(predictions).query("partition == 'test'")
    label, probability = test["label"].to_numpy(), sigmoid(test["logit"])
    calibration = report.calibration["test"]
    assert calibration.brier.value == pytest.approx(sk.brier_score_loss(label, probability))
    assert calibration.brier_of_prevalence == pytest.approx(
        sk.brier_score_loss(label, np.full(len(label), label.mean()))
    )
    assert calibration.mean_probability == pytest.approx(probability.mean())
    bins = np.ceil(probability * 15).clip(1).astype(int)
    gaps = [abs(probability[bins == b].sum() - label[bins == b].sum()) for b in np.unique(bins)]
    assert calibration.ece.value == pytest.approx(sum(gaps) / len(label))
    assert int(calibration.bins["n_rows"].sum()) == len(test)


def test_calibrated_and_raw_stand_side_by_side(predictions: pd.DataFrame) -> None:
    fitted = fit_calibration(check_predictions(predictions), "platt")
    assert fitted.single is not None
    report = evaluate(predictions, calibration=fitted)
    assert set(report.calibrated) == {"val", "test"}
    for partition in ("val", "test"):
        rows = check_predictions(predictions).query(f"partition == '{partition}'")
        probability = fitted.single.probability(rows["logit"])
        found = report.calibrated[partition]
        assert found.negative_log_likelihood.value == pytest.approx(sk.log_loss(rows["label"], probability))
        assert found.brier.value == pytest.approx(sk.brier_score_loss(rows["label"], probability))
        raw = report.calibration[partition].negative_log_likelihood.value
        assert found.negative_log_likelihood.value < raw
    on_val = report.calibrated["val"]
    assert (on_val.slope.value, on_val.intercept.value) == pytest.approx((1, 0), abs=1e-7)
    point = report.operating_points["recall_90"]
    assert point.calibrated_probability == pytest.approx(float(fitted.single.probability([point.threshold.logit])[0]))
    assert report.to_dict()["calibrator"] == to_plain(fitted.to_dict())
    plain = evaluate(predictions)
    assert (plain.calibrated, plain.calibrator) == ({}, None)
    assert plain.ranking == report.ranking
    assert math.isnan(plain.operating_points["half"].calibrated_probability)


def test_a_calibration_that_could_not_be_fitted_is_a_warning(predictions: pd.DataFrame) -> None:
    table = predictions.assign(label=predictions["label"].where(predictions["partition"] == "test", 0))
    report = evaluate(table, calibration=fit_calibration(check_predictions(table), "isotonic"))
    assert report.calibrated == {}
    text = {finding.code: finding.text for finding in report.findings}["not_calibrated"]
    assert "no positives to fit a calibration on" in text


def test_intervals_against_scikit_learn_on_the_same_draws(predictions: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    other = predictions.assign(logit=rng.normal(size=len(predictions)).astype(np.float32) + predictions["label"])
    report = evaluate(predictions, baselines={"other": other}, seed=4, n_resamples=60)
    test = check_predictions(predictions).query("partition == 'test'")
    weights = PatientDraws(test["patient_id"], n_resamples=60, seed=4).weights
    label, logit = test["label"].to_numpy(), test["logit"].to_numpy()
    other_logit = check_predictions(other).query("partition == 'test'")["logit"].to_numpy()
    patient = pd.factorize(test["patient_id"], sort=True)[0]
    called = logit >= report.operating_points["youden"].threshold.logit

    samples: dict[str, list[float]] = {"auroc": [], "ap": [], "difference": [], "recall": [], "f1": []}
    for draw in weights:
        weight = draw[patient]
        samples["auroc"].append(sk.roc_auc_score(label, logit, sample_weight=weight))
        samples["ap"].append(sk.average_precision_score(label, logit, sample_weight=weight))
        samples["difference"].append(samples["auroc"][-1] - sk.roc_auc_score(label, other_logit, sample_weight=weight))
        samples["recall"].append(sk.recall_score(label, called, sample_weight=weight))
        samples["f1"].append(sk.f1_score(label, called, sample_weight=weight))
    expected = {name: tuple(np.percentile(values, [2.5, 97.5])) for name, values in samples.items()}
    youden = report.operating_points["youden"].on["test"]
    found = {
        "auroc": report.ranking["test"].auroc,
        "ap": report.ranking["test"].average_precision,
        "difference": report.baselines[0].auroc_difference,
        "recall": youden.recall,
        "f1": youden.f1,
    }
    for name, (low, high) in expected.items():
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-9), name
        assert found[name].low < found[name].value < found[name].high
    assert found["difference"].value == pytest.approx(
        sk.roc_auc_score(label, logit) - sk.roc_auc_score(label, other_logit), abs=1e-12
    )


def test_a_baseline_that_is_the_model_differs_by_exactly_nothing(predictions: pd.DataFrame) -> None:
    row = evaluate(predictions, baselines={"twin": predictions}).baselines[0]
    assert row.auroc_difference == Estimate(0.0, 0.0, 0.0)
    assert row.average_precision_difference == Estimate(0.0, 0.0, 0.0)


def test_baselines_must_hold_the_same_candidates(predictions: pd.DataFrame) -> None:
    with pytest.raises(TableError, match=r"baseline 'short' must hold the same .* 1999 rows, the model 2000"):
        evaluate(predictions, baselines={"short": predictions.iloc[1:]})
    relabelled = predictions.assign(label=0)
    with pytest.raises(TableError, match=r"1940 are in both"):
        evaluate(predictions, baselines={"relabelled": relabelled})
    with pytest.raises(TableError, match="a baseline cannot be called 'model'"):
        evaluate(predictions, baselines={"model": predictions})
    with pytest.raises(TableError, match=r"baseline 'nan': row 0 .*logit is nan"):
        evaluate(predictions, baselines={"nan": predictions.assign(logit=np.nan)})


def test_row_order_changes_nothing(predictions: pd.DataFrame) -> None:
    one = evaluate(predictions)
    other = evaluate(predictions.sample(frac=1, random_state=5))
    assert one.to_dict() == other.to_dict()
    pd.testing.assert_frame_equal(one.curves, other.curves)


def test_another_seed_moves_intervals_and_nothing_else(predictions: pd.DataFrame) -> None:
    one, other = evaluate(predictions), evaluate(predictions, seed=1)
    assert one.ranking["test"].auroc.value == other.ranking["test"].auroc.value
    assert one.ranking["test"].auroc.low != other.ranking["test"].auroc.low
    assert (one.seed, other.seed) == (0, 1)


def test_only_validation_rows_are_reported_as_such(predictions: pd.DataFrame) -> None:
    report = evaluate(predictions.assign(partition="val"))
    assert report.partition == "val"
    assert report.ranking["test"].auroc.reason == "no rows"
    assert set(report.operating_points["max_f1"].on) == {"val"}
    assert "no_test" in {finding.code for finding in report.findings}


def test_without_validation_only_one_half_is_left(predictions: pd.DataFrame) -> None:
    report = evaluate(predictions.assign(partition="test"))
    assert report.headline == "half"
    assert {name for name, point in report.operating_points.items() if point.on} == {"half"}
    assert report.operating_points["youden"].threshold.reason == "no rows in val"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_gives_reasons_not_numbers(predictions: pd.DataFrame, label: int) -> None:
    report = evaluate(predictions.assign(label=label), baselines={"same": predictions.assign(label=label)})
    reason = "no positives" if label == 0 else "no negatives"
    ranking = report.ranking["test"]
    assert math.isnan(ranking.auroc.value)
    assert ranking.auroc.reason == report.baselines[0].auroc_difference.reason == reason
    assert report.curves.empty
    half = report.operating_points["half"].on["test"]
    assert (half.recall.reason if label == 0 else half.specificity.reason) == reason
    assert report.to_dict()["ranking"]["test"]["auroc"]["value"] is None


def test_an_empty_table_is_refused(predictions: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="has no rows"):
        evaluate(predictions.iloc[:0])


def test_shared_patients_are_found_within_a_fold_only(predictions: pd.DataFrame) -> None:
    assert evaluate(predictions).audit.disjoint
    leaking = predictions.copy()
    leaking.loc[leaking["patient_id"] == "LIDC-IDRI-0003", "partition"] = "test"
    leaking.loc[leaking[leaking["patient_id"] == "LIDC-IDRI-0003"].index[0], "partition"] = "val"
    audit = evaluate(leaking).audit
    assert not audit.disjoint
    assert audit.shared_patients == ("LIDC-IDRI-0003",)
    assert audit.shared_series == ("1.3.6.1.4.1.14519.5.2.1.6279.6001.0003",)

    swapped = predictions.assign(fold=1, partition=predictions["partition"].map({"val": "test", "test": "val"}))
    both = evaluate(pd.concat([predictions, swapped]))
    assert both.audit.disjoint
    assert both.audit.folds == (0, 1)


def test_history_rows_of_one_epoch_are_merged(predictions: pd.DataFrame) -> None:
    """Lightning's CSV logger writes training and validation metrics of an epoch in separate rows."""
    history = pd.DataFrame(
        {
            "epoch": [0, 0, 1, 1],
            "step": [9, 9, 19, 19],
            "train/loss": [0.7, None, 0.5, None],
            "val/loss": [None, 0.8, None, 0.6],
            "test/loss": [None] * 4,
        }
    ).astype({"test/loss": float})
    merged = evaluate(predictions, history=history).history
    assert merged is not None
    assert merged.to_dict("list") == {
        "epoch": [0, 1],
        "step": [9, 19],
        "train/loss": [0.7, 0.5],
        "val/loss": [0.8, 0.6],
    }
    with pytest.raises(TableError, match="needs a column epoch; it has step"):
        evaluate(predictions, history=pd.DataFrame({"step": [1]}))


@pytest.mark.slow
def test_the_whole_challenge_in_seconds(simulate: Simulate) -> None:
    import time

    table = simulate(n_patients=887, n_rows=755_000, n_positive=1557)
    started = time.process_time()
    report = evaluate(table, n_resamples=2000)
    assert time.process_time() - started < 20  # processor time; measured 5 to 7 s
    assert report.counts["val"].candidates + report.counts["test"].candidates == 755_000
