"""The files of explanations: page.html, the tables behind it as parquet, summary.json."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lungdet.evaluation.parquet_file import write_parquet
from lungdet.explanations.faithfulness import faithfulness_record
from lungdet.explanations.page import CaseOnPage, Explanations, render_explanations

logger = logging.getLogger(__name__)

_IDENTITY = ["series_uid", "patient_id", "candidate_id"]


def write_explanations(found: Explanations, folder: Path) -> Path:
    """Write all files; the same explanations give the same bytes.

    Args:
        found: what they say.
        folder: made if missing.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "cases": case_table(found.cases),
        "segments": _stacked(found.cases, "regions"),
        "curves": _stacked(found.cases, "curves"),
        "measured": found.measured,
        "random_weights": found.randomised,
    }
    for name, table in tables.items():
        plain = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
        write_parquet(plain, folder / f"{name}.parquet")
    (folder / "summary.json").write_text(
        json.dumps(summary(found), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )
    page = folder / "page.html"
    page.write_text(render_explanations(found), encoding="utf-8")
    logger.info("explanations: %s", page)
    return page


def case_table(cases: Any) -> pd.DataFrame:
    """One row a shown case: case (its number on the page), what names it, label, probability, correct, its facts."""
    columns = [*_IDENTITY, "label", "probability", "correct"]
    return pd.DataFrame(
        [
            {"case": n, **{name: case.row[name] for name in columns}, **case.shown.facts}
            for n, case in enumerate(cases, start=1)
        ]
    )


def summary(found: Explanations) -> dict[str, Any]:
    """JSON-ready: settings, cases, and how faithful the explanations are."""
    return {
        "title": found.title,
        "method": found.method,
        "unit": found.unit,
        "classes": list(found.classes),
        "cases": [
            {"case": n, "series_uid": str(case.row["series_uid"]), "candidate_id": int(case.row["candidate_id"])}
            for n, case in enumerate(found.cases, start=1)
        ],
        "n_measured": len(found.measured),
        "faithfulness": faithfulness_record(found.deletion, found.on_target, found.randomised),
        "findings": [{"kind": finding.kind, "text": finding.text} for finding in found.findings],
        "provenance": _without_nan(found.provenance),
    }


def _stacked(cases: Any, table: str) -> pd.DataFrame:
    frames = []
    for n, case in enumerate(cases, start=1):
        frame: pd.DataFrame = getattr(_shown(case), table)
        frames.append(frame.assign(case=n, series_uid=case.row["series_uid"])[["case", "series_uid", *frame.columns]])
    return pd.concat(frames, ignore_index=True)


def _shown(case: CaseOnPage) -> Any:
    return case.shown


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
