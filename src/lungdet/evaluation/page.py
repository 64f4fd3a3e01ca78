"""What the pages of reports have in common: how numbers are written, figures and provenance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.gallery_page import probability_text
from lungdet.evaluation.style import inline_svg

EN_DASH, MINUS = "\u2013", "\u2212"
PARTITION_NAMES = {"val": "Validation", "test": "Test"}


def page_environment() -> Environment:
    """Templates of this package, with the filters number, interval, signed, count, probability and short."""
    environment = Environment(loader=PackageLoader("lungdet.evaluation"), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        number=number_text,
        interval=interval_text,
        signed=signed_text,
        count=count_text,
        probability=probability_text,
        short=short_text,
    )
    return environment


def style_sheet(environment: Environment) -> Markup:
    """The style sheet that every page carries inside itself."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, "report.css")[0])


def embedded_figure(name: str, figure: Figure, caption: str) -> dict[str, Any]:
    """A figure for the `plot` macro; its name is the id on the page."""
    return {"name": name, "svg": Markup(inline_svg(figure, name)), "caption": caption}


def flat_provenance(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested origins as lines of a table: `split.fold`, `0`."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat_provenance(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "unknown" if value is None else str(value)


def number_text(value: float, digits: int = 3) -> str:
    """A number with thousands separated; a dash for NaN."""
    return EN_DASH if math.isnan(value) else f"{value:,.{digits}f}".replace("-", MINUS)


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """The interval of an estimate, both ends."""
    return f"{estimate.low:.{digits}f}{EN_DASH}{estimate.high:.{digits}f}"


def signed_text(value: float) -> str:
    """A difference, with its sign."""
    return f"{value:+.3f}".replace("-", MINUS)


def count_text(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def short_text(value: float) -> str:
    """Three significant digits for what may be tiny: `2.6e-05`; a dash for NaN."""
    return EN_DASH if math.isnan(value) else f"{value:.3g}"
