"""Differences and p-values as papers print them."""

from __future__ import annotations

import math

import pytest

from lungdet.comparison.digits import p_text, signed

MINUS, DASH = "\u2212", "\u2013"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0184, "+0.018"), (-0.5, f"{MINUS}0.500"), (0.0004, "0.000"), (-0.0004, "0.000"), (math.nan, DASH)],
)
def test_a_difference_has_its_sign_and_zero_none(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0009999, "< 0.001"), (0.001, "0.001"), (0.0456, "0.046"), (0.1, "0.10"), (1.0, "1.00"), (math.nan, DASH)],
)
def test_p_is_never_zero(p: float, text: str) -> None:
    assert p_text(p) == text
