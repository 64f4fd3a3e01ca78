"""Masks from readers, from LIDC's outlines and from the book's rule."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.mask_targets import MaskTargets, box_rule_mask
from lungdet.errors import ConfigError, MissingFileError, ScanError
from lungdet.io.lidc import find_database
from lungdet.io.luna16 import find_scans, read_luna16
from lungdet.io.metaimage import parse_header
from lungdet.io.phantom.volumes import write_metaimage
from lungdet.io.scan import read_scan
from lungdet.store.mask_store import BY_RULE
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

Factory = Callable[..., Luna16DataModule]


def test_rule_grows_a_box_and_keeps_its_tissue() -> None:
    """A ball of radius 4 in air: the arms stop at the first air voxel (5 steps), the box of 11 holds the whole ball."""
    grid = np.indices((21, 21, 21)) - 10
    ball = (grid**2).sum(axis=0) <= 16
    hu = np.where(ball, 0, -900).astype(np.int16)
    assert np.array_equal(box_rule_mask(hu, np.array([[10, 10, 10]])), ball)


def test_rule_takes_both_sides_together() -> None:
    """Tissue from 3 to 9 along z, centre at 4: air begins 2 below it, so the box reaches 2 to both sides: 2 to 6."""
    hu = np.full((12, 5, 5), -900, np.int16)
    hu[3:10, 2, 2] = 0
    mask = box_rule_mask(hu, np.array([[4, 2, 2]]))
    assert np.flatnonzero(mask[:, 2, 2]).tolist() == [3, 4, 5, 6]
    assert mask.sum() == 4


def test_rule_at_the_border_does_not_wrap_around() -> None:
    """Centre two voxels from the low border, tissue at the far end too: the book's negative index would mark that."""
    hu = np.full((20, 9, 9), -900, np.int16)
    hu[:6, 4, 4] = 0
    hu[15:, 4, 4] = 0
    mask = box_rule_mask(hu, np.array([[2, 4, 4]]))
    assert np.flatnonzero(mask[:, 4, 4]).tolist() == [0, 1, 2, 3, 4]
    corner = box_rule_mask(np.zeros((6, 6, 6), np.int16), np.array([[0, 5, 1]]))
    assert corner.any(), "a centre in the corner keeps its own voxel at least"


def test_masks_follow_from_the_rule_where_nobody_drew(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    targets = MaskTargets()
    targets.write(datamodule.collection, store=datamodule.store)
    masks = targets.store_of(datamodule.store)
    nodules = datamodule.collection.annotations
    for uid in datamodule.store.series_uids:
        own = nodules[nodules["series_uid"] == uid]
        readers = masks.volume(uid)
        assert masks.made_by(uid) == "rule"
        assert set(np.unique(readers)) <= {0, BY_RULE}
        assert readers.any() == bool(len(own))
        index = datamodule.store.geometry(uid).world_to_index(own[[f"center_{a}_mm" for a in "xyz"]].to_numpy())
        assert all(readers[tuple(np.rint(at).astype(int))] == BY_RULE for at in index)


def test_readers_masks_win_and_are_renewed_when_they_change(
    make_datamodule: Factory, luna_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "collection"
    shutil.copytree(luna_root, root)
    datamodule = make_datamodule(root=root)
    store = CtStore(datamodule.store_path)
    uid = "1.2.001"
    header = parse_header(datamodule.scan_paths()[uid])
    assert header is not None
    drawn = np.random.default_rng(0).integers(0, 4, header.geometry.shape_zyx).astype(np.uint8)
    write_metaimage(root / "masks" / f"{uid}.mhd", drawn, header.geometry, compressed=True)
    targets = MaskTargets()
    targets.write(datamodule.collection, store=store)
    masks = targets.store_of(store)
    assert masks.made_by(uid) == "readers"
    assert np.array_equal(masks.volume(uid), drawn)
    assert masks.made_by("1.2.000") == "rule"
    before = {p: p.stat().st_mtime_ns for p in masks.path.rglob("zarr.json")}
    targets.write(datamodule.collection, store=store)
    assert before == {p: p.stat().st_mtime_ns for p in masks.path.rglob("zarr.json")}, "nothing is written twice"
    with pytest.raises(ScanError, match=r"nobody's outlines: put masks/1\.2\.\d+\.mhd into"):
        MaskTargets(targets="readers").write(datamodule.collection, store=store)


def test_unknown_targets() -> None:
    with pytest.raises(ConfigError, match=r"targets='both': allowed are auto, readers, rule"):
        MaskTargets(targets="both")  # type: ignore[arg-type]


@pytest.mark.realdata
def test_lidc_readers_are_found_for_a_scan_without_masks(realdata: Path, tmp_path: Path) -> None:
    """The installed database gives the counts that are delivered beside the real scan, voxel by voxel."""
    try:
        find_database()
    except MissingFileError as error:
        pytest.skip(str(error))
    root = tmp_path / "luna16"
    (root / "subset3").mkdir(parents=True)
    for path in (realdata / "luna16" / "subset3").iterdir():
        (root / "subset3" / path.name).symlink_to(path)
    shutil.copy(realdata / "luna16" / "annotations.csv", root)
    spec = StoreSpec(spacing_mm="native", lung_mask=False)
    assert not preprocess(find_scans(root), tmp_path / "native.zarr", spec, workers=1).failed
    store = CtStore(tmp_path / "native.zarr")
    (uid,) = store.series_uids
    targets = MaskTargets(targets="readers")
    targets.write(read_luna16(root), store=store)
    masks = targets.store_of(store)
    assert masks.made_by(uid) == "readers"
    delivered = read_scan(realdata / "luna16" / "masks" / f"{uid}.mhd").hu
    assert np.array_equal(masks.volume(uid), delivered)
