"""What the HTML pages of reports have in common: templates, style sheet, and how numbers and origins are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lungdet.evaluation.estimates import Estimate

EN_DASH, MINUS = "\u2013", "\u2212"
PARTITION_NAMES = {"val": "Validation", "test": "Test"}

Tile = tuple[str, str, str]
"""Name, value and note of one of the large numbers at the top of a page."""


def page_environment(*packages: str) -> Environment:
    """Templates of this package and of those named, which are looked through first.

    Every template knows the filters number, interval, signed, count, probability and short, and the style sheet that
    each page carries inside itself, `css`.
    """
    loaders = [PackageLoader(package) for package in (*packages, "lungdet.evaluation")]
    environment = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(
        number=number_text,
        interval=interval_text,
        signed=signed_text,
        count=count_text,
        probability=probability_text,
        short=short_text,
    )
    environment.globals["css"] = Markup(loaders[-1].get_source(environment, "report.css")[0])
    return environment


def estimate_tile(name: str, estimate: Estimate, digits: int = 3) -> Tile:
    """An estimate with its interval, or why it has none."""
    note = estimate.reason if math.isnan(estimate.low) else f"95 % interval {interval_text(estimate, digits)}"
    return name, number_text(estimate.value, digits), note


def flat_lines(record: Mapping[str, Any], *, none: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested origins or settings as lines of a table, in their order: `split.fold`, `0`.

    Args:
        record: dicts, lists and plain values; dicts in a list are numbered from 0.
        none: how None is written.
        prefix: of the names.
    """
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat_lines(value, none=none, prefix=f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
            numbered = {str(i): inner for i, inner in enumerate(value)}
            yield from flat_lines(numbered, none=none, prefix=f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", none if value is None else str(value)


def number_text(value: float | None, digits: int = 3) -> str:
    """A number with thousands separated and a real minus sign; a dash for what does not exist.

    Example:
        >>> number_text(1234.56, 1), number_text(-0.04, 1), number_text(None) == number_text(math.nan) == EN_DASH
        ('1,234.6', '0.0', True)
    """
    if value is None or math.isnan(value):
        return EN_DASH
    text = f"{value:,.{digits}f}"
    return (text.removeprefix("-") if float(text.replace(",", "")) == 0 else text).replace("-", MINUS)


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """The interval of an estimate, both ends."""
    return f"{estimate.low:.{digits}f}{EN_DASH}{estimate.high:.{digits}f}"


def signed_text(value: float | None) -> str:
    """A difference, with its sign; a dash for what does not exist."""
    return EN_DASH if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", MINUS)


def count_text(n: int, singular: str = "", plural: str = "") -> str:
    """A whole number with thousands separated, and with its noun where one is given.

    Example:
        >>> count_text(1, "finding"), count_text(1200, "finding"), count_text(0, "series", "series"), count_text(1000)
        ('1 finding', '1,200 findings', '0 series', '1,000')
    """
    noun = singular if n == 1 else plural or (f"{singular}s" if singular else "")
    return f"{n:,} {noun}".rstrip()


def probability_text(value: float) -> str:
    """Three decimals, or enough digits that a probability near 0 or 1 is not shown as 0 or 1.

    Example:
        >>> probability_text(0.25), probability_text(3e-6)
        ('0.250', '3.0e-06')
    """
    if 0 < value < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if value <= 0.999 or value == 1 else f"1 {MINUS} {1 - value:.1e}"


def short_text(value: float) -> str:
    """Three significant digits for what may be tiny: `2.6e-05`; a dash for NaN."""
    return EN_DASH if math.isnan(value) else f"{value:.3g}"
