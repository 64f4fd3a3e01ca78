"""A comparison on disk: compare.json, the self-contained compare.html, and compare.md to paste."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from lungdet.comparison.markdown import render_markdown
from lungdet.comparison.page import render_page
from lungdet.comparison.results import ComparisonReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenComparison:
    """Where the files lie."""

    json: Path
    html: Path
    markdown: Path


def write_comparison(report: ComparisonReport, folder: Path | str) -> WrittenComparison:
    """Write all files; the same report gives the same bytes.

    Args:
        report: what was found.
        folder: made if missing; files of an earlier comparison are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = WrittenComparison(folder / "compare.json", folder / "compare.html", folder / "compare.md")
    text = json.dumps(report.to_dict(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    written.json.write_text(text + "\n", encoding="utf-8")
    written.html.write_text(render_page(report), encoding="utf-8")
    written.markdown.write_text(render_markdown(report), encoding="utf-8")
    logger.info("comparison: %s", written.html)
    return written
