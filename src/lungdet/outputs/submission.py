"""detections.csv: marks in the submission format of the LUNA16 challenge."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lungdet.errors import TableError
from lungdet.outputs.text_file import write_text

COLUMNS = {
    "series_uid": "seriesuid",
    "center_x_mm": "coordX",
    "center_y_mm": "coordY",
    "center_z_mm": "coordZ",
    "probability": "probability",
}
"""Column of `Detections.table` -> column of the file."""


def write_submission(tables: Iterable[pd.DataFrame], path: Path | str) -> Path:
    """Write the detections of any number of scans as one submission.

    Every number is written with the digits that give back the same float, fp32 probabilities included: rounded to two
    decimals, a real submission lost 7.5 points of CPM. A scan without detections has no row; the challenge knows of it
    from its list of series.

    Args:
        tables: `Detections.table` of each scan; rows stay in their order.
        path: folders are made; an earlier file is replaced.

    Returns:
        The path; `lungdet.io.luna16_tables.read_marks` reads the file back to the last bit.

    Raises:
        TableError: two tables with the same series (its marks would count twice), a probability or a position that is
            not a finite number.
    """
    parts = [table[list(COLUMNS)] for table in tables]
    seen: set[str] = set()
    for part in parts:
        here = set(part["series_uid"])
        if here & seen:
            raise TableError(f"series {min(here & seen)} comes in two tables; give each scan's detections once")
        seen |= here
    marks = pd.concat(parts) if parts else pd.DataFrame(columns=list(COLUMNS))
    numbers = marks[list(COLUMNS)[1:]].astype(np.float64)
    wrong = ~np.isfinite(numbers.to_numpy()).all(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TableError(
            f"series {marks['series_uid'].iloc[row]}: detection {numbers.iloc[row].to_dict()} has a value that is not "
            "a finite number; a submission needs a place and a score for every mark"
        )
    numbers.insert(0, "series_uid", marks["series_uid"])
    return write_text(numbers.rename(columns=COLUMNS).to_csv(index=False, lineterminator="\n"), path)
