"""The LUNA16 DataModule: which scans and which candidate table it takes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungdet.data.luna16 import Luna16DataModule
from lungdet.errors import MissingFileError, TableError
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import CropSize, StoreSpec

Factory = Callable[..., Luna16DataModule]


def test_chosen_subsets_only(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(subsets=[0, 1, 2])
    assert sorted(datamodule.scan_paths()) == [f"1.2.{n:03d}" for n in range(12) if n % 4 != 3]
    datamodule.setup()
    assert datamodule.records["series_uid"].nunique() == 9


def test_chosen_candidate_table(make_datamodule: Factory, luna_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    shutil.copytree(luna_root, root)
    lines = (root / "candidates_V2.csv").read_text().splitlines()
    (root / "mine.csv").write_text("\n".join([lines[0], *lines[101:]]) + "\n")
    datamodule = make_datamodule(root=root, candidates_file="mine.csv")
    datamodule.setup()
    assert len(datamodule.records) == len(lines) - 101
    with pytest.raises(MissingFileError, match=r"other\.csv"):
        make_datamodule(root=root, candidates_file="other.csv").setup()


def test_collection_without_candidates(make_datamodule: Factory, luna_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "luna"
    shutil.copytree(luna_root, root)
    (root / "candidates_V2.csv").unlink()
    with pytest.raises(TableError, match=r"has no candidates_V2\.csv or candidates\.csv.*data\.candidates_file="):
        make_datamodule(root=root).setup()


def test_a_folder_that_is_not_there_is_told_before_a_store_that_cannot_be_made(
    make_datamodule: Factory, tmp_path: Path
) -> None:
    datamodule = make_datamodule(root=tmp_path / "lun16", store_path=tmp_path / "none.zarr")
    (problem,) = datamodule.store_problems()
    assert problem.startswith(f"root: {tmp_path / 'lun16'}: no such folder; give the one that holds subset0")
    # A store that is there does for what needs no tables: pictures of a report.
    assert make_datamodule(root=tmp_path / "lun16").store_problems() == []


@pytest.mark.realdata
def test_real_annotations_can_be_scored(make_datamodule: Factory, realdata: Path, tmp_path: Path) -> None:
    spec = StoreSpec(spacing_mm="native", lung_mask=False)
    settings = {"root": realdata / "luna16", "store_path": tmp_path / "real.zarr", "store": spec, "split": None}
    datamodule = make_datamodule(**settings, crop=CropSize(vox=(32, 48, 48)))
    assert not preprocess(datamodule.scan_paths(), tmp_path / "real.zarr", spec, workers=1).failed
    from lungdet.io.luna16 import read_annotations

    datamodule.score_points(read_annotations(realdata / "luna16" / "annotations.csv"))
    datamodule.setup("predict")
    assert len(datamodule.records) == 2
    hu = next(iter(datamodule.predict_dataloader()[0]))["hu"].numpy()
    assert hu.shape == (2, 1, 32, 48, 48)
    # Lung around a nodule: plenty of air-like voxels and some soft tissue in each crop.
    for crop in hu:
        assert np.mean(crop < -600) > 0.2
        assert np.mean(crop > -200) > 0.01
