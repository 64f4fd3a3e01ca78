"""Tiles, cards and steps of the page for studies with and without measures; `test_files` reads a whole one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd
import pytest

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import Finding
from lungdet.explanations.faithfulness import Deletion, OnTarget
from lungdet.explanations.page import CaseOnPage, Explanations, render_explanations
from lungdet.explanations.study import Case, ShownCase, Study

RANDOMISED = pd.DataFrame(
    {
        "step": [1, 1, 2, 2],
        "module": ["head", "head", "stem", "stem"],
        "image": [0, 1, 0, 1],
        "rank_correlation": [0.9, 0.5, -0.25, 0.25],
    }
)
ROW = {"series_uid": "u", "patient_id": "p", "candidate_id": 3, "label": 1, "probability": 0.875, "correct": False}


@pytest.fixture
def shown(study: Study, cases: list[Case]) -> ShownCase:
    return study.show(cases[0])


def explanations(*cases: CaseOnPage, **changed: Any) -> Explanations:
    given: dict[str, Any] = {
        "title": "a run",
        "method": "quarters",
        "unit": "drop",
        "classes": ("normal", "ill"),
        "item": "patch",
        "items": "patches",
        "cases": cases,
        "measured": pd.DataFrame({"patient_id": [], "label": [], "most_first": [], "random": []}),
        "deletion": [],
        "on_target": None,
        "randomised": RANDOMISED.iloc[:0],
        "randomised_because": "n_cases=0",
        "notes": [],
        "provenance": {"run": "a run", "settings": {"heat_map": {"sign": "positive"}}},
        "n_bars": 2,
    }
    return Explanations(**(given | changed))


def test_warnings_stand_before_notes() -> None:
    """Ours is a note, as is that nothing was randomised; that nothing was measured is a warning."""
    found = explanations(notes=[Finding("note", "ours", "x")]).findings
    assert [finding.code for finding in found] == ["deletion", "ours", "random_weights"]


def test_a_page_without_cases_and_measures() -> None:
    html = render_explanations(explanations())
    assert "0 measured" in html
    for absent in ("Deletion gain", "Share of the maps", "Likeness to random", 'id="figure-gain"'):
        assert absent not in html


def test_numbers_at_the_top() -> None:
    area = Estimate(0.25, 0.2, 0.3)
    gain = Estimate(0.125, 0.1, 0.15)
    measured = pd.DataFrame({"patient_id": ["p"], "label": [1], "most_first": [0.2], "random": [0.4]})
    found = explanations(
        measured=measured,
        deletion=[Deletion("all", 1, 1, area, area, area, gain, area)],
        on_target=OnTarget(1, 1, Estimate(0.5), Estimate(0.125), Estimate(0.375, reason="one patient"), 0),
        randomised=RANDOMISED,
    )
    html = render_explanations(found)
    assert "95 % interval 0.100 to 0.150" in html
    assert "12.5 % expected by its size" in html
    assert "1 measured" in html
    assert 'id="figure-gain"' in html
    alone = dataclasses.replace(found.deletion[0], gain=Estimate(0.125, reason="a single patient"))
    assert "a single patient" in render_explanations(dataclasses.replace(found, deletion=[alone]))


def test_each_step_of_randomisation_has_its_mean_and_range() -> None:
    html = render_explanations(explanations(randomised=RANDOMISED))
    cells = html.replace("\u2212", "-").replace("</td>", " ").replace('<td class="n">', " ")
    assert "0.70" in cells
    assert [html.index("head"), html.index("stem")] == sorted([html.index("head"), html.index("stem")])
    assert "0.250" in cells


def test_a_card_says_what_is_known_of_its_case(shown: ShownCase) -> None:
    html = render_explanations(explanations(CaseOnPage(ROW, shown, (), problem="no pixels")))
    assert "1 · ill" in html
    assert "no pixels" in html
    assert 'id="figure-case-1"' in html
    assert "% on the nodule (50.0 % of the crop)." in html, "the left half"
    assert "the attributions miss" not in html


def test_a_card_without_target_and_with_a_gap(shown: ShownCase) -> None:
    facts = {**shown.facts, "target_share": math.nan, "gap": 0.25}
    html = render_explanations(explanations(CaseOnPage(ROW, dataclasses.replace(shown, facts=facts), ())))
    assert "; the attributions miss the change of the logit by 0.250." in html
    assert "on the nodule" not in html


def test_at_most_ten_parts_are_listed_best_first(shown: ShownCase) -> None:
    regions = pd.concat([shown.regions] * 3, ignore_index=True)
    regions["name"] = [f"part {n}." for n in range(12)]
    html = render_explanations(explanations(CaseOnPage(ROW, dataclasses.replace(shown, regions=regions), ())))
    listed = [f"<th>part {n}.</th>" for n in range(12)]
    assert [line in html for line in listed] == [False, False] + [True] * 10
    assert html.index(listed[11]) < html.index(listed[2])
