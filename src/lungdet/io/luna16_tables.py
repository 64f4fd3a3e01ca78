"""The CSV files of LUNA16, one function each: columns by header name, every value checked, wrong lines named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungdet.errors import MissingFileError, TableError
from lungdet.io.tables import Column, read_table, row_error

# Ten metres: any real table coordinate lies within, a voxel index times a wrong spacing or a parsing slip may not.
_FAR_MM = 10_000.0
# The official diameters lie between 3.25 and 32.27 mm; a table of masses may go further, not beyond a chest.
_LARGEST_MM = 500.0
_RATINGS = re.compile(r"\[\s*([1-5](\s*,\s*[1-5])*)?\s*\]")

_POINT = {
    "seriesuid": Column("series_uid", "text"),
    "coordX": Column("center_x_mm", low=-_FAR_MM, high=_FAR_MM),
    "coordY": Column("center_y_mm", low=-_FAR_MM, high=_FAR_MM),
    "coordZ": Column("center_z_mm", low=-_FAR_MM, high=_FAR_MM),
}
_DIAMETER = Column("diameter_mm", low=0.1, high=_LARGEST_MM)


def read_annotations(path: Path | str) -> pd.DataFrame:
    """Nodules: `annotations.csv`.

    Returns:
        series_uid (str), center_x_mm, center_y_mm, center_z_mm, diameter_mm (float64), in file order.

    Raises:
        MissingFileError: no such file.
        TableError: a missing column or a value that is not allowed, with its line; a diameter below 0.1 mm is one
            (`annotations_excluded.csv` has them: `read_excluded`).
    """
    return read_table(Path(path), {**_POINT, "diameter_mm": _DIAMETER})


def read_excluded(path: Path | str) -> pd.DataFrame:
    """Irrelevant findings: `annotations_excluded.csv`; columns as `read_annotations`.

    Diameter -1 (unknown) stays -1: what it stands for is the evaluation's business. Exact duplicates, 11,105 in the
    official file, stay too.
    """
    return read_table(Path(path), {**_POINT, "diameter_mm": Column("diameter_mm", low=-1, high=_LARGEST_MM)})


def read_candidates(path: Path | str) -> pd.DataFrame:
    """Candidates: `candidates.csv` or `candidates_V2.csv`.

    Returns:
        candidate_id (int64, the number of the data row in the file, from 0), series_uid (str), center_x_mm,
        center_y_mm, center_z_mm (float64), is_nodule (bool), in file order.

    Raises:
        MissingFileError: no such file.
        TableError: a missing column or a value that is not allowed (class is 0 or 1), with its line.
    """
    table = read_table(Path(path), {**_POINT, "class": Column("is_nodule", "whole", low=0, high=1)})
    table["is_nodule"] = table["is_nodule"].astype(bool)
    table.insert(0, "candidate_id", np.arange(len(table), dtype=np.int64))
    return table


def read_marks(path: Path | str) -> pd.DataFrame:
    """A detector's submission: seriesuid, coordX, coordY, coordZ, probability (any finite score).

    Returns:
        series_uid (str), center_x_mm, center_y_mm, center_z_mm, probability (float64), in file order.

    Raises:
        MissingFileError: no such file.
        TableError: a missing column or a value that is not allowed, with its line.
    """
    return read_table(Path(path), {**_POINT, "probability": Column("probability")})


def read_points(path: Path | str) -> pd.DataFrame:
    """The positions of any table in the challenge's style: annotations, candidates or marks.

    Returns:
        series_uid (str), center_x_mm, center_y_mm, center_z_mm (float64), in file order; other columns are left out.

    Raises:
        MissingFileError: no such file.
        TableError: a missing column or a value that is not allowed, with its line.
    """
    return read_table(Path(path), _POINT)


def read_series(path: Path | str) -> pd.DataFrame:
    """Which patient and which subset each series belongs to: `series.csv`.

    Returns:
        series_uid (str), subset (int64, 0 to 9, -1 for none), patient_id (str), in file order.

    Raises:
        MissingFileError: no such file.
        TableError: a missing column, a value that is not allowed, or a series listed twice, with its line.
    """
    path = Path(path)
    columns = {
        "seriesuid": Column("series_uid", "text"),
        "subset": Column("subset", "whole", low=-1, high=9),
        "patient_id": Column("patient_id", "text"),
    }
    table = read_table(path, columns)
    again = table["series_uid"].duplicated().to_numpy()
    if again.any():
        row = int(np.argmax(again))
        row_error(path, row, f"series {table['series_uid'].iloc[row]} is listed before; keep one line per series")
    return table


def read_malignancy(path: Path | str) -> pd.DataFrame:
    """Nodules with reader ratings: `annotations_with_malignancy.csv`, the book's format.

    Returns:
        The columns of `read_annotations`, is_malignant (bool, the file's `mal_bool`), ratings (tuple of int, 1 to 5,
        one per reader, the file's `mal_details`).

    Raises:
        MissingFileError: no such file.
        TableError: a missing column or a value that is not allowed, with its line.
    """
    path = Path(path)
    columns = {
        **_POINT,
        "diameter_mm": _DIAMETER,
        "mal_bool": Column("is_malignant", "text"),
        "mal_details": Column("ratings", "text"),
    }
    table = read_table(path, columns)
    flags = table["is_malignant"].str.lower().map({"true": True, "1": True, "false": False, "0": False})
    _all_known(path, flags, table["is_malignant"], "mal_bool", "True or False")
    ratings = table["ratings"].map(_ratings_of)
    _all_known(path, ratings, table["ratings"], "mal_details", "a list of ratings from 1 to 5 such as [4, 2, 4]")
    return table.assign(is_malignant=flags.astype(bool), ratings=ratings.astype(object))


def read_seriesuids(path: Path | str) -> tuple[str, ...]:
    """The series that an evaluation counts: one UID per line, no header (a line `seriesuid` is passed over).

    Raises:
        MissingFileError: no such file.
        TableError: a line with more than a UID, a series listed twice, an empty file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table")
    seen: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        uid = line.strip()
        if not uid or (not seen and uid.lower() == "seriesuid"):
            continue
        if re.search(r"[\s,;]", uid):
            raise TableError(f"{path}: line {number}: {uid[:80]!r}, allowed is one series UID per line")
        if uid in seen:
            raise TableError(f"{path}: line {number}: series {uid} is listed before, on line {seen[uid]}")
        seen[uid] = number
    if not seen:
        raise TableError(f"{path}: the list is empty; expected one series UID per line")
    return tuple(seen)


def _ratings_of(text: str) -> tuple[int, ...] | None:
    return tuple(int(digit) for digit in re.findall(r"\d", text)) if _RATINGS.fullmatch(text) else None


def _all_known(path: Path, parsed: pd.Series[Any], given: pd.Series[str], column: str, allowed: str) -> None:
    unknown = parsed.isna().to_numpy()
    if unknown.any():
        row = int(np.argmax(unknown))
        row_error(path, row, f"{column} is {given.iloc[row]!r}, allowed is {allowed}")
