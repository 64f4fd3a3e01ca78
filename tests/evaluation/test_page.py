"""How pages write numbers and origins."""

from __future__ import annotations

import math

import pytest
from jinja2 import UndefinedError

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import (
    flat_provenance,
    interval_text,
    number_text,
    page_environment,
    short_text,
    signed_text,
    style_sheet,
)

EN_DASH, MINUS = "\u2013", "\u2212"


def test_numbers() -> None:
    assert number_text(-1234.5678, 1) == f"{MINUS}1,234.6"
    assert number_text(math.nan) == short_text(math.nan) == EN_DASH
    assert short_text(2.5584e-05) == "2.56e-05"
    assert signed_text(-0.25) == f"{MINUS}0.250"
    assert signed_text(0.25) == "+0.250"
    assert interval_text(Estimate(0.5, 0.25, 0.75), 2) == f"0.25{EN_DASH}0.75"


def test_origins_are_lines() -> None:
    record = {"split": {"fold": 0, "rule": {"name": "kfold"}}, "subsets": [0, 1], "commit": None}
    assert list(flat_provenance(record)) == [
        ("split.fold", "0"),
        ("split.rule.name", "kfold"),
        ("subsets", "0, 1"),
        ("commit", "unknown"),
    ]


def test_templates_escape_and_refuse_what_is_not_given() -> None:
    environment = page_environment()
    assert environment.from_string("{{ x }} {{ n | count }}").render(x="<b>", n=1234) == "&lt;b&gt; 1,234"
    with pytest.raises(UndefinedError):
        environment.from_string("{{ nobody }}").render()
    assert "--accent" in style_sheet(environment)
