"""Tables to arrays: series numbered by text, official order, and complaints that name table and rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import TableError
from lungdet.metrics.froc_tables import check_series, foreign_series, marks_of_listed, series_numbers, spheres


def table(series: list[str], **columns: list[object]) -> pd.DataFrame:
    center = {f"center_{axis}_mm": np.arange(len(series), dtype=np.float64) for axis in "xyz"}
    return pd.DataFrame({"series_uid": series, **center, **columns})


def test_series_are_text() -> None:
    """'0017', '17' and '17.0' are three series; the first is not listed."""
    given = pd.DataFrame({"series_uid": ["0017", "17", "17.0", "17"]})
    assert series_numbers(given, ["17.0", "17"], name="marks").tolist() == [-1, 1, 0, 1]
    assert foreign_series(given, ["17"]) == ["0017", "17.0"]


def test_series_of_any_text_dtype() -> None:
    for dtype in ("object", "str", "category"):
        given = pd.DataFrame({"series_uid": pd.Series(["b", "a", "c"], dtype=dtype)})
        assert series_numbers(given, ["a", "b"], name="marks").tolist() == [1, 0, -1]


def test_annotations_come_series_by_series_as_listed_then_as_in_the_file() -> None:
    """File order b1 a1 x b2 a2, listed a, b: rows 1, 4 (a), then 0, 3 (b); x is not listed."""
    found, rows = spheres(table(["b", "a", "x", "b", "a"], diameter_mm=[1, 2, 3, 4, 5]), ["a", "b"], name="annotations")
    assert rows.tolist() == [1, 4, 0, 3]
    assert found.series.tolist() == [0, 0, 1, 1]
    assert found.diameter_mm.tolist() == [2, 5, 1, 4]
    assert found.center_xyz_mm[:, 0].tolist() == [1, 4, 0, 3]


def test_marks_keep_the_order_of_the_file() -> None:
    found = marks_of_listed(table(["b", "x", "a", "b"], probability=[0.1, 0.2, 0.3, 0.4]), ["a", "b"], name="marks")
    assert found.series.tolist() == [1, 0, 1]
    assert found.probability.tolist() == [0.1, 0.3, 0.4]


def test_float32_scores_keep_their_value() -> None:
    given = table(["a"], probability=[0.1])
    given["probability"] = given["probability"].astype(np.float32)
    assert marks_of_listed(given, ["a"], name="marks").probability.tolist() == [float(np.float32(0.1))]


def test_rows_with_nan_are_named() -> None:
    """Also in series that are not listed: the file is broken all the same."""
    given = table(["a", "x", "a", "a"], probability=[0.1, None, 0.3, float("inf")])
    with pytest.raises(TableError, match=r"marks: probability is not a finite number in 2 of 4 rows .* from 0: 1, 3\)"):
        marks_of_listed(given, ["a"], name="marks")


def test_only_the_first_bad_rows_are_named() -> None:
    given = table(["a"] * 30, probability=[float("nan")] * 30)
    with pytest.raises(TableError, match=r"30 of 30 rows .*0: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\)"):
        marks_of_listed(given, ["a"], name="marks")


def test_text_where_numbers_belong() -> None:
    with pytest.raises(TableError, match="annotations: column 'diameter_mm' is not numeric"):
        spheres(table(["a"], diameter_mm=["large"]), ["a"], name="annotations")


@pytest.mark.parametrize("column", ["series_uid", "center_y_mm", "probability"])
def test_a_missing_column_is_named(column: str) -> None:
    given = table(["a"], probability=[0.5]).drop(columns=column)
    with pytest.raises(TableError, match=f"marks: no column '{column}'; it has "):
        marks_of_listed(given, ["a"], name="marks")


def test_a_table_without_columns() -> None:
    with pytest.raises(TableError, match="it has none"):
        series_numbers(pd.DataFrame(), ["a"], name="marks")


def test_the_denominator_must_be_clear() -> None:
    assert check_series(["b", "a"]) == ("b", "a")
    with pytest.raises(TableError, match="no series at all"):
        check_series([])
    with pytest.raises(TableError, match="1 listed more than once, so the denominator is not clear: b"):
        check_series(["b", "a", "b"])
