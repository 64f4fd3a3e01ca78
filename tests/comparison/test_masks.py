"""Segmentation runs compared: Dice by hand, pairing by patient, and masks that differ are refused."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from tests.evaluation.mask_examples import Cohort, make_cohort, segmented

from lungdet.comparison.masks import MEASURES, compare_masks
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.runs import ComparedRun
from lungdet.errors import TableError
from lungdet.evaluation.mask_predictions import check_mask_predictions
from lungdet.evaluation.masks import evaluate_masks


def network(cohort: Cohort, *, noise: float, seed: int, weaker: float = 0.0) -> Cohort:
    """The same scans as another network sees them."""
    own = np.random.default_rng(seed).normal(0, noise, cohort.logit.shape)
    return dataclasses.replace(cohort, logit=(cohort.logit + own - weaker * cohort.mask).astype(np.float32))


def compared_run(name: str, cohort: Cohort) -> ComparedRun:
    return ComparedRun(name, check_mask_predictions(segmented(cohort)), provenance={"classes": ["nodule"]})


@pytest.fixture(scope="module")
def networks() -> dict[str, Cohort]:
    cohort = make_cohort(n_patients=36)
    return {
        "one": network(cohort, noise=0.5, seed=1),
        "two": network(cohort, noise=0.5, seed=2),
        "blind": network(cohort, noise=0.5, seed=3, weaker=6.0),
    }


@pytest.fixture(scope="module")
def runs(networks: dict[str, Cohort]) -> list[ComparedRun]:
    return [compared_run(name, cohort) for name, cohort in networks.items()]


@pytest.fixture(scope="module")
def report(runs: list[ComparedRun]) -> ComparisonReport:
    return compare_masks(runs, n_resamples=400)


def test_dice_is_that_of_the_voxels(networks: dict[str, Cohort], report: ComparisonReport) -> None:
    for name, cohort in networks.items():
        for key, scope in (("dice", "whole_volume"), ("crop_dice", "crop_level")):
            counted = cohort.where("test", scope)
            called = cohort.logit >= 0
            both = np.count_nonzero(called & cohort.mask & counted)
            sizes = np.count_nonzero(called & counted) + np.count_nonzero(cohort.mask & counted)
            assert report.results[name][key].value == pytest.approx(2 * both / sizes, abs=1e-12)


def test_each_run_by_itself_has_the_numbers_of_its_report(runs: list[ComparedRun], report: ComparisonReport) -> None:
    for run in runs:
        alone = evaluate_masks(run.predictions, title="", provenance={}, n_resamples=400)
        here = report.results[run.name]
        at_half = alone.results["test"]["whole_volume"].at_half
        assert here["dice"] == at_half.dice
        assert here["precision"] == at_half.precision
        assert here["recall"] == at_half.recall
        assert here["crop_dice"] == alone.results["test"]["crop_level"].at_half.dice
        assert here["dice_chosen"] == alone.threshold.on["test"]["whole_volume"].dice
        assert here["scan_dice"].value == pytest.approx(alone.scan_summary["test"].mean_dice.value, abs=1e-12)
        assert report.thresholds[run.name]["max_dice"].logit == alone.threshold.logit


def test_verdicts(report: ComparisonReport) -> None:
    kinds = {(pair.first, pair.second): pair.verdict.kind for pair in report.pairs}
    assert kinds == {
        ("one", "two"): "not_distinguishable",
        ("one", "blind"): "different",
        ("two", "blind"): "different",
    }
    assert all(pair.delong is None and pair.mcnemar == {} for pair in report.pairs)
    assert report.counts["nodule voxels"] > 0
    json.dumps(report.to_dict(), allow_nan=False)


def test_other_masks_are_refused(networks: dict[str, Cohort], runs: list[ComparedRun]) -> None:
    mask = networks["two"].mask.copy()
    last = int(np.flatnonzero(mask.any(axis=(1, 2)))[-1])
    mask[last, 0, 0] = True
    other = compared_run("other", dataclasses.replace(networks["two"], mask=mask))
    with pytest.raises(TableError, match=r"one and other were measured against different masks: .* 1 of 192 tiles"):
        compare_masks([runs[0], other])


def test_a_network_that_gave_no_numbers_has_none(networks: dict[str, Cohort], runs: list[ComparedRun]) -> None:
    logit = networks["two"].logit.copy()
    test_row = int(np.flatnonzero(networks["two"].where("test", "whole_volume").any(axis=(1, 2)))[0])
    logit[test_row, 5, 5] = np.nan
    broken = compared_run("broken", dataclasses.replace(networks["two"], logit=logit))
    report = compare_masks([runs[0], broken], n_resamples=50)
    assert math.isnan(report.results["broken"]["dice"].value)
    assert report.pairs[0].verdict.kind == "undecided"
    assert "gave no number" in report.pairs[0].verdict.text


def test_measures_have_names_of_their_own() -> None:
    assert len({m.key for m in MEASURES}) == len({m.title for m in MEASURES}) == len(MEASURES)
