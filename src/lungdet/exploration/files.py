"""The files of an exploration: explore.html, explore.json, a PNG of each figure; same data, same bytes."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lungdet.evaluation.remarks import warnings_first
from lungdet.exploration.contact_sheet import contact_sheet
from lungdet.exploration.content import Exploration
from lungdet.exploration.page import png_bytes, render_page

logger = logging.getLogger(__name__)


def write_exploration(exploration: Exploration, folder: Path | str) -> Path:
    """Write the page, its numbers and its figures.

    Args:
        exploration: what was found.
        folder: made if missing; files of an earlier exploration are replaced.

    Returns:
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for section in exploration.sections:
        for drawing in section.drawings:
            (folder / f"{drawing.name}.png").write_bytes(png_bytes(drawing.figure))
        for grid in section.grids:
            (folder / f"{grid.name}.png").write_bytes(png_bytes(contact_sheet(grid)))
    text = json.dumps(exploration_record(exploration), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "explore.json").write_text(text + "\n", encoding="utf-8")
    page = folder / "explore.html"
    page.write_text(render_page(exploration), encoding="utf-8")
    logger.info("exploration: %s", page)
    return page


def exploration_record(exploration: Exploration) -> dict[str, Any]:
    """The content of explore.json: what does not exist (NaN) is null."""
    findings = warnings_first(finding for section in exploration.sections for finding in section.findings)
    return {
        "title": exploration.title,
        "findings": [{"kind": f.kind, "code": f.code, "text": f.text} for f in findings],
        **{section.name: _plain(section.record) for section in exploration.sections},
        "provenance": _plain(exploration.provenance),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
