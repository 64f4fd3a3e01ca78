"""The page and the tables of a small study, as a browser and as pandas read them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.results import Finding
from lungdet.explanations.faithfulness import deletion_estimates, target_estimates
from lungdet.explanations.files import write_explanations
from lungdet.explanations.page import CaseOnPage, Explanations, render_explanations
from lungdet.explanations.pictures import HeatMapChoice, image_panels
from lungdet.explanations.study import Case, Study

ROWS = [
    {"series_uid": "x<1>", "patient_id": "p", "candidate_id": 0, "label": 1, "probability": 0.88, "correct": True},
    {"series_uid": "y", "patient_id": "q", "candidate_id": 7, "label": 0, "probability": 0.88, "correct": False},
]
NO_MAPS = pd.DataFrame({"step": [], "module": [], "image": [], "rank_correlation": []})


@pytest.fixture
def explanations(study: Study, cases: list[Case]) -> Explanations:
    on_page = []
    for row, case in zip(ROWS, cases, strict=True):
        shown = study.show(case)
        panels = image_panels((case.image / 2).numpy(), shown.heat, shown.outlined, choice=HeatMapChoice())
        on_page.append(CaseOnPage(row, shown, panels))
    measured = pd.DataFrame([{**row, **study.measure(case)} for row, case in zip(ROWS, cases, strict=True)])
    return Explanations(
        title="a run",
        method="quarters",
        unit=study.method.unit,
        classes=("normal", "ill"),
        item="chest X-ray",
        items="chest X-rays",
        cases=on_page,
        measured=measured,
        deletion=deletion_estimates(measured, classes=("normal", "ill"), n_resamples=20, seed=0),
        on_target=target_estimates(measured, n_resamples=20, seed=0),
        randomised=pd.DataFrame(
            {"step": [1, 1], "module": ["head"] * 2, "image": [0, 1], "rank_correlation": [0.8] * 2}
        ),
        randomised_because="",
        notes=[Finding("note", "x", "A note <of> ours.")],
        provenance={"run": "a run", "settings": {"heat_map": {"sign": "positive"}}},
        n_bars=3,
    )


def test_the_page_says_it_all(explanations: Explanations) -> None:
    html = render_explanations(explanations)
    assert_self_contained(html)
    text = Page(html).text
    for words in (
        "2 chest X-rays",
        "x<1>",
        "A note <of> ours.",
        "1 · ill",
        "2 · normal",
        "wrong",
        "top left",
        "maps stay much the same (mean rank correlation 0.80)",
        "100.0 % of the positive part of the maps falls on the nodule, which takes 50.0 % of the crop",
    ):
        assert words in text
    assert Page(html).tags["image"] == 4


def test_the_page_renders(explanations: Explanations, tmp_path: Path) -> None:
    page = write_explanations(explanations, tmp_path / "out")
    assert_renders(page, tmp_path, width=1180, height=1900)


def test_tables_and_summary(explanations: Explanations, tmp_path: Path) -> None:
    write_explanations(explanations, tmp_path)
    cases = pd.read_parquet(tmp_path / "cases.parquet")
    assert cases["case"].tolist() == [1, 2]
    assert cases["most_first"].tolist() == [case.shown.facts["most_first"] for case in explanations.cases]
    segments = pd.read_parquet(tmp_path / "segments.parquet")
    assert segments.groupby("case")["rank"].apply(list).tolist() == [[1, 2, 3, 4]] * 2
    assert {"drop", "abs_drop", "drop_per_percent", "area_percent", "importance"} <= set(segments)
    curves = pd.read_parquet(tmp_path / "curves.parquet")
    assert curves.groupby(["case", "change", "order"]).size().unique().tolist() == [5]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["faithfulness"]["deletion"][0]["n_cases"] == 2
    assert summary["cases"][1] == {"case": 2, "series_uid": "y", "candidate_id": 7}
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_explanations(explanations, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_measures_the_page_says_so(explanations: Explanations) -> None:
    bare = dataclasses.replace(
        explanations,
        measured=explanations.measured.iloc[:0],
        deletion=[],
        on_target=None,
        randomised=NO_MAPS,
        randomised_because="random_weights.n_cases=0",
        cases=[dataclasses.replace(explanations.cases[0], panels=(), problem="the scan is gone")],
    )
    html = render_explanations(bare)
    assert_self_contained(html)
    text = Page(html).text
    assert "Faithfulness was not measured" in text
    assert "No comparison with random weights: random_weights.n_cases=0." in text
    assert "the scan is gone" in text
    assert np.isnan(bare.cases[0].shown.facts["gap"])
