"""Shuffled labels: AUROC 0.5, p-values that are uniform without knowledge, and blocks that stay with their patient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.training import sanity_shuffled
from lungdet.training.sanity_shuffled import check_shuffled_labels, permutation_p_value, permuted_by_patient

FEW = {"n_permutations": 200, "n_resamples": 100, "seed": 0}


def scored(*, shift: float, n_patients: int = 40, rows: int = 20, seed: int = 0) -> pd.DataFrame:
    """A quarter of the rows is positive; their logits are `shift` standard deviations higher."""
    rng = np.random.default_rng(seed)
    n = n_patients * rows
    label = (rng.random(n) < 0.25).astype(np.int8)
    return pd.DataFrame(
        {
            "patient_id": [f"P{i // rows:03d}" for i in range(n)],
            "series_uid": [f"S{i // rows:03d}" for i in range(n)],
            "candidate_id": np.arange(n),
            "label": label,
            "logit": rng.normal(size=n) + shift * label,
        }
    )


def numbers(check: Any) -> dict[str, Any]:
    return {number.name: number.estimate for number in check.numbers}


def test_a_model_that_knows_something_passes_with_a_small_p() -> None:
    check = check_shuffled_labels(scored(shift=1.0), **FEW)
    assert check.verdict == "passed"
    found = numbers(check)
    assert found["p-value, rows"].value == found["p-value, patients"].value == pytest.approx(1 / 201)
    assert abs(found["AUROC, labels shuffled among rows"].value - 0.5) < 0.01
    assert found["AUROC, true labels"].value == pytest.approx(0.76, abs=0.04)
    assert check.cautions == ()


def test_a_model_that_knows_nothing_is_said_to() -> None:
    check = check_shuffled_labels(scored(shift=0.0), **FEW)
    assert check.verdict == "passed", "the metric is right"
    assert any("cannot be told from chance on these 40 patients" in text for text in check.cautions)


def test_without_knowledge_p_values_are_uniform() -> None:
    p = []
    for seed in range(40):
        table = scored(shift=0.0, n_patients=10, seed=seed)
        check = check_shuffled_labels(table, n_permutations=40, n_resamples=2, seed=seed)
        p.append(numbers(check)["p-value, patients"].value)
    assert 0.35 < float(np.mean(p)) < 0.65
    assert np.mean(np.array(p) <= 0.1) < 0.25


def test_a_metric_that_counts_ties_for_the_positives_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    table = scored(shift=1.0).assign(logit=lambda t: t["logit"].round())

    def generous(label: Any, score: Any) -> float:
        high, low = np.asarray(score)[np.asarray(label) == 1], np.asarray(score)[np.asarray(label) == 0]
        return float((high[:, None] >= low).mean())

    assert check_shuffled_labels(table, **FEW).verdict == "passed"
    monkeypatch.setattr(sanity_shuffled, "auroc", generous)
    check = check_shuffled_labels(table, **FEW)
    assert check.verdict == "failed"
    assert "the number itself is wrong" in check.says


def test_patients_that_are_all_positive_or_all_negative_need_the_patient_permutation() -> None:
    """The score is the patient's: rows look like 400 answers and are 20."""
    rng = np.random.default_rng(1)
    table = scored(shift=0.0, n_patients=20).assign(label=lambda t: (t["patient_id"] > "P009").astype(np.int8))
    per_patient = dict(zip(sorted(set(table["patient_id"])), rng.normal(size=20), strict=True))
    table["logit"] = table["patient_id"].map(per_patient)
    check = check_shuffled_labels(table, **FEW)
    rows, patients = (numbers(check)[f"AUROC, labels shuffled among {what}"] for what in ("rows", "patients"))
    assert patients.width > 2.5 * rows.width


def test_blocks_stay_together_and_counts_stay() -> None:
    patient = np.repeat(np.arange(6), [3, 1, 5, 2, 4, 5])
    label = patient.copy()  # every block is recognised by its value
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        moved = permuted_by_patient(label, patient, rng=rng)
        assert np.bincount(moved).tolist() == [3, 1, 5, 2, 4, 5]
        runs = 1 + np.count_nonzero(np.diff(moved))
        assert runs <= 7, "six blocks on a ring, cut once"
        seen.add(tuple(moved))
    assert len(seen) > 40


def test_p_counts_the_true_one() -> None:
    assert permutation_p_value(0.7, np.array([0.7, 0.8, 0.2])) == 0.75


def test_one_class_is_not_judged() -> None:
    check = check_shuffled_labels(scored(shift=0.0).assign(label=0), **FEW)
    assert check.verdict == "cannot be judged"
    assert "no positives" in check.says
