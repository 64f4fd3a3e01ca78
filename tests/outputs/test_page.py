"""How numbers and settings are written."""

from __future__ import annotations

import pytest

from lungdet.outputs.page import count, flat, number, probability

DASH, MINUS = "\u2013", "\u2212"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.56, 1, "1,234.6"),
        (-3.25, 2, f"{MINUS}3.25"),
        (-0.04, 1, "0.0"),
        (float("nan"), 1, DASH),
        (None, 1, DASH),
        (0.0, 0, "0"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (2e-9, "2.0e-09"),
        (0.5, "0.500"),
        (0.999, "0.999"),
        (0.99949, "0.9995"),
        (1 - 4e-6, "0.999996"),
        (1 - 9.9e-7, "> 0.999999"),
        (1.0, "1.000"),
        (float("nan"), DASH),
        (None, DASH),
    ],
)
def test_probabilities_claim_neither_zero_nor_one(value: float | None, text: str) -> None:
    assert probability(value) == text


def test_counts() -> None:
    assert [count(1, "scan"), count(2, "scan"), count(1000)] == ["1 scan", "2 scans", "1,000"]


def test_settings_are_flattened_in_their_order() -> None:
    record = {"b": 1, "a": {"x": None, "y": [1.5, 2]}, "nets": [{"seed": 3}, {"seed": 4}]}
    assert list(flat(record)) == [
        ("b", "1"),
        ("a.x", "none"),
        ("a.y", "1.5, 2"),
        ("nets.0.seed", "3"),
        ("nets.1.seed", "4"),
    ]
