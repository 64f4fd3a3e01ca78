"""What becomes of numbers on their way into JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.audit_results import Audit
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import to_plain
from lungdet.evaluation.thresholds import HALF, Threshold


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (0.1 + 0.2, 0.3),
        (1 / 3, 0.333333333333),
        (123456789.0, 123456789.0),
        ((1, [2, math.nan]), [1, [2, None]]),
        (np.array([1.0, np.nan]), [1.0, None]),
        ({1: Path("a")}, {"1": "a"}),
        (pd.DataFrame({"x": [1, 2]}), {"x": [1, 2]}),
        (Estimate(0.5), {"value": 0.5, "low": None, "high": None, "reason": ""}),
        (None, None),
    ],
)
def test_plain(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    json.dumps(to_plain(value), allow_nan=False)


def test_minus_zero_and_zero_are_one_number() -> None:
    assert json.dumps(to_plain([-0.0, 0.0])) == "[0.0, 0.0]"


def test_derived_quantities_are_written_out() -> None:
    assert to_plain(HALF)["probability"] == 0.5
    assert to_plain(Threshold("youden", "", math.nan, "val", "no positives in val"))["probability"] is None
    assert to_plain(Audit((0,), ("a",), ()))["disjoint"] is False
    clean = to_plain(Audit((0,), (), ()))
    assert clean["disjoint"] is True
    assert clean["verdict"].startswith("No leak found: ")


def test_a_report_is_json_without_pictures_and_curves(predictions: pd.DataFrame, load_pictures: Any) -> None:
    history = pd.DataFrame({"epoch": [0, 1], "val/loss": [0.5, math.nan]})
    report = evaluate_classification(
        predictions,
        title="t",
        provenance={"run": Path("runs/1"), "versions": {"numpy": np.__version__}},
        load_pictures=load_pictures,
        history=history,
        n_resamples=50,
        n_gallery=2,
    )
    record = report.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert "curves" not in record
    assert record["history"] == {"epoch": [0, 1], "val/loss": [0.5, None]}
    shown = record["galleries"]["false_negatives"][0]
    assert shown["label"] == 1
    assert shown["called"] is False
    assert "views" not in shown
    assert record["provenance"]["run"] == "runs/1"
    assert record["operating_points"]["max_f1"]["on"]["test"]["confusion"].keys() == {"tp", "fp", "fn", "tn"}
    assert record["audit"]["disjoint"] is True
