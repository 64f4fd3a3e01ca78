"""Reader masks beside a CT store: what goes in comes out, crop for crop on the same voxels."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.store.marker import write_marker
from lungdet.store.mask_store import MaskStore
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import write_scan

SHAPE = (37, 50, 41)


@pytest.fixture
def ct_store(tmp_path: Path) -> CtStore:
    """One scan whose HU are the number of the voxel, modulo 1,000."""
    spec = StoreSpec(spacing_mm="native", lung_mask=False)
    hu = (np.arange(np.prod(SHAPE)) % 1000).reshape(SHAPE).astype(np.int16)
    scan = Scan(hu, Geometry(SHAPE, (-20.0, 3.0, 9.0), (0.7, 0.8, 2.0)), "1.2.3")
    folder = tmp_path / "ct.zarr"
    write_marker(folder, spec)
    source = tmp_path / "1.2.3.nii.gz"
    source.write_bytes(b"")
    write_scan(source, folder, spec, series_uid="1.2.3", read=lambda _: scan)
    return CtStore(folder)


@pytest.fixture
def readers() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.uint8)


def test_volume_and_crops_lie_on_the_voxels_of_the_ct(ct_store: CtStore, readers: np.ndarray, tmp_path: Path) -> None:
    masks = MaskStore(tmp_path / "masks.zarr", ct_store)
    masks.write("1.2.3", readers, key="k", made_by="readers")
    masks = pickle.loads(pickle.dumps(masks))
    assert np.array_equal(masks.volume("1.2.3"), readers)
    # Corners, the middle and far outside: the crop of masks and that of HU show the same voxels.
    index = np.array([[0, 0, 0], [18, 25, 20], [36, 49, 40], [30, 2, 39], [900, 0, 0]])
    centers = ct_store.geometry("1.2.3").index_to_world(index)
    shape = (5, 9, 8)
    got = masks.crops(["1.2.3"] * len(index), centers, shape)
    padded = np.pad(readers, 10)
    for crop, at in zip(got[:-1], index, strict=False):
        z, y, x = (slice(a - n // 2 + 10, a - n // 2 + 10 + n) for a, n in zip(at, shape, strict=True))
        assert np.array_equal(crop, padded[z, y, x])
    assert not got[-1].any()
    _, valid = ct_store.crop("1.2.3", centers[0], shape)
    assert np.array_equal(valid, np.pad(np.ones(SHAPE, bool), 10)[8:13, 6:15, 6:14])


def test_key_tells_whether_masks_are_current(ct_store: CtStore, readers: np.ndarray, tmp_path: Path) -> None:
    masks = MaskStore(tmp_path / "masks.zarr", ct_store)
    assert not masks.is_current("1.2.3", key="k")
    masks.write("1.2.3", readers, key="k", made_by="rule")
    assert masks.is_current("1.2.3", key="k")
    assert not masks.is_current("1.2.3", key="another")
    assert masks.made_by("1.2.3") == "rule"
    masks.write("1.2.3", readers * 0, key="another", made_by="readers")
    assert not masks.volume("1.2.3").any()
    assert masks.made_by("1.2.3") == "readers"


def test_masks_of_another_scan_and_missing_ones(ct_store: CtStore, tmp_path: Path) -> None:
    masks = MaskStore(tmp_path / "masks.zarr", ct_store)
    with pytest.raises(StoreError, match=r"shape \(2, 2, 2\), its volume \(37, 50, 41\)"):
        masks.write("1.2.3", np.zeros((2, 2, 2), np.uint8), key="k", made_by="rule")
    assert not list((tmp_path / "masks.zarr").glob("scans/*"))
    with pytest.raises(StoreError, match=r"no nodule masks of series 1\.2\.3; prepare the data again"):
        masks.volume("1.2.3")
