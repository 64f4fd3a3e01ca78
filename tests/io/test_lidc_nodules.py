from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Polygon
from scipy.ndimage import binary_dilation

from lungdet.errors import ConfigError, MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.lidc import Contour, LidcScan, find_database, read_lidc_marks, read_lidc_scan
from lungdet.io.lidc_nodules import cluster_annotations, consensus_mask, nodule_table, reader_counts
from lungdet.io.luna16 import read_annotations, read_malignancy
from lungdet.io.scan import read_header, read_scan

GRID = Geometry((6, 40, 40), (100.0, -50.0, -10.0), (0.5, 0.5, 2.0))


@pytest.fixture
def scan(lidc_database: Path) -> LidcScan:
    return read_lidc_scan("1.2.3", lidc_database)


@pytest.fixture
def installed() -> Path:
    """The database of the optional extra."""
    try:
        return find_database()
    except MissingFileError as error:
        pytest.skip(str(error))


def dot(annotation_id: int, x: int, z: float = 0.0) -> Contour:
    return Contour(annotation_id, z, True, np.array([[x, 0], [x, 2]], np.int32))


def marks(*contours: Contour, thickness: float = 2.0, spacing: float = 1.0) -> LidcScan:
    ids = dict.fromkeys(contour.annotation_id for contour in contours)
    return LidcScan("1.2.3", "p", spacing, thickness, dict.fromkeys(ids, 3), contours)


def test_marks_of_one_nodule_are_found_together(scan: LidcScan) -> None:
    assert cluster_annotations(scan) == {11: 0, 12: 0, 13: 0, 14: 1}


def test_a_scan_without_marks() -> None:
    empty = marks()
    assert cluster_annotations(empty) == {}
    assert not reader_counts(empty, Geometry((2, 3, 4), (0, 0, 0), (1, 1, 1))).any()
    assert len(nodule_table(empty, Geometry((2, 3, 4), (0, 0, 0), (1, 1, 1)))) == 0


@pytest.mark.parametrize(
    ("contours", "nodules"),
    [
        ((dot(1, 0), dot(2, 2)), [0, 0]),  # exactly one slice thickness apart
        ((dot(1, 0), dot(2, 3)), [0, 1]),
        ((dot(1, 0), dot(2, 0, z=2.0)), [0, 0]),
        ((dot(1, 0), dot(2, 0, z=2.5)), [0, 1]),
        ((dot(1, 0), dot(2, 9), dot(3, 2), dot(4, 4)), [0, 1, 0, 0]),  # a chain
    ],
)
def test_distance_in_mm_decides(contours: tuple[Contour, ...], nodules: list[int]) -> None:
    assert list(cluster_annotations(marks(*contours)).values()) == nodules
    # Half the pixel size and half the thickness: the same picture, unless slices are concerned.
    if all(contour.z_mm == 0 for contour in contours):
        assert list(cluster_annotations(marks(*contours, thickness=1.0, spacing=0.5)).values()) == nodules


def test_more_than_four_readers_do_not_exist() -> None:
    pair_of_nodules = [dot(1, 0), dot(2, 0), dot(3, 1), dot(4, 3), dot(5, 3), dot(6, 3)]
    assert list(cluster_annotations(marks(*pair_of_nodules)).values()) == [0, 0, 0, 1, 1, 1]
    one_place = [dot(key, 0) for key in range(6)]  # nothing to tell them apart: they stay together
    assert set(cluster_annotations(marks(*one_place)).values()) == {0}


def test_counts_by_hand(scan: LidcScan) -> None:
    expected = np.zeros(GRID.shape_zyx, np.uint8)
    expected[1, 5:10, 10:15] += 2  # readers 11 and 13
    expected[1, 5:10, 11:16] += 1
    expected[2, 5:10, 10:15] += 1
    expected[3, 30:37, 30:37] = 1
    expected[3, 32:35, 32:35] = 0  # the hole with its outline
    np.testing.assert_array_equal(reader_counts(scan, GRID), expected)


def test_without_the_outline(scan: LidcScan) -> None:
    expected = np.zeros(GRID.shape_zyx, np.uint8)
    expected[1, 6:9, 11:14] += 2
    expected[1, 6:9, 12:15] += 1
    expected[2, 6:9, 11:14] += 1
    expected[3, 31:36, 31:36] = 1
    expected[3, 32:35, 32:35] = 0
    np.testing.assert_array_equal(reader_counts(scan, GRID, outline="background"), expected)


def test_rasterising_agrees_with_point_in_polygon() -> None:
    """A ragged outline of neighbouring pixels, as readers draw, against matplotlib's test of each pixel."""
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    radius = 9 + 3 * np.sin(5 * angle)
    points = np.rint(np.column_stack([20 + radius * np.cos(angle), 19 + radius * np.sin(angle)])).astype(np.int32)
    points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    ragged = LidcScan("1.2.3", "p", 0.5, 2.0, {1: 3}, (Contour(1, -10.0, True, points),))
    pixels = np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(-1, 2)
    inside = Polygon(np.vstack([points, points[:1]]), closed=True).contains_points(pixels).reshape(40, 40)
    drawn = np.zeros((40, 40), bool)
    drawn[points[:, 1], points[:, 0]] = True
    np.testing.assert_array_equal(reader_counts(ragged, GRID, outline="background")[0], inside & ~drawn)
    np.testing.assert_array_equal(reader_counts(ragged, GRID)[0], inside | drawn)


def test_consensus(scan: LidcScan) -> None:
    counts = reader_counts(scan, GRID)
    np.testing.assert_array_equal(consensus_mask(scan, GRID), counts >= 2)
    np.testing.assert_array_equal(consensus_mask(scan, GRID, min_readers=3), counts >= 3)
    # Half of the three readers of the first nodule is two, half of the one reader of the second is one.
    half = counts >= 2
    half[3] = counts[3] >= 1
    np.testing.assert_array_equal(consensus_mask(scan, GRID, fraction=0.5), half)
    np.testing.assert_array_equal(consensus_mask(scan, GRID, fraction=0.01), counts >= 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_readers": 0}, "min_readers is 0; allowed is 1 to 4"),
        ({"fraction": 0.0}, "fraction is 0.0; allowed is above 0 up to 1"),
        ({"fraction": 1.5}, "fraction is 1.5"),
    ],
)
def test_impossible_consensus(scan: LidcScan, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        consensus_mask(scan, GRID, **wrong)


def test_nodule_table_by_hand(scan: LidcScan) -> None:
    table = nodule_table(scan, GRID)
    assert table["nodule"].tolist() == [0, 1]
    assert table["readers"].tolist() == [3, 1]
    assert table["ratings"].tolist() == [(3, 4, 5), (1,)]
    # Reader 11: column 12, row 7, slice 1; 12: one column further; 13: slices 1 and 2.
    np.testing.assert_allclose(table["center_x_mm"], [100 + 0.5 * (12 + 13 + 12) / 3, 100 + 0.5 * 33])
    np.testing.assert_allclose(table["center_y_mm"], [-50 + 0.5 * 7, -50 + 0.5 * 33])
    np.testing.assert_allclose(table["center_z_mm"], [(-8 - 8 - 7) / 3, -4])
    pixel_mm3 = 0.5
    volumes = np.array([9, 9, 18]) * pixel_mm3
    expected = [np.mean((6 * volumes / np.pi) ** (1 / 3)), (6 * (25 - 9) * pixel_mm3 / np.pi) ** (1 / 3)]
    np.testing.assert_allclose(table["diameter_mm"], expected)


def test_flipped_scans_use_the_same_pixels(scan: LidcScan) -> None:
    flipped = replace(GRID, direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    np.testing.assert_array_equal(reader_counts(scan, flipped), reader_counts(scan, GRID))
    downward = Geometry((6, 40, 40), (0, 0, 0.0), (0.5, 0.5, 2.0), (1, 0, 0, 0, -1, 0, 0, 0, -1))
    np.testing.assert_array_equal(reader_counts(scan, downward), reader_counts(scan, GRID)[[5, 4, 3, 2, 1, 0]])


def test_slices_beyond_the_volume_are_left_out(scan: LidcScan, caplog: pytest.LogCaptureFixture) -> None:
    slab = Geometry((2, 40, 40), (100.0, -50.0, -10.0), (0.5, 0.5, 2.0))
    with caplog.at_level("INFO", "lungdet.io.lidc_nodules"):
        np.testing.assert_array_equal(reader_counts(scan, slab), reader_counts(scan, GRID)[:2])
    assert "an outline at z = -4 mm lies beyond the volume" in caplog.text
    assert nodule_table(scan, slab)["nodule"].tolist() == [0]


def test_only_the_native_grid_will_do(scan: LidcScan) -> None:
    with pytest.raises(ScanError, match=r"outlines are drawn on pixels of 0\.5 mm, this grid has 1 mm; .*resampled"):
        reader_counts(scan, GRID.resampled((1.0, 1.0, 1.0)))
    with pytest.raises(ScanError, match="LIDC outlines lie in axial slices, this grid is oblique"):
        reader_counts(scan, replace(GRID, direction=(1, 0, 0, 0, 0, -1, 0, 1, 0)))
    small = Geometry((6, 40, 12), GRID.origin_xyz_mm, GRID.spacing_xyz_mm)
    with pytest.raises(ScanError, match="an outline reaches column 14 and row 9 of 12 x 40"):
        reader_counts(scan, small)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["luna16", "luna16_slabs"])
def test_real_masks(realdata: Path, installed: Path, folder: str) -> None:
    """Voxel by voxel the delivered counts; in one slab a single voxel on a vertex is filled the other way."""
    paths = sorted((realdata / folder / "masks").glob("*.mhd"))
    assert paths
    for path in paths:
        delivered = read_scan(path)
        counts = reader_counts(read_lidc_scan(path.stem, installed), delivered.geometry)
        assert (counts != delivered.hu).sum() <= 1
        mask, reference = (counts >= 2), (delivered.hu >= 2)
        assert 2 * (mask & reference).sum() / (mask.sum() + reference.sum()) >= 0.999


@pytest.mark.realdata
def test_masks_lie_on_the_nodules(realdata: Path, installed: Path) -> None:
    """Nodules are denser than the lung around them: rows and columns are not swapped."""
    for path in sorted((realdata / "luna16_slabs" / "subset0").glob("*.mhd")):
        hu = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        mask = consensus_mask(read_lidc_scan(path.stem, installed), read_header(path), outline="background")
        around = binary_dilation(mask, np.ones((1, 13, 13))) & ~mask
        assert np.median(hu[mask]) > np.median(hu[around]) + 50


@pytest.mark.realdata
def test_real_nodules_agree_with_the_challenge(realdata: Path, installed: Path) -> None:
    annotations = read_annotations(realdata / "luna16" / "annotations.csv")
    paths = [*(realdata / "luna16" / "subset3").glob("*.mhd"), *(realdata / "luna16_slabs" / "subset0").glob("*.mhd")]
    compared = 0
    for path in paths:
        table = nodule_table(read_lidc_scan(path.stem, installed), read_header(path))
        center = ["center_x_mm", "center_y_mm", "center_z_mm"]
        official = annotations[annotations["series_uid"] == path.stem]
        for nodule in table[table["readers"] >= 3].to_dict("records"):
            offsets = official[center].to_numpy() - [nodule[name] for name in center]
            nearest = int(np.argmin(np.linalg.norm(offsets, axis=1)))
            assert np.linalg.norm(offsets[nearest]) < 0.4
            assert nodule["diameter_mm"] == pytest.approx(official["diameter_mm"].iloc[nearest], rel=0.04)
            compared += 1
    assert compared == 4


@pytest.mark.realdata
def test_clusters_reproduce_the_books_table(realdata: Path, installed: Path) -> None:
    """Of the 1,182 published nodules 1,181 come out with the same set of ratings."""
    same = 0
    scans = read_lidc_marks(installed)
    for uid, published in read_malignancy(realdata / "luna16" / "annotations_with_malignancy.csv").groupby(
        "series_uid"
    ):
        scan = scans[str(uid)]
        found: dict[int, list[int]] = {}
        for key, nodule in cluster_annotations(scan).items():
            found.setdefault(nodule, []).append(scan.malignancy[key])
        ours = Counter(tuple(sorted(ratings)) for ratings in found.values())
        theirs = Counter(tuple(sorted(ratings)) for ratings in published["ratings"])
        same += (ours & theirs).total()
    assert same == 1181
