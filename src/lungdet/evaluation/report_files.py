"""The files of a report: report.json, curves.parquet, the self-contained report.html, and pictures beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenReport:
    """Where the files of one report lie; `pictures` by name."""

    json: Path
    html: Path
    curves: Path
    pictures: dict[str, Path] = field(default_factory=dict)


def write_report_files(
    folder: Path | str,
    *,
    record: Mapping[str, Any],
    curves: pd.DataFrame,
    page: str,
    pictures: Mapping[str, bytes | None] | None = None,
) -> WrittenReport:
    """Write all files of a report; the same content gives the same bytes: keys are sorted, nothing holds a time.

    Args:
        folder: made if missing; files of an earlier report are replaced.
        record: content of report.json, plain values without NaN.
        curves: content of curves.parquet.
        page: content of report.html.
        pictures: name without ending -> PNG file; None removes that of an earlier report.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: folder / f"{name}.png" for name, content in (pictures or {}).items() if content is not None}
    written = WrittenReport(folder / "report.json", folder / "report.html", folder / "curves.parquet", kept)
    for name, content in (pictures or {}).items():
        path = folder / f"{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(content)
    text = json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    written.json.write_text(text + "\n", encoding="utf-8")
    table = pa.Table.from_pandas(curves, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, written.curves, compression="zstd")
    written.html.write_text(page, encoding="utf-8")
    logger.info("report: %s", written.html)
    return written
