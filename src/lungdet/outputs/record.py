"""detections.json: everything that is known about one scan's result, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lungdet.io.scan import Scan
from lungdet.outputs.findings import Finding, ranked_findings
from lungdet.outputs.text_file import json_text, write_text
from lungdet.pipeline.detections import Detections

FORMAT = "lungdet.detections/1"
"""Value of the record's `format`; the number grows when a field changes its meaning."""


def detection_record(detections: Detections, scan: Scan, *, versions: Mapping[str, str]) -> dict[str, Any]:
    """The content of detections.json.

    Args:
        detections: of this scan.
        scan: for its identity and grid.
        versions: name -> version of the software that made them.

    Returns:
        format, series_uid, patient, candidates (the most probable first, each with rank, place in mm and in voxels,
        scores, sizes and the box of its voxels), recipe, versions, seconds, notes, geometry.

    Raises:
        TableError: see `ranked_findings`.
    """
    return {
        "format": FORMAT,
        "series_uid": scan.series_uid,
        "patient": dict(detections.patient),
        "candidates": [_candidate(finding) for finding in ranked_findings(detections, scan)],
        "recipe": dict(detections.recipe),
        "versions": dict(versions),
        "seconds": dict(detections.seconds),
        "notes": list(detections.notes),
        "geometry": scan.geometry.to_dict(),
    }


def write_record(detections: Detections, scan: Scan, path: Path | str, *, versions: Mapping[str, str]) -> Path:
    """Write `detection_record` as JSON: keys sorted, what does not exist null; the same result gives the same bytes."""
    return write_text(json_text(detection_record(detections, scan, versions=versions)), path)


def _candidate(finding: Finding) -> dict[str, Any]:
    record: dict[str, Any] = {
        name: getattr(finding, name)
        for name in (
            "rank",
            "candidate_id",
            "center_xyz_mm",
            "index_zyx",
            "slice_number",
            "probability",
            "logit",
            "malignancy_probability",
            "diameter_mm",
            "mean_hu",
            "distance_to_pleura_mm",
            "is_nodule",
        )
    }
    region = finding.region
    record["region"] = region and {
        "low_zyx": region.low_zyx,
        "shape_zyx": region.mask.shape,
        "n_voxels": int(region.mask.sum()),
        "made_by": region.made_by,
    }
    return record
