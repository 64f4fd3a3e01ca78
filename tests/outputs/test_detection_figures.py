"""Pictures stand right and markers lie on what they mark, whatever the scan's direction."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.outputs.detection_examples import CENTERS, detections_of, scan_of

from lungdet.evaluation.pictures import Picture
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.outputs.detection_figures import finding_pictures, outline_path, overview_pictures
from lungdet.outputs.findings import Finding, ranked_findings
from lungdet.pipeline.regions import Region, ball

TURN = np.deg2rad(25)
TURNED = (np.cos(TURN), -np.sin(TURN), 0.0, np.sin(TURN), np.cos(TURN), 0.0, 0.0, 0.0, 1.0)
GRIDS = {
    "straight": Geometry((40, 80, 100), (-49.5, -49.375, -48.75), (1.0, 1.25, 2.5)),
    "flipped": Geometry((40, 80, 100), (49.5, 49.375, -48.75), (1.0, 1.25, 2.5), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    # Array axes z, y, x run along the patient's x, z (downwards) and y.
    "permuted": Geometry((40, 80, 100), (-48.75, -49.5, 49.375), (1.0, 1.25, 2.5), (0, 0, 1, 1, 0, 0, 0, -1, 0)),
    "oblique": Geometry((50, 120, 120), (-33.0, -79.0, -61.25), (1.0, 1.0, 2.5), TURNED),
}


def findings_of(scan: Scan) -> tuple[Finding, ...]:
    return ranked_findings(detections_of(scan), scan)


def gray(picture: Picture) -> npt.NDArray[np.uint8]:
    data = picture.png.removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def corners(path: str) -> npt.NDArray[np.float64]:
    return np.array([[float(v) for v in pair.split()] for pair in re.findall(r"[-\d.]+ [-\d.]+", path)])


@pytest.mark.parametrize("name", GRIDS)
def test_overview_markers_lie_on_their_findings(name: str) -> None:
    """Each marker's place in mm, turned into a pixel, shows a brighter spot than the lung beside it.

    In the mean along 100 mm of lung at -850 HU, a ball of 12 mm at 40 HU shines by some 100 HU.
    """
    scan = scan_of(GRIDS[name])
    for picture in overview_pictures(scan, findings_of(scan)):
        assert [m.words for m in picture.markers] == ["4", "3", "2", "1"]
        best = picture.markers[-1]
        image = gray(picture).astype(float)
        scale = image.shape[1] / picture.width
        assert image.shape[0] / picture.height == pytest.approx(scale, rel=0.02)
        row, column = int(best.y * scale), int(best.x * scale)
        far = [image[int((best.y + dy) * scale), int((best.x + dx) * scale)] for dy, dx in ((-9, 0), (9, 0), (0, -9))]
        assert image[row, column] > np.max(far) + 20


@pytest.mark.parametrize("name", ["straight", "flipped", "permuted"])
def test_overview_stands_upright(name: str) -> None:
    """The scan covers -50 to 50 mm of x, y and z; finding 1 is at (30.5, -12.25, 20.125)."""
    scan = scan_of(GRIDS[name])
    coronal, sagittal, axial = overview_pictures(scan, findings_of(scan))
    at = [(p.markers[-1].x, p.markers[-1].y) for p in (coronal, sagittal, axial)]
    assert at[0] == pytest.approx((80.5, 50 - 20.125))  # the patient's left on the right, the head on top
    assert at[1] == pytest.approx((50 - 12.25, 50 - 20.125))  # the front on the left
    assert at[2] == pytest.approx((80.5, 50 - 12.25))  # the front on top
    assert (coronal.plane, sagittal.plane, axial.plane) == ("coronal", "sagittal", "axial")
    assert "".join(t.words for t in coronal.letters) == "HFRL"
    assert "".join(t.words for t in sagittal.letters) == "HFAP"
    assert "".join(t.words for t in axial.letters) == "APRL"
    for picture in (coronal, sagittal, axial):
        assert (picture.width, picture.height) == pytest.approx((100, 100), abs=0.5)


def test_anisotropic_voxels_keep_their_shape() -> None:
    geometry = Geometry((5, 60, 60), (0.0, 0.0, 0.0), (1.0, 1.0, 10.0))
    scan = Scan(np.zeros((5, 60, 60), np.int16), geometry, "flat")
    coronal, _, axial = overview_pictures(scan, ())
    assert coronal.height / coronal.width == pytest.approx(50 / 60, rel=0.02)
    assert axial.height / axial.width == pytest.approx(1)
    assert gray(axial).max() == 0  # nothing to see is no error


def test_a_slab_has_no_room_for_letters_above_and_below() -> None:
    geometry = Geometry((4, 60, 60), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    coronal, _, axial = overview_pictures(Scan(np.zeros((4, 60, 60), np.int16), geometry, "slab"), ())
    assert [t.words for t in coronal.letters] == ["R", "L"]
    assert len(axial.letters) == 4


def test_overview_kinds_and_numbers() -> None:
    scan = scan_of()
    coronal, _, _ = overview_pictures(scan, findings_of(scan), annotated_xyz_mm=[CENTERS[0]], n_numbered=2)
    assert [(m.kind, m.words, m.target) for m in coronal.markers] == [
        ("annotation", "", ""),
        ("candidate", "", ""),
        ("nodule", "", ""),
        ("nodule", "2", "finding-2"),
        ("nodule", "1", "finding-1"),
    ]
    third = coronal.markers[2]
    assert (coronal.markers[0].x, coronal.markers[0].y) == pytest.approx((third.x, third.y))


def test_numbers_do_not_cover_each_other() -> None:
    scan = scan_of()
    best = findings_of(scan)[0]
    crowd = [replace(best, rank=rank) for rank in range(1, 13)]
    coronal, _, _ = overview_pictures(scan, crowd)
    labels = [m.label for m in coronal.markers if m.label]
    assert 1 <= len(labels) < 12
    assert coronal.markers[-1].label is not None  # the most probable keeps its number
    letter = 0.04 * coronal.width
    for i, a in enumerate(labels):
        assert all(abs(a.x - b.x) > 0.5 * letter or abs(a.y - b.y) > 0.7 * letter for b in labels[:i])


@pytest.mark.parametrize("name", GRIDS)
def test_finding_is_in_the_middle_and_its_outline_around_it(name: str) -> None:
    """A ball of 12 mm at 40 HU: the window -1000 to 400 maps it to 189 and lung at -850 to 27.

    Its outline touches a box of 12 mm; voxels are up to 2.5 mm, so each side may be off by 1.3 mm and the picture's
    place by less.
    """
    scan = scan_of(GRIDS[name])
    best = findings_of(scan)[0]
    for picture in finding_pictures(scan, best):
        image = gray(picture)
        assert picture.width == picture.height
        assert image[image.shape[0] // 2, image.shape[1] // 2] == 189
        assert np.median(image[0]) == 27
        around = corners(picture.outline)
        middle = picture.width / 2
        np.testing.assert_allclose(around.min(axis=0), middle - 6, atol=1.4)
        np.testing.assert_allclose(around.max(axis=0), middle + 6, atol=1.4)


def test_balls_and_missing_regions_have_no_outline() -> None:
    scan = scan_of()
    third = findings_of(scan)[2]
    assert third.region is not None
    assert third.region.made_by == "ball"
    for finding in (third, replace(third, region=None)):
        assert [p.outline for p in finding_pictures(scan, finding)] == ["", "", ""]


def test_outline_of_one_pixel() -> None:
    """Pixel (1, 2) of 2 mm has its middle at (5, 3) mm; halfway to its neighbours is 1 mm from there."""
    covered = np.zeros((4, 5), np.float32)
    covered[1, 2] = 1
    points = corners(outline_path(covered, 2.0))
    assert sorted(set(map(tuple, points.tolist()))) == [(4, 3), (5, 2), (5, 4), (6, 3)]
    assert outline_path(np.zeros((4, 5), np.float32), 2.0) == ""


def test_outline_is_closed_at_the_border_of_picture_and_scan() -> None:
    assert outline_path(np.ones((3, 3), np.float32), 1.0).count("Z") == 1
    scan = scan_of()
    corner = scan.geometry.index_to_world([0, 0, 0])
    region = Region((0, 0, 0), ball(scan.geometry, corner, 10.0).mask, "segmentation")
    finding = replace(findings_of(scan)[0], center_xyz_mm=tuple(corner), region=region)
    axial, _, _ = finding_pictures(scan, finding)
    assert axial.outline.endswith("Z")
    image = gray(axial)
    assert image[0, 0] == 0  # beyond the scan


@pytest.mark.parametrize(("diameter", "side"), [(np.nan, 40), (4.0, 40), (30.0, 60), (200.0, 100)])
def test_large_findings_get_large_pictures(diameter: float, side: float) -> None:
    scan = scan_of()
    finding = replace(findings_of(scan)[0], diameter_mm=diameter)
    assert finding_pictures(scan, finding)[0].width == pytest.approx(side, abs=1)


def test_fine_voxels_do_not_make_huge_pictures() -> None:
    geometry = Geometry((60, 60, 60), (0.0, 0.0, 0.0), (0.1, 0.1, 0.1))
    scan = Scan(np.zeros((60, 60, 60), np.int16), geometry, "fine")
    finding = replace(findings_of(scan_of())[0], center_xyz_mm=(3.0, 3.0, 3.0), region=None)
    assert gray(finding_pictures(scan, finding)[0]).shape == (101, 101)
