"""The predictions table: what is refused and how it is said, canonical order, stable bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.evaluation.predictions import (
    SCHEMA,
    check_predictions,
    deduplicate,
    read_predictions,
    sigmoid,
    write_predictions,
)


def test_a_table_survives_the_file_in_canonical_order(predictions: pd.DataFrame, tmp_path: Path) -> None:
    shuffled = predictions.sample(frac=1, random_state=1).assign(unrelated=3)
    path = tmp_path / "new" / "predictions.parquet"
    write_predictions(shuffled, path)
    table = read_predictions(path)
    assert list(table.columns) == SCHEMA.names
    assert pq.read_schema(path).equals(SCHEMA)
    expected = predictions.sort_values(["partition", "series_uid", "candidate_id"]).reset_index(drop=True)
    for name in predictions.columns:
        np.testing.assert_array_equal(table[name].to_numpy(), expected[name].to_numpy(), err_msg=name)
    assert table["logit"].dtype == np.float32
    assert table["label"].dtype == np.int8
    np.testing.assert_allclose(table["probability"], 1 / (1 + np.exp(-expected["logit"].astype(float))), atol=1e-7)
    assert [p.name for p in path.parent.iterdir()] == ["predictions.parquet"]  # nothing unfinished is left


def test_same_rows_in_any_order_give_the_same_bytes(predictions: pd.DataFrame, tmp_path: Path) -> None:
    write_predictions(predictions, tmp_path / "a.parquet")
    write_predictions(predictions.sample(frac=1, random_state=3), tmp_path / "b.parquet")
    write_predictions(read_predictions(tmp_path / "a.parquet"), tmp_path / "c.parquet")
    first = (tmp_path / "a.parquet").read_bytes()
    assert first == (tmp_path / "b.parquet").read_bytes() == (tmp_path / "c.parquet").read_bytes()


def test_integer_valued_floats_are_taken_and_an_empty_table_is_a_table(predictions: pd.DataFrame) -> None:
    as_float = predictions.astype({"label": "float64", "candidate_id": "float64"})
    pd.testing.assert_frame_equal(check_predictions(as_float), check_predictions(predictions))
    empty = check_predictions(predictions.iloc[:0])
    assert len(empty) == 0
    assert list(empty.columns) == SCHEMA.names


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("logit", np.nan, r"row 7 \(series 1\.3\S+, candidate 7\): logit is nan; it must be finite"),
        ("logit", 1e300, "row 7 .*: logit is inf"),
        ("center_y_mm", np.inf, "row 7 .*: center_y_mm is inf"),
        ("label", 2, "row 7 .*: label is 2; it must be 0 or 1"),
        ("label", 0.5, "row 7: label must be a whole number, got 0.5"),
        ("label", np.nan, "row 7: label must be a whole number, got nan"),
        ("fold", 1_000_000, "row 7: fold must be a whole number"),
        ("diameter_mm", -1.0, "row 7 .*: diameter_mm is -1.0; it must be positive, or NaN"),
        ("partition", "train", "row 7 .*: partition is train; it must be 'val' or 'test'"),
        ("patient_id", None, "row 7: patient_id is empty"),
        ("series_uid", "", "row 7: series_uid is empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_row(predictions: pd.DataFrame, column: str, value: Any, message: str) -> None:
    table = predictions.astype({"label": "float64", "logit": "float64"})
    table.loc[7, column] = value
    with pytest.raises(TableError, match=message):
        check_predictions(table)


def test_missing_columns_and_wrong_types_are_named(predictions: pd.DataFrame) -> None:
    with pytest.raises(TableError, match=r"no column fold, partition; it has series_uid, .*A predictions table holds"):
        check_predictions(predictions.drop(columns=["fold", "partition"]))
    with pytest.raises(TableError, match=r"no column .*logit, probability"):
        check_predictions(predictions.drop(columns="logit"))
    with pytest.raises(TableError, match="it has none"):
        check_predictions(pd.DataFrame())
    with pytest.raises(TableError, match=r"column candidate_id must hold numbers, got (object|str)"):
        check_predictions(predictions.assign(candidate_id=predictions["series_uid"]))
    with pytest.raises(TableError, match="column patient_id must hold text, got int64"):
        check_predictions(predictions.assign(patient_id=1))


def test_a_probability_rounded_by_bf16_is_refused(predictions: pd.DataFrame) -> None:
    """bfloat16 keeps 8 significant bits: truncating fp32 to its upper two bytes is what the format does."""
    exact = check_predictions(predictions)
    bits = exact["probability"].to_numpy().view(np.uint32) & np.uint32(0xFFFF0000)
    with pytest.raises(TableError, match=r"probability is .* it must be the sigmoid of logit in fp32"):
        check_predictions(exact.assign(probability=bits.view(np.float32)))


def test_repeated_candidates_and_torn_series_are_refused(predictions: pd.DataFrame) -> None:
    with pytest.raises(
        TableError, match=r"2 rows repeat a candidate, the first is candidate 3 of series .*deduplicate"
    ):
        check_predictions(pd.concat([predictions, predictions.iloc[[5, 3]]]))
    predictions.loc[3, "patient_id"] = "LIDC-IDRI-0999"
    with pytest.raises(TableError, match=r"belongs to several patients: LIDC-IDRI-0000, LIDC-IDRI-0999"):
        check_predictions(predictions)


def test_the_same_candidate_may_be_in_val_and_test(predictions: pd.DataFrame) -> None:
    both = pd.concat([predictions.assign(partition="val"), predictions.assign(partition="test")])
    assert len(check_predictions(both)) == 2 * len(predictions)


def test_a_candidate_may_validate_in_several_folds(predictions: pd.DataFrame) -> None:
    """The order of one fold does not depend on the others, and rows are told apart by their fold."""
    other = predictions.assign(fold=1, logit=predictions["logit"] + np.float32(1))
    merged = check_predictions(pd.concat([other, predictions]))
    assert len(merged) == 2 * len(predictions)
    for fold, table in ((0, predictions), (1, other)):
        rows = merged[merged["fold"] == fold].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, check_predictions(table))
    val = merged[merged["partition"] == "val"]
    assert val["fold"].is_monotonic_increasing
    assert len(deduplicate(pd.concat([merged, merged.iloc[[3]]]))) == len(merged)
    with pytest.raises(TableError, match="fold 1"):
        check_predictions(pd.concat([predictions, other, other.iloc[[3]]]))


def test_reading_what_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no predictions table there"):
        read_predictions(tmp_path / "predictions.parquet")
    (tmp_path / "predictions.parquet").write_text("series_uid,logit\n")
    with pytest.raises(TableError, match="not a readable parquet file"):
        read_predictions(tmp_path / "predictions.parquet")


def test_deduplicate_keeps_one_of_each_whatever_the_order(predictions: pd.DataFrame) -> None:
    padded = predictions.iloc[[0, 11, 11]].assign(logit=lambda t: t["logit"] + np.float32(1e-6))
    one = deduplicate(pd.concat([predictions, padded]))
    other = deduplicate(pd.concat([padded, predictions.iloc[::-1]]))
    pd.testing.assert_frame_equal(one, other)
    pd.testing.assert_frame_equal(check_predictions(one), check_predictions(predictions))


def test_nothing_repeated_nothing_dropped(predictions: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(deduplicate(predictions), deduplicate(predictions.iloc[::-1]))
    assert len(deduplicate(predictions)) == len(predictions)


def test_deduplicate_refuses_what_only_looks_repeated(predictions: pd.DataFrame) -> None:
    other = predictions.iloc[[4]].assign(logit=np.float32(5))
    with pytest.raises(TableError, match=r"candidate 4 of series .* \(val\) appears twice .*two checkpoints mixed"):
        deduplicate(pd.concat([predictions, other]))
    relabelled = predictions.iloc[[4]].assign(label=1 - predictions["label"].iloc[4])
    with pytest.raises(TableError, match="appears twice with different content: label"):
        deduplicate(pd.concat([predictions, relabelled]))
    with pytest.raises(TableError, match="without column partition"):
        deduplicate(predictions.drop(columns="partition"))


def test_three_repeats_are_compared_to_the_first(predictions: pd.DataFrame) -> None:
    table = pd.concat([predictions.iloc[[4]]] * 3)
    assert len(deduplicate(table)) == 1
    drifting = np.array([1.0, 1.0009, 1.0018], dtype=np.float32)  # neighbours are close, the ends are not
    with pytest.raises(TableError, match="different content"):
        deduplicate(table.assign(logit=drifting))


def test_sigmoid_does_not_overflow(simulate: Callable[..., pd.DataFrame]) -> None:
    logit = np.array([-1e4, -50.0, 0.0, 50.0, 1e4])
    np.testing.assert_array_equal(sigmoid(logit) + sigmoid(-logit), np.ones(5))
    x = simulate()["logit"].to_numpy(dtype=np.float64)
    np.testing.assert_allclose(sigmoid(x), 0.5 * (1 + np.tanh(x / 2)), rtol=1e-12)
