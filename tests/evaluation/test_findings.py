"""Every remark is provoked once and read back in words; a good table provokes none of the warnings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.results import Finding

Simulate = Callable[..., pd.DataFrame]


def remarks(table: pd.DataFrame, provenance: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Finding]:
    report = evaluate_classification(table, title="t", provenance=provenance or {}, n_resamples=200, **kwargs)
    assert len({finding.code for finding in report.findings}) == len(report.findings)
    order = [finding.kind for finding in report.findings]
    assert order == sorted(order, key=["warning", "note", "good"].index)
    return {finding.code: finding for finding in report.findings}


@pytest.fixture(scope="module")
def large(simulate: Simulate) -> pd.DataFrame:
    """Sixty patients, 300 positives, well parted and well scaled."""
    table = simulate(n_patients=60, n_rows=6000, n_positive=300)
    rng = np.random.default_rng(2)
    return table.assign(logit=(rng.normal(-5, 1.5, 6000) + 7 * table["label"]).astype(np.float32))


def test_a_sound_table_raises_no_warning(large: pd.DataFrame) -> None:
    assert not [finding for finding in remarks(large).values() if finding.kind == "warning"]


def test_what_the_split_had_to_repair_is_said_once(large: pd.DataFrame) -> None:
    notes = ["Validation negatives are noise.", "One patient lies in two subsets."]
    assert remarks(large, {"split_notes": notes})["split"].text == f"About the split: {notes[0]} {notes[1]}"
    assert "split" not in remarks(large, {"split_notes": []})


def test_half_that_calls_nothing_at_a_high_auroc(large: pd.DataFrame) -> None:
    found = remarks(large.assign(logit=large["logit"] - 40.0))
    text = found["half_calls_nothing"].text
    assert text.startswith("At 0.5 no candidate is called a nodule, though AUROC is 1.00: the scores rank well")
    assert "Use a threshold chosen on validation: at " in text
    assert "(largest F1) the recall is 0." in text
    assert "too low" in found["miscalibrated"].text


def test_half_that_calls_only_the_wrong_ones(large: pd.DataFrame) -> None:
    logit = np.where(large["label"] == 1, -1.0, np.where(large.index % 50 == 0, 1.0, -2.0))
    found = remarks(large.assign(logit=logit.astype(np.float32)))
    assert found["half_calls_nothing"].text.startswith("At 0.5 not one nodule is called, though AUROC is 0.98")


def test_half_that_calls_everything(large: pd.DataFrame) -> None:
    found = remarks(large.assign(logit=large["logit"] + 40.0))
    assert found["half_calls_all"].text.startswith("At 0.5 every candidate is called a nodule, though AUROC")
    assert "Probabilities are too high: their mean is 1," in found["miscalibrated"].text


def test_half_that_misses_most(predictions: pd.DataFrame) -> None:
    assert remarks(predictions)["half_misses_most"].text.startswith("At 0.5 only 8 of 38 nodules are called, though")


def test_half_without_validation_gives_no_advice(large: pd.DataFrame) -> None:
    found = remarks(large.assign(partition="test", logit=large["logit"] - 40.0))
    assert found["half_calls_nothing"].text.endswith("their scale is off.")
    assert found["no_val"].text == "There are no validation rows: no threshold could be chosen; only 0.5 is reported."


def test_no_positives_in_validation(large: pd.DataFrame) -> None:
    table = large[(large["partition"] == "test") | (large["label"] == 0)]
    assert "Validation has no positives" in remarks(table)["no_val_positives"].text


def test_no_positives_in_test(large: pd.DataFrame) -> None:
    table = large[(large["partition"] == "val") | (large["label"] == 0)]
    found = remarks(table)
    assert found["no_positives"].text.startswith("The test partition has no positives: AUROC")
    assert "half_calls_nothing" not in found


def test_few_positives_and_few_patients(predictions: pd.DataFrame) -> None:
    test = predictions[(predictions["partition"] == "test") & (predictions["label"] == 1)].index
    found = remarks(predictions.drop(test[:-1]))
    assert found["few_positives"].text.startswith("Only 1 positive in test, from 16 patients with candidates: read the")
    assert found["few_patients"].text.startswith("16 patients in test")


def test_only_validation(large: pd.DataFrame) -> None:
    assert remarks(large.assign(partition="val"))["no_test"].kind == "warning"


def test_a_leak_names_the_patients(large: pd.DataFrame) -> None:
    table = large.copy()
    table.loc[table.index % 7 == 0, "partition"] = "test"
    text = remarks(table)["leak"].text
    assert text.startswith("20 patients (LIDC-IDRI-0000, LIDC-IDRI-0001, ")
    assert " and 15 more) in validation and test of the same fold. Thresholds have seen patients" in text


def test_guessing_and_worse_than_guessing(large: pd.DataFrame) -> None:
    noise = np.random.default_rng(0).normal(size=len(large)).astype(np.float32)
    assert "no better than guessing" in remarks(large.assign(logit=noise))["chance"].text
    found = remarks(large.assign(logit=-large["logit"]))
    assert "sign of the logit reversed?" in found["reversed"].text
    assert "chance" not in found


def test_perfection_is_suspicious(large: pd.DataFrame) -> None:
    perfect = remarks(large.assign(logit=large["label"].astype(np.float32)))
    assert "Suspect a leak" in perfect["perfect"].text


def test_validation_above_the_test_interval(large: pd.DataFrame) -> None:
    """Half of the test positives score like negatives; then the recall of validation is not carried over either."""
    spoiled = (large["partition"] == "test") & (large["label"] == 1) & (large.index % 2 == 0)
    found = remarks(large.assign(logit=np.where(spoiled, -5.0, large["logit"]).astype(np.float32)))
    assert "Validation AUROC 1.000 lies above the test interval" in found["val_optimistic"].text
    assert "the aim of 0.9 is missed" in found["recall_not_carried"].text


def test_recall_slightly_below_the_aim(simulate: Simulate) -> None:
    """The chosen threshold is the 10th lowest of 100 validation positives; 8 of 60 test positives lie below it."""
    table = simulate(n_patients=60, n_rows=4000, n_positive=300, seed=3)
    positive = table["label"] == 1
    logit = np.where(positive, 3.0, -3.0)
    val = table[positive & (table["partition"] == "val")].index
    test = table[positive & (table["partition"] == "test")].index
    logit[val[: len(val) // 11]] = -4.0
    logit[test[: round(0.12 * len(test))]] = -4.0
    logit = logit.astype(np.float32)
    rng = np.random.default_rng(0)
    logit[test] = rng.permutation(logit[test])
    text = remarks(table.assign(logit=logit))["recall_below_aim"].text
    assert text.startswith("The threshold chosen for recall 0.9 reaches 0.88 on test")
    assert text.endswith("still allows 0.9.")


def test_sizes_that_differ(simulate: Simulate) -> None:
    table = simulate(n_patients=60, n_rows=6000, n_positive=300)
    small = table["diameter_mm"] < 6
    table["logit"] = np.where(table["label"] == 1, np.where(small, -6.0, 3.0), -4.0).astype(np.float32)
    table.loc[(table["partition"] == "val") & small, "logit"] = 2.0
    text = remarks(table)["size"].text
    assert text.startswith("Nodules of 3-6 mm are found least often: sensitivity 0.00 (n = ")


def test_baselines_better_worse_and_level(large: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    noisy = large.assign(logit=(large["logit"] + rng.normal(0, 6, len(large))).astype(np.float32))
    beaten = remarks(large, baselines={"noisy": noisy})["beats_baseline"]
    assert beaten.kind == "good"
    assert beaten.text.startswith("The model beats the baseline 'noisy': AUROC +0.")
    assert (
        "The baseline 'clean' is better than the model: AUROC -0."
        in remarks(noisy, baselines={"clean": large})["below_baseline"].text
    )
    level = remarks(large, baselines={"twin": large})["no_better_than_baseline"]
    assert "not measurably better than the baseline 'twin': AUROC +0.000 (+0.000 to +0.000)" in level.text


def test_nothing_is_said_about_a_difference_without_interval(predictions: pd.DataFrame) -> None:
    table = predictions[predictions["patient_id"] == "LIDC-IDRI-0020"]
    codes = remarks(table, baselines={"twin": table})
    assert not {"beats_baseline", "below_baseline", "no_better_than_baseline", "wide_interval", "chance"} & set(codes)
