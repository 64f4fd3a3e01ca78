"""Permuted labels: nothing but the labels of the named partitions changes, and their counts stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.permuted_labels import PermutedLabels, permute_labels
from lungdet.errors import ConfigError

MakeDataModule = Callable[..., Luna16DataModule]


def set_up(datamodule: Luna16DataModule) -> Luna16DataModule:
    datamodule.setup("fit")
    return datamodule


@pytest.fixture
def pair(make_datamodule: MakeDataModule) -> tuple[Luna16DataModule, Luna16DataModule]:
    """The cohort with its own labels, and with permuted ones."""
    return set_up(make_datamodule()), set_up(make_datamodule(samples=PermutedLabels(CandidateSamples(), seed=3)))


def test_only_labels_of_training_and_validation_change(pair: tuple[Luna16DataModule, Luna16DataModule]) -> None:
    own, permuted = (datamodule.records for datamodule in pair)
    pd.testing.assert_frame_equal(own.drop(columns="label"), permuted.drop(columns="label"))
    assert own["label"].dtype == permuted["label"].dtype
    for partition, changes in (("train", True), ("val", True), ("test", False)):
        rows = own["partition"] == partition
        assert own.loc[rows, "label"].sum() == permuted.loc[rows, "label"].sum() > 0
        assert bool((own.loc[rows, "label"] != permuted.loc[rows, "label"]).any()) is changes


def test_the_split_is_the_same_and_says_so(pair: tuple[Luna16DataModule, Luna16DataModule]) -> None:
    own, permuted = (datamodule.split_result for datamodule in pair)
    assert own.hash == permuted.hash
    assert own.notes == ()
    assert permuted.notes == (
        "The labels of train and val are permuted at random (seed 3): nothing true can be learned from them.",
    )


def test_batches_hold_the_permuted_labels_of_the_same_voxels(pair: tuple[Luna16DataModule, Luna16DataModule]) -> None:
    own, permuted = (next(iter(datamodule.val_dataloader())) for datamodule in pair)
    assert own["index"].tolist() == permuted["index"].tolist()
    assert np.array_equal(own["hu"], permuted["hu"])
    rows = permuted["index"].tolist()
    assert permuted["label"].tolist() == pair[1].records["label"].to_numpy()[rows].tolist()
    assert pair[0].train_class_counts == pair[1].train_class_counts


def test_the_permutation_depends_on_the_seed_and_partition_only() -> None:
    records = pd.DataFrame({"partition": ["train"] * 200 + ["val"] * 200, "label": np.tile([0, 0, 0, 1], 100)})
    first = permute_labels(records, seed=0, partitions=["train", "val"])["label"].to_numpy()
    assert np.array_equal(first, permute_labels(records, seed=0, partitions=["train", "val"])["label"])
    assert not np.array_equal(first, permute_labels(records, seed=1, partitions=["train", "val"])["label"])
    assert not np.array_equal(first[:200], first[200:]), "partitions have permutations of their own"
    alone = permute_labels(records, seed=0, partitions=["val"])["label"].to_numpy()
    assert np.array_equal(alone[:200], records["label"][:200])
    assert np.array_equal(alone[200:], first[200:])


def test_permuted_labels_know_nothing_of_the_true_ones() -> None:
    label = np.arange(20_000) % 2
    records = pd.DataFrame({"partition": "train", "label": label})
    agreement = (permute_labels(records, seed=5, partitions=["train"])["label"].to_numpy() == label).mean()
    assert abs(agreement - 0.5) < 4 * 0.5 / np.sqrt(20_000)


@pytest.mark.parametrize("partitions", [[], ["trian"], ["train", "train"]])
def test_partitions_that_do_not_exist_are_refused(partitions: Any) -> None:
    with pytest.raises(ConfigError, match="must be one or more of train, val, test, each once"):
        PermutedLabels(CandidateSamples(), seed=0, partitions=partitions)
