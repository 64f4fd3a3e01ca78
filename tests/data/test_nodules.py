"""Rated nodules as samples: the label rule decides who is malignant and who is left out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.nodules import NoduleSamples
from lungdet.errors import ConfigError, TableError

Factory = Callable[..., Luna16DataModule]

# Ratings in turn, and their labels by hand: (two_readers_4, median); None is dropped.
RATINGS = {
    "[4, 5, 1, 1]": (1, 0),
    "[1, 2, 2]": (0, 0),
    "[3, 3, 3]": (0, None),
    "[5, 4, 4, 2]": (1, 1),
}


@pytest.fixture
def rated_root(luna_root: Path, tmp_path: Path) -> Path:
    """The small cohort with ratings for each of its nodules."""
    root = tmp_path / "rated"
    shutil.copytree(luna_root, root)
    table = pd.read_csv(root / "annotations.csv", dtype={"seriesuid": str})
    given = [list(RATINGS)[row % len(RATINGS)] for row in range(len(table))]
    table = table.assign(mal_bool=[RATINGS[text][0] == 1 for text in given], mal_details=given)
    table.to_csv(root / "annotations_with_malignancy.csv", index=False)
    return root


@pytest.mark.parametrize(("rule", "column"), [("two_readers_4", 0), ("median", 1)])
def test_labels_follow_the_rule(
    rule: str, column: int, make_datamodule: Factory, rated_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = NoduleSamples(label_rule=rule)  # type: ignore[arg-type]
    datamodule = make_datamodule(root=rated_root, samples=samples)
    with caplog.at_level(logging.INFO):
        datamodule.setup()
    file = pd.read_csv(rated_root / "annotations_with_malignancy.csv", dtype={"seriesuid": str})
    expected = {
        row: RATINGS[text][column] for row, text in enumerate(file["mal_details"]) if RATINGS[text][column] is not None
    }
    records = datamodule.records
    assert dict(zip(records["candidate_id"], records["label"], strict=True)) == expected
    merged = records.merge(file.rename_axis("candidate_id").reset_index(), on="candidate_id")
    assert (merged["diameter_mm_x"] == merged["diameter_mm_y"]).all()
    assert (merged["center_x_mm"] == merged["coordX"]).all()
    assert datamodule.classes == ("benign", "malignant")
    assert f"{len(file) - len(expected)} of {len(file)} nodules dropped" in caplog.text


def test_the_split_is_that_of_the_candidates(make_datamodule: Factory, rated_root: Path) -> None:
    nodules, candidates = make_datamodule(root=rated_root, samples=NoduleSamples()), make_datamodule(root=rated_root)
    for datamodule in (nodules, candidates):
        datamodule.setup()
    assert nodules.split_result.hash == candidates.split_result.hash


def test_collection_without_ratings(make_datamodule: Factory) -> None:
    with pytest.raises(TableError, match=r"has no annotations_with_malignancy\.csv"):
        make_datamodule(samples=NoduleSamples()).setup()


def test_unknown_rule_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="malignancy rule 'majority' is unknown"):
        NoduleSamples(label_rule="majority")  # type: ignore[arg-type]
