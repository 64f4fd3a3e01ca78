"""Every resample of a measure is that measure of the resampled rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungdet.comparison.measures import Sampled, sampled_brier, sampled_ece, sampled_ratio
from lungdet.evaluation.estimates import PatientDraws
from lungdet.metrics.calibration import brier_score, expected_calibration_error


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, PatientDraws]:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(12), 15)
    probability = rng.uniform(size=180) ** 2
    probability[:4] = [0.0, 1.0, 1 / 15, 2 / 15]  # edges of bins
    label = (rng.uniform(size=180) < 0.3).astype(int)
    return probability, label, patient, PatientDraws(patient, n_resamples=25, seed=3)


def resampled(patient: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(patient.size), weight[patient].astype(int))


def test_calibration_in_each_resample(data: tuple[np.ndarray, np.ndarray, np.ndarray, PatientDraws]) -> None:
    probability, label, patient, draws = data
    ece, brier = sampled_ece(draws, probability, label), sampled_brier(draws, probability, label)
    assert ece.estimate.value == expected_calibration_error(probability, label)
    assert brier.estimate.value == brier_score(probability, label)
    errors = []
    for weight, sample in zip(draws.weights, brier.samples, strict=True):
        rows = resampled(patient, weight)
        assert sample == pytest.approx(brier_score(probability[rows], label[rows]), abs=1e-12)
        errors.append(expected_calibration_error(probability[rows], label[rows]))
    # Noise adds to absolute gaps, so these are centred on the value.
    assert np.mean(errors) > ece.estimate.value
    assert ece.samples == pytest.approx(np.array(errors) - np.mean(errors) + ece.estimate.value, abs=1e-12)
    assert brier.estimate.low < brier.estimate.value < brier.estimate.high


def test_ratio_in_each_resample(data: tuple[np.ndarray, np.ndarray, np.ndarray, PatientDraws]) -> None:
    probability, label, patient, draws = data
    called = probability > 0.4
    recall = sampled_ratio(draws, called & (label == 1), label == 1, reason="no positives")
    for weight, sample in zip(draws.weights, recall.samples, strict=True):
        rows = resampled(patient, weight)
        assert sample == pytest.approx(called[rows][label[rows] == 1].mean(), abs=1e-12)
    nothing = sampled_ratio(draws, np.zeros(180), np.zeros(180), reason="no rows")
    assert nothing.estimate.reason == "no rows"
    assert np.isnan(nothing.samples).all()


def test_missing() -> None:
    missing = Sampled.missing("no positives in val", n_resamples=3)
    assert math.isnan(missing.estimate.value)
    assert missing.estimate.reason == "no positives in val"
    assert missing.samples.shape == (3,)
