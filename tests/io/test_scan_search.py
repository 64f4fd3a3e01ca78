"""What counts as a scan below a path."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import SegmentationStorage
from tests.cli.chests import chest, write_dicom, write_scan

from lungdet.errors import MissingFileError, ScanError
from lungdet.io.scan import read_scan
from lungdet.io.scan_search import search_scans

SMALL = chest(shape=(3, 4, 5))


def names(path: Path) -> list[tuple[str, bool]]:
    return [(scan.series_uid, scan.is_dicom) for scan in search_scans(path)]


def test_one_file(tmp_path: Path) -> None:
    (scan,) = search_scans(write_scan(SMALL, tmp_path / "1.2.840.nii.gz"))
    assert (scan.series_uid, scan.is_dicom, scan.problem) == ("1.2.840", False, "")
    assert read_scan(scan.path).series_uid == scan.series_uid


def test_files_of_every_format_at_any_depth(tmp_path: Path) -> None:
    for name in ("a.mhd", "p1/b.nii.gz", "p1/deep/c.nrrd", "p2/d.mha"):
        write_scan(SMALL, tmp_path / name)
    for name in ("masks/a.mhd", "seg-lungs-LUNA16/a.mhd", ".cache/x.mhd"):
        write_scan(SMALL, tmp_path / name)
    (tmp_path / "._a.mhd").write_text("what a Mac leaves behind")
    (tmp_path / "notes.txt").write_text("no scan")
    assert names(tmp_path) == [(uid, False) for uid in "abcd"]


def test_a_link_to_nowhere_is_no_scan(tmp_path: Path) -> None:
    write_scan(SMALL, tmp_path / "a.mhd")
    (tmp_path / "IM0001").symlink_to(tmp_path / "absent")
    assert names(tmp_path) == [("a", False)]


def test_luna16_layout_takes_the_subsets_and_the_root(tmp_path: Path) -> None:
    for name in ("subset0/1.1.mhd", "subset7/1.0.mhd", "1.2.mhd", "elsewhere/1.3.mhd"):
        write_scan(SMALL, tmp_path / name)
    assert names(tmp_path) == [("1.0", False), ("1.1", False), ("1.2", False)]


def test_a_folder_called_like_a_subset_is_any_folder(tmp_path: Path) -> None:
    write_scan(SMALL, tmp_path / "subset_for_me" / "a.mhd")
    assert names(tmp_path) == [("a", False)]


def test_dicom_series_and_files_side_by_side(tmp_path: Path) -> None:
    write_dicom(SMALL, tmp_path / "p1" / "s1", uid="1.2.1")
    write_dicom(SMALL, tmp_path / "p2", uid="1.2.2")
    write_scan(SMALL, tmp_path / "p2" / "converted.nii.gz")
    assert names(tmp_path) == [("1.2.1", True), ("1.2.2", True), ("converted", False)]


def test_several_series_in_one_folder(tmp_path: Path) -> None:
    for k in (1, 2):
        for path in write_dicom(SMALL, tmp_path / str(k), uid=f"1.2.{k}"):
            path.rename(tmp_path / f"{k}-{path.name}")
    found = search_scans(tmp_path)
    assert [scan.series_uid for scan in found] == ["1.2.1", "1.2.2"]
    assert [read_scan(scan.path, series_uid=scan.series_uid).series_uid for scan in found] == ["1.2.1", "1.2.2"]


def test_localizers_and_other_objects_are_no_scans(tmp_path: Path) -> None:
    write_dicom(SMALL, tmp_path / "ct", uid="1.2.1")
    for path in write_dicom(SMALL, tmp_path / "scout", uid="1.2.2"):
        header = pydicom.dcmread(path)
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        header.save_as(path)
    for path in write_dicom(SMALL, tmp_path / "seg", uid="1.2.3"):
        header = pydicom.dcmread(path)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = SegmentationStorage
        header.save_as(path)
    assert names(tmp_path) == [("1.2.1", True)]


def test_a_damaged_series_is_found_with_its_problem(tmp_path: Path) -> None:
    write_dicom(SMALL, tmp_path / "good", uid="1.2.1")
    cut = write_dicom(SMALL, tmp_path / "p" / "cut", uid="1.2.2")[1]
    cut.write_bytes(cut.read_bytes()[:500])
    good, damaged = search_scans(tmp_path)
    assert (good.series_uid, good.problem) == ("1.2.1", "")
    assert damaged.series_uid == "p/cut"
    assert "001.dcm" in damaged.problem
    with pytest.raises(ScanError, match=r"001\.dcm"):
        read_scan(damaged.path)


def test_a_uid_that_would_leave_the_results_folder(tmp_path: Path) -> None:
    for path in write_dicom(SMALL, tmp_path / "series", uid="1.2.34567"):
        path.write_bytes(path.read_bytes().replace(b"1.2.34567", b"../../etc"))
    (scan,) = search_scans(tmp_path)
    assert scan.series_uid == "series"
    assert "SeriesInstanceUID is '../../etc'; a UID is made of digits and dots" in scan.problem


def test_two_scans_of_one_name(tmp_path: Path) -> None:
    write_scan(SMALL, tmp_path / "p1" / "ct.nii.gz")
    write_scan(SMALL, tmp_path / "p2" / "ct.mhd")
    with pytest.raises(ScanError, match=r"two scans are called ct: .*p1.*p2.*; keep one, or give them different names"):
        search_scans(tmp_path)


def test_one_dicom_series_in_two_folders(tmp_path: Path) -> None:
    for k in "ab":
        write_dicom(SMALL, tmp_path / k, uid="1.2.1")
    with pytest.raises(ScanError, match=r"two scans are called 1\.2\.1"):
        search_scans(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere: no such file or folder"):
        search_scans(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"no scan at any depth; scans are \.mhd"):
        search_scans(tmp_path)
    (slice_,) = write_dicom(chest(shape=(1, 4, 5)), tmp_path / "ct")
    with pytest.raises(ScanError, match="for DICOM that of the slices"):
        search_scans(slice_)


@pytest.mark.realdata
def test_the_real_folders(realdata: Path) -> None:
    assert len(names(realdata / "luna16")) == 1
    assert len(names(realdata / "luna16_slabs")) == 3
    ((uid, is_dicom),) = names(realdata / "dicom")
    assert is_dicom
    assert uid.startswith("1.3.6.1.4.1.14519.5.2.1.6279.6001")
