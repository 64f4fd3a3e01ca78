"""CSV tables with known columns: read in one pass by pyarrow, checked as arrays, blamed by file line when wrong."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from lungdet.errors import MissingFileError, TableError


@dataclass(frozen=True)
class Column:
    """What one column of a file has to hold and how it is called afterwards.

    Attributes:
        target: its name in the DataFrame.
        kind: `text` (not empty), `number` (finite float64), `whole` (int64; "1.0" passes) or `free` (any text).
        low: smallest number allowed.
        high: largest number allowed.
    """

    target: str
    kind: Literal["text", "number", "whole", "free"] = "number"
    low: float = -np.inf
    high: float = np.inf

    @property
    def allowed(self) -> str:
        """For error texts."""
        if self.kind == "text":
            return "a text that is not empty"
        name = "a whole number" if self.kind == "whole" else "a finite number"
        if np.isfinite(self.low) and np.isfinite(self.high):
            return f"{name} from {self.low:g} to {self.high:g}"
        return name


def read_table(path: Path, columns: Mapping[str, Column]) -> pd.DataFrame:
    """Reads the named columns of a CSV file, whatever their order; other columns are left out.

    Commas or tabs, LF or CRLF, with or without byte order mark; blank lines are skipped. No Python object is made per
    row: text columns stay in Arrow buffers where pandas can hold them (pandas 3).

    Args:
        path: the file; its first line holds the column names.
        columns: column name in the file -> what it holds.

    Returns:
        One row per data line, in file order, RangeIndex, the columns called by their `target`.

    Raises:
        MissingFileError: no such file.
        TableError: a column is missing or doubled, a line has another number of fields, a value is empty, of another
            type, NaN or out of range; the message gives line number, column and value.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table")
    names, delimiter, header_line = _header(path)
    missing = [name for name in columns if name not in names]
    if missing:
        raise TableError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(names)}. Expected {', '.join(columns)}"
        )
    doubled = sorted({name for name in columns if names.count(name) > 1})
    if doubled:
        raise TableError(f"{path}: column {', '.join(doubled)} occurs more than once")
    types = {name: pa.float64() if c.kind in ("number", "whole") else pa.string() for name, c in columns.items()}
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(column_names=names, skip_rows=header_line),
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(column_types=types, include_columns=list(columns)),
        )
    except pa.ArrowInvalid as error:
        _blame(path, columns, error)
    frame = {}
    for name, column in columns.items():
        array = table.column(name)
        if column.kind in ("text", "free"):
            array = pc.utf8_trim_whitespace(array)
        wrong = _first_wrong(array, column)
        if wrong is not None:
            value = array[wrong].as_py()
            given = "empty or NaN" if value is None else repr(value)
            row_error(path, wrong, f"{name} is {given}, allowed is {column.allowed}")
        frame[column.target] = array.cast(pa.int64()) if column.kind == "whole" else array
    result: pd.DataFrame = pa.table(frame).to_pandas()
    return result


def row_error(path: Path, row: int, why: str) -> NoReturn:
    """Raises TableError for the data row with this number (0 is the first after the header), naming the file line."""
    line, _ = next(itertools.islice(_lines(path), row + 1, None))
    raise TableError(f"{path}: line {line}: {why}")


def _header(path: Path) -> tuple[list[str], str, int]:
    """Column names, delimiter and the line number of the header."""
    for line, text in _lines(path):
        delimiter = "\t" if "\t" in text and "," not in text else ","
        names = next(csv.reader([text], delimiter=delimiter))
        return [name.strip() for name in names], delimiter, line
    raise TableError(f"{path}: the table is empty; expected a line of column names")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and texts of all lines that are not blank."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\r\n")
            if text:
                yield number, text


def _first_wrong(array: pa.ChunkedArray, column: Column) -> int | None:
    """The first row whose value is not allowed, by whole-array comparisons."""
    if column.kind == "free":
        return None
    if column.kind == "text":
        wrong = pc.equal(array, "").to_numpy()
    else:
        values = array.to_numpy()  # nulls become NaN
        with np.errstate(invalid="ignore"):
            wrong = ~((values >= column.low) & (values <= column.high) & np.isfinite(values))
            if column.kind == "whole":
                wrong |= values != np.floor(values)
    return int(np.argmax(wrong)) if wrong.any() else None


def _blame(path: Path, columns: Mapping[str, Column], error: pa.ArrowInvalid) -> NoReturn:
    """Finds the line that pyarrow stumbled over, slowly and in file order."""
    names, delimiter, header_line = _header(path)
    for line, text in _lines(path):
        if line == header_line:
            continue
        fields = next(csv.reader([text], delimiter=delimiter))
        if len(fields) != len(names):
            raise TableError(f"{path}: line {line}: {len(fields)} fields, expected {len(names)} ({', '.join(names)})")
        for name, field in zip(names, fields, strict=True):
            column = columns.get(name)
            if column is not None and column.kind in ("number", "whole") and not _is_number(field):
                raise TableError(f"{path}: line {line}: {name} is {field!r}, allowed is {column.allowed}")
    raise TableError(f"{path}: not a readable CSV table: {error}") from error


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
