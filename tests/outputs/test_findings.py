"""Ranks, voxel indices, slices and the region that belongs to each row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.outputs.detection_examples import CENTERS, PROBABILITIES, UID, detections_of, scan_of, unjudged

from lungdet.errors import TableError
from lungdet.outputs.findings import ranked_findings
from lungdet.pipeline.detections import detection_table


def test_most_probable_first_each_with_its_own_row() -> None:
    scan = scan_of()
    detections = detections_of(scan)
    findings = ranked_findings(detections, scan)
    assert [f.rank for f in findings] == [1, 2, 3, 4]
    assert [f.candidate_id for f in findings] == [1, 2, 0, 3]
    assert [f.center_xyz_mm for f in findings] == [tuple(CENTERS[i]) for i in (1, 2, 0, 3)]
    assert [f.probability for f in findings] == [float(np.float32(PROBABILITIES[i])) for i in (1, 2, 0, 3)]
    assert [f.is_nodule for f in findings] == [True, True, True, False]
    assert [f.region for f in findings] == [detections.regions[i] for i in (1, 2, 0, 3)]


def test_voxel_index_and_slice() -> None:
    """At 20.125 mm it is (20.125 + 48.75) / 2.5 = 27.55 slices above the first; the nearest, 28, is the 29th."""
    scan = scan_of()
    best = ranked_findings(detections_of(scan), scan)[0]
    assert best.index_zyx == pytest.approx((27.55, (49.375 - 12.25) / 1.25, 80.0))
    assert best.slice_number == 29


def test_saturated_probabilities_are_ranked_by_logit_then_by_id() -> None:
    scan = scan_of()
    table = detection_table(UID, CENTERS, {"logit": [20.0, 25.0, 20.0, -3.0]})
    assert (table["probability"][:3] == 1).all()
    detections = replace(detections_of(scan), table=table, regions=())
    assert [f.candidate_id for f in ranked_findings(detections, scan)] == [1, 0, 2, 3]


def test_the_threshold_itself_counts() -> None:
    scan = scan_of()
    findings = ranked_findings(detections_of(scan, threshold=float(np.float32(0.75))), scan)
    assert [f.is_nodule for f in findings] == [True, True, False, False]


def test_nothing_found() -> None:
    assert ranked_findings(unjudged(), scan_of()) == ()


def test_another_scan_is_refused() -> None:
    scan = scan_of()
    with pytest.raises(TableError, match=r"detections of series 1\.3.* were given with scan 2\.2"):
        ranked_findings(detections_of(scan), replace(scan, series_uid="2.2"))


def test_regions_must_be_one_per_row() -> None:
    scan = scan_of()
    detections = detections_of(scan)
    with pytest.raises(TableError, match="3 regions for 4 detections"):
        ranked_findings(replace(detections, regions=detections.regions[:3]), scan)
