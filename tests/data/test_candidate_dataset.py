"""Batches of crops: the right voxels, types and rows; the same through workers."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.data.candidate_dataset import CandidateDataset, make_loader
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sampling import EvaluationSampler
from lungdet.errors import ConfigError
from lungdet.store.reader import CtStore

SHAPE = (6, 8, 10)


@pytest.fixture
def records(make_datamodule: Callable[..., Luna16DataModule]) -> pd.DataFrame:
    datamodule = make_datamodule()
    datamodule.setup()
    return datamodule.records


@pytest.fixture
def dataset(luna_store: Path, records: pd.DataFrame) -> CandidateDataset:
    return CandidateDataset(CtStore(luna_store), records, shape_zyx=SHAPE)


def test_batch_is_one_contiguous_int16_tensor_with_its_rows(dataset: CandidateDataset, records: pd.DataFrame) -> None:
    n = len(dataset)
    draws = [3, n + 3, 100, 2 * n + 7]
    batch = dataset.__getitems__(draws)
    assert batch["hu"].dtype == torch.int16
    assert batch["hu"].shape == (4, 1, *SHAPE)
    assert batch["hu"].is_contiguous()
    assert batch["index"].tolist() == [3, 3, 100, 7]
    assert batch["draw"].tolist() == draws
    assert batch["label"].tolist() == records["label"].iloc[[3, 3, 100, 7]].tolist()
    assert {batch[name].dtype for name in ("index", "label", "draw")} == {torch.int64}


def test_crop_holds_the_voxels_around_its_centre(dataset: CandidateDataset, records: pd.DataFrame) -> None:
    """By hand: nearest voxel of the centre at shape // 2, air outside."""
    for row in (0, 57, 140, len(records) - 1):
        record = records.iloc[row]
        volume = dataset.store.volume(record["series_uid"])
        geometry = dataset.store.geometry(record["series_uid"])
        center = geometry.world_to_index([record["center_x_mm"], record["center_y_mm"], record["center_z_mm"]])
        padded = np.pad(volume, 20, constant_values=-1024)
        first = np.rint(center).astype(int) + 20 - np.array(SHAPE) // 2
        expected = padded[tuple(slice(f, f + n) for f, n in zip(first, SHAPE, strict=True))]
        assert (dataset[row]["hu"][0, 0].numpy() == expected).all()


def test_nodules_are_where_their_candidates_say(dataset: CandidateDataset, records: pd.DataFrame) -> None:
    nodules = np.flatnonzero(records["label"])
    centre_hu = dataset.__getitems__(nodules.tolist())["hu"][:, 0, SHAPE[0] // 2, SHAPE[1] // 2, SHAPE[2] // 2]
    assert (centre_hu > -100).all()


def test_labels_are_minus_one_where_nobody_knows(luna_store: Path, records: pd.DataFrame) -> None:
    unlabelled = CandidateDataset(CtStore(luna_store), records.drop(columns="label"), shape_zyx=SHAPE)
    assert unlabelled.__getitems__([0, 5])["label"].tolist() == [-1, -1]


def test_spacing_is_that_of_each_scan(dataset: CandidateDataset, records: pd.DataFrame) -> None:
    rows = np.array([len(records) - 1, 0, 1])
    assert records["series_uid"].iloc[rows].tolist() == ["1.2.011", "1.2.000", "1.2.000"]
    assert dataset.spacing_zyx_mm(rows).tolist() == [[2.0, 0.7, 0.7], [1, 1, 1], [1, 1, 1]]
    assert dataset.spacing_zyx_mm(rows[:1]).tolist() == [[2.0, 0.7, 0.7]]


def test_survives_pickling(dataset: CandidateDataset) -> None:
    before = dataset[5]["hu"]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[5]["hu"], before)


def test_loader_shares_the_batch_between_processes(dataset: CandidateDataset) -> None:
    rows = np.arange(20)
    everything = EvaluationSampler(rows, n_records=len(dataset))
    whole = list(make_loader(dataset, everything, batch_size=8, world_size=1, num_workers=0, pin_memory=False))
    assert [len(batch["index"]) for batch in whole] == [8, 8, 4]
    half = EvaluationSampler(rows, n_records=len(dataset), world_size=2, rank=1)
    shared = list(make_loader(dataset, half, batch_size=8, world_size=2, num_workers=0, pin_memory=False))
    assert [batch["index"].tolist() for batch in shared] == [[1, 3, 5, 7], [9, 11, 13, 15], [17, 19]]


def test_batch_that_the_processes_cannot_share(dataset: CandidateDataset) -> None:
    with pytest.raises(ConfigError, match=r"data\.batch_size=8 is shared by 3 processes.*type data\.batch_size=9"):
        make_loader(
            dataset,
            EvaluationSampler(np.arange(4), n_records=len(dataset)),
            batch_size=8,
            world_size=3,
            num_workers=0,
            pin_memory=False,
        )
