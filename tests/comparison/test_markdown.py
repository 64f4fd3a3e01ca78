"""The Markdown of reports whose numbers are written down: every table has as many cells as its head."""

from __future__ import annotations

import dataclasses
import math

from tests.comparison.small_report import different, small_report

from lungdet.comparison.disagreement import Disagreement
from lungdet.comparison.markdown import render_markdown
from lungdet.comparison.pairs import Delong
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.settings import Setting
from lungdet.evaluation.results import Finding
from lungdet.evaluation.thresholds import Threshold
from lungdet.metrics.delong import AurocDifference, AurocVariance
from lungdet.metrics.mcnemar import McNemar


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def tables(text: str) -> list[list[list[str]]]:
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [[cells(line) for line in block if "---" not in line] for block in blocks if block[0].startswith("|")]


def test_the_smallest_report() -> None:
    text = render_markdown(small_report(verdicts={("a", "b"): different("b")}))
    lines = text.splitlines()
    assert lines[0] == "# a and b"
    assert lines[2] == "Candidate classification. Test: 24 patients, 1,200 candidates."
    assert "- **Different.** b is better." in lines
    assert text.endswith("\n")
    measures, pair, settings = tables(text)
    assert measures == [
        ["", "a", "b"],
        ["AUROC", "0.700 (0.600\u20130.800)", "0.800 (0.700\u20130.900)"],
        ["Brier score", "0.0100 (one patient only)", "0.0100 (one patient only)"],
    ]
    assert pair == [
        ["", "difference, 95 % interval", "p"],
        ["AUROC", "+0.100 (+0.050 to +0.150)", "0.020"],
        ["Brier score", "none: no rows", "\u2013"],
    ]
    assert settings == [["key", "a", "b"], ["optim.lr", "0.1", "0.1"]]


def test_several_pairs_have_holms_p() -> None:
    text = render_markdown(small_report("a", "b", "c"))
    assert [line for line in text.splitlines() if line.startswith("##") and " minus " in line] == [
        "## b minus a",
        "## c minus a",
        "## c minus b",
    ]
    assert tables(text)[1] == [
        ["", "difference, 95 % interval", "p", "p, Holm"],
        ["AUROC", "+0.100 (+0.050 to +0.150)", "0.020", "0.040"],
        ["Brier score", "none: no rows", "\u2013", "\u2013"],
    ]


def full() -> ComparisonReport:
    report = small_report(
        "a",
        "b",
        findings=(Finding("warning", "w", "Mind."), Finding("note", "n", "Note.")),
        settings=(),
        origins=(Setting("seed", ("0", "1")),),
        thresholds={
            name: {
                "recall_90": Threshold("recall_90", "r", 0.0, "val"),
                "max_f1": Threshold("max_f1", "r", math.nan, "val", "no validation rows"),
            }
            for name in "ab"
        },
        froc_at={"a": {"0.125": 0.25, "mean": 0.5}, "b": {"0.125": math.nan, "mean": 0.5}},
        disagreements={
            "positives": (
                Disagreement(
                    {"series_uid": "1.2", "candidate_id": 7, "patient_id": "P_1"},
                    {"a": 0.25, "b": 0.75},
                    {"a": 10.0, "b": 90.0},
                    80.0,
                ),
            ),
            "negatives": (),
        },
    )
    area = AurocVariance(0.7, 0.01, 0.6, 0.8)
    test = AurocDifference(area, area, difference=0.1, standard_error=0.04, low=0.02, high=0.18, z=2.5, p=0.0124)
    pair = dataclasses.replace(
        report.pairs[0],
        delong=Delong(test, dataclasses.replace(test, low=-0.01, p=1e-9), 0.0124),
        mcnemar={"max_f1": {"positives": McNemar(40, 3, 5, 2, p_exact=0.7, chi_square=0.125, p_chi_square=0.6)}},
    )
    return dataclasses.replace(report, pairs=(pair,))


def test_everything_that_a_report_may_hold() -> None:
    text = render_markdown(full())
    assert "- Caution: Mind.\n- Note: Note." in text
    assert "Nothing that is known.\n\nWhere the runs come from, as far as it differs:" in text
    assert "DeLong, AUROC, by patient: +0.100 (+0.020 to +0.180), z = 2.50, p 0.012; with all rows as" in text
    assert "independent \u22120.010 to +0.180, p < 0.001." in text
    assert "Holm" not in text, "one pair"
    found = {table[0][1]: table for table in tables(text)}
    assert found["recall ≥ 0.9"][1] == ["a", "0.500", "no validation rows"]
    assert found["0.125"][1:] == [["a", "0.250", "0.500"], ["b", "\u2013", "0.500"]]
    assert found["on"][0][2:] == ["only a right", "only b right", "p, exact", "p, χ²"]
    assert found["on"][1] == ["largest F1", "positives", "3", "5", "0.70", "0.60"]
    assert found["id"][1] == ["1.2", "7", "P_1", "0.250, 10.0", "0.750, 90.0"]
    assert "Where they disagree most: negatives" not in text, "there are none"
    for table in tables(text):
        assert len({len(row) for row in table}) == 1, table


def test_images_have_no_candidate_ids() -> None:
    text = render_markdown(dataclasses.replace(full(), are_images=True))
    (table,) = (t for t in tables(text) if t[0][0] == "image")
    assert table[1] == ["1.2", "P_1", "0.250, 10.0", "0.750, 90.0"]


def test_names_with_signs_of_markdown_stay_as_they_are() -> None:
    """Else a pipe makes a cell, a star a bold word and an angle bracket a tag."""
    text = render_markdown(small_report("a|b", "*c*_<d>", settings=(Setting("k", ("[1]", "x\ny")),)))
    assert text.startswith("# a\\|b and \\*c\\*\\_\\<d>\n")
    assert "| key | a\\|b | \\*c\\*\\_\\<d> |" in text
    assert "| k | \\[1] | x y |" in text
    assert "luna_cls" in render_markdown(small_report("luna_cls", "b")), "no sign between letters"
