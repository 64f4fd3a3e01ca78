"""The class prior: its scores are hand counts, and a run passes, fails or is not judged by its gains over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.training.sanity_prior import check_class_prior, log_loss

DRAWS = {"n_resamples": 300, "seed": 0}


def predictions(*, shift: float, offset: float = 0.0, n_patients: int = 60, seed: int = 0) -> pd.DataFrame:
    """A tenth of the rows is positive; `offset` is how much too sure of positives the logits are."""
    rng = np.random.default_rng(seed)
    n = n_patients * 20
    label = (rng.random(2 * n) < 0.1).astype(np.int8)
    # For two normal classes of equal width the logit is linear in what was measured.
    measured = rng.normal(size=2 * n) + shift * label
    logit = shift * measured - shift**2 / 2 + np.log(0.1 / 0.9) + offset
    return pd.DataFrame(
        {
            "patient_id": [f"{'v' if i < n else 't'}{i // 20 % n_patients}" for i in range(2 * n)],
            "partition": np.repeat(["val", "test"], n),
            "label": label,
            "logit": logit,
        }
    )


def gains(check: Any) -> dict[str, Any]:
    return {n.name: n.estimate for n in check.numbers if n.name.startswith("Gain")}


def test_the_priors_own_scores_are_those_of_the_hand() -> None:
    table = predictions(shift=1.5)
    check = check_class_prior(table, prior=0.2, **DRAWS)
    prevalence = table[table["partition"] == "test"]["label"].mean()
    name, auroc, ap, brier, nll, accuracy = check.tables[0].rows[0]
    assert (name, auroc) == ("class prior", 0.5)
    assert ap == pytest.approx(prevalence)
    assert brier == pytest.approx(prevalence * 0.8**2 + (1 - prevalence) * 0.2**2)
    assert nll == pytest.approx(-prevalence * np.log(0.2) - (1 - prevalence) * np.log(0.8))
    assert accuracy == pytest.approx(1 - prevalence)


def test_a_run_that_knows_something_passes_by_all_three() -> None:
    check = check_class_prior(predictions(shift=1.5), prior=0.1, **DRAWS)
    assert check.verdict == "passed"
    assert check.says == "The run beats the class prior by Brier score and log loss and average precision."
    assert all(gain.low > 0 for gain in gains(check).values())


def test_balanced_sampling_is_put_right_on_validation() -> None:
    """Logits shifted as by a 1:1 sampling: worse than the prior as they are, better once calibrated."""
    check = check_class_prior(predictions(shift=1.5, offset=np.log(9) + 2), prior=0.1, **DRAWS)
    brier = {row[0]: float(row[3]) for row in check.tables[0].rows}
    assert brier["run, as it is"] > brier["class prior"] > brier["run, calibrated on validation"]
    assert check.verdict == "passed"
    assert any("use calibrated probabilities" in text for text in check.cautions)


def test_a_run_that_ranks_backwards_on_the_test_fails() -> None:
    table = predictions(shift=1.5)
    test = table["partition"] == "test"
    table.loc[test, "logit"] = -table.loc[test, "logit"] - 4
    check = check_class_prior(table, prior=0.1, **DRAWS)
    assert check.verdict == "failed"
    assert all(gain.value < 0 for gain in gains(check).values())


def test_a_run_without_knowledge_does_not_pass() -> None:
    verdicts = []
    for seed in range(8):
        table = predictions(shift=0.0, n_patients=30, seed=seed)
        table["logit"] = np.random.default_rng(100 + seed).normal(size=len(table))
        verdicts.append(check_class_prior(table, prior=0.1, **DRAWS).verdict)
    assert verdicts.count("passed") <= 2
    assert "failed" in verdicts or "cannot be judged" in verdicts


def test_accuracy_that_says_nothing_is_named() -> None:
    check = check_class_prior(predictions(shift=0.3), prior=0.1, **DRAWS)
    assert any(
        "Always the same answer is right for 90" in text or "accuracy says nothing" in text for text in check.cautions
    )


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_training_rows_of_one_class_are_not_judged(prior: float) -> None:
    assert check_class_prior(predictions(shift=1.0), prior=prior, **DRAWS).verdict == "cannot be judged"


def test_log_loss_of_certainty_is_finite() -> None:
    loss = log_loss(np.array([0.0, 1.0, 0.5]), np.array([1, 1, 0]))
    assert np.isfinite(loss).all()
    assert loss[2] == pytest.approx(np.log(2))
