"""Answers of sanity checks as JSON and as log lines."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.sanity_checks import (
    SanityCheck,
    SanityNumber,
    SanityTable,
    auroc_with_interval,
    checks_lines,
    checks_record,
    not_judged,
    patient_draws,
    worst,
)

PASSED = SanityCheck(
    "class_prior",
    "More?",
    "passed",
    "It is better.",
    (SanityNumber("Gain", Estimate(0.25, 0.125, 0.5), "better is above 0"), SanityNumber("p", Estimate(0.01))),
    ("Look twice.",),
    (SanityTable("Rows.", ("", "AUROC"), (("run", 0.9), ("prior", math.nan))),),
    curve={"loss": [1.0, math.inf]},
)
MISSING = not_judged("shortcut", "Which?", "There is no run.")


def test_the_record_is_plain_json_without_nan() -> None:
    record = checks_record([PASSED, MISSING], provenance={"seed": 0})
    read = json.loads(json.dumps(record, allow_nan=False))
    assert read["verdict"] == "cannot be judged"
    prior = read["checks"]["class_prior"]
    assert prior["numbers"]["Gain"] == {
        "value": 0.25,
        "low": 0.125,
        "high": 0.5,
        "reason": "",
        "note": "better is above 0",
    }
    assert prior["numbers"]["p"]["low"] is None
    assert prior["tables"][0]["rows"] == [["run", 0.9], ["prior", None]]
    assert prior["curve"] == {"loss": [1.0, None]}
    assert read["checks"]["shortcut"]["says"] == "There is no run."
    assert read["provenance"] == {"seed": 0}


def test_lines_say_the_verdict_the_numbers_and_the_cautions() -> None:
    assert list(checks_lines([PASSED, MISSING])) == [
        "class_prior  PASSED: It is better.",
        "             Gain: 0.250 [0.125, 0.500] (better is above 0)",
        "             p: 0.010",
        "             caution: Look twice.",
        "shortcut     CANNOT BE JUDGED: There is no run.",
    ]


def test_one_failure_fails_all() -> None:
    assert worst(["passed", "failed", "cannot be judged"]) == "failed"
    assert worst(["passed", "passed"]) == "passed"


def test_auroc_has_the_interval_of_its_patients_or_a_reason() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": np.repeat([f"P{i}" for i in range(20)], 10), "label": rng.integers(0, 2, 200)})
    score = rng.normal(size=200) + table["label"]
    draws = patient_draws(table, n_resamples=200, seed=0)
    found = auroc_with_interval(table["label"], score, draws)
    high, low = score[table["label"] == 1].to_numpy(), score[table["label"] == 0].to_numpy()
    assert found.value == (high[:, None] > low).mean()
    assert found.low < found.value < found.high
    assert auroc_with_interval(np.zeros(200), score, draws).reason == "all rows have label 0"
