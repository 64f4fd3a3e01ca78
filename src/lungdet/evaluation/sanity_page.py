"""The sanity checks of an experiment as one HTML page that refers to nothing outside itself, and as sanity.json."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungdet.evaluation.page import flat_lines, page_environment
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.evaluation.sanity_checks import SanityCheck, Verdict, checks_record
from lungdet.evaluation.sanity_figures import check_figure

TITLES = {
    "shuffled_labels": "Shuffled labels",
    "permuted_training": "Training on permuted labels",
    "overfit_one_batch": "One batch by heart",
    "class_prior": "The class prior",
    "shortcut": "Shortcuts",
}

logger = logging.getLogger(__name__)


def write_sanity(folder: Path, checks: Sequence[SanityCheck], *, title: str, provenance: Mapping[str, Any]) -> Path:
    """Write sanity.json and sanity.html.

    Args:
        folder: made if missing.
        checks: in the order of the page.
        title: of the page.
        provenance: what was looked at, plain values.

    Returns:
        The page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = checks_record(checks, provenance=provenance)
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "sanity.json").write_text(text + "\n", encoding="utf-8")
    page = folder / "sanity.html"
    page.write_text(render_sanity_page(checks, title=title, provenance=provenance), encoding="utf-8")
    logger.info("sanity checks: %s", page)
    return page


def render_sanity_page(checks: Sequence[SanityCheck], *, title: str, provenance: Mapping[str, Any]) -> str:
    """The page.

    Args:
        checks: in their order.
        title: what was checked.
        provenance: as for `write_sanity`.
    """
    counted: Counter[Verdict] = Counter(check.verdict for check in checks)
    figures = {}
    for check in checks:
        drawn = check_figure(check)
        if drawn is not None:
            figures[check.name] = embedded_figure(check.name.replace("_", "-"), *drawn)
    return (
        page_environment()
        .get_template("sanity.html.j2")
        .render(
            title=title,
            checks=checks,
            counted=counted,
            titles={check.name: TITLES[check.name] for check in checks},
            sections=[
                ("overview", "Overview"),
                *((check.name.replace("_", "-"), TITLES[check.name]) for check in checks),
                ("provenance", "Provenance"),
            ],
            figures=figures,
            kinds={"passed": "good", "failed": "warning", "cannot be judged": "note"},
            facts=list(flat_lines(provenance, none="none")),
        )
    )
