from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.geometry import Geometry
from lungdet.io.phantom.volumes import write_atomically, write_metaimage
from lungdet.io.scan import read_scan


@pytest.mark.parametrize("compressed", [False, True])
def test_simpleitk_reads_the_same_voxels_and_places(tmp_path: Path, compressed: bool) -> None:
    turn = np.array(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
    geometry = Geometry((4, 5, 6), (-12.345678, 30.0, -101.1), (0.7000001, 0.8, 2.5), tuple(turn))
    volume = np.random.default_rng(0).integers(-1024, 3071, geometry.shape_zyx).astype(np.int16)
    path = tmp_path / "folder" / "scan.mhd"
    write_metaimage(path, volume, geometry, compressed=compressed)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume)
    np.testing.assert_allclose(image.GetDirection(), geometry.direction, atol=1e-12)
    np.testing.assert_allclose(image.GetOrigin(), geometry.origin_xyz_mm, atol=1e-12)
    np.testing.assert_allclose(image.GetSpacing(), geometry.spacing_xyz_mm, atol=1e-12)
    point = image.TransformIndexToPhysicalPoint((5, 1, 3))
    np.testing.assert_allclose(geometry.index_to_world([3, 1, 5]), point, atol=1e-9)
    # Our own reader gives the very same numbers back.
    scan = read_scan(path)
    assert scan.geometry == geometry
    np.testing.assert_array_equal(scan.hu, volume)


def test_header_as_luna16_writes_it(tmp_path: Path) -> None:
    geometry = Geometry((2, 3, 4), (-195.0, -180.5, 0.0), (0.703125, 0.703125, 2.5), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    write_metaimage(tmp_path / "m.mhd", np.zeros((2, 3, 4), np.uint8), geometry, compressed=True)
    text = (tmp_path / "m.mhd").read_text()
    size = (tmp_path / "m.zraw").stat().st_size
    assert text.splitlines() == [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
        "CompressedData = True", f"CompressedDataSize = {size}", "TransformMatrix = -1 0 0 0 -1 0 0 0 1",
        "Offset = -195 -180.5 0", "CenterOfRotation = 0 0 0", "AnatomicalOrientation = RAI",
        "ElementSpacing = 0.703125 0.703125 2.5", "DimSize = 4 3 2", "ElementType = MET_UCHAR",
        "ElementDataFile = m.zraw",
    ]  # fmt: skip


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")

    def full_disk(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
