"""A FROC evaluation as one HTML page that refers to nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from lungdet.evaluation.style import inline_svg

_EN_DASH, _MINUS = "\u2013", "\u2212"
_MISSED_SHOWN = 50


def render_froc_page(record: Mapping[str, Any], *, nodules: pd.DataFrame, figure: Figure) -> str:
    """The page.

    Args:
        record: the content of froc.json.
        nodules: of the result; those without a hit are listed, largest first.
        figure: the curve.
    """
    environment = Environment(loader=PackageLoader("lungdet.evaluation"), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(number=_number, span=_span, signed=_signed, count=_count)
    assert environment.loader is not None
    lost = nodules[nodules["n_hits"] == 0].sort_values("diameter_mm", ascending=False, kind="stable")
    return environment.get_template("froc.html.j2").render(
        record=record,
        css=Markup(environment.loader.get_source(environment, "report.css")[0]),
        figure=Markup(inline_svg(figure, "froc")),
        lost=lost.head(_MISSED_SHOWN).to_dict("records"),
        n_lost=len(lost),
    )


def _number(value: float | None, digits: int = 3) -> str:
    return _EN_DASH if value is None else f"{value:.{digits}f}".replace("-", _MINUS)


def _span(interval: Mapping[str, float | None], digits: int = 3) -> str:
    low, high = interval["low"], interval["high"]
    return "" if low is None or high is None else f"{low:.{digits}f}{_EN_DASH}{high:.{digits}f}"


def _signed(value: float | None) -> str:
    return _EN_DASH if value is None else f"{value:+.3f}".replace("-", _MINUS)


def _count(value: int) -> str:
    return f"{value:,}"
