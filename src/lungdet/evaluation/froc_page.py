"""A FROC evaluation as one HTML page that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from lungdet.evaluation.page import EN_DASH, MINUS, page_environment
from lungdet.evaluation.style import inline_svg

_MISSED_SHOWN = 50


def render_froc_page(record: Mapping[str, Any], *, nodules: pd.DataFrame, figure: Figure) -> str:
    """The page.

    Args:
        record: the content of froc.json.
        nodules: of the result; those without a hit are listed, largest first.
        figure: the curve.
    """
    environment = page_environment()
    environment.filters.update(number=_number, span=_span)
    lost = nodules[nodules["n_hits"] == 0].sort_values("diameter_mm", ascending=False, kind="stable")
    return environment.get_template("froc.html.j2").render(
        record=record,
        figure=Markup(inline_svg(figure, "froc")),
        lost=lost.head(_MISSED_SHOWN).to_dict("records"),
        n_lost=len(lost),
    )


def _number(value: float | None, digits: int = 3) -> str:
    """Places and rates beside files of plain numbers: no thousands separators here, other than in `number_text`."""
    return EN_DASH if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def _span(interval: Mapping[str, float | None], digits: int = 3) -> str:
    low, high = interval["low"], interval["high"]
    return "" if low is None or high is None else f"{low:.{digits}f}{EN_DASH}{high:.{digits}f}"
