"""CSV files that people write about images: columns under several names in any case, all values as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from lungdet.errors import MissingFileError, TableError
from lungdet.io.tables import row_error

_SHOWN = 5


def read_image_table(
    path: Path | str, required: Mapping[str, Sequence[str]], *, optional: Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Read the columns asked for; others are left out.

    Args:
        path: commas, semicolons or tabs, with or without byte order mark.
        required: name of the column in the result -> names it may have in the file (the first one there is taken).
        optional: the same for columns that may be missing, or empty in some rows.

    Returns:
        One row a data line, in file order; str without white space around it; an optional column only where the file
        has it.

    Raises:
        MissingFileError: no such file.
        TableError: not a table, no rows, a required column that is missing, or an empty value in one (by line).
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such table")
    text = _read(path)
    result = pd.DataFrame(index=text.index)
    for target, names in {**required, **(optional or {})}.items():
        given = next((name for name in names if name in text), None)
        if given is not None:
            result[target] = text[given].str.strip()
        elif target in required:
            raise TableError(f"{path}: no column {' or '.join(names)}; it has {', '.join(text.columns)}")
        if target in required:
            refuse_rows(path, result[target] == "", result[target], f"{target}: allowed is a text that is not empty")
    return result


def refuse_rows(path: Path, wrong: pd.Series[bool], given: pd.Series[str], allowed: str) -> None:
    """Raise for the first row that is wrong, if any.

    Raises:
        TableError: file, line, the value given and what is allowed.
    """
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        row_error(path, row, f"{given.iloc[row]!r} for {allowed}")


def first_few(names: Iterable[str]) -> str:
    """`a, b, c and 7 more`, for error texts."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _read(path: Path) -> pd.DataFrame:
    """All columns as text, names in lower case."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        delimiter = next((mark for mark in ",;\t" if mark in header), ",")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=delimiter)
    except ValueError as error:  # pandas' own errors and those of the encoding are ValueErrors
        raise TableError(f"{path}: not a readable table ({error})") from error
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    if not len(table):
        raise TableError(f"{path}: the table has no rows")
    return table
