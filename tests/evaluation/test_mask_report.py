"""The written segmentation report: same bytes twice, nothing from outside, its numbers shown, readable in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.evaluation.mask_examples import ceiling_of, make_cohort
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.mask_report import render_mask_html, write_mask_report
from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.masks import evaluate_masks
from lungdet.evaluation.report_files import WrittenReport

EN_DASH = "\u2013"
HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1],
        "train/loss": [0.6, 0.4],
        "train/dice": [0.3, 0.5],
        "val/dice": [0.1, 0.2],
        "val/crop_dice": [0.3, 0.6],
    }
)
PROVENANCE = {
    "run": "2024-01-01/unet_seg",
    "split": {"hash": "7c0ffee"},
    "subsets": [0, 1],
    "git commit": None,
    "x": "<b>",
}


def evaluated(**changed: Any) -> MaskReport:
    cohort = make_cohort()
    settings: dict[str, Any] = {
        "title": "unet_seg on made-up scans",
        "provenance": PROVENANCE,
        "ceiling": ceiling_of(cohort),
        "history": HISTORY,
        "n_resamples": 50,
    }
    return evaluate_masks(cohort.table(), **(settings | changed))


@pytest.fixture(scope="module")
def report() -> MaskReport:
    return evaluated()


@pytest.fixture(scope="module")
def written(report: MaskReport, tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_mask_report(report, tmp_path_factory.mktemp("run") / "new")


@pytest.fixture(scope="module")
def html(written: WrittenReport) -> str:
    return written.html.read_text(encoding="utf-8")


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)))


def test_twice_the_same_bytes(written: WrittenReport, tmp_path: Path) -> None:
    again = write_mask_report(evaluated(), tmp_path)
    for name in ("json", "html", "curves"):
        assert getattr(again, name).read_bytes() == getattr(written, name).read_bytes()


def test_json_is_sorted_strict_and_complete(report: MaskReport, written: WrittenReport) -> None:
    text = written.json.read_text(encoding="utf-8")
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert text.endswith("}\n")
    assert list(record) == sorted(record)
    assert record == report.to_dict()
    assert len(record["scans"]) == 12
    assert record["ceiling"]["test"]["pooled_dice"]["value"] == 0.8


def test_curves_file(report: MaskReport, written: WrittenReport) -> None:
    curves = pd.read_parquet(written.curves)
    pd.testing.assert_frame_equal(curves, report.curves, check_dtype=False)
    assert len(curves) == 2 * 2 * 64


def test_page_refers_to_nothing_outside_itself(html: str) -> None:
    assert_self_contained(html)
    assert "data:" not in html


def test_sections_and_figures_can_be_linked_to(html: str) -> None:
    page = Page(html)
    links = {link.removeprefix("#") for link in page.links}
    assert {"overlap", "ceiling", "threshold", "tiles", "scans", "training", "provenance"} <= links
    assert {"figure-dice", "figure-precision-recall", "figure-history-crop-dice"} <= set(page.ids)


def test_page_shows_the_numbers(report: MaskReport, html: str) -> None:
    text = text_of(html)
    for scopes in report.results.values():
        for result in scopes.values():
            dice = result.at_half.dice
            assert f"{dice.value:.3f} {dice.low:.3f}{EN_DASH}{dice.high:.3f}" in text
            low, high = result.average_precision_bounds
            assert f"{low:.3f}{EN_DASH}{high:.3f}" in text
    chosen = report.threshold.on["test"]["whole_volume"].dice
    assert f"{chosen.value:.3f} {chosen.low:.3f}{EN_DASH}{chosen.high:.3f}" in text
    for finding in report.findings:
        assert finding.text in text.replace("&#39;", "'")
    for words in ("unet_seg on made-up scans", "7c0ffee", "split.hash", "0, 1", "unknown", "No leak found", "P005"):
        assert words in text
    assert "0.83 at crop level and 0.53 to 0.57 over whole volumes" in text
    assert "the ceiling, of 6 nodules" in text
    assert "&lt;b&gt;" in html


def test_masks_made_by_a_rule_have_no_readers() -> None:
    text = text_of(render_mask_html(evaluated(ceiling=ceiling_of(make_cohort(), by_readers=False))))
    assert "No readers: these masks follow from the annotations' rule" in text.replace(" :", ":").replace("&#39;", "'")
    assert f"Dice, reader against reader {EN_DASH} no readers" in text


def test_a_ceiling_nobody_measured() -> None:
    assert "Not measured for this run." in text_of(render_mask_html(evaluated(ceiling=None)))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("no test", "There are no test rows"),
        ("no val", "Not chosen: no rows in validation."),
        ("no nodules", "No answer yet: no nodule voxels in test; "),
        ("nothing called", "The network calls nothing: of "),
        ("broken", "No answer yet: the network gave no number for "),
        ("one tile", "nodule voxels in one patient only"),
    ],
)
def test_corners_are_pages_too(case: str, expected: str) -> None:
    cohort = make_cohort()
    if case == "no nodules":
        cohort.mask[:] = False
    elif case == "nothing called":
        cohort.logit[:] = -7
    elif case == "broken":
        cohort.logit[:] = np.nan
    elif case.startswith("no "):
        cohort.rows["partition"] = "val" if case == "no test" else "test"
    table = cohort.table()
    kept = table[(table["patient_id"] == "P004") & (table["candidate_id"] == 3)] if case == "one tile" else table
    report = evaluate_masks(kept, title=case, provenance={}, n_resamples=20)
    html = render_mask_html(report)
    assert Page(html).open == []
    text = text_of(html)
    assert expected in text
    assert not re.search(r"\bnan\b", text)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_leak_is_on_the_page() -> None:
    cohort = make_cohort()
    cohort.rows.loc[cohort.rows["candidate_id"] == 0, "partition"] = "test"
    html = render_mask_html(evaluate_masks(cohort.table(), title="t", provenance={}, n_resamples=20))
    assert "4 patients (P000, P001, P002, P003) in validation and test of the same fold" in html
    assert "No leak" not in html


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1300, 500])
def test_the_page_renders(written: WrittenReport, tmp_path: Path, width: int) -> None:
    assert_renders(written.html, tmp_path, width=width, height=4000)
