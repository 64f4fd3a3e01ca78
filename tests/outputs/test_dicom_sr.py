"""Reports read back by highdicom: what they say, what they refer to, what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from lungdet.errors import RunError
from lungdet.geometry import Geometry
from lungdet.outputs.dicom_seg import write_dicom_seg
from lungdet.outputs.dicom_series import DicomSeries, read_dicom_series
from lungdet.outputs.dicom_sr import write_dicom_sr
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.regions import Region, ball

SeriesWriter = Callable[..., list[Path]]
Detector = Callable[..., Detections]
Validator = Callable[[Path], list[str]]
Group = hd.sr.MeasurementsAndQualitativeEvaluations | hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations

SERIES_UID = "1.2.826.0.1.3680043.8.498.1"  # of `write_series`

NAN = float("nan")
REGIONS = [
    Region((1, 1, 1), np.ones((2, 2, 2), bool), "segmentation"),
    Region((4, 0, 0), np.ones((1, 5, 7), bool), "ball"),
    Region((1, 1, 2), np.ones((2, 2, 2), bool), "segmentation"),
]


@pytest.fixture
def series(tmp_path: Path, write_series: SeriesWriter, upright: Geometry) -> DicomSeries:
    write_series(tmp_path / "ct", np.zeros((6, 5, 7), np.uint16), upright)
    return read_dicom_series(tmp_path / "ct")


@pytest.fixture
def detections(detect: Detector) -> Detections:
    return detect(
        SERIES_UID,
        REGIONS,
        probability=[0.934, 0.2, 0.6],
        malignancy_probability=[0.25, 0.9, NAN],
        diameter_mm=[12.3456789, 5, NAN],
        mean_hu=[-50.5, 20, 33],
        distance_to_pleura_mm=[4.5, NAN, NAN],
        patient={"nodule_probability": 0.934, "malignancy_probability": 0.25},
    )


def both(
    detections: Detections, series: DicomSeries, folder: Path, minimum_probability: float = 0.5
) -> tuple[pydicom.Dataset | None, hd.sr.Comprehensive3DSR, Path]:
    seg = write_dicom_seg(detections, series=series, out=folder / "seg.dcm", minimum_probability=minimum_probability)
    path = write_dicom_sr(
        detections,
        series=series,
        out=folder / "sr.dcm",
        minimum_probability=minimum_probability,
        segmentation=seg,
    )
    report = hd.sr.srread(path)
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    return None if seg is None else pydicom.dcmread(seg), report, path


def content(report: hd.sr.Comprehensive3DSR) -> hd.sr.MeasurementReport:
    assert isinstance(report.content, hd.sr.MeasurementReport)  # highdicom saw TID 1500
    return report.content


def numbers(group: Group) -> dict[str, tuple[float, str]]:
    return {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}


def comments(group: Group) -> list[str]:
    return [item.TextValue for item in group[0].ContentSequence if item.name.meaning == "Comment"]


def test_one_group_per_finding_with_its_numbers(
    tmp_path: Path, series: DicomSeries, detections: Detections, errors_of: Validator
) -> None:
    _, report, path = both(detections, series, tmp_path)
    assert errors_of(path) == []
    first, second = content(report).get_volumetric_roi_measurement_groups()
    assert numbers(first) == {
        "Diameter": (12.34568, "mm"),
        "Attenuation Coefficient": (-50.5, "[hnsf'U]"),
        "Certainty of Finding": (93.4, "%"),
        "Probability of cancer": (25.0, "%"),
        "Distance to pleura": (4.5, "mm"),
    }
    # The second detection has a probability of 0.2; the third was not measured altogether.
    assert numbers(second) == {"Attenuation Coefficient": (33.0, "[hnsf'U]"), "Certainty of Finding": (60.0, "%")}
    assert [group.tracking_identifier for group in (first, second)] == [
        "Nodule 1, probability 0.93",
        "Nodule 2, probability 0.60",
    ]
    assert first.finding_type == hd.sr.CodedConcept("27925004", "SCT", "Nodule")
    assert first.finding_category == hd.sr.CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
    assert [site.value.meaning for site in first.finding_sites] == ["Lung"]
    hu = next(m for m in first.get_measurements() if m.unit.value == "[hnsf'U]")
    assert hu.derivation == hd.sr.CodedConcept("373098007", "SCT", "Mean")
    pleura = next(m for m in first.get_measurements() if m.name.meaning == "Distance to pleura")
    assert [site.value.meaning for site in pleura.finding_sites] == ["Pleura"]


def test_groups_refer_to_their_segment_and_slices(tmp_path: Path, series: DicomSeries, detections: Detections) -> None:
    seg, report, _ = both(detections, series, tmp_path, minimum_probability=0)
    assert seg is not None
    groups = content(report).get_volumetric_roi_measurement_groups()
    uids = [str(image.SOPInstanceUID) for image in series.images]
    for group, item, slices in zip(groups, seg.SegmentSequence, (uids[1:3], uids[4:5], uids[1:3]), strict=True):
        assert group.tracking_uid == item.TrackingUID
        assert group.tracking_identifier == item.SegmentLabel
        segment = group.referenced_segment
        assert segment is not None
        assert segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert segment.referenced_segment_numbers == [item.SegmentNumber]
        assert [image.referenced_sop_instance_uid for image in segment.source_images_for_segmentation] == slices
    evidence = {(series_uid, uid) for _, series_uid, uid, _ in report.get_evidence(current_procedure_only=True)}
    assert evidence == {(SERIES_UID, uid) for uid in uids} | {(seg.SeriesInstanceUID, seg.SOPInstanceUID)}
    assert report.StudyInstanceUID == "1.2.3"
    assert len({report.SeriesInstanceUID, seg.SeriesInstanceUID, SERIES_UID}) == 3
    how = [
        [item.TextValue for item in group[0].ContentSequence if item.name.meaning == "Algorithm Parameters"]
        for group in groups
    ]
    assert how[:2] == [["candidate_id=0", "region=segmentation"], ["candidate_id=1", "region=ball"]]


def test_the_answer_for_the_whole_scan(tmp_path: Path, series: DicomSeries, detections: Detections) -> None:
    _, report, _ = both(replace(detections, notes=("a note",)), series, tmp_path)
    (scan,) = content(report).get_image_measurement_groups()
    assert scan.tracking_identifier == "Whole scan"
    assert numbers(scan) == {"Certainty of Finding": (93.4, "%"), "Probability of cancer": (25.0, "%")}
    assert [image.referenced_sop_instance_uid for image in scan.source_images] == [
        image.SOPInstanceUID for image in series.images
    ]
    listed, note = comments(scan)
    assert listed.startswith("2 of 3 candidates have a probability of 50 % or more and are listed")
    assert note == "a note"
    recipe = [item.TextValue for item in scan[0].ContentSequence if item.name.meaning == "Algorithm Parameters"]
    assert recipe == ['{"pipeline": "default"}']


@pytest.mark.parametrize("judged", [True, False])
def test_a_report_without_findings(
    tmp_path: Path, series: DicomSeries, detect: Detector, errors_of: Validator, judged: bool
) -> None:
    """A scan with nothing in it has probability 0; one without lungs has none, which is not 0."""
    detections = detect(SERIES_UID, [], patient={"nodule_probability": 0.0 if judged else NAN})
    seg, report, path = both(detections, series, tmp_path)
    assert seg is None
    assert errors_of(path) == []
    assert content(report).get_volumetric_roi_measurement_groups() == []
    (scan,) = content(report).get_image_measurement_groups()
    assert numbers(scan) == ({"Certainty of Finding": (0.0, "%")} if judged else {})
    assert comments(scan)[0].startswith("0 of 0 candidates")


def test_uids_follow_from_the_content(tmp_path: Path, series: DicomSeries, detections: Detections) -> None:
    one = both(detections, series, tmp_path)[1]
    again = both(detections, series, tmp_path)[1]
    other = both(replace(detections, patient={**detections.patient, "nodule_probability": 0.5}), series, tmp_path)[1]
    fewer = both(detections, series, tmp_path, minimum_probability=0.55)[1]
    assert one.SOPInstanceUID == again.SOPInstanceUID
    assert one.ContentSequence == again.ContentSequence
    assert len({d.SOPInstanceUID for d in (one, other, fewer)}) == 3


def test_a_segmentation_of_other_findings(tmp_path: Path, series: DicomSeries, detections: Detections) -> None:
    seg = write_dicom_seg(detections, series=series, out=tmp_path / "seg.dcm", minimum_probability=0.7)
    for segmentation, message in (
        (seg, r"seg\.dcm holds no segment for 'Nodule 2, probability 0\.60' and 0 more; a DICOM SR needs the SEG"),
        (None, r"no DICOM SEG was given for 'Nodule 1, probability 0\.93' and 1 more"),
    ):
        with pytest.raises(RunError, match=message):
            write_dicom_sr(
                detections,
                series=series,
                out=tmp_path / "sr.dcm",
                minimum_probability=0.5,
                segmentation=segmentation,
            )
    assert not (tmp_path / "sr.dcm").exists()


@pytest.mark.parametrize("name", ["ANON 1", "Müller^Jürgen", "", "Yamada^Tarou=山田^太郎"])
def test_patients_as_they_are_found(
    tmp_path: Path, write_series: SeriesWriter, upright: Geometry, detections: Detections, name: str
) -> None:
    def change(index: int, header: pydicom.Dataset) -> None:
        header.SpecificCharacterSet = "ISO_IR 192"
        header.PatientName = name
        header.add_new("PatientAge", "AS", "")
        header["PatientAge"]._value = "45"  # not in DICOM's form 045Y

    write_series(tmp_path / "ct", np.zeros((6, 5, 7), np.uint16), upright, change=change)
    seg, report, _ = both(detections, read_dicom_series(tmp_path / "ct"), tmp_path)
    assert seg is not None
    assert str(seg.PatientName) == str(report.PatientName) == name


@pytest.mark.realdata
def test_the_real_series(realdata: Path, tmp_path: Path, detect: Detector, errors_of: Validator) -> None:
    series = read_dicom_series(realdata / "dicom" / "LIDC-IDRI-0001")
    regions = [ball(series.geometry, [0, -50, -110], 12), ball(series.geometry, [60, 20, -132.5], 8)]
    detections = detect(series.uid, regions, diameter_mm=[12, 8])
    seg, report, path = both(detections, series, tmp_path)
    assert seg is not None
    assert errors_of(path) == []
    assert report.PatientID == seg.PatientID == "LIDC-IDRI-0001"
    places = {str(image.SOPInstanceUID): float(image.SliceLocation) for image in series.images}
    first, second = content(report).get_volumetric_roi_measurement_groups()
    slices = [
        [places[image.referenced_sop_instance_uid] for image in group.referenced_segment.source_images_for_segmentation]
        for group in (first, second)
        if group.referenced_segment is not None
    ]
    # 12 mm around -110 reach the slices at up to 6 mm; 8 mm around the lowest slice reach one more.
    assert slices == [[-115.0, -112.5, -110.0, -107.5, -105.0], [-132.5, -130.0]]
