"""The files of a report: report.json, curves.parquet and the self-contained report.html."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenReport:
    """Where the files of one report lie."""

    json: Path
    html: Path
    curves: Path


def write_report_files(
    folder: Path | str, *, record: Mapping[str, Any], curves: pd.DataFrame, page: str
) -> WrittenReport:
    """Write all files of a report; the same content gives the same bytes: keys are sorted, nothing holds a time.

    Args:
        folder: made if missing; files of an earlier report are replaced.
        record: content of report.json, plain values without NaN.
        curves: content of curves.parquet.
        page: content of report.html.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = WrittenReport(folder / "report.json", folder / "report.html", folder / "curves.parquet")
    text = json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    written.json.write_text(text + "\n", encoding="utf-8")
    table = pa.Table.from_pandas(curves, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, written.curves, compression="zstd")
    written.html.write_text(page, encoding="utf-8")
    logger.info("report: %s", written.html)
    return written
