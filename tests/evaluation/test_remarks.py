"""Remarks that every report makes on its split, and the order in which all remarks come."""

from __future__ import annotations

from typing import Any

import pytest

from lungdet.evaluation.remarks import about_split, count, span, warnings_first
from lungdet.evaluation.results import Audit, Finding

CLEAN = Audit((0,), shared_patients=(), shared_series=())


def said(partition: str = "test", audit: Audit = CLEAN, n_patients: int = 50, **provenance: Any) -> dict[str, str]:
    remarks = about_split(
        partition, audit, n_patients=n_patients, provenance=provenance, chosen="the moon was", leaked="Moonshine"
    )
    return {remark.code: remark.text for remark in remarks}


def test_a_sound_split_is_not_talked_about() -> None:
    assert said() == {}
    assert said(split_notes=[]) == {}


def test_what_was_repaired_chosen_and_leaked() -> None:
    assert said(split_notes=["One.", "Two."])["split"] == "About the split: One. Two."
    assert "where the moon was chosen" in said("val")["no_test"]
    shared = tuple("abcdefg")
    leak = said(audit=Audit((0,), shared_patients=shared, shared_series=()))["leak"]
    assert leak.startswith(
        "7 patients in validation and in test of the same fold (a, b, c, d, e and 2 more). Moonshine;"
    )


@pytest.mark.parametrize(("n", "expected"), [(0, False), (1, True), (19, True), (20, False)])
def test_few_patients(n: int, expected: bool) -> None:
    assert ("few_patients" in said(n_patients=n)) == expected


def test_warnings_come_first_and_keep_their_order() -> None:
    kinds = ["good", "note", "warning", "note", "warning"]
    given = [Finding(kind, str(n), "") for n, kind in enumerate(kinds)]  # type: ignore[arg-type]
    assert [remark.code for remark in warnings_first(given)] == ["2", "4", "1", "3", "0"]


def test_words() -> None:
    assert (count(1, "pair"), count(1234, "pair")) == ("1 pair", "1,234 pairs")
    assert (span(0.25, 0.754), span(-0.1, 0.2, signed=True)) == ("0.25-0.75", "-0.100 to +0.200")
