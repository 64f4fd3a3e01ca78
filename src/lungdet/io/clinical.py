"""A clinical table: any CSV with one row per patient or per series; what each column holds is found out or told."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, get_args

import numpy as np
import pandas as pd

from lungdet.errors import MissingFileError, TableError

ClinicalKey = Literal["patient_id", "series_uid"]

# Column names that mean one of the two keys; the second of each is how LUNA16 and DICOM exports write it.
_KEY_NAMES = {
    "patient_id": ("patient_id", "patientid"),
    "series_uid": ("series_uid", "seriesuid", "seriesinstanceuid"),
}
# Lower case. "none" is an answer (no emphysema), not a missing one.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "unknown", "?", "."})
# More texts than this are free text or dates, which no one-hot coding makes a feature of.
MAX_CATEGORIES = 20


@dataclass(frozen=True)
class ClinicalRows:
    """What a clinical table says.

    Attributes:
        path: the file.
        key: what a row belongs to.
        values: indexed by the key (str); a column of numbers is float64 with NaN, a column of categories holds str and
            None; in file order.
    """

    path: Path
    key: ClinicalKey
    values: pd.DataFrame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in file order."""
        return tuple(map(str, self.values.columns))

    def is_number(self, column: str) -> bool:
        """Whether a column holds numbers, not categories."""
        return bool(self.values[column].dtype == np.float64)


def read_clinical(
    path: Path | str,
    *,
    key: ClinicalKey | None = None,
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
) -> ClinicalRows:
    """Reads a clinical table.

    A column whose values are all numbers holds numbers, any other holds categories. Empty fields, NA, N/A, NaN, null,
    unknown, ? and . are missing values, in any case. Commas, semicolons or tabs; a byte order mark may be there.

    Args:
        path: the file; its first line holds the column names.
        key: what a row belongs to; None finds out, and prefers `series_uid` where both columns are there.
        columns: the features to read, in this order; None takes every column but the keys.
        categorical: columns whose numbers are codes (1 = never, 2 = former), not quantities.

    Raises:
        MissingFileError: no such file.
        TableError: no key column, unknown or doubled columns, a line with another number of fields, an empty key, two
            different rows for one key, an infinite number, a column without any value, with free text or with one
            number misspelt among many; the message gives the line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such clinical table; give data.clinical.path=... or type data.clinical=null"
        )
    lines, names, rows = _split(path)
    key_column, key = _key_column(path, names, key)
    chosen = _chosen(path, names, columns=columns)
    unknown = sorted(set(categorical) - set(chosen))
    if unknown:
        raise TableError(f"{path}: data.clinical.categorical names {', '.join(unknown)}; read are {', '.join(chosen)}")
    keys = [row[key_column] for row in rows]
    kept = _one_row_per_key(path, keys, rows=rows, lines=lines)
    values = {}
    for name in chosen:
        texts = [rows[n][names.index(name)] for n in kept]
        column = _Column(path, name, texts, [lines[n] for n in kept])
        values[name] = column.categories() if name in categorical else column.parsed()
    return ClinicalRows(path, key, _frame(values, keys=[keys[n] for n in kept], name=key))


def _frame(values: dict[str, pd.Series], *, keys: list[str], name: str) -> pd.DataFrame:
    return pd.DataFrame(values).set_axis(pd.Index(keys, name=name), axis=0)


def _split(path: Path) -> tuple[list[int], list[str], list[list[str]]]:
    """Line numbers, column names and rows of trimmed fields; blank lines are skipped."""
    text = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header = next((n for n, line in enumerate(text) if line.strip()), None)
    if header is None:
        raise TableError(f"{path}: the table is empty; expected a line of column names")
    delimiter = max(",;\t", key=text[header].count)
    reader = csv.reader(text[header:], delimiter=delimiter)
    names = [name.strip() for name in next(reader)]
    lines, rows = [], []
    for row in reader:
        fields = [field.strip() for field in row]
        if not any(fields):
            continue
        line = header + reader.line_num
        if len(fields) != len(names):
            _blame(path, line, f"{len(fields)} fields, expected {len(names)} ({', '.join(names)})")
        lines.append(line)
        rows.append(fields)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise TableError(f"{path}: column {', '.join(doubled)} occurs more than once")
    if not rows:
        raise TableError(f"{path}: no row below the column names")
    return lines, names, rows


def _key_column(path: Path, names: list[str], key: ClinicalKey | None) -> tuple[int, ClinicalKey]:
    order: tuple[ClinicalKey, ...] = ("series_uid", "patient_id") if key is None else (key,)
    for candidate in order:
        for number, name in enumerate(names):
            if name.lower() in _KEY_NAMES[candidate]:
                return number, candidate
    wanted = " or ".join(order)
    allowed = f"; data.clinical.key may be null, {' or '.join(get_args(ClinicalKey))}" if key is not None else ""
    raise TableError(f"{path}: no column {wanted} that says whose a row is; it has {', '.join(names)}{allowed}")


def _chosen(path: Path, names: list[str], *, columns: Sequence[str] | None) -> list[str]:
    keys = {name for group in _KEY_NAMES.values() for name in group}
    there = [name for name in names if name.lower() not in keys]
    if not there:
        raise TableError(f"{path}: no column but the key; a clinical table needs at least one feature")
    missing = [name for name in columns or () if name not in there]
    if missing:
        raise TableError(f"{path}: no feature {', '.join(missing)}; it has {', '.join(there)}")
    return there if columns is None else list(columns)


def _one_row_per_key(path: Path, keys: list[str], *, rows: list[list[str]], lines: list[int]) -> list[int]:
    """Numbers of the rows to keep: exact repeats, as of a table of visits that was joined to patients, count once."""
    first: dict[str, int] = {}
    for n, key in enumerate(keys):
        if not key:
            _blame(path, lines[n], "the key is empty, so nobody knows whose row this is")
        before = first.setdefault(key, n)
        if rows[before] != rows[n]:
            _blame(path, lines[n], f"{key} has another row on line {lines[before]}; keep one line for each")
    return list(first.values())


@dataclass(frozen=True)
class _Column:
    path: Path
    name: str
    texts: list[str]
    lines: list[int]

    def parsed(self) -> pd.Series:
        """Numbers if all values are numbers, else categories."""
        numbers = [_number(text) for text in self.texts]
        wrong = [n for n, number in enumerate(numbers) if number is None]
        n_known = sum(not _is_missing(text) for text in self.texts)
        if not n_known:
            raise TableError(
                f"{self.path}: {self.name} has no value in any row; leave it out of data.clinical.features"
            )
        # One text in ten among numbers is a slip of the pen; more are categories, some of which look like numbers.
        if wrong and n_known >= 10 and len(wrong) <= n_known / 10:
            _blame(
                self.path, self.lines[wrong[0]],
                f"{self.name} is {self.texts[wrong[0]]!r}, a number in {n_known - len(wrong)} other rows; correct it, "
                f"or name the column in data.clinical.categorical",
            )  # fmt: skip
        if wrong:
            return self.categories()
        values = np.array(numbers, np.float64)
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            _blame(self.path, self.lines[infinite[0]], f"{self.name} is {self.texts[infinite[0]]!r}, allowed is finite")
        return pd.Series(values)

    def categories(self) -> pd.Series:
        """Texts, None where missing."""
        known = sorted({text for text in self.texts if not _is_missing(text)})
        if len(known) > MAX_CATEGORIES:
            raise TableError(
                f"{self.path}: {self.name} has {len(known)} different texts ({', '.join(known[:3])}, ...), more than "
                f"the {MAX_CATEGORIES} that make categories; leave it out by data.clinical.features=[...]"
            )
        return pd.Series([None if _is_missing(text) else text for text in self.texts], dtype=object)


def _is_missing(text: str) -> bool:
    return text.lower() in _MISSING


def _number(text: str) -> float | None:
    """NaN where missing, None where it is no number."""
    if _is_missing(text):
        return math.nan
    try:
        return float(text)
    except ValueError:
        return None


def _blame(path: Path, line: int, why: str) -> NoReturn:
    raise TableError(f"{path}: line {line}: {why}")
