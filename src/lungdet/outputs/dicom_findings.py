"""Which detections go into DICOM files, under which number, and the identifiers that make a rerun recognizable."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lungdet import __version__
from lungdet.errors import RunError, ScanError
from lungdet.outputs.dicom_series import DicomSeries
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.regions import Region


@dataclass(frozen=True)
class TrackedFinding:
    """One detection as DICOM files name it.

    Attributes:
        number: 1 for the first, without gaps: DICOM numbers segments so.
        row: of the table of detections; what was not computed is NaN.
        region: its voxels on the grid of the series.
        tracking_uid: the same in every file about this finding.
    """

    number: int
    row: pd.Series[Any]
    region: Region
    tracking_uid: str

    @property
    def label(self) -> str:
        """At most 64 characters, as DICOM asks: `Nodule 1, probability 0.93`."""
        return f"Nodule {self.number}, probability {self.row['probability']:.2f}"


def tracked_findings(
    detections: Detections, series: DicomSeries, *, minimum_probability: float
) -> list[TrackedFinding]:
    """The detections with at least this probability, in the order of the table.

    Raises:
        RunError: detections without one region per row.
        ScanError: detections of another series, or a region outside of it.
    """
    table = detections.table
    if len(detections.regions) != len(table):
        raise RunError(f"{len(table)} detections with {len(detections.regions)} regions: one region per row is needed")
    found: list[TrackedFinding] = []
    for (_, row), region in zip(table.iterrows(), detections.regions, strict=True):
        if row["series_uid"] != series.uid:
            raise ScanError(f"detections of series {row['series_uid']} cannot be written on the slices of {series.uid}")
        high = np.add(region.low_zyx, region.mask.shape)
        if min(region.low_zyx) < 0 or np.any(high > series.geometry.shape_zyx):
            raise ScanError(
                f"candidate {row['candidate_id']}: its region, from {region.low_zyx} to {tuple(high.tolist())}, leaves "
                f"the {series.geometry.shape_zyx} voxels of series {series.uid}; find it on this series' own grid"
            )
        if row["probability"] >= minimum_probability:
            uid = derived_uid("finding", series.uid, row["candidate_id"], region.low_zyx, region.mask)
            found.append(TrackedFinding(len(found) + 1, row, region, uid))
    return found


def content_of(findings: Sequence[TrackedFinding], detections: Detections) -> str:
    """A digest of everything a file says about these findings: another answer, another digest."""
    rows = [finding.row.to_dict() for finding in findings]
    regions = [(finding.tracking_uid, finding.region.made_by) for finding in findings]
    return _digest((__version__, rows, regions, detections.recipe, detections.patient, detections.notes)).hex()


def derived_uid(*parts: Any) -> str:
    """A DICOM UID that follows from what it stands for: equal parts, equal UID.

    Reference: DICOM PS3.5 B.2 (2.25 and the decimal value of a UUID).

    >>> derived_uid("series", 1) == derived_uid("series", 1) != derived_uid("series", 2)
    True
    """
    return f"2.25.{uuid.UUID(bytes=_digest(parts)[:16], version=5).int}"


def _digest(parts: Any) -> bytes:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_plain).encode()).digest()


def _plain(value: Any) -> Any:
    """What JSON has no word for: arrays with shape and voxels, numpy's numbers, paths."""
    if isinstance(value, np.ndarray):
        return [value.shape, str(value.dtype), value.tobytes().hex()]
    return value.item() if isinstance(value, np.generic) else str(value)
