"""Tables of negatives that were mined: a CSV in the challenge's columns, and a JSON card that says where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungdet.errors import TableError
from lungdet.io.luna16_tables import read_candidates
from lungdet.io.tables import row_error

#: Raised whenever a reader of the old format would misunderstand the new one.
FORMAT_VERSION = 1
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "class", "probability", "source")
_POINT = {"series_uid": "seriesuid", "center_x_mm": "coordX", "center_y_mm": "coordY", "center_z_mm": "coordZ"}


def card_path(path: Path) -> Path:
    """Where the card of a table lies: `mined.json` beside `mined.csv`."""
    return path.with_suffix(".json")


def write_negatives(path: Path | str, table: pd.DataFrame, *, card: Mapping[str, Any]) -> None:
    """Write table and card; each appears whole or not at all, the card last.

    Args:
        path: the CSV file; missing folders are made.
        table: series_uid, center_x_mm, center_y_mm, center_z_mm, probability, source.
        card: JSON-ready; format version, number of rows and the table's SHA-256 are added.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table.rename(columns=_POINT).assign(**{"class": 0})[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
    record = {
        "format_version": FORMAT_VERSION,
        **card,
        "n_rows": len(table),
        "table_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    # Without its card the new table would stand beside the card of an older one.
    card_path(path).unlink(missing_ok=True)
    for file, content in ((path, text), (card_path(path), json.dumps(record, indent=2, sort_keys=True) + "\n")):
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(content, newline="")
        partial.replace(file)


def read_negatives(path: Path | str) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """A table of negatives and its card.

    Args:
        path: any CSV file with the columns of the challenge's candidate table, all of class 0.

    Returns:
        series_uid, center_x_mm, center_y_mm, center_z_mm in file order, and the card; None where there is none.

    Raises:
        MissingFileError: no such table.
        TableError: a missing column, a value that is not allowed, a row of class 1 (with its line), an unreadable card,
            a card of another format version or of another table.
    """
    path = Path(path)
    table = read_candidates(path)
    positive = table["is_nodule"].to_numpy()
    if positive.any():
        row_error(path, int(np.argmax(positive)), "class is 1, allowed is 0: these rows are to be negatives")
    return table.drop(columns=["candidate_id", "is_nodule"]), _read_card(path)


def _read_card(path: Path) -> dict[str, Any] | None:
    file = card_path(path)
    if not file.is_file():
        return None
    try:
        card: dict[str, Any] = json.loads(file.read_text())
        version, expected = card["format_version"], card["table_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(
            f"{file}: not the card of a table of negatives ({error!r}); delete it to use the table without"
        ) from error
    if version != FORMAT_VERSION:
        raise TableError(f"{file}: format version {version}, this lungdet reads {FORMAT_VERSION}; mine again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise TableError(
            f"{path}: changed since {file.name} was written; mine again, or delete the card to use it as is"
        )
    return card
