"""DataModules and loaders on a store in an object store: how workers are started, and what is kept beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.object_server import forget_clients
from torch.utils.data import SequentialSampler

from lungdet.bench.drawn.scans import write_scans
from lungdet.bench.s3_server import S3Server
from lungdet.data.candidate_dataset import CandidateDataset, make_loader
from lungdet.data.crop_cache import CropCachedStore
from lungdet.data.mask_targets import MaskTargets
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

URL = "s3://bucket/ct.zarr"
CROP = (16, 16, 16)


@pytest.fixture
def store(s3: S3Server, tmp_path: Path) -> CtStore:
    scans = write_scans(tmp_path / "scans", count=2, shape_zyx=(40, 64, 64), spacing_xyz_mm=(1.0, 1.0, 1.0))
    preprocess(scans, URL, StoreSpec(lung_mask=False))
    return CtStore(URL)


def records(store: CtStore, indices: Sequence[int]) -> pd.DataFrame:
    rows = [(uid, *store.geometry(uid).index_to_world((20, 20 + n, 20))) for uid in store.series_uids for n in indices]
    return pd.DataFrame(rows, columns=["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"])


def test_workers_are_forked_only_while_no_object_store_is_in_use(store: CtStore) -> None:
    dataset = CandidateDataset(store, records(store, range(4)), shape_zyx=CROP)
    options = {"batch_size": 2, "world_size": 1, "pin_memory": False}
    remote = make_loader(dataset, SequentialSampler(range(8)), num_workers=2, **options)  # type: ignore[arg-type]
    assert remote.multiprocessing_context.get_start_method() == "forkserver"
    alone = make_loader(dataset, SequentialSampler(range(8)), num_workers=0, **options)  # type: ignore[arg-type]
    assert alone.multiprocessing_context is None
    forget_clients()
    local = make_loader(dataset, SequentialSampler(range(8)), num_workers=2, **options)  # type: ignore[arg-type]
    assert local.multiprocessing_context is None


@pytest.mark.slow
def test_workers_load_what_this_process_does(store: CtStore) -> None:
    dataset = CandidateDataset(store, records(store, range(16)), shape_zyx=CROP)
    loader = make_loader(
        dataset, SequentialSampler(range(32)), batch_size=8, world_size=1, num_workers=2, pin_memory=False
    )
    batches = [batch["hu"].numpy() for batch in loader]
    assert np.array_equal(np.concatenate(batches), dataset.__getitems__(list(range(32)))["hu"].numpy())


def test_masks_of_a_remote_store_lie_in_the_cache(store: CtStore) -> None:
    masks = MaskTargets().store_of(store)
    assert masks.path.is_relative_to(os.environ["LUNGDET_CACHE"])
    assert masks.path.name == "ct_nodules_auto.zarr"
    uid = store.series_uids[0]
    readers = np.zeros(store.geometry(uid).shape_zyx, np.uint8)
    readers[10:20, 10:20, 10:20] = 3
    masks.write(uid, readers, key="k", made_by="readers")
    assert np.array_equal(MaskTargets().store_of(CtStore(URL)).volume(uid), readers)


def test_cut_crops_of_a_remote_store_are_kept(store: CtStore, s3: S3Server, tmp_path: Path) -> None:
    points = records(store, range(6))
    centers = points[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy()
    cut = CropCachedStore(store, folder=tmp_path / "crops", limit_gb=1.0)
    expected = store.crops(list(points["series_uid"]), centers, CROP)
    for _ in range(2):
        assert np.array_equal(cut.crops(list(points["series_uid"]), centers, CROP), expected)
