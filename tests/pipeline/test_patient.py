from __future__ import annotations

import math

import numpy as np
import pytest

from lungdet.errors import ConfigError
from lungdet.pipeline.detections import detection_table
from lungdet.pipeline.patient import judge_patient, patient_score, unjudged_patient


def test_maximum_and_noisy_or_by_hand() -> None:
    """1 - (1 - 0.2)(1 - 0.5)(1 - 0.1) = 1 - 0.36 = 0.64."""
    assert patient_score([0.2, 0.5, 0.1]) == 0.5
    assert patient_score([0.2, 0.5, 0.1], rule="noisy_or") == pytest.approx(0.64)


def test_certainty_and_tiny_probabilities() -> None:
    assert patient_score([1.0, 0.3], rule="noisy_or") == 1.0
    assert patient_score([1e-12, 1e-12], rule="noisy_or") == pytest.approx(2e-12, rel=1e-9)


@pytest.mark.parametrize("rule", ["maximum", "noisy_or"])
def test_nothing_found_is_zero(rule: str) -> None:
    assert patient_score([], rule=rule) == 0.0  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="'median': allowed are maximum, noisy_or"):
        patient_score([0.1], rule="median")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\], got 0.5 to 1.5"):
        patient_score([0.5, 1.5])
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\]"):
        patient_score([float("nan")])


def test_malignancy_is_judged_over_nodules_only() -> None:
    """The vessel at 0.3 looks most malignant; below the nodule threshold it has no say."""
    table = detection_table(
        "s",
        np.zeros((3, 3)),
        {"logit": np.zeros(3), "probability": [0.9, 0.5, 0.3], "malignancy_probability": [0.2, 0.7, 0.99]},
    )
    patient = judge_patient(table, rule="maximum", nodule_threshold=0.5, with_malignancy=True)
    assert patient["malignancy_probability"] == pytest.approx(0.7)
    assert patient["nodule_probability"] == pytest.approx(0.9)
    assert (patient["n_candidates"], patient["n_nodules"]) == (3, 2)
    either = judge_patient(table, rule="noisy_or", nodule_threshold=0.5, with_malignancy=True)
    assert either["malignancy_probability"] == pytest.approx(1 - 0.8 * 0.3)


def test_without_a_malignancy_network_the_answer_is_nan_and_with_one_but_no_nodule_zero() -> None:
    table = detection_table("s", np.zeros((1, 3)), {"logit": [-2.0]})
    assert math.isnan(
        judge_patient(table, rule="maximum", nodule_threshold=0.5, with_malignancy=False)["malignancy_probability"]
    )
    assert (
        judge_patient(table, rule="maximum", nodule_threshold=0.5, with_malignancy=True)["malignancy_probability"] == 0
    )


def test_an_unexamined_scan_has_no_score() -> None:
    patient = unjudged_patient(rule="maximum", nodule_threshold=0.5)
    assert math.isnan(patient["nodule_probability"])
    assert math.isnan(patient["malignancy_probability"])
    assert patient["n_candidates"] == 0
