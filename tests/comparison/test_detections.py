"""Detectors compared by the challenge's rules, with the same drawn scans."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lungdet.comparison.detections import compare_detections
from lungdet.errors import TableError
from lungdet.metrics.froc import FrocResult, compare_froc, evaluate_froc

UIDS = tuple(f"1.2.{i:03d}" for i in range(40))
CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]
NODULES = pd.DataFrame({"series_uid": UIDS[::2], **dict.fromkeys(CENTER, 0.0), "diameter_mm": 10.0})
NOTHING = NODULES.iloc[:0]


def detector(seed: int, *, skill: float, uids: tuple[str, ...] = UIDS, nodules: pd.DataFrame = NODULES) -> FrocResult:
    """A mark on every nodule and three beside it in every scan; nodules score higher by `skill`."""
    rng = np.random.default_rng(seed)
    hits = nodules.assign(score=rng.normal(skill, 1, len(nodules)))
    false = pd.DataFrame({"series_uid": np.repeat(uids, 3), **dict.fromkeys(CENTER, 80.0)})
    marks = pd.concat([hits, false.assign(score=rng.normal(0, 1, len(false)))])
    marks = marks.assign(probability=1 / (1 + np.exp(-marks["score"])))
    return evaluate_froc(nodules, NOTHING, uids, marks, n_bootstraps=300)


def test_differences_are_those_of_the_paired_bootstrap() -> None:
    results = {"a": detector(1, skill=2), "b": detector(2, skill=2), "poor": detector(3, skill=0)}
    report = compare_detections(results, settings=[{"t": 1, "out": "x"}, {"t": 2, "out": "y"}, {"t": 2, "out": "z"}])
    for pair in report.pairs:
        expected = compare_froc(results[pair.first], results[pair.second])
        found = pair.differences["cpm"].estimate
        assert (found.value, found.low, found.high) == (expected.difference, expected.low, expected.high)
    assert [pair.verdict.kind for pair in report.pairs] == ["not_distinguishable", "different", "different"]
    assert "paired by scan" in report.pairs[0].verdict.text
    assert report.results["a"]["cpm"].value == results["a"].cpm
    assert report.results["a"]["sensitivity_0.125"].value == results["a"].sensitivity_at[0.125]
    assert [setting.key for setting in report.settings] == ["t"]
    assert report.counts == {"CT series": 40, "nodules": 20}
    json.dumps(report.to_dict(), allow_nan=False)


def test_other_scans_or_nodules_are_refused() -> None:
    one = detector(1, skill=2)
    with pytest.raises(TableError, match=r"b searched different scans: 1 only by a, e\.g\. 1\.2\.039"):
        compare_detections({"a": one, "b": detector(1, skill=2, uids=UIDS[:-1])})
    with pytest.raises(TableError, match="different annotations: 20 and 19 nodules"):
        compare_detections({"a": one, "b": detector(1, skill=2, nodules=NODULES.iloc[1:])})
