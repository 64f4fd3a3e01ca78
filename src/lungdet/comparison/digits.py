"""Differences and p-values as they are printed, in sentences and tables alike."""

from __future__ import annotations

import math

from lungdet.evaluation.page import EN_DASH, MINUS


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, 0 without one; a dash for NaN.

    Example:
        >>> signed(0.0123, 2), signed(-0.0001), signed(float("nan")) == EN_DASH
        ('+0.01', '0.000', True)
    """
    if math.isnan(value):
        return EN_DASH
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def p_text(p: float) -> str:
    """A p-value as papers print it: two digits, three decimals at most below 0.1, `< 0.001`.

    Example:
        >>> p_text(0.04567), p_text(0.4567), p_text(1e-9)
        ('0.046', '0.46', '< 0.001')
    """
    if math.isnan(p):
        return EN_DASH
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
