"""The table of counted voxels: one canonical form, same bytes, refusals, and told apart from a classifier's table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.evaluation.mask_examples import make_cohort

from lungdet.errors import MissingFileError, TableError
from lungdet.evaluation.mask_predictions import (
    HALF,
    HISTOGRAMS,
    N_BINS,
    SCHEMA,
    SCOPES,
    check_mask_predictions,
    holds_masks,
    read_mask_predictions,
    stacked,
    write_mask_predictions,
)
from lungdet.evaluation.predictions import write_predictions
from lungdet.metrics.segmentation import SCOPES as TASK_PREFIXES
from lungdet.tasks.segmentation import PREDICTED_BINS


@pytest.fixture(scope="module")
def given() -> pd.DataFrame:
    return make_cohort(n_patients=6, n_tiles=5).table()


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    histograms = [f"{prefix}{name}" for prefix in SCOPES.values() for name in HISTOGRAMS]
    pd.testing.assert_frame_equal(one.drop(columns=histograms), other.drop(columns=histograms))
    for name in histograms:
        np.testing.assert_array_equal(stacked(one, name), stacked(other, name))


def test_bins_and_prefixes_are_those_of_the_task() -> None:
    assert N_BINS == PREDICTED_BINS
    assert tuple(SCOPES.values()) == TASK_PREFIXES


def test_what_is_written_is_read(given: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "new" / "predictions.parquet"
    write_mask_predictions(given, path)
    table = read_mask_predictions(path)
    same(table, check_mask_predictions(given))
    assert pq.read_schema(path).equals(SCHEMA)
    assert stacked(table, "positives").shape == (30, 64)
    assert (stacked(table, "negatives")[:, HALF:].sum(1) == table["fp"]).all()
    assert list(path.parent.iterdir()) == [path]
    assert table["partition"].tolist() == ["test"] * 20 + ["val"] * 10


def test_the_order_of_rows_changes_no_byte(given: pd.DataFrame, tmp_path: Path) -> None:
    write_mask_predictions(given, tmp_path / "a")
    shuffled = given.sample(frac=1, random_state=3).astype({"candidate_id": np.int32, "label": np.int64})
    write_mask_predictions(shuffled.assign(positives=[row.tolist() for row in shuffled["positives"]]), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_rows_are_a_table_too(given: pd.DataFrame, tmp_path: Path) -> None:
    write_mask_predictions(given.iloc[:0], tmp_path / "none")
    table = read_mask_predictions(tmp_path / "none")
    assert len(table) == 0
    assert stacked(table, "crop_positives").shape == (0, 64)


def test_the_two_kinds_of_tables_are_told_apart(given: pd.DataFrame, predictions: pd.DataFrame, tmp_path: Path) -> None:
    write_mask_predictions(given, tmp_path / "masks")
    write_predictions(predictions, tmp_path / "scores")
    assert holds_masks(tmp_path / "masks")
    assert not holds_masks(tmp_path / "scores")
    with pytest.raises(TableError, match=r"no column tp, fp, .*model=unet_seg"):
        read_mask_predictions(tmp_path / "scores")


def test_files_that_are_none() -> None:
    for ask in (holds_masks, read_mask_predictions):
        with pytest.raises(MissingFileError, match="no predictions table there"):
            ask("nowhere.parquet")


@pytest.mark.parametrize("ask", [holds_masks, read_mask_predictions])
def test_files_that_are_not_parquet(ask: object, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("series_uid,tp")
    with pytest.raises(TableError, match="not a readable parquet file"):
        ask(tmp_path / "text")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("tp", -1, "row 0: tp is -1; it must be a whole number >= 0"),
        ("crop_fp", 0.5, "row 0: crop_fp is 0.5"),
        ("tn", np.nan, "row 0: tn is nan"),
        ("fn", "many", "column fn must hold counts of voxels"),
        ("tp", 7, r"tile 0 of series 1.2.000 \(val\): tp is not the sum of the upper half of positives"),
        ("crop_tn", 7, "crop_tn is not the sum of the lower half of crop_negatives"),
        ("crop_not_a_number", 3, r"more voxels are counted around nodules \(crop_...\) than in the whole tile"),
        ("positives", np.zeros(32, np.int64), r"positives has shape \(32,\); a histogram of logits has 64 counts"),
        ("negatives", np.full(64, -1), "row 0: negatives is -1"),
        ("label", 2, "label is 2; it must be 0 or 1"),
        ("partition", "train", "partition is train; it must be 'val' or 'test'"),
        ("patient_id", "", "row 0: patient_id is empty"),
        ("center_z_mm", np.inf, "center_z_mm is inf; it must be finite"),
        ("candidate_id", 1, "1 rows repeat a candidate"),
        ("patient_id", "P009", "series 1.2.000 belongs to several patients"),
    ],
)
def test_refusals(given: pd.DataFrame, column: str, value: object, message: str) -> None:
    table = given.copy()
    table[column] = [value, *table[column].iloc[1:]]
    with pytest.raises(TableError, match=message):
        check_mask_predictions(table)


def test_more_voxels_near_than_there_are(given: pd.DataFrame) -> None:
    table = given.copy()
    crop = table["crop_negatives"].iloc[0] + 10_000 * (np.arange(N_BINS) == 0)
    table["crop_negatives"] = [crop, *table["crop_negatives"].iloc[1:]]
    table["crop_tn"] += np.where(table.index == 0, 10_000, 0)
    with pytest.raises(TableError, match="more voxels are counted around nodules"):
        check_mask_predictions(table)


def test_missing_columns_are_named(given: pd.DataFrame) -> None:
    with pytest.raises(TableError, match=r"a\.parquet: no column crop_tp, fold; it has series_uid"):
        check_mask_predictions(given.drop(columns=["fold", "crop_tp"]), source="a.parquet")
