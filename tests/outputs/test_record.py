"""detections.json: complete, strict, the same bytes for the same result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.outputs.detection_examples import CENTERS, UID, VERSIONS, detections_of, scan_of, unjudged

from lungdet.geometry import Geometry
from lungdet.outputs.record import FORMAT, write_record


def strict(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(
        path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    return record


def test_everything_that_is_known(tmp_path: Path) -> None:
    scan = scan_of()
    detections = detections_of(scan)
    record = strict(write_record(detections, scan, tmp_path / "detections.json", versions=VERSIONS))
    assert record["format"] == FORMAT
    assert record["series_uid"] == UID
    assert record["patient"]["n_nodules"] == 3
    assert record["patient"]["nodule_probability"] == float(detections.table["probability"].max())
    assert record["patient"]["malignancy_probability"] is None
    assert record["recipe"] == detections.recipe
    assert record["versions"] == VERSIONS
    assert record["seconds"] == {"lungs": 1.25, "classify": 3.5}
    assert record["notes"] == [f"{UID}: look twice"]
    assert Geometry.from_dict(record["geometry"]) == scan.geometry


def test_candidates_by_rank(tmp_path: Path) -> None:
    scan = scan_of()
    detections = detections_of(scan)
    record = strict(write_record(detections, scan, tmp_path / "detections.json", versions=VERSIONS))
    best, second, third, last = record["candidates"]
    assert [c["rank"] for c in record["candidates"]] == [1, 2, 3, 4]
    assert best["center_xyz_mm"] == CENTERS[1].tolist()
    assert best["diameter_mm"] == 12.0
    assert best["distance_to_pleura_mm"] is None
    assert second["diameter_mm"] is None
    assert best["is_nodule"] is True
    assert last["is_nodule"] is False
    # fp32, not rounded: the table's value comes back.
    assert np.float32(third["logit"]) == detections.table["logit"][0]
    assert scan.geometry.index_to_world(best["index_zyx"]) == pytest.approx(CENTERS[1])
    region = detections.regions[1]
    assert best["region"] == {
        "low_zyx": list(region.low_zyx),
        "shape_zyx": list(region.mask.shape),
        "n_voxels": int(region.mask.sum()),
        "made_by": "segmentation",
    }
    assert third["region"]["made_by"] == "ball"


def test_same_result_same_bytes_in_any_order_of_settings(tmp_path: Path) -> None:
    scan = scan_of()
    a = write_record(detections_of(scan, recipe={"b": 1, "a": 2}), scan, tmp_path / "a.json", versions=VERSIONS)
    turned = dict(reversed(VERSIONS.items()))
    b = write_record(detections_of(scan, recipe={"a": 2, "b": 1}), scan, tmp_path / "b.json", versions=turned)
    assert a.read_bytes() == b.read_bytes()
    assert list(strict(a)) == sorted(strict(a))


def test_a_scan_without_lungs(tmp_path: Path) -> None:
    record = strict(write_record(unjudged(), scan_of(), tmp_path / "d.json", versions={}))
    assert record["candidates"] == []
    assert record["patient"]["nodule_probability"] is None
    assert record["notes"] == [f"{UID}: no lungs found"]
