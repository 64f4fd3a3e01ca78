"""The plain bootstraps give what ours give on the same draws: or two different things would be compared."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.bench.baselines.plain_evaluation import PlainAreas, PlainFroc
from lungdet.bench.drawn.results import draw_predictions, draw_submission
from lungdet.bench.evaluation import findings_of
from lungdet.metrics.froc import evaluate_froc
from lungdet.metrics.froc_bootstrap import bootstrap_froc
from lungdet.metrics.ranking import under_patient_weights


def test_froc_of_the_same_draws() -> None:
    submission = draw_submission(n_marks=3000, n_series=30, n_nodules=60)
    findings = findings_of(submission)
    plain = PlainFroc(findings)
    random = np.random.RandomState(5)  # the official generator
    curves = [plain.sensitivity(random.randint(30, size=30)) for _ in range(12)]
    ours = bootstrap_froc(findings, np.ones((1, len(findings.nodule_score)), np.bool_), n_bootstraps=12, seed=5)
    assert np.mean(curves, axis=0) == pytest.approx(ours.mean, abs=1e-6)
    whole = evaluate_froc(*submission, n_bootstraps=0)
    once = plain.sensitivity(np.arange(30))
    assert once[-1] == pytest.approx(whole.curve.sensitivity_at(8.0))


def test_areas_of_the_same_draws() -> None:
    table = draw_predictions(n_rows=2000, n_series=20, positives_in=20)
    patient = table["patient_id"].str[1:].astype(int).to_numpy()
    label, logit = table["label"].to_numpy(), table["logit"].to_numpy(np.float64)
    drawn = np.random.default_rng(0).integers(0, 20, (4, 20))
    plain = PlainAreas(label, logit, patient)
    weights = np.stack([np.bincount(row, minlength=20) for row in drawn]).astype(np.float64)
    ours = under_patient_weights(label, logit, patient, weights=weights).samples
    given = np.array([plain.areas(row) for row in drawn])
    assert given[:, 0] == pytest.approx(ours["auroc"])
    assert given[:, 1] == pytest.approx(ours["average_precision"])


def test_one_class_has_no_areas() -> None:
    plain = PlainAreas(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3]), np.array([0, 1, 2]))
    assert np.isnan(plain.areas(np.array([0, 1, 1]))).all()
