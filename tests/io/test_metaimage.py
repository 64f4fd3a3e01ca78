"""Our MetaImage reader against SimpleITK's, and every way in which such a file is broken in practice."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.metaimage import parse_header, read_voxels
from lungdet.io.voxels import HuArray

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def write(folder: Path, *lines: str, data: bytes | None = None, kind: str = "MET_SHORT", size: str = "4 3 2") -> Path:
    """A header of these lines over 24 counted voxels."""
    (folder / "s.raw").write_bytes(np.arange(24, dtype=TYPES[kind]).tobytes() if data is None else data)
    if not any(line.startswith("ElementS") for line in lines):
        lines = (*lines, "ElementSpacing = " + " ".join("1" for _ in size.split()))
    body = [*lines, f"DimSize = {size}", f"ElementType = {kind}", "ElementDataFile = s.raw"]
    (folder / "s.mhd").write_text("\n".join(["ObjectType = Image", "NDims = 3", "BinaryData = True", *body]) + "\n")
    return folder / "s.mhd"


def assert_agrees_with_simpleitk(path: Path) -> None:
    header = parse_header(path)
    assert header is not None
    voxels = read_voxels(header)
    image = sitk.ReadImage(str(path))
    theirs = sitk.GetArrayFromImage(image)
    assert voxels.dtype == theirs.dtype
    np.testing.assert_array_equal(voxels, theirs)
    assert header.geometry.shape_zyx == theirs.shape
    np.testing.assert_allclose(header.geometry.spacing_xyz_mm, image.GetSpacing(), atol=1e-12)
    np.testing.assert_allclose(header.geometry.origin_xyz_mm, image.GetOrigin(), atol=1e-12)
    np.testing.assert_allclose(header.geometry.direction, image.GetDirection(), atol=1e-12)
    for index_zyx in [(0, 0, 0), (1, 2, 3)]:
        world = image.TransformIndexToPhysicalPoint(index_zyx[::-1])
        np.testing.assert_allclose(header.geometry.index_to_world(index_zyx), world, atol=1e-9)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_an_oblique_scan_as_simpleitk_writes_it(
    tmp_path: Path, image: sitk.Image, hu: HuArray, oblique: Geometry, suffix: str, compress: bool
) -> None:
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, str(path), compress)
    assert_agrees_with_simpleitk(path)
    header = parse_header(path)
    assert header is not None
    assert header.compressed is compress
    np.testing.assert_allclose(header.geometry.direction, oblique.direction, atol=1e-12)
    np.testing.assert_array_equal(read_voxels(header), hu)


@pytest.mark.parametrize("kind", sorted(TYPES))
@pytest.mark.parametrize("big_endian", [False, True])
def test_every_type_and_byte_order(tmp_path: Path, kind: str, big_endian: bool) -> None:
    data = np.arange(100, 124).astype(np.dtype(TYPES[kind]).newbyteorder(">" if big_endian else "<")).tobytes()
    assert_agrees_with_simpleitk(write(tmp_path, f"BinaryDataByteOrderMSB = {big_endian}", kind=kind, data=data))


@pytest.mark.parametrize(
    "lines",
    [
        ("ElementSize = 1 2 3",),
        ("ElementSize = 1 2 3", "ElementSpacing = 4 5 6"),
        ("Origin = 1 2 3",),
        ("Position = 1 2 3",),
        ("Position = 1 2 3", "Offset = 4 5 6"),
        ("Offset = 4 5 6", "Position = 1 2 3", "Origin = 7 8 9"),
        ("Orientation = 0 1 0 1 0 0 0 0 1",),
        ("Rotation = 0 1 0 0 0 1 1 0 0",),
        ("TransformMatrix = 0 1 0 0 0 1 1 0 0", "Rotation = 1 0 0 0 1 0 0 0 1"),
        ("TransformMatrix = -1 0 0 0 -1 0 0 0 1", "Offset = 10 20 30"),
        ("ElementByteOrderMSB = true",),
        ("BinaryDataByteOrderMSB = False", "ElementByteOrderMSB = True"),
        ("HeaderSize = -1",),
        ("DistanceUnits = mm", "", "Comment = a = b", "ElementNumberOfChannels = 1"),
    ],
)
def test_synonyms_and_their_precedence(tmp_path: Path, lines: tuple[str, ...]) -> None:
    assert_agrees_with_simpleitk(write(tmp_path, *lines))


def test_header_size_skips_bytes(tmp_path: Path) -> None:
    data = b"\1\2\3\4" + np.arange(24, dtype="i2").tobytes()
    assert_agrees_with_simpleitk(write(tmp_path, "HeaderSize = 4", data=data))
    assert_agrees_with_simpleitk(write(tmp_path, "HeaderSize = -1", data=data))


def test_gzip_wrapping_is_read_like_zlib(tmp_path: Path) -> None:
    path = write(tmp_path, "CompressedData = True", data=gzip.compress(np.arange(24, dtype="i2").tobytes()))
    header = parse_header(path)
    assert header is not None
    assert read_voxels(header).ravel().tolist() == list(range(24))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ElementDataFile", "LIST"),
        ("ElementDataFile", "s%02d.raw 1 2 1"),
        ("ElementType", "MET_LONG"),
        ("BinaryData", "F"),
    ],
)
def test_rare_variants_are_left_to_simpleitk(tmp_path: Path, key: str, value: str) -> None:
    path = write(tmp_path)
    lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines))
    assert parse_header(path) is None


def test_a_voxel_file_with_a_blank_in_its_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "s.raw").rename(tmp_path / "my scan.raw")
    path.write_text(path.read_text().replace("s.raw", "my scan.raw"))
    header = parse_header(path)
    assert header is not None
    assert read_voxels(header).size == 24


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("ElementSpacing = nan 1 1",), r"s\.mhd: spacing_xyz_mm must be three positive numbers, got \(nan"),
        (("ElementSpacing = 1 0 1",), r"s\.mhd: spacing_xyz_mm must be three positive numbers, got \(1\.0, 0\.0"),
        (("ElementSpacing = 1 1 -2",), "spacing_xyz_mm must be three positive numbers"),
        (("ElementSpacing = 1 1",), "ElementSpacing has 2 numbers, expected 3"),
        (("ElementSpacing = 1 1 one",), "ElementSpacing = 1 1 one are not numbers"),
        (("Offset = inf 0 0",), "origin_xyz_mm must be three finite numbers"),
        (("TransformMatrix = 1 0 0 1",), "TransformMatrix has 4 numbers, expected 9"),
        (("TransformMatrix = 1 0 0 0 1 0 0 0 2",), "direction must be orthonormal"),
        (("ElementNumberOfChannels = 3",), r"s\.mhd: 3 values per voxel \(a colour or vector image\)"),
        (("DistanceUnits = cm",), "DistanceUnits = cm is not supported, only mm"),
        (("ElementToIntensityFunctionSlope = 2",), "ElementToIntensityFunctionSlope = 2 is not supported, only 1"),
        (("a line that says nothing",), "not a MetaImage header"),
    ],
)
def test_header_errors_name_the_file_and_the_key(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScanError, match=message):
        parse_header(write(tmp_path, *lines))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("4 3", "NDims = 3, but DimSize has 2 numbers: 4 3"),
        ("4 3 0", "DimSize = 4 3 0 are not whole numbers >= 1"),
        ("4 3 1.5", "are not whole numbers >= 1"),
        ("4 3 nan", "are not whole numbers >= 1"),
    ],
)
def test_impossible_sizes(tmp_path: Path, size: str, message: str) -> None:
    with pytest.raises(ScanError, match=message):
        parse_header(write(tmp_path, size=size))


@pytest.mark.parametrize(("size", "count"), [("6 4", 2), ("2 3 2 2", 4)])
def test_pictures_and_series_of_volumes_are_refused(tmp_path: Path, size: str, count: int) -> None:
    path = write(tmp_path, size=size)
    path.write_text(path.read_text().replace("NDims = 3", f"NDims = {count}"))
    with pytest.raises(ScanError, match=rf"s\.mhd: the image has {count} dimensions"):
        parse_header(path)


def test_a_scan_without_spacing_is_not_taken_for_one_of_1_mm(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("ElementSpacing = 1 1 1\n", ""))
    with pytest.raises(ScanError, match=r"s\.mhd: the header gives no ElementSpacing"):
        parse_header(path)


def test_missing_keys_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "s.mhd"
    path.write_text("NDims = 3\nDimSize = 4 3 2\n")
    with pytest.raises(ScanError, match="no ElementType, ElementDataFile"):
        parse_header(path)
    path.write_bytes(b"")
    with pytest.raises(ScanError, match="no DimSize, ElementType, ElementDataFile"):
        parse_header(path)


def broken(path: Path) -> str:
    header = parse_header(path)
    assert header is not None
    with pytest.raises(ScanError) as caught:
        read_voxels(header)
    return str(caught.value)


def test_a_truncated_raw_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    message = broken(write(tmp_path, data=bytes(40)))
    assert "s.raw: expected 48 bytes of voxels (4 x 3 x 2, 2 bytes each), found 40; copy the file again" in message
    assert "found 40; copy" in broken(write(tmp_path, "HeaderSize = -1", data=bytes(40)))
    assert "found 38; copy" in broken(write(tmp_path, "HeaderSize = 2", data=bytes(40)))


def test_a_longer_raw_belongs_to_another_header(tmp_path: Path) -> None:
    assert "found 50; DimSize or ElementType in the header does not belong to it" in broken(
        write(tmp_path, data=bytes(50))
    )


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (0, "s.raw: expected 48 bytes of voxels (4 x 3 x 2, 2 bytes each), found 0"),
        (5, "s.raw: expected 48 bytes"),
        (-3, "s.raw: the compressed voxels are cut short"),  # all voxels there, the check sum not
    ],
)
def test_a_truncated_zraw(tmp_path: Path, cut: int, expected: str) -> None:
    stream = zlib.compress(np.random.default_rng(0).integers(-999, 999, 24).astype("i2").tobytes())
    assert expected in broken(write(tmp_path, "CompressedData = True", data=stream[:cut]))


def test_a_corrupt_zraw(tmp_path: Path) -> None:
    stream = bytearray(zlib.compress(np.arange(24, dtype="i2").tobytes()))
    stream[-2] ^= 0xFF  # the check sum at the end
    assert "s.raw: the compressed voxels are damaged" in broken(
        write(tmp_path, "CompressedData = True", data=bytes(stream))
    )
    assert "are damaged" in broken(write(tmp_path, "CompressedData = True", data=b"no stream at all"))


def test_a_zraw_of_another_size(tmp_path: Path) -> None:
    message = broken(write(tmp_path, "CompressedData = True", data=zlib.compress(bytes(100_000))))
    assert "expected 48 bytes" in message
    assert "found at least 49; DimSize or ElementType" in message


def test_a_header_without_its_voxels(tmp_path: Path) -> None:
    header = parse_header(write(tmp_path))
    assert header is not None
    (tmp_path / "s.raw").unlink()
    with pytest.raises(MissingFileError, match=r"s\.mhd: its voxel file s\.raw is not in .*correct ElementDataFile"):
        read_voxels(header)
