"""Reader agreement beside the network: sums per patient, intervals over the same patients, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import TableError
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.mask_ceiling import ceilings
from lungdet.evaluation.mask_results import Ceiling

PART = pd.DataFrame({"patient_id": ["P1", "P0", "P0", "P2"]})


def measured(**changed: Any) -> dict[str, Any]:
    """Three nodules of two patients: Dice .9, .5 and .8."""
    nodules = {"patient_id": ["P0", "P2", "P2"], "shared": [90, 10, 40], "marked": [100, 20, 50]}
    return {"test": {"n_scans": 3, "n_scans_by_rule": 1, "n_single_reader": 4, "nodules": nodules, **changed}}


def ceiling(record: dict[str, Any] | None) -> dict[str, Ceiling]:
    draws = {name: PatientDraws(PART["patient_id"], n_resamples=200, seed=1) for name in ("val", "test")}
    return ceilings(record, parts={"val": PART.iloc[:0], "test": PART}, draws=draws)


def test_pooled_and_mean_by_hand() -> None:
    result = ceiling(measured())["test"]
    assert result.pooled_dice.value == pytest.approx(140 / 170)
    assert result.mean_dice.value == pytest.approx((0.9 + 0.5 + 0.8) / 3)
    assert (result.n_nodules, result.n_single_reader, result.n_scans, result.n_scans_by_rule) == (3, 4, 3, 1)


def test_interval_is_that_of_a_loop() -> None:
    draws = PatientDraws(PART["patient_id"], n_resamples=200, seed=1)
    shared, marked = {"P0": 90, "P1": 0, "P2": 50}, {"P0": 100, "P1": 0, "P2": 70}
    samples = []
    for weights in draws.weights:
        top, bottom = (
            sum(w * sums[name] for w, name in zip(weights, ("P0", "P1", "P2"), strict=True))
            for sums in (shared, marked)
        )
        if bottom:
            samples.append(top / bottom)
    result = ceiling(measured())["test"].pooled_dice
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])))


def test_nobody_measured_anything() -> None:
    assert ceiling(None) == {}
    assert ceiling({"val": measured()["test"]}) == {}  # validation has no rows


def test_no_readers_and_no_common_nodules() -> None:
    nothing: dict[str, Any] = {"patient_id": [], "shared": [], "marked": []}
    by_rule = ceiling(measured(n_scans=0, nodules=nothing))["test"]
    assert math.isnan(by_rule.pooled_dice.value)
    assert by_rule.pooled_dice.reason == "no scan whose mask readers drew"
    assert ceiling(measured(nodules=nothing))["test"].mean_dice.reason == "no nodule that two readers marked"


def test_one_patient_gives_no_interval() -> None:
    result = ceiling(measured(nodules={"patient_id": ["P1"], "shared": [3], "marked": [4]}))["test"].pooled_dice
    assert (result.value, result.reason) == (0.75, "nodules of one patient only")


def test_refusals() -> None:
    with pytest.raises(TableError, match="ceiling of test has no 'n_scans'; measure it again"):
        ceiling({"test": {key: value for key, value in measured()["test"].items() if key != "n_scans"}})
    strangers = {"patient_id": ["P9", "P7"], "shared": [3, 3], "marked": [4, 4]}
    with pytest.raises(TableError, match="holds patient P7, whom the predictions do not"):
        ceiling(measured(nodules=strangers))
