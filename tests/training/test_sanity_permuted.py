"""Trainings on permuted labels: chance passes, knowledge fails, and scatter between trainings counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t

from lungdet.metrics.ranking import auroc
from lungdet.training.sanity_permuted import check_permuted_training, farthest_from_chance, mean_over_trainings


def scored(*, shift: float, seed: int, n_patients: int = 40, leak: float = 0.0) -> pd.DataFrame:
    """Test scores that are `shift` higher for true positives; validation scores `leak` higher for permuted ones."""
    rng = np.random.default_rng(seed)
    n = n_patients * 20
    label = (np.arange(2 * n) % 5 == 0).astype(np.int8)
    label[:n] = rng.permutation(label[:n])
    is_val = np.arange(2 * n) < n
    return pd.DataFrame(
        {
            "patient_id": [f"{'V' if i < n else 'T'}{i // 20}" for i in range(2 * n)],
            "partition": np.where(is_val, "val", "test"),
            "label": label,
            "logit": rng.normal(size=2 * n) + np.where(is_val, leak, shift) * label,
        }
    )


def judge(*tables: pd.DataFrame) -> str:
    seeds = range(len(tables))
    return check_permuted_training(tables, seeds=list(seeds), epochs=2, n_resamples=200, seed=0).verdict


def test_chance_passes() -> None:
    assert judge(*(scored(shift=0.0, seed=s) for s in range(3))) == "passed"


def test_a_leak_that_shows_on_true_test_labels_in_every_training_fails() -> None:
    assert judge(*(scored(shift=1.0, seed=s) for s in range(3))) == "failed"


def test_a_leak_that_only_one_training_learned_shows_on_permuted_labels() -> None:
    tables = [scored(shift=1.5, seed=0, leak=1.5), scored(shift=0.0, seed=1), scored(shift=0.0, seed=2)]
    check = check_permuted_training(tables, seeds=[0, 1, 2], epochs=1, n_resamples=200, seed=0)
    assert check.verdict == "failed"
    assert check.says.startswith("The validation AUROC differs from 0.5")


def test_a_single_training_off_on_the_test_only_says_what_else_it_may_be() -> None:
    check = check_permuted_training([scored(shift=1.0, seed=0)], seeds=[0], epochs=1, n_resamples=200, seed=0)
    assert check.verdict == "failed"
    assert "repeat it, permuted.n_trainings=5" in check.cautions[0]


def test_trainings_that_scatter_around_chance_pass() -> None:
    """Each is far from 0.5 by its own patients' interval; brightness went up in one and down in the other."""
    tables = [scored(shift=s, seed=n) for n, s in enumerate((0.8, -0.7, 0.5))]
    assert [judge(table) for table in tables] == ["failed"] * 3
    assert judge(*tables) == "passed"


def test_leaks_that_were_learned_in_opposite_directions_do_not_cancel() -> None:
    assert judge(scored(shift=0.0, seed=0, leak=2.0), scored(shift=0.0, seed=1, leak=-2.0)) == "failed"


def test_chance_leaves_the_interval_that_permutations_do() -> None:
    rng = np.random.default_rng(0)
    label, score = (np.arange(120) % 6 == 0).astype(np.int8), rng.normal(size=120)
    found = farthest_from_chance([0.5, 0.53, 0.45], label=label)
    assert found.value == 0.45
    sd = np.std([auroc(rng.permutation(label), score) for _ in range(1500)])
    assert found.width / 2 == pytest.approx(norm.ppf(1 - 0.005 / 3) * sd, rel=0.08)


def test_the_interval_is_student_and_bootstrap_in_quadrature() -> None:
    values, samples = [0.6, 0.7, 0.8], np.linspace(0.6, 0.8, 2001)
    found = mean_over_trainings(values, samples, has_interval=True)
    student = student_t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert found.value == pytest.approx(0.7)
    assert 0.7 - found.low == pytest.approx(np.hypot(student, 0.095), abs=1e-9)
    alone = mean_over_trainings([0.7], samples, has_interval=True)
    assert [alone.low, alone.high] == pytest.approx([0.605, 0.795])


def test_one_patient_is_not_judged() -> None:
    assert judge(scored(shift=1.0, seed=0, n_patients=1)) == "cannot be judged"
