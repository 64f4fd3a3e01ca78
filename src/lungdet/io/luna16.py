"""A LUNA16 download as one typed record: scans on disk, their patients, nodules, candidates and ratings."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import MissingFileError, ScanError, TableError
from lungdet.io.luna16_tables import (
    read_annotations,
    read_candidates,
    read_excluded,
    read_malignancy,
    read_marks,
    read_points,
    read_series,
    read_seriesuids,
)
from lungdet.io.scan import SCAN_SUFFIXES, scan_name, scan_suffix

__all__ = [
    "CITATION",
    "LICENCE",
    "Luna16",
    "find_scans",
    "match_annotations",
    "read_annotations",
    "read_candidates",
    "read_excluded",
    "read_luna16",
    "read_malignancy",
    "read_marks",
    "read_points",
    "read_series",
    "read_seriesuids",
]

_log = logging.getLogger(__name__)

LICENCE = "Scans: LIDC-IDRI, CC BY 3.0. Annotations and candidates: LUNA16, CC BY 4.0."
CITATION = (
    "Setio et al. 2017, Validation, comparison, and combination of algorithms for automatic detection of pulmonary "
    "nodules in computed tomography images: the LUNA16 challenge, Medical Image Analysis 42, 1-13, "
    "doi:10.1016/j.media.2017.06.015. "
    "Armato et al. 2011, The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): a "
    "completed reference database of lung nodules on CT scans, Medical Physics 38, 915-931, doi:10.1118/1.3528204."
)

# The 888 series come from 887 patients: LIDC-IDRI-0332 was scanned twice and lies in subset 2 and in subset 6, so the
# official folds leak that patient. Known without series.csv, because a split must not.
_PATIENT_OF_TWO_SERIES = {
    "1.3.6.1.4.1.14519.5.2.1.6279.6001.159996104466052855396410079250": "LIDC-IDRI-0332",
    "1.3.6.1.4.1.14519.5.2.1.6279.6001.316900421002460665752357657094": "LIDC-IDRI-0332",
}
# Where people keep the CSV files: beside the subsets, in a folder of their own, or as the evaluation archive unpacks.
_TABLE_FOLDERS = ("", "CSVFILES", "csv", "evaluation", "evaluation/annotations", "evaluationScript/annotations")
_CANDIDATE_FILES = ("candidates_V2.csv", "candidates.csv")
# Positive candidates lie within the radius of their nodule by the challenge's own definition, apart from coordinates
# rounded in the file. Tables made elsewhere (cluster centres, merged lists) miss the surface by fractions of a mm to a
# few mm; nodules lie further apart than that, so the nearest one within this reach is meant.
_REACH_MM = 5.0


@dataclass(frozen=True)
class Luna16:
    """What of the collection is on disk. All tables hold rows of series on disk only, RangeIndex, file order.

    Attributes:
        root: the folder given.
        scan_paths: series UID -> scan file, sorted by UID.
        series: series_uid, subset (-1 outside subset folders), patient_id; one row per scan, sorted by UID.
        annotations: as `read_annotations`.
        excluded: as `read_excluded`; empty where the file is absent.
        candidates: as `read_candidates` with diameter_mm (NaN for non-nodules) and annotation_row (int64, row of
            `annotations`, -1 for none); None where there is no such file.
        malignancy: as `read_malignancy`; None where there is no such file.
        counts: series_listed, series_on_disk; for each table <name>_read and <name>_kept; positives_kept and
            positives_without_annotation.
    """

    root: Path
    scan_paths: dict[str, Path]
    series: pd.DataFrame
    annotations: pd.DataFrame
    excluded: pd.DataFrame
    candidates: pd.DataFrame | None
    malignancy: pd.DataFrame | None
    counts: dict[str, int]


def find_scans(root: Path | str, *, subsets: Sequence[int] | None = None) -> dict[str, Path]:
    """The scans of a LUNA16 folder: those in subset0 to subset9 and, unless subsets are chosen, in the root itself.

    Args:
        root: the folder that holds the subset folders; any of the ten may be there.
        subsets: numbers 0 to 9 to restrict to; None takes what is there.

    Returns:
        series UID (the file name) -> path, sorted by UID.

    Raises:
        MissingFileError: no such folder, a chosen subset that is not there, no scan at all.
        ScanError: two files of one series.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; give the one that holds subset0, subset1, ...")
    there = {int(p.name[-1]): p for p in sorted(root.iterdir()) if re.fullmatch(r"subset\d", p.name) and p.is_dir()}
    absent = sorted(set(subsets or ()) - set(there))
    if absent:
        found = ", ".join(f"subset{n}" for n in there) or "none"
        raise MissingFileError(f"{root}: no {', '.join(f'subset{n}' for n in absent)} here; subsets on disk: {found}")
    folders = [root, *there.values()] if subsets is None else [there[n] for n in sorted(set(subsets))]
    scans: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.iterdir()) if scan_suffix(path)):
        uid = scan_name(path)
        if uid in scans:
            raise ScanError(f"two files of one series: {scans[uid]} and {path}; keep one of them")
        scans[uid] = path
    if not scans:
        looked = ", ".join(str(folder) for folder in folders)
        raise MissingFileError(f"no scan ({', '.join(SCAN_SUFFIXES)}) in {looked}; is {root} the LUNA16 folder?")
    return dict(sorted(scans.items()))


def read_luna16(
    root: Path | str, *, subsets: Sequence[int] | None = None, candidates_file: str | None = None
) -> Luna16:
    """Reads the tables of a LUNA16 folder and keeps the rows of the series on disk.

    The CSV files lie in the root or in one of the folders CSVFILES, csv, evaluation, evaluation/annotations,
    evaluationScript/annotations. Only annotations.csv must be there.

    Args:
        root: the folder that holds subset0, subset1, ...
        subsets: see `find_scans`.
        candidates_file: file name of the candidate table; None prefers candidates_V2.csv over candidates.csv and
            makes do without.

    Raises:
        MissingFileError: no scans, no annotations.csv, or a candidate table that was asked for is not there.
        ScanError: two files of one series.
        TableError: a table with a wrong column or value, or a series that lies in another subset than series.csv says.
    """
    root = Path(root)
    scan_paths = find_scans(root, subsets=subsets)
    counts: dict[str, int] = {}
    series, counts["series_listed"] = _series_on_disk(root, scan_paths)
    counts["series_on_disk"] = len(series)

    def kept(name: str, table: pd.DataFrame) -> pd.DataFrame:
        on_disk = table["series_uid"].isin(list(scan_paths)).to_numpy()
        # A whole download keeps every row, and a copy of 755,000 of them would take 100 MB.
        here = table if on_disk.all() else table[on_disk].reset_index(drop=True)
        counts[f"{name}_read"], counts[f"{name}_kept"] = len(table), len(here)
        return here

    annotations = kept("annotations", read_annotations(_required_table(root, "annotations.csv")))
    excluded_path = _table(root, "annotations_excluded.csv")
    excluded = kept("excluded", annotations.iloc[:0] if excluded_path is None else read_excluded(excluded_path))
    malignancy_path = _table(root, "annotations_with_malignancy.csv")
    malignancy = None if malignancy_path is None else kept("malignancy", read_malignancy(malignancy_path))
    candidates_path = (
        next(filter(None, (_table(root, name) for name in _CANDIDATE_FILES)), None)
        if candidates_file is None
        else _required_table(root, candidates_file)
    )
    candidates = None
    if candidates_path is not None:
        candidates = match_annotations(kept("candidates", read_candidates(candidates_path)), annotations)
        counts["positives_kept"] = int(candidates["is_nodule"].sum())
        alone = candidates["is_nodule"] & (candidates["annotation_row"] < 0)
        counts["positives_without_annotation"] = int(alone.sum())
        if counts["positives_without_annotation"]:
            _log.warning(
                "%s: %d positive candidates have no annotation within reach; their diameter is NaN, first %s",
                candidates_path,
                counts["positives_without_annotation"],
                f"row {candidates.loc[alone, 'candidate_id'].iloc[0]}",
            )
    _log.info("%s: %s", root, ", ".join(f"{name} {count}" for name, count in counts.items()))
    return Luna16(root, scan_paths, series, annotations, excluded, candidates, malignancy, counts)


def match_annotations(candidates: pd.DataFrame, annotations: pd.DataFrame) -> pd.DataFrame:
    """Gives each positive candidate the annotation it stands for.

    That is the nearest of the annotations of its series whose radius contains it; where none does, the nearest whose
    surface is at most 5 mm away.

    Args:
        candidates: as `read_candidates`.
        annotations: as `read_annotations`, RangeIndex.

    Returns:
        The candidates with diameter_mm (float64, NaN for none) and annotation_row (int64, -1 for none).
    """
    center = ["center_x_mm", "center_y_mm", "center_z_mm"]
    nodules = annotations.assign(annotation_row=np.arange(len(annotations)))
    positives = candidates.loc[candidates["is_nodule"], ["series_uid", *center]]
    pairs = positives.assign(row=np.flatnonzero(candidates["is_nodule"])).merge(nodules, on="series_uid")
    offsets = pairs[[f"{c}_x" for c in center]].to_numpy() - pairs[[f"{c}_y" for c in center]].to_numpy()
    distance = np.linalg.norm(offsets, axis=1)
    beyond = distance - pairs["diameter_mm"].to_numpy() / 2
    pairs = pairs.assign(outside=beyond > 0, distance=distance)[beyond <= _REACH_MM]
    best = pairs.sort_values(["row", "outside", "distance"], kind="stable").drop_duplicates("row")
    rows = best["row"].to_numpy()
    diameter: npt.NDArray[np.float64] = np.full(len(candidates), np.nan)
    diameter[rows] = best["diameter_mm"]
    annotation_row: npt.NDArray[np.int64] = np.full(len(candidates), -1, np.int64)
    annotation_row[rows] = best["annotation_row"]
    return candidates.assign(diameter_mm=diameter, annotation_row=annotation_row)


def _series_on_disk(root: Path, scan_paths: dict[str, Path]) -> tuple[pd.DataFrame, int]:
    """series_uid, subset, patient_id of the scans, and how many series the collection lists."""
    folders = {uid: int(path.parent.name[-1]) if path.parent != root else -1 for uid, path in scan_paths.items()}
    own = pd.DataFrame({"series_uid": list(scan_paths)}).assign(
        subset=np.fromiter(folders.values(), np.int64, len(folders)),
        patient_id=[_PATIENT_OF_TWO_SERIES.get(uid, uid) for uid in scan_paths],
    )
    path = _table(root, "series.csv")
    if path is None:
        uids = _table(root, "seriesuids.csv")
        return own, len(scan_paths) if uids is None else len(read_seriesuids(uids))
    table = read_series(path)
    merged = own.merge(table, on="series_uid", how="left", suffixes=("_folder", ""))
    unlisted = merged["patient_id"].isna()
    moved = merged[~unlisted & (merged["subset_folder"] >= 0) & (merged["subset_folder"] != merged["subset"])]
    if len(moved):
        first = moved.iloc[0]
        raise TableError(
            f"{path}: series {first['series_uid']} is listed in subset {int(first['subset'])}, but lies at "
            f"{scan_paths[first['series_uid']]}; move the scan or correct the table, folds are made of subsets"
        )
    if unlisted.any():
        _log.warning(
            "%s does not list %d series on disk, first %s; each counts as a patient of its own",
            path,
            int(unlisted.sum()),
            merged.loc[unlisted, "series_uid"].iloc[0],
        )
    merged["subset"] = merged["subset"].where(~unlisted, merged["subset_folder"]).astype(np.int64)
    merged["patient_id"] = merged["patient_id"].where(~unlisted, merged["patient_id_folder"])
    return merged[["series_uid", "subset", "patient_id"]], len(table)


def _table(root: Path, name: str) -> Path | None:
    return next((root / folder / name for folder in _TABLE_FOLDERS if (root / folder / name).is_file()), None)


def _required_table(root: Path, name: str) -> Path:
    path = _table(root, name)
    if path is None:
        places = ", ".join(folder or "." for folder in _TABLE_FOLDERS)
        raise MissingFileError(f"{root}: no {name} in any of {places}; put it beside the subset folders")
    return path
