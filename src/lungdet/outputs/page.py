"""What the HTML pages of this room share: the look of the evaluation's reports, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lungdet.evaluation.gallery_page import probability_text

_EN_DASH, _MINUS = "\u2013", "\u2212"
_MOST_DIGITS = 6


def render_page(template: str, **context: Any) -> str:
    """A template of this room as one page that refers to nothing outside itself."""
    environment = Environment(loader=PackageLoader("lungdet.outputs"), autoescape=True, undefined=StrictUndefined)
    environment.filters.update(number=number, probability=probability, count=count)
    css = resources.files("lungdet.evaluation").joinpath("templates/report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(css=Markup(css), **context)


def number(value: float | None, digits: int = 1) -> str:
    """With a real minus sign; a dash for what does not exist."""
    if value is None or math.isnan(value):
        return _EN_DASH
    text = f"{value:,.{digits}f}"
    return (f"{abs(value):,.{digits}f}" if float(text.replace(",", "")) == 0 else text).replace("-", _MINUS)


def probability(value: float | None) -> str:
    """Three decimals, more beside 0 and 1, so that neither is claimed; a dash for what does not exist.

    Example:
        >>> probability(0.25), probability(3e-6), probability(0.99994), probability(1 - 1e-8), probability(1.0)
        ('0.250', '3.0e-06', '0.99994', '> 0.999999', '1.000')
    """
    if value is None or math.isnan(value):
        return _EN_DASH
    if not 0.999 < value < 1:
        return probability_text(value)
    digits = math.ceil(-math.log10(1 - value))
    return f"{value:.{max(digits, 4)}f}" if digits <= _MOST_DIGITS else f"> {1 - 10**-_MOST_DIGITS}"


def count(n: int, singular: str = "", plural: str = "") -> str:
    """A whole number with its noun.

    Example:
        >>> count(1, "finding"), count(1200, "finding"), count(0, "series", "series")
        ('1 finding', '1,200 findings', '0 series')
    """
    noun = singular if n == 1 else plural or (f"{singular}s" if singular else "")
    return f"{n:,} {noun}".rstrip()


def flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as dotted names and texts, in their order; None is written as "none"."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
            yield from flat({str(i): inner for i, inner in enumerate(value)}, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "none" if value is None else str(value)
