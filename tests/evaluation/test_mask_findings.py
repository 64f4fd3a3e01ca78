"""What the remarks say, and when: made from masks and logits in which something is wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.evaluation.mask_examples import Cohort, ceiling_of, make_cohort

from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.masks import evaluate_masks


def codes(report: MaskReport) -> set[str]:
    return {finding.code for finding in report.findings}


def text(report: MaskReport, code: str) -> str:
    return next(finding.text for finding in report.findings if finding.code == code)


def evaluate(cohort: Cohort, **changed: Any) -> MaskReport:
    return evaluate_masks(cohort.table(), title="t", provenance={}, n_resamples=80, **changed)


def perfect() -> Cohort:
    cohort = make_cohort(n_patients=66)
    cohort.logit[:] = np.where(cohort.mask, 9, -9) + np.random.default_rng(0).normal(0, 0.5, cohort.logit.shape)
    return cohort


def test_nothing_to_remark() -> None:
    assert codes(evaluate(perfect())) == set()


def nothing_called(cohort: Cohort) -> None:
    cohort.logit -= 12


def only_air_called(cohort: Cohort) -> None:
    cohort.logit[:] = np.where(cohort.mask, -9, -2)
    cohort.logit[:, 0, 0] = 3


def mostly_false(cohort: Cohort) -> None:
    cohort.logit[~cohort.mask & (np.arange(12) % 2 == 0)] = 3


def timid(cohort: Cohort) -> None:
    cohort.logit[(cohort.rows["candidate_id"] == 3) | (cohort.rows["patient_id"] >= "P060")] = -9
    cohort.logit[:, 5:] = -9


def unannotated(cohort: Cohort) -> None:
    cohort.rows.loc[cohort.rows["patient_id"] == "P027", "label"] = 1


def shared_patient(cohort: Cohort) -> None:
    cohort.rows.loc[(cohort.rows["patient_id"] == "P000") & (cohort.rows["candidate_id"] > 4), "partition"] = "test"


def no_test(cohort: Cohort) -> None:
    cohort.rows["partition"] = "val"


def no_nodules(cohort: Cohort) -> None:
    cohort.mask[:] = False


def false_far_away(cohort: Cohort) -> None:
    cohort.logit[np.arange(len(cohort.logit)) % 8 == 0, 0, :4] = 5


def half_of_tiles_marked(cohort: Cohort) -> None:
    cohort.logit[np.arange(len(cohort.logit)) % 8 > 4, 0, 0] = 5
    cohort.logit[np.arange(len(cohort.logit)) % 8 < 3, 0, 0] = 5


def broken(cohort: Cohort) -> None:
    cohort.logit[0] = np.nan


def random_logits(cohort: Cohort) -> None:
    cohort.logit[:] = np.random.default_rng(0).normal(0, 1, cohort.logit.shape)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (
            nothing_called,
            "predicts_nothing",
            "not one voxel is called: Dice is 0 because the network",
        ),
        (nothing_called, "predicts_nothing", ", chosen on validation, Dice is 1.000"),
        (only_air_called, "hits_nothing", "At 0.5 352 voxels are called, and none of them is nodule"),
        (mostly_false, "tiny_precision", "false voxels for each nodule voxel there is"),
        (timid, "marks_too_little", "What is called is mostly nodule (precision 1.00), but only"),
        (timid, "tiles_missed", "Of 66 tiles with nodule voxels, "),
        (
            unannotated,
            "annotated_without_mask",
            "1 scan of test with an annotated nodule has no nodule voxel in",
        ),
        (shared_patient, "leak", "1 patient (P000) in validation and test of the same fold. The checkpoint"),
        (no_test, "no_test", "There are no test rows: every number is from validation"),
        (no_nodules, "no_nodule_voxels", "No mask of the test partition holds a nodule voxel"),
        (false_far_away, "crop_level_flatters", "176 of 176 false voxels lie away from every nodule"),
        (half_of_tiles_marked, "tiles_marked", "have voxels called: a later step has to sort out"),
        (broken, "not_a_number", "no number (NaN) for 132 voxels of val: its weights are broken"),
        (random_logits, "chance", "Average precision is that of guessing"),
    ],
)
def test_what_is_wrong_is_said(change: Callable[[Cohort], None], code: str, words: str) -> None:
    cohort = perfect()
    change(cohort)
    assert words in text(evaluate(cohort), code)


def test_wide_intervals_and_few_patients() -> None:
    cohort = perfect()
    few = cohort.rows["patient_id"].isin(["P022", "P024", "P026", "P030"]).to_numpy()
    cohort.logit[cohort.rows["patient_id"] == "P024"] = -9
    report = evaluate_masks(cohort.table()[few], title="t", provenance={}, n_resamples=80)
    assert {"wide_interval", "few_patients"} <= codes(report)
    assert "4 patients in test" in text(report, "few_patients")


def test_a_better_threshold_and_one_that_does_not_carry() -> None:
    """Nodules at logit 9, air at 3 makes a high threshold best; then, in test only, half of each nodule at 1."""
    cohort = perfect()
    val = (cohort.rows["partition"] == "val").to_numpy()
    cohort.logit[:, 0, :4] = 3
    helped = evaluate(cohort)
    assert helped.threshold.logit > 3
    assert "gives a better Dice on test than 0.5" in text(helped, "threshold_helps")
    cohort.logit[~val] = np.where(cohort.mask[~val], np.where(np.arange(12) % 2, 1, 9), -9)
    harmed = evaluate(cohort)
    assert "gives a worse one on test than 0.5" in text(harmed, "threshold_not_carried")
    assert "Keep 0.5." in text(harmed, "threshold_not_carried")


def test_validation_that_flatters() -> None:
    cohort = perfect()
    test = (cohort.rows["partition"] == "test").to_numpy()
    cohort.logit[test, 0, :2] = 3
    assert "Validation Dice 1.000 lies above the test interval" in text(evaluate(cohort), "val_optimistic")


def test_beside_the_readers() -> None:
    cohort = perfect()
    assert "(Dice 1.00) as well as two readers agree with each other (0.80)" in text(
        evaluate(cohort, ceiling=ceiling_of(cohort)), "reaches_readers"
    )
    nothing_called(cohort)
    assert "reaches_readers" not in codes(evaluate(cohort, ceiling=ceiling_of(cohort)))
    mixed = ceiling_of(cohort)
    mixed["test"]["n_scans_by_rule"] = 3
    assert "3 scans of test have masks made by the annotations' rule, 44 have" in text(
        evaluate(cohort, ceiling=mixed), "mixed_masks"
    )


def test_loose_bounds_of_average_precision() -> None:
    """All logits between 0 and 0.2 share one bin of 64."""
    cohort = perfect()
    cohort.logit[:] = 0.2 / (1 + np.exp(-cohort.logit / 9))
    assert "many logits share a bin" in text(evaluate(cohort), "loose_bounds")


def test_warnings_come_first() -> None:
    cohort = perfect()
    timid(cohort)
    cohort.logit[:, 0, :1] = 3
    kinds = [finding.kind for finding in evaluate(cohort, ceiling=ceiling_of(cohort)).findings]
    assert kinds == sorted(kinds, key=["warning", "note", "good"].index)
    assert set(kinds) >= {"warning", "note"}
