"""Findings as a DICOM structured report (TID 1500): sizes, probabilities and positions, one group per finding."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import highdicom as hd
import numpy as np
import pydicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from lungdet import __version__
from lungdet.errors import RunError
from lungdet.outputs import dicom_codes as codes
from lungdet.outputs.dicom_findings import TrackedFinding, content_of, derived_uid, tracked_findings
from lungdet.outputs.dicom_series import DicomSeries
from lungdet.pipeline.detections import Detections


class _Measure(NamedTuple):
    """How one number stands in the report; DICOM gives certainties in percent."""

    column: str
    name: Code
    unit: Code
    factor: float = 1.0
    derivation: Code | None = None
    site: Code | None = None


_MEASURES = (
    _Measure("diameter_mm", codes.DIAMETER, codes.MILLIMETER),
    _Measure("mean_hu", codes.ATTENUATION, codes.HOUNSFIELD_UNIT, derivation=codes.MEAN),
    _Measure("probability", codes.CERTAINTY_OF_FINDING, codes.PERCENT, factor=100),
    _Measure("malignancy_probability", codes.PROBABILITY_OF_CANCER, codes.PERCENT, factor=100),
    _Measure("distance_to_pleura_mm", codes.DISTANCE_TO_PLEURA, codes.MILLIMETER, site=codes.PLEURA),
)
_PATIENT_MEASURES = (
    _Measure("nodule_probability", codes.CERTAINTY_OF_FINDING, codes.PERCENT, factor=100),
    _Measure("malignancy_probability", codes.PROBABILITY_OF_CANCER, codes.PERCENT, factor=100),
)


def write_dicom_sr(
    detections: Detections, *, series: DicomSeries, out: Path, minimum_probability: float, segmentation: Path | None
) -> Path:
    """Write what was found as a DICOM SR, Comprehensive 3D with template TID 1500 "Measurement Report".

    Each finding is a volumetric group that refers to its segment and to the slices it lies on; one more group holds the
    answer for the whole scan, so that a scan without findings has a report too. What was not computed is left out.
    Probabilities are given in percent. The UIDs follow from the content, as those of the SEG do.

    Args:
        detections: of the scan that was read from this series, with regions.
        series: `lungdet.outputs.dicom_series.read_dicom_series`.
        out: the file to write.
        minimum_probability: findings below it are left out; the one the SEG was written with.
        segmentation: what `write_dicom_seg` returned for these detections.

    Raises:
        RunError: a segmentation that lacks one of the findings; detections without regions.
        ScanError: detections that do not belong on this series.
    """
    findings = tracked_findings(detections, series, minimum_probability=minimum_probability)
    seg = None if segmentation is None else pydicom.dcmread(segmentation, stop_before_pixels=True)
    segments = _segment_numbers(findings, seg, segmentation)
    with warnings.catch_warnings(action="ignore"):  # pydicom's remarks on what the scanner wrote
        groups: list[Any] = [_scan_group(detections, findings, series, minimum_probability=minimum_probability)]
        groups += [_finding_group(finding, series, seg, segments[finding.tracking_uid]) for finding in findings]
        uid = derived_uid("SR", series.uid, content_of(findings, detections), minimum_probability)
        evidence = [*series.images, *([] if seg is None else [seg])]
        _document(groups, evidence, sop_instance_uid=uid).save_as(out)
    return out


def _document(groups: Sequence[Any], evidence: Sequence[Dataset], *, sop_instance_uid: str) -> hd.sr.Comprehensive3DSR:
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", codes.NAME, __version__),
        name=codes.NAME,
        manufacturer_name=codes.NAME,
        model_name=f"{codes.NAME} {__version__}",
    )
    observer = hd.sr.ObserverContext(hd.sr.CodedConcept.from_code(codes.DEVICE), device)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.CT_CHEST,
        imaging_measurements=groups,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=report,
        series_instance_uid=derived_uid("SR series", sop_instance_uid),
        series_number=codes.REPORT_SERIES_NUMBER,
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        manufacturer=codes.NAME,
        manufacturer_model_name=codes.NAME,
        software_versions=__version__,
        series_description="lungdet: report",
        is_complete=True,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                codes.PRIVATE_SCHEME, name="Codes of lungdet", responsible_organization=codes.NAME
            )
        ],
    )


def _segment_numbers(findings: Sequence[TrackedFinding], seg: Dataset | None, path: Path | None) -> dict[str, int]:
    """Tracking UID of each finding -> its segment."""
    numbers = {} if seg is None else {str(item.TrackingUID): int(item.SegmentNumber) for item in seg.SegmentSequence}
    missing = [finding.label for finding in findings if finding.tracking_uid not in numbers]
    if missing:
        given = "no DICOM SEG was given" if path is None else f"{path} holds no segment"
        raise RunError(
            f"{given} for '{missing[0]}' and {len(missing) - 1} more; a DICOM SR needs the SEG that was written from "
            "the same detections with the same minimum probability"
        )
    return numbers


def _finding_group(
    finding: TrackedFinding, series: DicomSeries, seg: Any, segment_number: int
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    region = finding.region
    images = [series.images[region.low_zyx[0] + z] for z, plane in enumerate(region.mask) if plane.any()]
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=finding.tracking_uid, identifier=finding.label),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=segment_number,
            source_images=[hd.sr.SourceImageForSegmentation.from_source_image(image) for image in images],
        ),
        finding_category=codes.ABNORMAL_STRUCTURE,
        finding_type=codes.NODULE,
        finding_sites=[hd.sr.FindingSite(codes.LUNG)],
        algorithm_id=_algorithm([f"candidate_id={finding.row['candidate_id']}", f"region={region.made_by}"]),
        measurements=_measurements(finding.row, _MEASURES),
    )


def _scan_group(
    detections: Detections, findings: Sequence[TrackedFinding], series: DicomSeries, *, minimum_probability: float
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    patient = detections.patient
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=derived_uid("scan", series.uid), identifier="Whole scan"),
        finding_sites=[hd.sr.FindingSite(codes.LUNG)],
        algorithm_id=_algorithm([json.dumps(detections.recipe, default=str)]),
        measurements=_measurements(patient, _PATIENT_MEASURES),
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(image) for image in series.images],
    )
    comments = [
        f"{len(findings)} of {patient['n_candidates']} candidates have a probability of "
        f"{100 * minimum_probability:g} % or more and are listed. The whole scan is judged from all candidates by the "
        f"rule {patient['rule']!r}.",
        *detections.notes,
    ]
    for comment in comments:
        group[0].ContentSequence.append(
            hd.sr.TextContentItem(codes.COMMENT, comment, hd.sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _algorithm(parameters: list[str]) -> hd.sr.AlgorithmIdentification:
    return hd.sr.AlgorithmIdentification(
        codes.NAME, __version__, parameters=parameters, family=codes.ARTIFICIAL_INTELLIGENCE, manufacturer=codes.NAME
    )


def _measurements(values: Any, measures: Sequence[_Measure]) -> list[hd.sr.Measurement]:
    """Those that were computed, with the seven digits that float32 carries."""
    return [
        hd.sr.Measurement(
            name=measure.name,
            value=float(f"{float(values[measure.column]) * measure.factor:.7g}"),
            unit=measure.unit,
            derivation=measure.derivation,
            finding_sites=None if measure.site is None else [hd.sr.FindingSite(measure.site)],
        )
        for measure in measures
        if np.isfinite(values[measure.column])
    ]
