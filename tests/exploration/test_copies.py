"""Groups of equal pixels: what they cross; and files that cannot be read."""

from __future__ import annotations

import pandas as pd

from lungdet.exploration.content import Words
from lungdet.exploration.copies import copies_section, problems_section

WORDS = Words(("normal", "pneumonia"), "image", "images")
ROWS = pd.DataFrame(
    [
        ("a", "p1", 0, "train"), ("b", "p1", 0, "train"),  # harmless
        ("c", "p2", 0, "train"), ("d", "p3", 1, "test"),  # all three
        ("e", "p4", 1, ""), ("f", "p5", 1, ""),  # patients only
    ],
    columns=["name", "patient_id", "label", "partition"],
)  # fmt: skip


def test_what_groups_cross_is_counted() -> None:
    section = copies_section([("a", "b"), ("c", "d"), ("e", "f")], ROWS, WORDS, looked_at="Compared.")
    assert section.text == "6 copies in 3 groups. Compared."
    assert section.record["groups_across_patients"] == 2
    assert section.record["groups_across_labels"] == section.record["groups_across_parts"] == 1
    assert {finding.code: finding.kind for finding in section.findings} == {
        "contradictions": "warning", "copies_across_parts": "warning", "copies_across_patients": "note",
    }  # fmt: skip
    assert "the first: c, d." in section.findings[0].text
    assert section.lists["Groups"] == ("a = b", "c = d", "e = f")


def test_harmless_copies_and_none_at_all_are_no_finding() -> None:
    assert copies_section([("a", "b")], ROWS, WORDS, looked_at="").findings == ()
    none = copies_section([], ROWS, WORDS, looked_at="Compared.")
    assert (none.text, dict(none.lists)) == ("None found. Compared.", {})


def test_unreadable_files_are_listed_with_their_reason() -> None:
    section = problems_section({"a.png": "a.png: damaged"}, n=5, items="images")
    assert section.findings[0].text == "1 of 5 images cannot be read; the first: a.png: damaged"
    assert section.record == {"tried": 5, "failures": {"a.png": "a.png: damaged"}}
    assert problems_section({}, n=5, items="images").text == "All 5 images could be read."
