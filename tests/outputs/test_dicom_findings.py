"""Which detections are numbered how, and identifiers that change with what they stand for and with nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungdet.errors import RunError, ScanError
from lungdet.geometry import Geometry
from lungdet.outputs.dicom_findings import content_of, derived_uid, tracked_findings
from lungdet.outputs.dicom_series import DicomSeries
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.regions import Region

Detector = Callable[..., Detections]

UID = "1.2.3"


def box(*low: int, shape: tuple[int, int, int] = (2, 2, 2)) -> Region:
    return Region((low[0], low[1], low[2]), np.ones(shape, bool), "segmentation")


@pytest.fixture
def series(upright: Geometry) -> DicomSeries:
    """6 x 5 x 7 voxels."""
    return DicomSeries(UID, (), upright)


@pytest.fixture
def three(detect: Detector) -> Detections:
    return detect(UID, [box(0, 0, 0), box(1, 1, 1), box(4, 3, 5)], probability=[0.9, 0.25, 0.5])


def uids(findings: Sequence[Any]) -> list[str]:
    return [finding.tracking_uid for finding in findings]


def test_those_with_the_probability_are_numbered_without_gaps(three: Detections, series: DicomSeries) -> None:
    found = tracked_findings(three, series, minimum_probability=0.5)
    assert [(f.number, f.row["candidate_id"]) for f in found] == [(1, 0), (2, 2)]
    assert [f.label for f in found] == ["Nodule 1, probability 0.90", "Nodule 2, probability 0.50"]
    assert found[1].region is three.regions[2], "up to the last voxel of the scan"
    assert tracked_findings(three, series, minimum_probability=0.95) == []


def test_what_was_not_judged_and_no_detections_give_none(detect: Detector, series: DicomSeries) -> None:
    unknown = detect(UID, [box(0, 0, 0)], probability=[float("nan")])
    assert tracked_findings(unknown, series, minimum_probability=0.0) == []
    assert tracked_findings(detect(UID, []), series, minimum_probability=0.0) == []


def test_each_row_needs_its_region(three: Detections, series: DicomSeries) -> None:
    short = dataclasses.replace(three, regions=three.regions[:2])
    with pytest.raises(RunError, match=r"^3 detections with 2 regions: one region per row is needed$"):
        tracked_findings(short, series, minimum_probability=0.5)


def test_detections_of_another_series_are_refused(three: Detections, series: DicomSeries) -> None:
    other = dataclasses.replace(series, uid="9.9")
    with pytest.raises(ScanError, match=r"detections of series 1\.2\.3 cannot be written on the slices of 9\.9"):
        tracked_findings(three, other, minimum_probability=0.5)


@pytest.mark.parametrize(
    ("region", "reach"), [(box(5, 0, 0), r"from \(5, 0, 0\) to \(7, 2, 2\)"), (box(0, -1, 0), r"from \(0, -1, 0\)")]
)
def test_regions_outside_are_refused_whatever_their_probability(
    region: Region, reach: str, detect: Detector, series: DicomSeries
) -> None:
    outside = detect(UID, [region], probability=[0.01])
    with pytest.raises(ScanError, match=rf"^candidate 0: its region, {reach}.*leaves the \(6, 5, 7\) voxels of series"):
        tracked_findings(outside, series, minimum_probability=0.5)


def test_a_finding_keeps_its_uid_whatever_else_is_found(
    three: Detections, series: DicomSeries, detect: Detector
) -> None:
    """It follows from series, candidate and voxels; the probability may be computed anew."""
    first = uids(tracked_findings(three, series, minimum_probability=0.0))
    assert len(set(first)) == 3
    assert uids(tracked_findings(three, series, minimum_probability=0.5)) == [first[0], first[2]]
    judged = detect(UID, three.regions, probability=[0.6, 0.6, 0.6])
    assert uids(tracked_findings(judged, series, minimum_probability=0.0)) == first
    moved = detect(UID, [box(0, 0, 1), *three.regions[1:]])
    smaller = detect(UID, [box(0, 0, 0, shape=(2, 2, 1)), *three.regions[1:]])
    for other in (moved, smaller):
        changed = uids(tracked_findings(other, series, minimum_probability=0.0))
        assert changed[0] != first[0]
        assert changed[1:] == first[1:]


def test_uids_are_those_of_dicom() -> None:
    """PS3.5: digits and dots, at most 64, no component with a leading zero; 2.25 and a UUID."""
    for part in range(50):
        uid = derived_uid("finding", part)
        assert re.fullmatch(r"2\.25\.[1-9]\d*", uid)
        assert len(uid) <= 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), (12,)),
        (("1",), (1,)),
        ((np.zeros((2, 3), bool),), (np.zeros((3, 2), bool),)),
        ((np.zeros(2, np.int8),), (np.zeros(2, bool),)),
        ((float("nan"),), (None,)),
    ],
)
def test_other_parts_give_another_uid(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert derived_uid(*one) == derived_uid(*one)
    assert derived_uid(*one) != derived_uid(*other)


def test_numbers_of_numpy_paths_and_the_order_of_keys_do_not_matter() -> None:
    assert derived_uid(np.int64(3), np.float64(0.5)) == derived_uid(3, 0.5)
    assert derived_uid(Path("a/b")) == derived_uid("a/b")
    assert derived_uid({"a": 1, "b": 2}) == derived_uid({"b": 2, "a": 1})


def test_content_changes_with_everything_that_is_said(three: Detections, series: DicomSeries) -> None:
    def content(detections: Detections, minimum: float = 0.5) -> str:
        return content_of(tracked_findings(detections, series, minimum_probability=minimum), detections)

    first = content(three)
    assert first == content(three)
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    others = [
        content(three, 0.9),
        content(dataclasses.replace(three, notes=("look twice",))),
        content(dataclasses.replace(three, recipe={"pipeline": "book"})),
        content(dataclasses.replace(three, patient={**three.patient, "nodule_probability": 0.1})),
        content(dataclasses.replace(three, table=three.table.assign(diameter_mm=5.0))),
        content(
            dataclasses.replace(
                three, regions=(dataclasses.replace(three.regions[0], made_by="ball"), *three.regions[1:])
            )
        ),
    ]
    assert len({first, *others}) == 7
    assert content(dataclasses.replace(three, seconds={"lungs": 9.0})) == first, "time says nothing of the finding"
