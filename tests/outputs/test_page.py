"""How probabilities of findings are written, and that a template may use what evaluations have."""

from __future__ import annotations

import pytest

from lungdet.outputs.page import probability, render_page

DASH = "\u2013"


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


def test_pages_have_the_look_of_evaluations_and_their_own_way_with_probabilities() -> None:
    froc = {"cpm": 0.5, "sensitivity_at": {}, "bootstrap": None, "denominator": {"statement": ""}}
    page = render_page(
        "collection.html.j2",
        **{"title": "t", "rows": [], "failures": {}, "answer": "", "median_seconds": 1.0, "n_nodules": 0},
        **{"has_malignancy": False, "froc": froc, "froc_page": "", "versions": {"score": probability(0.99994)}},
    )
    assert "--accent" in page
    assert '<div class="tile first"><div class="name">Scans searched</div><div class="value">0</div>' in page
    assert "score 0.99994" in page
