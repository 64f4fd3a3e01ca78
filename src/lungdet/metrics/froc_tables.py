"""Tables of annotations and marks -> checked arrays with numbered series; every complaint names table and rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lungdet.errors import TableError
from lungdet.metrics.matching import FloatArray, IndexArray, Marks, Spheres

CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]

_ROWS_NAMED = 10


def check_series(seriesuids: Sequence[str]) -> tuple[str, ...]:
    """The denominator: at least one series, none twice.

    Raises:
        TableError: otherwise. (The official script would count a series listed twice as two scans.)
    """
    uids = tuple(seriesuids)
    if not uids:
        raise TableError("seriesuids: no series at all; the list is the denominator, one series a line")
    seen = pd.Index(uids)
    if not seen.is_unique:
        twice = [str(uid) for uid in seen[seen.duplicated()].unique()]
        raise TableError(
            f"seriesuids: {len(twice)} listed more than once, so the denominator is not clear: {_some(twice)}"
        )
    return uids


def foreign_series(table: pd.DataFrame, seriesuids: Sequence[str]) -> list[str]:
    """Series of `table` that are not listed, in order of appearance."""
    unlisted = series_numbers(table, seriesuids, name="table") < 0
    return [str(uid) for uid in table.loc[unlisted, "series_uid"].unique()]


def series_numbers(table: pd.DataFrame, seriesuids: Sequence[str], *, name: str) -> IndexArray:
    """Place of each row's series in `seriesuids`, compared as text: int64 [rows], -1 where it is not listed."""
    _need(table, "series_uid", name)
    given = pa.array(table["series_uid"], type=pa.large_string(), from_pandas=True)
    found = pc.index_in(given, value_set=pa.array(list(seriesuids), type=pa.large_string()))
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)


def spheres(table: pd.DataFrame, seriesuids: Sequence[str], *, name: str) -> tuple[Spheres, IndexArray]:
    """The annotations of listed series in official order: series as listed, within a series as in the file.

    Returns:
        The spheres, and the row of each in `table`.
    """
    series = series_numbers(table, seriesuids, name=name)
    values = _numbers(table, [*CENTER, "diameter_mm"], name=name)
    rows = np.flatnonzero(series >= 0)
    rows = rows[np.argsort(series[rows], kind="stable")]
    return Spheres(series[rows], values[rows, :3], values[rows, 3]), rows


def marks_of_listed(table: pd.DataFrame, seriesuids: Sequence[str], *, name: str) -> Marks:
    """The marks of listed series in file order; the values of all rows are checked."""
    series = series_numbers(table, seriesuids, name=name)
    values = _numbers(table, [*CENTER, "probability"], name=name)
    rows = np.flatnonzero(series >= 0)
    return Marks(series[rows], values[rows, :3], values[rows, 3])


def _numbers(table: pd.DataFrame, columns: list[str], *, name: str) -> FloatArray:
    """The columns as float64 [rows, columns], all finite."""
    values = np.empty((len(table), len(columns)), order="F")
    for k, column in enumerate(columns):
        _need(table, column, name)
        try:
            values[:, k] = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise TableError(f"{name}: column '{column}' is not numeric: {error}") from error
        bad = np.flatnonzero(~np.isfinite(values[:, k])).tolist()
        if bad:
            raise TableError(
                f"{name}: {column} is not a finite number in {len(bad)} of {len(table)} rows (data rows, from 0: "
                f"{_some(bad)}); mend or remove them"
            )
    return values


def _need(table: pd.DataFrame, column: str, name: str) -> None:
    if column not in table:
        raise TableError(f"{name}: no column '{column}'; it has {', '.join(map(str, table.columns)) or 'none'}")


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:_ROWS_NAMED])) + (", ..." if len(items) > _ROWS_NAMED else "")
