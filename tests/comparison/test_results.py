"""compare.json: plain values; what has files of its own is left out."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd
from tests.comparison.small_report import small_report

from lungdet.comparison.disagreement import Disagreement
from lungdet.comparison.results import ComparisonReport


def test_every_field_but_curves_and_pictures_is_in_the_file() -> None:
    item = Disagreement({"series_uid": "1"}, {"a": 0.25}, {"a": 12.5}, 40.0, views=(), problem="no voxels")
    report = small_report(
        disagreements={"positives": (item,), "negatives": ()},
        curves=pd.DataFrame({"x": [1]}),
        histories={"a": pd.DataFrame()},
    )
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    fields = {field.name for field in dataclasses.fields(ComparisonReport)}
    assert set(record) == fields - {"curves", "points", "histories"}
    assert record["disagreements"] == {
        "positives": [{"series_uid": "1", "probability": {"a": 0.25}, "percentile": {"a": 12.5}, "spread": 40.0}],
        "negatives": [],
    }
    assert record["prevalence"] is None, "NaN"
    assert record["results"]["b"]["auroc"] == {"value": 0.8, "low": 0.7, "high": 0.9, "reason": ""}
    assert record["pairs"][0]["differences"]["brier"]["estimate"]["value"] is None


def test_the_first_measure_is_the_headline() -> None:
    assert small_report().headline.key == "auroc"
