"""The CSV files of a cohort, in LUNA16's columns, from the truth of its scans."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lungdet.io.phantom.volumes import write_atomically

_POINT = ("seriesuid", "coordX", "coordY", "coordZ")
_BOX = ("bboxLowX", "bboxLowY", "bboxLowZ", "bboxHighX", "bboxHighY", "bboxHighZ")
_TRUTH = ("texture", "margin", "attachment", "calcified", "is_malignant", "malignancy_logit")


def write_tables(root: Path, truths: Sequence[dict[str, Any]]) -> None:
    """Writes every table of the cohort, series sorted by UID as in the official files.

    Args:
        root: of the cohort.
        truths: one `scan_truth` per scan.
    """
    truths = sorted(truths, key=lambda truth: truth["series_uid"])
    # No header, as in the official file.
    write_csv(root / "seriesuids.csv", None, ([truth["series_uid"]] for truth in truths))
    write_csv(
        root / "series.csv",
        ("seriesuid", "subset", "patient_id"),
        ([truth["series_uid"], truth["subset"], truth["patient_id"]] for truth in truths),
    )
    nodules = [(truth["series_uid"], nodule) for truth in truths for nodule in truth["annotations"]]
    write_csv(
        root / "annotations.csv",
        (*_POINT, "diameter_mm"),
        ([uid, *nodule["center"], nodule["diameter_mm"]] for uid, nodule in nodules),
    )
    write_csv(
        root / "annotations_with_malignancy.csv",
        (*_POINT, "diameter_mm", "mal_bool", "mal_details", *_BOX, "len_mal_details"),
        (
            [
                *(uid, *nodule["center"], nodule["diameter_mm"], nodule["mal_bool"], nodule["ratings"]),
                *(*nodule["box"][0], *nodule["box"][1], len(nodule["ratings"])),
            ]
            for uid, nodule in nodules
        ),
    )
    write_csv(
        root / "nodule_truth.csv",
        (*_POINT, "diameter_mm", *_TRUTH),
        ([uid, *nodule["center"], nodule["diameter_mm"], *(nodule[k] for k in _TRUTH)] for uid, nodule in nodules),
    )
    write_csv(
        root / "annotations_excluded.csv",
        (*_POINT, "diameter_mm"),
        (
            [truth["series_uid"], *row[:3], int(row[3]) if row[3] < 0 else row[3]]
            for truth in truths
            for row in truth["excluded"]
        ),
    )
    for name, key in (("candidates.csv", "candidates_v1"), ("candidates_V2.csv", "candidates_v2")):
        marks = [(truth["series_uid"], mark) for truth in truths for mark in truth[key]]
        write_csv(
            root / name,
            (*_POINT, "class"),
            ([uid, *mark["center"], int(mark["nodule"] >= 0)] for uid, mark in marks),
        )
    kinds = [mark["kind"] for truth in truths for mark in truth["candidates_v2"]]
    write_csv(root / "candidate_kinds_V2.csv", ("candidate_id", "kind"), enumerate(kinds))


def write_csv(path: Path, header: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> None:
    """Writes one table atomically, lines ending in LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header is not None:
        writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
