"""Findings as a DICOM SEG: one binary segment per finding, on the slices of the series they were found in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from lungdet import __version__
from lungdet.outputs import dicom_codes as codes
from lungdet.outputs.dicom_findings import TrackedFinding, content_of, derived_uid, tracked_findings
from lungdet.outputs.dicom_series import DicomSeries
from lungdet.pipeline.detections import Detections

_log = logging.getLogger(__name__)

# Segment descriptions, at most 1,024 characters.
_MADE_BY = {
    "segmentation": "Voxels that the segmentation step marked.",
    "ball": "A ball of the estimated diameter around the centre; its outline was not segmented.",
}


def write_dicom_seg(
    detections: Detections, *, series: DicomSeries, out: Path, minimum_probability: float
) -> Path | None:
    """Write the voxels of the findings as one DICOM SEG; segments may overlap.

    The UIDs follow from the findings: the same answer for the same series gives the same SOP Instance UID.

    Args:
        detections: of the scan that was read from this series, with regions.
        series: `lungdet.outputs.dicom_series.read_dicom_series`.
        out: the file to write.
        minimum_probability: findings below it are left out.

    Returns:
        `out`, or None where no finding is left: DICOM knows no SEG without segments.

    Raises:
        RunError, ScanError: detections that do not belong on this series.
    """
    findings = tracked_findings(detections, series, minimum_probability=minimum_probability)
    if not findings:
        _log.info("%s: no finding of probability %g or more, so no DICOM SEG", series.uid, minimum_probability)
        return None
    with warnings.catch_warnings(action="ignore"):  # pydicom's remarks on what the scanner wrote
        _segmentation(findings, series, detections).save_as(out)
    return out


def _segmentation(
    findings: Sequence[TrackedFinding], series: DicomSeries, detections: Detections
) -> hd.seg.Segmentation:
    content = content_of(findings, detections)
    segmentation = hd.seg.Segmentation(
        source_images=[_one_pixel(image) for image in series.images],
        pixel_array=_presence(findings, len(series.images)),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(finding) for finding in findings],
        series_instance_uid=derived_uid("SEG series", series.uid, content),
        series_number=codes.SEGMENTATION_SERIES_NUMBER,
        sop_instance_uid=derived_uid("SEG", series.uid, content),
        instance_number=1,
        manufacturer=codes.NAME,
        manufacturer_model_name=codes.NAME,
        software_versions=__version__,
        device_serial_number=derived_uid("recipe", detections.recipe)[-16:],
        series_description="lungdet: nodules",
        content_label="LUNG_NODULES",
        content_description=f"{len(findings)} lung nodules found by lungdet",
    )
    _enlarge(segmentation, findings, series)
    dimension = derived_uid("SEG dimensions", series.uid, content)
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimension
    return segmentation


def _description(finding: TrackedFinding) -> hd.seg.SegmentDescription:
    made_by = finding.region.made_by
    description = hd.seg.SegmentDescription(
        segment_number=finding.number,
        segment_label=finding.label,
        segmented_property_category=codes.ABNORMAL_STRUCTURE,
        segmented_property_type=codes.NODULE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=codes.NAME,
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=__version__,
            source=codes.NAME,
            parameters={"candidate_id": str(finding.row["candidate_id"]), "region": made_by},
        ),
        tracking_uid=finding.tracking_uid,
        tracking_id=finding.label,
        anatomic_regions=[codes.LUNG],
    )
    description.SegmentDescription = _MADE_BY[made_by]
    return description


# highdicom takes all segments of all slices as one array, 18 GB for 100 findings on 700 slices. It gets images of one
# pixel instead, which says what lies where; the frames it lays out from that are filled with the real pixels after.


def _one_pixel(image: Dataset) -> Dataset:
    small = Dataset()
    small.update(image)
    for keyword in ("Rows", "Columns"):
        delattr(small, keyword)  # a new element below: the header shares the old one
        setattr(small, keyword, 1)
    return small


def _presence(findings: Sequence[TrackedFinding], n_slices: int) -> npt.NDArray[np.uint8]:
    """Which finding is on which slice: uint8 [D, 1, 1, segments]."""
    presence = np.zeros((n_slices, 1, 1, len(findings)), np.uint8)
    for finding in findings:
        presence[finding.region.slices[0], 0, 0, finding.number - 1] = finding.region.mask.any(axis=(1, 2))
    return presence


def _enlarge(segmentation: hd.seg.Segmentation, findings: Sequence[TrackedFinding], series: DicomSeries) -> None:
    """Give every frame its pixels: bit n of the data is voxel n of all frames one after the other (PS3.5 8.1.1)."""
    _, rows, columns = series.geometry.shape_zyx
    slice_of = {str(image.SOPInstanceUID): z for z, image in enumerate(series.images)}
    frames = segmentation.PerFrameFunctionalGroupsSequence
    packed = np.zeros(-(-len(frames) * rows * columns // 16) * 2, np.uint8)
    for number, frame in enumerate(frames):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        region = findings[_segment_number(segmentation, frame) - 1].region
        z, y, x = region.low_zyx
        plane = np.add(np.argwhere(region.mask[slice_of[source] - z]), (y, x))
        bit = (number * rows + plane[:, 0]) * columns + plane[:, 1]
        np.bitwise_or.at(packed, bit // 8, (1 << bit % 8).astype(np.uint8))
    segmentation.Rows, segmentation.Columns = rows, columns
    segmentation.PixelData = packed.tobytes()
    segmentation.SegmentsOverlap = "YES" if _overlap(findings) else "NO"
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = f"{series.geometry.spacing_zyx_mm[0]:.10g}"


def _segment_number(segmentation: hd.seg.Segmentation, frame: Dataset) -> int:
    """A single segment is named once for all frames."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    named: Any = frame if "SegmentIdentificationSequence" in frame else shared
    return int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _overlap(findings: Sequence[TrackedFinding]) -> bool:
    """Whether any voxel belongs to two findings."""
    voxels = [np.argwhere(finding.region.mask) + finding.region.low_zyx for finding in findings]
    every = np.concatenate(voxels)
    return len(np.unique(every, axis=0)) < len(every)
