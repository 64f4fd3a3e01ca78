"""Hand-counted size classes and pairs where both classes have diameters, and the same draws by brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.results import ClassificationReport
from lungdet.evaluation.sizes import both_classes_have_sizes, size_matched
from lungdet.evaluation.wording import nodules

WORDING = nodules(("benign", "malignant"), "two_readers_4")

# patient, label, logit, diameter
ROWS = [
    ("a", 1, 1.0, 5.0),
    ("a", 0, 2.0, 5.2),
    ("b", 1, 0.5, 5.1),
    ("b", 0, 0.5, 4.0),
    ("c", 0, -1.0, 5.0),
    ("c", 1, 3.0, 12.0),
    ("d", 0, 0.2, 7.0),
]


def by_hand() -> pd.DataFrame:
    table = pd.DataFrame(ROWS, columns=["patient_id", "label", "logit", "diameter_mm"])
    return complete(table, partition="test")


def complete(table: pd.DataFrame, *, partition: str) -> pd.DataFrame:
    return table.assign(
        series_uid="series of " + table["patient_id"],
        candidate_id=range(len(table)),
        center_x_mm=0.0,
        center_y_mm=0.0,
        center_z_mm=0.0,
        fold=0,
        partition=partition,
    )


def cohort(seed: int = 0) -> pd.DataFrame:
    """120 nodules of 20 patients; malignant ones are larger, the score sees size and something else."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 120)
    diameter = np.exp(rng.normal(2.0, 0.4, 120) + 0.4 * label)
    table = pd.DataFrame(
        {
            "patient_id": [f"p{n:02d}" for n in rng.integers(0, 20, 120)],
            "label": label,
            "diameter_mm": diameter,
            "logit": (2 * np.log(diameter) - 4 + label + rng.normal(0, 1, 120)).astype(np.float32),
        }
    )
    return complete(table, partition="test")


def evaluate(table: pd.DataFrame, **given: object) -> ClassificationReport:
    arguments: dict[str, object] = {"title": "t", "provenance": {}, "wording": WORDING, "n_resamples": 100}
    return evaluate_classification(table, **{**arguments, **given})  # type: ignore[arg-type]


def test_hand_counted_size_classes() -> None:
    """3-6 mm: malignant 1.0, 0.5 against benign 2.0, 0.5, -1.0: 0 + 1 + 1 and 0 + 1/2 + 1 of 6. At logit 0 both
    malignant ones and two of three benign ones are called.
    """
    rows = {row.name: row for row in evaluate(by_hand()).by_size}
    small = rows["3-6 mm"]
    assert (small.n, small.n_negatives) == (2, 3)
    assert small.auroc.value == pytest.approx(3.5 / 6)
    assert small.sensitivity["half"].value == 1.0
    assert small.specificity["half"].value == pytest.approx(1 / 3)
    middle = rows["6-10 mm"]
    assert (middle.n, middle.n_negatives) == (0, 1)
    assert middle.auroc.reason == middle.sensitivity["half"].reason == "no malignant nodule of this size"
    assert middle.specificity["half"].value == 0.0
    large = rows["10-20 mm"]
    assert (large.n, large.n_negatives) == (1, 0)
    assert large.auroc.reason == large.specificity["half"].reason == "no benign one of this size"


def test_hand_counted_pairs_of_one_size() -> None:
    """Within 10 %: 5.0 with 5.2 (lost) and 5.0 (won), 5.1 with 5.2 (lost) and 5.0 (won); 4.0, 7.0, 12.0 are alone."""
    matched = evaluate(by_hand()).size_matched
    assert matched is not None
    assert (matched.n_pairs, matched.n_positives, matched.n_negatives) == (4, 2, 2)
    assert matched.auroc.value == 0.5
    assert matched.tolerance == 0.1
    wider = evaluate(by_hand(), size_tolerance=0.5).size_matched
    assert wider is not None
    assert wider.n_pairs == 8  # and each 5 mm with 4.0 and 7.0


def test_intervals_equal_brute_force_on_the_same_draws() -> None:
    table, other = cohort(), cohort().assign(logit=lambda t: t["diameter_mm"].astype(np.float32))
    report = evaluate(table, baselines={"diameter alone": other}, seed=3)
    matched = report.size_matched
    assert matched is not None
    (alone,) = matched.baselines

    here, there = check_predictions(table), check_predictions(other)
    patient = pd.factorize(here["patient_id"], sort=True)[0]
    label, size = here["label"].to_numpy(), here["diameter_mm"].to_numpy()
    pairs = [
        (i, j)
        for i, j in itertools.product(np.flatnonzero(label == 1), np.flatnonzero(label == 0))
        if max(size[i], size[j]) <= 1.1 * min(size[i], size[j])
    ]
    assert matched.n_pairs == len(pairs)
    samples: dict[str, list[float]] = {"model": [], "difference": []}
    for draw in PatientDraws(here["patient_id"], n_resamples=100, seed=3).weights:
        weight = [draw[patient[i]] * draw[patient[j]] for i, j in pairs]
        shares = [
            np.average([(x[i] > x[j]) + (x[i] == x[j]) / 2 for i, j in pairs], weights=weight)
            for x in (here["logit"].to_numpy(), there["logit"].to_numpy())
        ]
        samples["model"].append(shares[0])
        samples["difference"].append(shares[0] - shares[1])
    for name, estimate in (("model", matched.auroc), ("difference", alone.auroc_difference)):
        expected = tuple(np.percentile(samples[name], [2.5, 97.5]))
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-9), name
    assert matched.auroc.value - alone.auroc.value == pytest.approx(alone.auroc_difference.value, abs=1e-12)
    assert report.baselines[0].ranking.auroc.value > 0.65
    assert abs(alone.auroc.value - 0.5) < 0.1


def test_candidates_have_no_sizes_to_match(predictions: pd.DataFrame) -> None:
    assert not both_classes_have_sizes(check_predictions(predictions))
    report = evaluate_classification(predictions, title="t", provenance={}, n_resamples=20)
    assert report.size_matched is None
    assert {row.n_negatives for row in report.by_size} == {None}
    assert report.to_dict()["size_matched"] is None


def test_without_a_pair_the_reason_is_given() -> None:
    table = by_hand().query("patient_id in ['c', 'd']").assign(diameter_mm=[3.0, 12.0, 7.0])
    draws = PatientDraws(table["patient_id"], n_resamples=10, seed=0)
    matched = size_matched(check_predictions(table), {}, draws)
    assert matched is not None
    assert matched.n_pairs == 0
    assert math.isnan(matched.auroc.value)
    assert matched.auroc.reason == "no two of one size and different class"
