"""How pages write numbers and origins."""

from __future__ import annotations

import math

import pytest
from jinja2 import UndefinedError

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import (
    count_text,
    estimate_tile,
    flat_lines,
    interval_text,
    number_text,
    page_environment,
    probability_text,
    short_text,
    signed_text,
)

EN_DASH, MINUS = "\u2013", "\u2212"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1234.56, 1, "1,234.6"),
        (-1234.5678, 1, f"{MINUS}1,234.6"),
        (-3.25, 2, f"{MINUS}3.25"),
        (-0.04, 1, "0.0"),
        (-0.05001, 1, f"{MINUS}0.1"),
        (0.0, 0, "0"),
        (math.nan, 1, EN_DASH),
        (None, 1, EN_DASH),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert number_text(value, digits) == text


def test_other_numbers() -> None:
    assert short_text(math.nan) == EN_DASH
    assert short_text(2.5584e-05) == "2.56e-05"
    assert signed_text(-0.25) == f"{MINUS}0.250"
    assert signed_text(0.25) == "+0.250"
    assert signed_text(None) == signed_text(math.nan) == EN_DASH
    assert interval_text(Estimate(0.5, 0.25, 0.75), 2) == f"0.25{EN_DASH}0.75"
    assert [count_text(1, "scan"), count_text(2, "scan"), count_text(1000)] == ["1 scan", "2 scans", "1,000"]


def test_probabilities_near_the_ends_keep_their_digits() -> None:
    shown = [probability_text(p) for p in (0.0, 2e-5, 0.5, 0.999, 1.0)]
    assert shown == ["0.000", "2.0e-05", "0.500", "0.999", "1.000"]
    assert probability_text(1 - 2.5e-6) == f"1 {MINUS} 2.5e-06"


def test_tiles_say_why_there_is_no_interval() -> None:
    assert estimate_tile("Dice", Estimate(0.5, 0.25, 0.75), 2) == ("Dice", "0.50", f"95 % interval 0.25{EN_DASH}0.75")
    assert estimate_tile("Dice", Estimate(0.5, reason="one patient")) == ("Dice", "0.500", "one patient")
    assert estimate_tile("Dice", Estimate(math.nan, reason="no voxels")) == ("Dice", EN_DASH, "no voxels")


def test_origins_are_lines() -> None:
    record = {"split": {"fold": 0, "rule": {"name": "kfold"}}, "subsets": [0, 1], "commit": None}
    assert list(flat_lines(record, none="unknown")) == [
        ("split.fold", "0"),
        ("split.rule.name", "kfold"),
        ("subsets", "0, 1"),
        ("commit", "unknown"),
    ]


def test_settings_are_lines_in_their_order() -> None:
    record = {"b": 1, "a": {"x": None, "y": [1.5, 2]}, "nets": [{"seed": 3}, {"seed": None}]}
    assert list(flat_lines(record, none="none")) == [
        ("b", "1"),
        ("a.x", "none"),
        ("a.y", "1.5, 2"),
        ("nets.0.seed", "3"),
        ("nets.1.seed", "none"),
    ]


def test_templates_escape_and_refuse_what_is_not_given() -> None:
    environment = page_environment()
    assert environment.from_string("{{ x }} {{ n | count }}").render(x="<b>", n=1234) == "&lt;b&gt; 1,234"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ nobody }}").render()
    assert "--accent" in environment.from_string("{{ css }}").render()


def test_templates_of_another_room_come_first() -> None:
    ours, theirs = page_environment(), page_environment("lungdet.outputs")
    assert "collection.html.j2" not in ours.list_templates()
    assert {"collection.html.j2", "macros.html.j2", "layout.html.j2"} <= set(theirs.list_templates())
