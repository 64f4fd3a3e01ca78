"""SEGs read back by highdicom: every voxel on the slice, pixel and place in the patient that it came from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from lungdet.errors import RunError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.dicom import read_dicom
from lungdet.outputs.dicom_seg import write_dicom_seg
from lungdet.outputs.dicom_series import read_dicom_series
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.regions import Region, ball

SeriesWriter = Callable[..., list[Path]]
Detector = Callable[..., Detections]
Validator = Callable[[Path], list[str]]

SERIES_UID = "1.2.826.0.1.3680043.8.498.1"  # of `write_series`

Boxes = list[tuple[slice, slice, slice]]

# Overlapping (0 and 1), at both corners of the volume (2 and 3).
BOXES: Boxes = [
    (slice(1, 4), slice(1, 4), slice(2, 5)),
    (slice(3, 5), slice(2, 5), slice(3, 6)),
    (slice(0, 2), slice(0, 1), slice(0, 2)),
    (slice(5, 6), slice(3, 5), slice(4, 7)),
]


def painted(boxes: Boxes, shape: tuple[int, int, int] = (6, 5, 7)) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Bit k of a pixel: whether box k covers it."""
    volume = np.zeros(shape, np.uint16)
    for k, box in enumerate(boxes):
        volume[box] |= 1 << k
    return volume


def regions_in(hu: np.ndarray[tuple[int, ...], np.dtype[np.int16]], n: int) -> list[Region]:
    """Each painted finding as a region whose box is a voxel too large where the volume allows it."""
    regions = []
    for k in range(n):
        there = hu >> k & 1
        low = np.argwhere(there).min(axis=0)
        high = np.minimum(np.argwhere(there).max(axis=0) + 2, hu.shape)
        z, y, x = np.maximum(low - 1, 0).tolist()
        mask = there[z : high[0], y : high[1], x : high[2]].astype(bool)
        regions.append(Region((z, y, x), mask, "segmentation"))
    return regions


def frames_of(seg: hd.seg.Segmentation) -> list[tuple[int, str, list[float]]]:
    """Segment number, referenced slice and position of every frame."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    frames = []
    for frame in seg.PerFrameFunctionalGroupsSequence:
        named = frame if "SegmentIdentificationSequence" in frame else shared
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.SpatialLocationsPreserved == "YES"
        frames.append(
            (
                int(named.SegmentIdentificationSequence[0].ReferencedSegmentNumber),
                str(source.ReferencedSOPInstanceUID),
                [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient],
            )
        )
    return frames


@pytest.mark.parametrize("n", [1, 4])
def test_each_frame_equals_the_pixels_of_its_slice(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, errors_of: Validator, grid: Geometry, n: int
) -> None:
    folder = tmp_path / "ct"
    files = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, write_series(folder, painted(BOXES), grid))}
    detections = detect(SERIES_UID, regions_in(read_dicom(folder)[0], n))
    path = write_dicom_seg(
        detections, series=read_dicom_series(folder), out=tmp_path / "seg.dcm", minimum_probability=0.5
    )
    assert path == tmp_path / "seg.dcm"
    assert errors_of(path) == []
    seg = hd.seg.segread(path)
    assert seg.FrameOfReferenceUID == "1.2.3.4"
    assert seg.SegmentsOverlap == ("YES" if n == 4 else "NO")
    frames = frames_of(seg)
    pixels = seg.pixel_array.reshape(len(frames), 5, 7)
    for (segment, uid, position), plane in zip(frames, pixels, strict=True):
        np.testing.assert_array_equal(plane, files[uid].pixel_array >> (segment - 1) & 1)
        assert position == [float(v) for v in files[uid].ImagePositionPatient]
    # No frame is missing: 3 + 2 + 2 + 1 slices carry something of the four boxes, 3 of the first.
    assert len(frames) == (8 if n == 4 else 3)
    assert sum(plane.sum() for plane in pixels) == sum(r.mask.sum() for r in detections.regions)
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert orientation == next(iter(files.values())).ImageOrientationPatient


def test_highdicom_finds_every_voxel_where_it_lies_in_the_patient(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, grid: Geometry
) -> None:
    def wrong(index: int, header: Dataset) -> None:
        header.SpacingBetweenSlices = "1.25"  # the positions say 2.5

    write_series(tmp_path / "ct", painted(BOXES), grid, change=wrong)
    detections = detect(SERIES_UID, regions_in(read_dicom(tmp_path / "ct")[0], 4))
    series = read_dicom_series(tmp_path / "ct")
    write_dicom_seg(detections, series=series, out=tmp_path / "seg.dcm", minimum_probability=0)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5, abs=1e-4)
    volume = seg.get_volume(combine_segments=False)
    for k, box in enumerate(BOXES):
        index = np.argwhere(volume.array[..., k])
        found = volume.map_indices_to_reference(index)
        wanted = grid.index_to_world(np.argwhere(painted(BOXES) >> k & 1))
        assert len(found) == np.prod([s.stop - s.start for s in box])
        np.testing.assert_allclose(_in_order(found), _in_order(wanted), atol=1e-3)


def _in_order(
    points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return points[np.lexsort(np.round(points, 2).T)]


def test_segments_say_what_they_are(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, upright: Geometry
) -> None:
    write_series(tmp_path / "ct", painted(BOXES), upright)
    series = read_dicom_series(tmp_path / "ct")
    regions = [Region((1, 1, 1), np.ones((2, 2, 2), bool), "segmentation"), ball(series.geometry, [-10, 32, -96], 2)]
    regions.append(regions[0])
    detections = detect(SERIES_UID, regions, probability=[0.934, 0.25, 0.7])
    write_dicom_seg(detections, series=series, out=tmp_path / "all.dcm", minimum_probability=0.25)
    write_dicom_seg(detections, series=series, out=tmp_path / "few.dcm", minimum_probability=0.26)
    seg = hd.seg.segread(tmp_path / "all.dcm")
    labels = [item.SegmentLabel for item in seg.SegmentSequence]
    assert labels == ["Nodule 1, probability 0.93", "Nodule 2, probability 0.25", "Nodule 3, probability 0.70"]
    assert [item.TrackingID for item in seg.SegmentSequence] == labels
    first, second, _ = (seg.get_segment_description(number) for number in (1, 2, 3))
    assert first.segmented_property_category.value == "49755003"
    assert first.segmented_property_type.value == "27925004"
    assert [region.value for region in first.anatomic_regions] == ["39607008"]
    assert first.algorithm_type == hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    algorithms = [segment.algorithm_identification for segment in (first, second)]
    assert [(a.name, a.parameters) for a in algorithms if a is not None] == [
        ("lungdet", {"candidate_id": "0", "region": "segmentation"}),
        ("lungdet", {"candidate_id": "1", "region": "ball"}),
    ]
    assert "its outline was not segmented" in second.SegmentDescription
    few = hd.seg.segread(tmp_path / "few.dcm")
    assert [item.SegmentLabel for item in few.SegmentSequence] == [labels[0], "Nodule 2, probability 0.70"]
    assert few.SegmentSequence[1].TrackingUID == seg.SegmentSequence[2].TrackingUID
    # All slices are named as sources, also those without a finding.
    (referenced,) = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == SERIES_UID
    assert len(referenced.ReferencedInstanceSequence) == 6
    assert (seg.PatientID, str(seg.PatientName), seg.StudyID) == ("P1", "Doe^Jane", "S1")


def test_uids_follow_from_the_findings(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, upright: Geometry
) -> None:
    write_series(tmp_path / "ct", painted(BOXES), upright)
    region = Region((1, 1, 1), np.ones((2, 2, 2), bool), "segmentation")

    def write(region: Region, probability: float) -> pydicom.Dataset:
        series = read_dicom_series(tmp_path / "ct")
        detections = detect(SERIES_UID, [region], probability=[probability])
        write_dicom_seg(detections, series=series, out=tmp_path / "seg.dcm", minimum_probability=0)
        return pydicom.dcmread(tmp_path / "seg.dcm")

    one, again = write(region, 0.9), write(region, 0.9)
    for moment in ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime"):
        setattr(again, moment, getattr(one, moment))
    again.ContributingEquipmentSequence = one.ContributingEquipmentSequence  # says when, too
    assert one == again
    others = [write(region, 0.8), write(Region((1, 1, 2), region.mask, "segmentation"), 0.9)]
    others.append(write(Region(region.low_zyx, region.mask, "ball"), 0.9))
    assert len({d.SOPInstanceUID for d in (one, *others)}) == 4
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in (one.SOPInstanceUID, one.SeriesInstanceUID))


def test_no_finding_is_no_file(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, upright: Geometry, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "ct", painted(BOXES), upright)
    series = read_dicom_series(tmp_path / "ct")
    region = Region((1, 1, 1), np.ones((2, 2, 2), bool), "ball")
    for detections in (
        detect(SERIES_UID, []),
        detect(SERIES_UID, [region], probability=[0.4]),
        detect(SERIES_UID, [region], probability=[np.nan]),
    ):
        with caplog.at_level(logging.INFO, "lungdet.outputs.dicom_seg"):
            assert write_dicom_seg(detections, series=series, out=tmp_path / "x.dcm", minimum_probability=0.5) is None
        assert not (tmp_path / "x.dcm").exists()
        assert "no finding of probability 0.5 or more, so no DICOM SEG" in caplog.text
        caplog.clear()


def test_detections_of_something_else(
    tmp_path: Path, write_series: SeriesWriter, detect: Detector, upright: Geometry
) -> None:
    write_series(tmp_path / "ct", painted(BOXES), upright)
    series = read_dicom_series(tmp_path / "ct")
    inside = Region((1, 1, 1), np.ones((2, 2, 2), bool), "ball")
    outside = Region((5, 1, 1), np.ones((2, 2, 2), bool), "ball")
    for detections, error, message in (
        (detect("1.2.99", [inside]), ScanError, r"detections of series 1\.2\.99 cannot be written on the slices of"),
        (detect(SERIES_UID, [inside, outside]), ScanError, r"candidate 1: its region, .* to \(7, 3, 3\), leaves the"),
        (replace(detect(SERIES_UID, [inside]), regions=()), RunError, "1 detections with 0 regions"),
    ):
        with pytest.raises(error, match=message):
            write_dicom_seg(detections, series=series, out=tmp_path / "x.dcm", minimum_probability=0)


def test_many_findings(tmp_path: Path, write_series: SeriesWriter, detect: Detector, errors_of: Validator) -> None:
    """300 balls in 20 slices of 64 x 64: more than eight bits can number."""
    grid = Geometry((20, 64, 64), (-20, -20, -20), (0.7, 0.7, 2))
    write_series(tmp_path / "ct", np.zeros((20, 64, 64), np.uint16), grid)
    series = read_dicom_series(tmp_path / "ct")
    assert (series.images[0].Rows, series.images[0].Columns) == (64, 64)
    centers = grid.index_to_world(np.random.default_rng(5).uniform(0, (19, 63, 63), (300, 3)))
    regions = [ball(grid, center, 9) for center in centers]
    detections = detect(SERIES_UID, regions)
    write_dicom_seg(detections, series=series, out=tmp_path / "seg.dcm", minimum_probability=0.5)
    assert errors_of(tmp_path / "seg.dcm") == []
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert seg.number_of_segments == 300
    uids = [image.SOPInstanceUID for image in series.images]
    for number in (1, 2, 299, 300):
        read = seg.get_pixels_by_source_instance(uids, segment_numbers=[number], assert_missing_frames_are_empty=True)
        wanted = np.zeros(grid.shape_zyx)
        wanted[regions[number - 1].slices] = regions[number - 1].mask
        np.testing.assert_array_equal(read[..., 0], wanted)
    assert (series.images[0].Rows, series.images[0].Columns) == (64, 64)  # writing left the headers alone


@pytest.mark.realdata
def test_real_voxels_above_a_threshold(realdata: Path, tmp_path: Path, detect: Detector, errors_of: Validator) -> None:
    folder = realdata / "dicom" / "LIDC-IDRI-0001"
    hu, _, uid = read_dicom(folder)
    boxes: Boxes = [
        (slice(3, 9), slice(330, 380), slice(290, 350)),
        (slice(0, 4), slice(0, 300), slice(100, 400)),
        (slice(8, 16), slice(350, 512), slice(300, 512)),
    ]
    regions = [Region((z.start, y.start, x.start), hu[z, y, x] > -400, "segmentation") for z, y, x in boxes]
    series = read_dicom_series(folder)
    path = write_dicom_seg(detect(uid, regions), series=series, out=tmp_path / "seg.dcm", minimum_probability=0.5)
    assert path is not None
    assert errors_of(path) == []
    seg = hd.seg.segread(path)
    files = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, folder.rglob("*.dcm"))}
    heights = [-132.5 + 2.5 * k for k in range(16)]
    seen = []
    for (segment, slice_uid, position), plane in zip(frames_of(seg), seg.pixel_array, strict=True):
        image = files[slice_uid]
        _, y, x = boxes[segment - 1]
        wanted = np.zeros((512, 512), bool)
        wanted[y, x] = (image.pixel_array.astype(float) * image.RescaleSlope + image.RescaleIntercept)[y, x] > -400
        np.testing.assert_array_equal(plane.astype(bool), wanted)
        assert position == [-166.0, -171.699997, float(image.SliceLocation)]
        seen.append((segment, heights.index(float(image.SliceLocation))))
    assert sorted(seen) == [(k + 1, z) for k, (zs, _, _) in enumerate(boxes) for z in range(zs.start, zs.stop)]
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (float(measures.SpacingBetweenSlices), [float(v) for v in measures.PixelSpacing]) == (2.5, [0.703125] * 2)
