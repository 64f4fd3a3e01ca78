"""Slicer's point lists, held against the words of its published schema 1.0.3."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.outputs.detection_examples import CENTERS, UID, detections_of, scan_of, unjudged

from lungdet.outputs.markups import write_markups
from lungdet.pipeline.detections import Detections, detection_table

# Property -> type, from markups-schema-v1.0.3.json; numbers may be int or float there.
MARKUP = {
    "type": str,
    "name": str,
    "coordinateSystem": str,
    "coordinateUnits": str,
    "locked": bool,
    "labelFormat": str,
    "controlPoints": list,
    "display": dict,
}
POINT = {
    "id": str,
    "label": str,
    "description": str,
    "associatedNodeID": str,
    "position": list,
    "orientation": list,
    "selected": bool,
    "locked": bool,
    "visibility": bool,
    "positionStatus": str,
}
DISPLAY = {
    "visibility": bool,
    "color": list,
    "selectedColor": list,
    "pointLabelsVisibility": bool,
    "propertiesLabelVisibility": bool,
    "glyphType": str,
    "useGlyphScale": bool,
    "glyphScale": float,
    "textScale": float,
}


def conforms(record: dict[str, Any], schema: dict[str, type]) -> None:
    assert set(record) <= set(schema)
    for name, value in record.items():
        assert type(value) is schema[name], name


def lists_of(detections: Detections, folder: Path) -> list[dict[str, Any]]:
    record = json.loads(write_markups(detections, scan_of(), folder / "findings.mrk.json").read_text(encoding="utf-8"))
    assert set(record) == {"@schema", "markups"}
    assert record["@schema"].endswith("/markups-schema-v1.0.3.json#")
    for markup in record["markups"]:
        conforms(markup, MARKUP)
        assert markup["type"] == "Fiducial"
        assert markup["coordinateSystem"] == "LPS"
        assert markup["coordinateUnits"] == "mm"
        conforms(markup["display"], DISPLAY)
        assert markup["display"]["glyphType"] == "Circle2D"
        for point in markup["controlPoints"]:
            conforms(point, POINT)
            assert point["positionStatus"] == "defined"
            assert len(point["position"]) == 3
            assert np.reshape(point["orientation"], (3, 3)).tolist() == np.eye(3).tolist()
    found: list[dict[str, Any]] = record["markups"]
    return found


def test_findings_and_candidates_below_the_threshold(tmp_path: Path) -> None:
    called, below = lists_of(detections_of(scan_of(), malignancy=True), tmp_path)
    assert [p["position"] for p in called["controlPoints"]] == [CENTERS[i].tolist() for i in (1, 2, 0)]
    assert [p["label"] for p in called["controlPoints"]] == ["1: 0.970", "2: 0.750", "3: 0.600"]
    assert called["controlPoints"][0]["description"] == (
        "probability 0.97, malignancy 0.485, diameter 12.0 mm, mean -35 HU"
    )
    assert called["controlPoints"][1]["description"] == "probability 0.75, malignancy 0.375, mean -35 HU"
    assert [p["position"] for p in below["controlPoints"]] == [CENTERS[3].tolist()]
    assert called["display"]["visibility"] is True
    assert below["display"]["visibility"] is False
    assert called["display"]["color"] != below["display"]["color"]


@pytest.mark.parametrize(("threshold", "name"), [(0.99, "Candidates below 0.99"), (0.05, "Findings, probability at")])
def test_one_list_when_all_are_of_a_kind(threshold: float, name: str, tmp_path: Path) -> None:
    (only,) = lists_of(detections_of(scan_of(), threshold=threshold), tmp_path)
    assert only["name"].startswith(name)
    assert len(only["controlPoints"]) == 4


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    (only,) = lists_of(unjudged(), tmp_path)
    assert only["controlPoints"] == []


def test_probabilities_near_one_do_not_claim_to_be_one(tmp_path: Path) -> None:
    table = detection_table(UID, CENTERS[:1], {"logit": [9.0]})
    detections = replace(detections_of(scan_of()), table=table, regions=())
    (only,) = lists_of(detections, tmp_path)
    assert only["controlPoints"][0]["label"] == "1: 0.9999"
