"""Findings as point lists that 3D Slicer opens over the scan (`.mrk.json`, markups schema 1.0.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lungdet.io.scan import Scan
from lungdet.outputs.findings import Finding, ranked_findings
from lungdet.outputs.page import probability
from lungdet.outputs.text_file import json_text, write_text
from lungdet.pipeline.detections import Detections

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/"
    "Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
)
"""How Slicer names the format; it parses the version out of it and fetches nothing."""

_ORANGE, _GREY = [0.93, 0.55, 0.14], [0.7, 0.7, 0.7]


def markups_record(detections: Detections, scan: Scan) -> dict[str, Any]:
    """Two point lists: findings at the threshold, shown, and the candidates below it, hidden until asked for.

    Slicer colours whole lists, not single points, which is why there are two. World coordinates are LPS mm, Slicer's
    own default for these files, so nothing is converted.

    Args:
        detections: of this scan.
        scan: for its identity.

    Returns:
        The content of the file. A list without points is left out, unless both are empty.

    Raises:
        TableError: see `ranked_findings`.
    """
    findings = ranked_findings(detections, scan)
    threshold = detections.patient["nodule_threshold"]
    called = [finding for finding in findings if finding.is_nodule]
    below = [finding for finding in findings if not finding.is_nodule]
    lists = []
    if called or not below:
        lists.append(_point_list(f"Findings, probability at least {threshold:g}", called, color=_ORANGE, shown=True))
    if below:
        lists.append(_point_list(f"Candidates below {threshold:g}", below, color=_GREY, shown=False))
    return {"@schema": SCHEMA, "markups": lists}


def write_markups(detections: Detections, scan: Scan, path: Path | str) -> Path:
    """Write `markups_record`; Slicer knows the file by the suffix `.mrk.json`."""
    return write_text(json_text(markups_record(detections, scan)), path)


def _point_list(name: str, findings: Sequence[Finding], *, color: list[float], shown: bool) -> dict[str, Any]:
    return {
        "type": "Fiducial",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": True,
        "labelFormat": "%d",
        "controlPoints": [_control_point(finding) for finding in findings],
        "display": {
            "visibility": shown,
            "color": color,
            "selectedColor": color,
            "pointLabelsVisibility": True,
            "propertiesLabelVisibility": False,
            "glyphType": "Circle2D",
            "useGlyphScale": True,
            "glyphScale": 2.0,
            "textScale": 3.0,
        },
    }


def _control_point(finding: Finding) -> dict[str, Any]:
    facts = [
        ("probability", finding.probability, "{:.6g}"),
        ("malignancy", finding.malignancy_probability, "{:.6g}"),
        ("diameter", finding.diameter_mm, "{:.1f} mm"),
        ("mean", finding.mean_hu, "{:.0f} HU"),
        ("to the pleura", finding.distance_to_pleura_mm, "{:.1f} mm"),
    ]
    return {
        "id": str(finding.rank),
        "label": f"{finding.rank}: {probability(finding.probability)}",
        "description": ", ".join(f"{name} {form.format(v)}" for name, v, form in facts if not math.isnan(v)),
        "associatedNodeID": "",
        "position": list(finding.center_xyz_mm),
        "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": True,
        "visibility": True,
        "positionStatus": "defined",
    }
