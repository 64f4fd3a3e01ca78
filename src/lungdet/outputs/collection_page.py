"""index.html of a batch run: one row per scan with its answer and the way to its report; failures with their reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lungdet.evaluation.page import count_text
from lungdet.outputs.page import render_page
from lungdet.outputs.text_file import write_text


@dataclass(frozen=True)
class ScanRow:
    """What the index says of one scan that was searched.

    Attributes:
        series_uid: of the scan.
        nodule_probability: the patient score; NaN where the scan could not be judged.
        malignancy_probability: NaN without a malignancy network.
        n_candidates: found.
        n_nodules: of these at the threshold.
        seconds: of all stages.
        notes: what a reader has to know.
        report: path of the scan's report as seen from the index, such as `1.2.3/report.html`; empty for none.
    """

    series_uid: str
    nodule_probability: float
    malignancy_probability: float
    n_candidates: int
    n_nodules: int
    seconds: float
    notes: tuple[str, ...] = ()
    report: str = ""

    @property
    def is_judged(self) -> bool:
        """Whether the scan has an answer: one without lungs has none, and no zeros either."""
        return not math.isnan(self.nodule_probability)


def scan_row(record: Mapping[str, Any], *, report: str = "") -> ScanRow:
    """The row of one scan from its `detection_record`, fresh or read back from detections.json."""
    patient = record["patient"]
    uid = record["series_uid"]
    return ScanRow(
        series_uid=uid,
        nodule_probability=_float(patient["nodule_probability"]),
        malignancy_probability=_float(patient["malignancy_probability"]),
        n_candidates=int(patient["n_candidates"]),
        n_nodules=int(patient["n_nodules"]),
        seconds=float(sum(record["seconds"].values())),
        notes=tuple(note.removeprefix(f"{uid}: ") for note in record["notes"]),
        report=report,
    )


def write_collection_page(
    rows: Sequence[ScanRow],
    path: Path | str,
    *,
    title: str,
    failures: Mapping[str, str] | None = None,
    froc: Mapping[str, Any] | None = None,
    froc_page: str = "",
    versions: Mapping[str, str] | None = None,
) -> Path:
    """Write the index.

    Args:
        rows: one per scan that was searched; the most suspicious is listed first, scans without an answer last.
        path: folders are made; an earlier page is replaced.
        title: heading, such as the name of the collection.
        failures: scan -> why it has no result.
        froc: content of froc.json, where the batch was compared with annotations.
        froc_page: path of the FROC page as seen from the index; empty for none.
        versions: name -> version of the software that ran.

    Returns:
        The path.
    """
    page = render_page(
        "collection.html.j2",
        title=title,
        rows=sorted(rows, key=_suspicion),
        failures=dict(sorted((failures or {}).items())),
        answer=_answer(rows, len(failures or {})),
        median_seconds=median(row.seconds for row in rows) if rows else float("nan"),
        n_nodules=sum(row.n_nodules for row in rows),
        has_malignancy=any(not math.isnan(row.malignancy_probability) for row in rows),
        froc=froc,
        froc_page=froc_page,
        versions=versions or {},
    )
    return write_text(page, path)


def _answer(rows: Sequence[ScanRow], n_failed: int) -> str:
    n = len(rows) + n_failed
    if n == 0:
        return "No scan was given."
    unjudged = sum(not row.is_judged for row in rows)
    positive = sum(row.n_nodules > 0 for row in rows)
    hold = "holds" if positive == 1 else "hold"
    parts = [f"{positive:,} of {count_text(n, 'scan')} {hold} a finding at the threshold"]
    if unjudged:
        parts.append(f"{unjudged:,} could not be judged")
    if n_failed:
        parts.append(f"{n_failed:,} failed")
    return ", ".join(parts) + "."


def _suspicion(row: ScanRow) -> tuple[bool, float, str]:
    return not row.is_judged, -row.nodule_probability if row.is_judged else 0.0, row.series_uid


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)
