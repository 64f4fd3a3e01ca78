"""A folder like a LUNA16 download without voxels: empty scans, nodules, and as many candidates as a benchmark wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from lungdet.store.marker import write_marker
from lungdet.store.schema import StoreSpec

_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.{:030d}"
# Box of the lungs in world mm, (x, y, z): where nodules and candidates lie.
_LOW_MM, _HIGH_MM = (-140.0, -120.0, -320.0), (140.0, 120.0, -20.0)
_SUBSETS = 10


@dataclass(frozen=True)
class TableSizes:
    """How large a folder is.

    Attributes:
        n_series: scans; each is a patient of its own, but for the first two, who are one.
        n_candidates: rows of the candidate table.
        n_nodules: rows of annotations.csv; each nodule is also marked by one candidate or two.
    """

    n_series: int
    n_candidates: int
    n_nodules: int


class _Nodules(NamedTuple):
    owner: npt.NDArray[np.int64]
    center_xyz_mm: npt.NDArray[np.float64]
    diameter_mm: npt.NDArray[np.float64]


#: LUNA16: candidates_V2.csv has 754,975 rows, annotations.csv 1,186.
LUNA16 = TableSizes(888, 755_000, 1186)


def uids(sizes: TableSizes) -> list[str]:
    """The series of a folder, sorted."""
    return [_UID.format(number) for number in range(sizes.n_series)]


def write_folder(folder: Path, sizes: TableSizes, *, seed: int = 0) -> Path:
    """Scan files of no bytes in subset0 to subset9, and the tables of the challenge.

    Args:
        folder: made when missing.
        sizes: how many of everything.
        seed: of all positions.

    Returns:
        `folder`: annotations.csv, annotations_excluded.csv, candidates_V2.csv, series.csv, subset0/...
    """
    rng = np.random.default_rng(seed)
    names = uids(sizes)
    subset = np.arange(sizes.n_series) * _SUBSETS // sizes.n_series
    for number in range(_SUBSETS):
        (folder / f"subset{number}").mkdir(parents=True, exist_ok=True)
    for name, own in zip(names, subset, strict=True):
        (folder / f"subset{own}" / f"{name}.mhd").touch()
    patients = [f"P{max(1, number):07d}" for number in range(sizes.n_series)]
    _write(folder / "series.csv", {"seriesuid": names, "subset": subset, "patient_id": patients})

    nodules = _Nodules(
        np.sort(rng.integers(0, sizes.n_series, sizes.n_nodules)),
        rng.uniform(_LOW_MM, _HIGH_MM, (sizes.n_nodules, 3)),
        np.exp(rng.normal(np.log(6.4), 0.5, sizes.n_nodules)).clip(3.3, 32.0),
    )
    _write(
        folder / "annotations.csv",
        _points(names, nodules.owner, nodules.center_xyz_mm) | {"diameter_mm": nodules.diameter_mm},
    )
    excluded = rng.integers(0, sizes.n_series, 30 * sizes.n_nodules)
    places = rng.uniform(_LOW_MM, _HIGH_MM, (len(excluded), 3))
    _write(
        folder / "annotations_excluded.csv",
        _points(names, excluded, places) | {"diameter_mm": np.full(len(excluded), -1.0)},
    )
    _write(folder / "candidates_V2.csv", _candidates(names, nodules, n=sizes.n_candidates, rng=rng))
    return folder


def write_empty_store(path: Path, names: list[str], spec: StoreSpec) -> Path:
    """A store that knows its scans by name and holds none of their voxels."""
    write_marker(path, spec)
    for name in names:
        (path / "scans" / name).mkdir()
    return path


def _candidates(names: list[str], nodules: _Nodules, *, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Every nodule once, a third of them twice, within half of their radius; the rest anywhere; sorted by series."""
    n_nodules = len(nodules.owner)
    marked = np.concatenate([np.arange(n_nodules), np.arange(0, n_nodules, 3)])
    offset = rng.uniform(-0.25, 0.25, (len(marked), 3)) * nodules.diameter_mm[marked, None]
    n_other = n - len(marked)
    owner = np.concatenate([nodules.owner[marked], rng.integers(0, len(names), n_other)])
    center = np.concatenate([nodules.center_xyz_mm[marked] + offset, rng.uniform(_LOW_MM, _HIGH_MM, (n_other, 3))])
    label = np.repeat(np.array([1, 0], np.int8), [len(marked), n_other])
    order = np.argsort(owner, kind="stable")
    return _points(names, owner[order], center[order]) | {"class": label[order]}


def _points(names: list[str], owner: npt.NDArray[np.int64], center: npt.NDArray[np.float64]) -> dict[str, Any]:
    rounded = center.round(2)
    return {
        "seriesuid": pa.array(names).take(pa.array(owner)),
        "coordX": rounded[:, 0],
        "coordY": rounded[:, 1],
        "coordZ": rounded[:, 2],
    }


def _write(path: Path, columns: dict[str, Any]) -> None:
    pacsv.write_csv(pa.table(columns), path, pacsv.WriteOptions(quoting_style="none"))
