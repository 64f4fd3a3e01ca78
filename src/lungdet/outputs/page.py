"""What the HTML pages of this room add to those of the evaluation: their templates, and probabilities of findings."""

from __future__ import annotations

import math
from typing import Any

from lungdet.evaluation.page import EN_DASH, page_environment, probability_text

_MOST_DIGITS = 6


def render_page(template: str, **context: Any) -> str:
    """A template of this room as one page that refers to nothing outside itself."""
    environment = page_environment("lungdet.outputs")
    environment.filters["probability"] = probability
    return environment.get_template(template).render(**context)


def probability(value: float | None) -> str:
    """Three decimals, more beside 0 and 1, so that neither is claimed; a dash for what does not exist.

    Example:
        >>> probability(0.25), probability(3e-6), probability(0.99994), probability(1 - 1e-8), probability(1.0)
        ('0.250', '3.0e-06', '0.99994', '> 0.999999', '1.000')
    """
    if value is None or math.isnan(value):
        return EN_DASH
    if not 0.999 < value < 1:
        return probability_text(value)
    digits = math.ceil(-math.log10(1 - value))
    return f"{value:.{max(digits, 4)}f}" if digits <= _MOST_DIGITS else f"> {1 - 10**-_MOST_DIGITS}"
