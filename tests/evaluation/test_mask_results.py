"""report.json of a segmentation: plain values, with scans and history inside and curves outside."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
import pytest
from tests.evaluation.mask_examples import make_cohort

from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.masks import evaluate_masks


@pytest.fixture(scope="module")
def report() -> MaskReport:
    return evaluate_masks(make_cohort(n_patients=4).table(), title="t", provenance={"run": "r"}, n_resamples=5)


def test_every_field_but_the_curves_is_in_the_file(report: MaskReport) -> None:
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(record) == {field.name for field in dataclasses.fields(MaskReport)} - {"curves"}
    assert record["history"] is None
    half = record["results"]["test"]["whole_volume"]["at_half"]
    assert half["tp"] == report.results["test"]["whole_volume"].at_half.tp
    assert set(half["dice"]) == {"value", "low", "high", "reason"}


def test_scans_are_rows_and_history_is_columns(report: MaskReport) -> None:
    history = pd.DataFrame({"epoch": [0, 1], "val/dice": [0.1, float("nan")]})
    record = dataclasses.replace(report, history=history).to_dict()
    assert record["history"] == {"epoch": [0, 1], "val/dice": [0.1, None]}
    assert len(record["scans"]) == 4
    without = [scan for scan in record["scans"] if not scan["nodule_voxels"]]
    assert [scan["dice"] for scan in without] == [None], "the fourth patient has no nodule: NaN is null"


def test_numbers_have_twelve_digits(report: MaskReport) -> None:
    third = dataclasses.replace(report.threshold, probability=1 / 3, logit=float("nan"))
    record = dataclasses.replace(report, threshold=third).to_dict()
    assert record["threshold"]["probability"] == 0.333333333333
    assert record["threshold"]["logit"] is None
