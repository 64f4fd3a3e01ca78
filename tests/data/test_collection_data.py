"""Counts and folds of a table of a few rows, and what is asked before `setup`."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import pytest

from lungdet.data.collection_data import CollectionData, after_setup
from lungdet.data.partitions import Split
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import RunError


class Bare(CollectionData):
    """A collection without files: what needs one is not asked."""

    @property
    def classes(self) -> tuple[str, str]:
        return "non_nodule", "nodule"


@pytest.fixture
def data() -> CollectionData:
    # What is abstract is not asked, and Lightning's metaclass does not insist on it.
    made: type[Any] = Bare
    return cast(CollectionData, made(sampling=NaturalSampling(), batch_size=2, num_workers=0, seed=0))


def test_nothing_is_known_before_setup(data: CollectionData) -> None:
    for name in ("records", "split_result", "fold", "train_class_counts"):
        with pytest.raises(RunError, match=r"^the data are not set up: call setup\(\) first \(a Trainer does\)$"):
            getattr(data, name)


def test_what_exists_after_setup_may_be_empty() -> None:
    assert after_setup("") == ""
    assert after_setup(0) == 0


def test_rows_are_counted_by_class_and_partition(data: CollectionData) -> None:
    data._records = pd.DataFrame({"partition": ["train", "train", "train", "val", "test"], "label": [0, 1, 0, 0, 1]})
    assert data.train_class_counts == (2, 1)
    assert data.count_by_partition() == "test 1 nodule of 1; train 1 nodule of 3; val 0 nodule of 1"


@pytest.mark.parametrize(("labels", "counts"), [([0, 0], (2, 0)), ([1], (0, 1)), ([], (0, 0))])
def test_a_class_without_rows_counts_zero(labels: list[int], counts: tuple[int, int], data: CollectionData) -> None:
    data._records = pd.DataFrame({"partition": "train", "label": pd.Series(labels, dtype="int8")})
    assert data.train_class_counts == counts


@pytest.mark.parametrize(("fold", "told"), [(None, -1), (0, 0), (3, 3)])
def test_a_split_without_folds_is_minus_one(fold: int | None, told: int, data: CollectionData) -> None:
    data._split_result = Split(("a",), ("b",), ("c",), rule="r", fold=fold)
    assert data.fold == told


def test_most_collections_have_none_of_these(data: CollectionData) -> None:
    assert data.label_rule is None
    assert data.description == {}
    assert data.clinical_features is None
    assert data.mined_with == {}
