"""Folders of cut-out cubes as the earlier notebooks left them: `patch_index.csv`, `bg_index.csv` and .npy files.

What the columns were called differed from notebook to notebook, so several names are taken, in any case:

    path      path, patch_path, file_path, file, filename, npy (the first of these that is there)
    label     label, class, is_nodule: 0 or 1; without it patch_index.csv holds positives and bg_index.csv negatives
    group     patient_id, group, seriesuid, series_uid: cubes of one value stay together when patients are split
    centre    coordX, coordY, coordZ or center_x_mm, center_y_mm, center_z_mm: the cube's middle voxel in mm

A path that does not exist is looked for below the folder by its last parts: such tables often hold paths of the machine
that wrote them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import MissingFileError, TableError

INDEX_FILES = {"patch_index.csv": 1, "bg_index.csv": 0}
PATH_COLUMNS = ("path", "patch_path", "file_path", "file", "filename", "npy")
LABEL_COLUMNS = ("label", "class", "is_nodule")
GROUP_COLUMNS = ("patient_id", "group", "seriesuid", "series_uid")
CENTER_COLUMNS = (("coordx", "coordy", "coordz"), ("center_x_mm", "center_y_mm", "center_z_mm"))
DTYPES = ("int16", "int32", "float16", "float32", "float64")

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
_SHOWN = 5


@dataclass(frozen=True)
class PatchFolder:
    """Cubes of one shape and one dtype, all of them readable.

    Attributes:
        root: the folder given.
        patches: name (path below the root, unique), path, is_nodule bool, group ("" where nobody says),
            center_x_mm, center_y_mm, center_z_mm (NaN where nobody says); one row a cube, in file order.
        shape_zyx: of every cube.
        dtype: of every cube, one of `DTYPES`.
    """

    root: Path
    patches: pd.DataFrame
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]


def read_patch_folder(root: Path | str) -> PatchFolder:
    """Read both index files and the header of every cube.

    Args:
        root: holds patch_index.csv and bg_index.csv (the latter may be missing when the former has both labels).

    Raises:
        MissingFileError: no such folder or no index file.
        TableError: an index without a column of paths or with a wrong value; cubes that are missing, damaged, of
            another shape or dtype than the rest, or listed twice: all of them are counted, the first few named.
    """
    root = Path(root)
    if not (root / "patch_index.csv").is_file():
        raise MissingFileError(f"{root}: no patch_index.csv there; give the folder that holds it as data.root=")
    tables = {name: _read_index(root / name) for name in INDEX_FILES if (root / name).is_file()}
    group = _group_column(root, tables)
    patches = pd.concat(
        [_patches(root / name, table, group=group, label=INDEX_FILES[name]) for name, table in tables.items()],
        ignore_index=True,
    )
    found = [_find(root, given) for given in patches["path"]]
    problems = [f"{given}: no such file" for given, path in zip(patches["path"], found, strict=True) if path is None]
    names = [path.relative_to(root).as_posix() if path is not None and path.is_relative_to(root) else str(path)
             for path in found]  # fmt: skip
    times = Counter(path for path in found if path is not None)
    problems += [f"{path}: listed {n} times; every cube belongs to one class and one patient"
                 for path, n in times.items() if n > 1]  # fmt: skip
    headers = {path: read_header(path) for path in times}
    problems += [header for header in headers.values() if isinstance(header, str)]
    readable = {path: header for path, header in headers.items() if not isinstance(header, str)}
    if not readable:
        raise TableError(_listed(root, problems, n=len(patches)))
    (shape, dtype), _ = Counter(readable.values()).most_common(1)[0]
    problems += [
        f"{path}: {_words(header)}, most are {_words((shape, dtype))}"
        for path, header in readable.items()
        if header != (shape, dtype)
    ]
    if problems:
        raise TableError(_listed(root, problems, n=len(patches)))
    if patches["is_nodule"].nunique() < 2:
        raise MissingFileError(f"{root}: all {len(patches)} cubes are of one class; bg_index.csv lists the negatives")
    return PatchFolder(root, patches.assign(name=names, path=list(map(str, found))), shape, np.dtype(dtype))


def open_cube(path: Path | str) -> npt.NDArray[Any]:
    """A cube as memory map [D, H, W]; a leading axis of length 1 is dropped.

    Raises:
        OSError, ValueError, EOFError: as NumPy, for what is no .npy file or not all of one.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive of arrays, not one array")
    return array[0] if array.ndim == 4 and array.shape[0] == 1 else array


def read_header(path: Path) -> tuple[tuple[int, int, int], str] | str:
    """Shape and dtype of a cube, or what is wrong with the file."""
    try:
        cube = open_cube(path)
    except (OSError, ValueError, EOFError) as error:
        return f"{path}: not a readable .npy file ({error})"
    if cube.ndim != 3 or min(cube.shape) < 1:
        return f"{path}: shape {cube.shape}, allowed is [D, H, W] or [1, D, H, W]"
    if cube.dtype.newbyteorder("=").name not in DTYPES:
        return f"{path}: dtype {cube.dtype}, allowed are {', '.join(DTYPES)}"
    depth, height, width = cube.shape
    return (depth, height, width), cube.dtype.newbyteorder("=").name


def _read_index(path: Path) -> pd.DataFrame:
    """All columns as text, names in lower case."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        delimiter = next((mark for mark in ",;\t" if mark in header), ",")
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=delimiter)
    except (ValueError, pd.errors.ParserError) as error:
        raise TableError(f"{path}: not a readable table ({error})") from error
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    if not len(table):
        raise TableError(f"{path}: the table has no rows")
    return table


def _group_column(root: Path, tables: dict[str, pd.DataFrame]) -> str | None:
    """The first column that all tables have; None when no table has any."""
    there = {name: [column for column in GROUP_COLUMNS if column in table] for name, table in tables.items()}
    shared = [column for column in GROUP_COLUMNS if all(column in columns for columns in there.values())]
    if shared:
        return shared[0]
    if any(there.values()):
        has = "; ".join(f"{name}: {', '.join(columns) or 'none'}" for name, columns in there.items())
        raise TableError(
            f"{root}: the tables do not share a column that says whose cubes these are ({has}), so positives and "
            f"negatives of one patient could be torn apart; give both the same, one of {', '.join(GROUP_COLUMNS)}"
        )
    return None


def _patches(path: Path, table: pd.DataFrame, *, group: str | None, label: int) -> pd.DataFrame:
    path_column = next((column for column in PATH_COLUMNS if column in table), None)
    if path_column is None:
        raise TableError(
            f"{path}: no column of file paths; it has {', '.join(table.columns)}. Expected one of "
            f"{', '.join(PATH_COLUMNS)}"
        )
    label_column = next((column for column in LABEL_COLUMNS if column in table), None)
    labels = pd.Series(label, index=table.index)
    if label_column is not None:
        labels = table[label_column].str.strip().str.lower().map(_LABELS)
        _refuse(path, labels.isna(), table[label_column], f"{label_column}: allowed are 0 and 1")
        if label == 0:
            _refuse(path, labels == 1, table[label_column], f"{label_column}: this table is of negatives, allowed is 0")
    centers = next((columns for columns in CENTER_COLUMNS if all(c in table for c in columns)), None)
    result = pd.DataFrame(
        {
            "path": table[path_column].str.strip(),
            "is_nodule": labels == 1,
            "group": "" if group is None else table[group].str.strip(),
        }
    )
    for n, axis in enumerate("xyz"):
        given = pd.Series("", index=table.index) if centers is None else table[centers[n]].str.strip()
        numbers = pd.to_numeric(given.where(given != ""), errors="coerce").astype(float)
        _refuse(
            path, (given != "") & ~np.isfinite(numbers), given, f"centre {axis}: allowed is a number in mm, or none"
        )
        result[f"center_{axis}_mm"] = numbers
    return result


def _refuse(path: Path, wrong: pd.Series[bool], given: pd.Series[str], allowed: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise TableError(f"{path}: data row {row + 1}: {given.iloc[row]!r} for {allowed}")


def _find(root: Path, given: str) -> Path | None:
    """The file itself, or the one below the root whose path ends alike, over as many parts as possible."""
    if not given:
        return None
    if (root / given).is_file():  # an absolute path stays what it is
        return root / given
    parts = [part for part in PureWindowsPath(given).parts if part not in ("/", "\\", "..", ".")]
    below = (root.joinpath(*parts[n:]) for n in range(len(parts)))
    return next((path for path in below if path.is_file()), None)


def _words(header: tuple[tuple[int, int, int], str]) -> str:
    return f"{' x '.join(map(str, header[0]))} {header[1]}"


def _listed(root: Path, problems: Iterable[str], *, n: int) -> str:
    listed = list(problems)
    more = f"\n  and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{root}: {len(listed)} of {n} cubes cannot be used:\n  " + "\n  ".join(listed[:_SHOWN]) + more
