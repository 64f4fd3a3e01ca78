"""Samples whose labels are dealt out anew in some partitions: what a network learns from them is worth nothing.

A test AUROC that still differs from 0.5 shows that the label reaches the samples by another way than their content.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from lungdet.data.augment import CropAugmentation
from lungdet.data.collection_data import CollectionData
from lungdet.data.ct import CtDataModule
from lungdet.data.images import ImageDataModule
from lungdet.data.intensity import Window
from lungdet.data.partitions import PARTITIONS, Split
from lungdet.data.sample import SampleSpec
from lungdet.data.sample_kind import BatchDataset, SampleKind
from lungdet.data.splits import SplitRule
from lungdet.errors import ConfigError, RunError
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore

logger = logging.getLogger(__name__)

Partition = Literal["train", "val", "test"]


def permute_before_training(
    datamodule: CollectionData, *, seed: int, partitions: Sequence[Partition] = ("train", "val")
) -> None:
    """Let a DataModule deal the labels of these partitions out anew, whatever kind of data it has.

    Args:
        datamodule: before any of its loaders was asked for; images are stored and set up by this call.
        seed: of the permutation.
        partitions: where; each on its own.

    Raises:
        RunError: a kind of data whose labels nobody can permute.
        ConfigError, StoreError, SplitError: see the DataModule.
    """
    if isinstance(datamodule, CtDataModule):
        datamodule.samples = PermutedLabels(datamodule.samples, seed=seed, partitions=partitions)
    elif isinstance(datamodule, ImageDataModule):
        datamodule.prepare_data()
        datamodule.setup("fit")
        permuted = permute_labels(datamodule.records, seed=seed, partitions=partitions)
        note = _note(partitions, seed=seed)
        logger.info(note)
        datamodule.relabel(permuted["label"].to_numpy(np.int8), note=note)
    else:
        raise RunError(f"labels of {type(datamodule).__name__} cannot be permuted: it has neither samples nor images")


class PermutedLabels:
    """A kind of samples with its labels permuted after the split: patients, rows and class counts stay as they are.

    Everything else is that of the samples it is made from. Only labels that the records hold can be permuted, so the
    samples must have a class each; masks lie in the scans.

    Args:
        samples: whose labels are permuted.
        seed: of the permutation.
        partitions: where; each on its own, so that every one keeps its class counts.

    Raises:
        ConfigError: partitions that are not some of train, val, test.
    """

    def __init__(self, samples: SampleKind, *, seed: int, partitions: Sequence[Partition] = ("train", "val")) -> None:
        if not partitions or set(partitions) - set(PARTITIONS) or len(set(partitions)) < len(partitions):
            raise ConfigError([f"partitions={list(partitions)} must be one or more of train, val, test, each once"])
        self.samples, self.seed, self.partitions = samples, seed, tuple(partitions)
        self.classes = samples.classes

    def spec(self, shape_zyx: tuple[int, int, int], *, window: Window) -> SampleSpec:
        """That of the samples.

        Raises:
            ConfigError: they have no class to permute.
        """
        spec = self.samples.spec(shape_zyx, window=window)
        if spec.target != "class":
            raise ConfigError(
                [
                    f"labels can be permuted where a sample has a class; those of {type(self.samples).__name__} have a "
                    f"{spec.target}"
                ]
            )
        return spec

    def prepare(self, collection: Luna16, *, store: CtStore) -> None:
        """What the samples need."""
        self.samples.prepare(collection, store=store)

    def make_records(
        self, collection: Luna16, *, store: CtStore, rule: SplitRule, shape_zyx: tuple[int, int, int]
    ) -> tuple[pd.DataFrame, Split]:
        """The records with permuted labels; a note of the split says so.

        Raises:
            TableError, SplitError: see the samples.
        """
        records, split = self.samples.make_records(collection, store=store, rule=rule, shape_zyx=shape_zyx)
        note = _note(self.partitions, seed=self.seed)
        logger.info(note)
        permuted = permute_labels(records, seed=self.seed, partitions=self.partitions)
        return permuted, dataclasses.replace(split, notes=(*split.notes, note))

    def dataset(
        self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int], training: bool
    ) -> BatchDataset:
        """That of the samples, from the permuted records."""
        return self.samples.dataset(store, records, shape_zyx=shape_zyx, training=training)

    def evaluation_batch_size(self, batch_size: int) -> int:
        """That of the samples."""
        return self.samples.evaluation_batch_size(batch_size)

    def finish(
        self, batch: Any, *, window: Window, augment: CropAugmentation | None, shape_zyx: tuple[int, int, int]
    ) -> Any:
        """As the samples do it."""
        return self.samples.finish(batch, window=window, augment=augment, shape_zyx=shape_zyx)


def permute_labels(records: pd.DataFrame, *, seed: int, partitions: Sequence[str]) -> pd.DataFrame:
    """The records with the labels of each of these partitions permuted among its rows.

    Args:
        records: with `partition` and `label`.
        seed: the permutation of a partition depends on it, on the partition's name and on its number of rows only.
        partitions: some of train, val, test; the others keep their labels.

    Returns:
        A copy; only `label` differs.
    """
    label = records["label"].to_numpy().copy()
    partition = records["partition"].to_numpy()
    for name in partitions:
        rows = np.flatnonzero(partition == name)
        label[rows] = label[np.random.default_rng([seed, PARTITIONS.index(name)]).permutation(rows)]
    return records.assign(label=label)


def _note(partitions: Sequence[str], *, seed: int) -> str:
    where = " and ".join(partitions)
    return f"The labels of {where} are permuted at random (seed {seed}): nothing true can be learned from them."
