from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import ConfigError
from lungdet.evaluation.estimates import PatientDraws
from lungdet.explanations.faithfulness import (
    FaithfulnessChoice,
    deletion_estimates,
    faithfulness_record,
    mean_correlation,
    mean_estimate,
    target_estimates,
)

CLASSES = ("benign", "malignant")
MEASURED = pd.DataFrame(
    {
        "patient_id": ["p", "p", "q", "r"],
        "label": [1, 1, 1, 0],
        "most_first": [0.2, 0.3, 0.4, 0.5],
        "random": [0.6, 0.5, 0.4, 0.5],
        "least_first": [0.8, 0.8, 0.8, 0.5],
        "target_share": [0.4, math.nan, 0.2, math.nan],
        "target_area": [0.1, 0.1, 0.05, math.nan],
    }
)
NO_MAPS = pd.DataFrame(columns=["step", "module", "image", "rank_correlation"])


def test_means_of_all_and_of_each_class() -> None:
    rows = deletion_estimates(MEASURED, classes=CLASSES, n_resamples=200, seed=0)
    assert [(row.group, row.n_cases, row.n_patients) for row in rows] == [
        ("all", 4, 3),
        ("benign", 1, 1),
        ("malignant", 3, 2),
    ]
    everything, _, malignant = rows
    assert everything.most_first.value == pytest.approx(0.35)
    assert everything.gain.value == pytest.approx((0.4 + 0.2 + 0 + 0) / 4)
    assert everything.better.value == 0.5
    assert malignant.gain.value == pytest.approx(0.2)
    # Two patients: resamples give the mean of p alone, of q alone, or of all three rows.
    assert (malignant.gain.low, malignant.gain.high) == pytest.approx((0, 0.3))
    assert rows[1].gain.reason == "a single patient cannot be resampled"


def test_a_class_without_cases_has_no_row() -> None:
    rows = deletion_estimates(MEASURED[MEASURED["label"] == 1], classes=CLASSES, n_resamples=10, seed=0)
    assert [row.group for row in rows] == ["all", "malignant"]


def test_the_share_on_the_nodule() -> None:
    found = target_estimates(MEASURED, n_resamples=200, seed=0)
    assert found is not None
    assert (found.n_cases, found.n_patients, found.n_without) == (2, 2, 1)
    assert found.share.value == pytest.approx(0.3)
    assert found.area.value == pytest.approx(0.075)
    assert (found.excess.value, found.excess.low, found.excess.high) == pytest.approx((0.225, 0.15, 0.3))
    assert target_estimates(MEASURED.assign(label=0), n_resamples=10, seed=0) is None


def test_the_interval_against_resampling_by_hand() -> None:
    rng = np.random.default_rng(0)
    patients, values = np.repeat(np.arange(30), 3), rng.normal(size=90) + np.repeat(rng.normal(size=30), 3)
    found = mean_estimate(PatientDraws(patients, n_resamples=4000, seed=1), values)
    means = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        means.append(np.concatenate([values[patients == patient] for patient in drawn]).mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.03)


def test_the_record_is_plain() -> None:
    maps = pd.DataFrame(
        {"step": [1, 1, 2, 2], "module": list("aabb"), "image": [0, 1, 0, 1], "rank_correlation": [0.9, 0.8, 0.1, 0.3]}
    )
    rows = deletion_estimates(MEASURED, classes=CLASSES, n_resamples=20, seed=0)
    record = faithfulness_record(rows, None, maps)
    assert record["rank_correlation_with_random_weights"] == pytest.approx(0.2)
    assert record["on_target"] is None
    assert record["deletion"][1]["gain"] == {
        "value": 0.0,
        "low": None,
        "high": None,
        "reason": "a single patient cannot be resampled",
    }
    assert faithfulness_record([], None, NO_MAPS) == {
        "deletion": [],
        "on_target": None,
        "rank_correlation_with_random_weights": None,
    }
    assert math.isnan(mean_correlation(NO_MAPS))


@pytest.mark.parametrize("choice", [{"n_cases": -1}, {"n_resamples": -1}])
def test_negative_numbers_are_refused(choice: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="n_cases=null measures all cases"):
        FaithfulnessChoice(**choice)
