"""The page of sanity checks: verdicts first, every number with its interval, nothing from outside, no blank render."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import EN_DASH
from lungdet.evaluation.sanity_checks import SanityCheck, SanityNumber, SanityTable, not_judged
from lungdet.evaluation.sanity_page import TITLES, render_sanity_page, write_sanity

RNG = np.random.default_rng(0)
CHECKS = [
    SanityCheck(
        "shuffled_labels",
        "Is it 0.5?",
        "passed",
        "Shuffled labels give 0.501.",
        (SanityNumber("AUROC, true labels", Estimate(0.81, 0.75, 0.86), "95 % interval over patients"),),
        curve={"rows": RNG.normal(0.5, 0.02, 300).tolist(), "patients": RNG.normal(0.5, 0.05, 300).tolist()},
        marks={"true labels": 0.81},
    ),
    SanityCheck(
        "overfit_one_batch",
        "By heart?",
        "failed",
        "The loss is still <0.7>.",
        cautions=("Slow is not broken.",),
        curve={"loss": np.geomspace(1, 0.7, 60).tolist()},
        marks={"target": 0.05},
    ),
    SanityCheck(
        "shortcut",
        "Without the middle?",
        "passed",
        "No.",
        tables=(SanityTable("Most useful.", ("Feature", "AUROC alone"), (("shell mean", 0.61), ("x in scan", 0.5))),),
    ),
    not_judged("class_prior", "More?", "There is no run."),
]


@pytest.fixture(scope="module")
def html() -> str:
    return render_sanity_page(CHECKS, title="luna & co", provenance={"run": None, "bootstrap": {"seed": 0}})


def test_nothing_outside_is_needed(html: str) -> None:
    assert_self_contained(html)


def test_it_says_what_failed_first(html: str) -> None:
    text = Page(html).text
    assert "1 check of 4 failed: read it before any number of this experiment." in text
    assert text.index("1 check of 4 failed") < text.index("Shuffled labels give 0.501")
    for check in CHECKS:
        assert text.count(check.says) == 2, "in the overview and with the check"
        assert TITLES[check.name] in text
    assert f"0.810 0.750{EN_DASH}0.860" in text
    assert "Slow is not broken." in text
    assert "shell mean 0.610" in text
    assert "bootstrap.seed" in text
    assert "<0.7>" not in html


def test_other_outcomes_have_other_leads() -> None:
    passed, undecided = CHECKS[0], CHECKS[3]
    assert "All checks passed." in render_sanity_page([passed], title="t", provenance={})
    both = render_sanity_page([passed, undecided], title="t", provenance={})
    assert "No check failed; 1 could not be judged." in both


def test_both_files_are_written_and_agree(tmp_path: Path, html: str) -> None:
    page = write_sanity(tmp_path / "new", CHECKS, title="luna & co", provenance={"run": None, "bootstrap": {"seed": 0}})
    assert page.read_text(encoding="utf-8") == html
    record = json.loads((tmp_path / "new" / "sanity.json").read_text())
    assert record["verdict"] == "failed"
    assert {name: check["verdict"] for name, check in record["checks"].items()} == {c.name: c.verdict for c in CHECKS}


def test_it_renders(tmp_path: Path, html: str) -> None:
    page = tmp_path / "sanity.html"
    page.write_text(html, encoding="utf-8")
    assert_renders(page, tmp_path, width=1200, height=2100)
