"""Remarks that every report makes on its split, and the order in which all remarks come."""

from __future__ import annotations

from typing import Any

import pytest

from lungdet.evaluation.audit_results import Audit, Choice, EqualPixels, NamedScan
from lungdet.evaluation.remarks import about_split, count, span, warnings_first
from lungdet.evaluation.results import Finding

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
    assert leak == (
        "7 patients (a, b, c, d, e and 2 more) in validation and test of the same fold. Moonshine; repair the split."
    )
    trained = said(audit=Audit((0,), ("a",), (), shared_in={"a": ("train", "test")}))["leak"]
    assert trained == (
        "1 patient (a) in training and test of the same fold. The network has trained on patients it is judged on; "
        "repair the split."
    )


def equal(*partitions: str) -> EqualPixels:
    scans = tuple(NamedScan(f"series{n}", f"patient{n}", partition) for n, partition in enumerate(partitions))
    return EqualPixels("f0", scans, crosses_in=(0,) if len(set(partitions)) > 1 else ())


def test_equal_pixels_warn_across_partitions_and_are_noted_within_one() -> None:
    found = said(audit=Audit((0,), (), (), equal_pixels=(equal("val", "test"), equal("val", "val"))))
    assert found.keys() == {"leak_pixels", "equal_pixels"}
    assert found["leak_pixels"].startswith(
        "The same pixels in different partitions: series series0 of patient patient0 (validation) and series series1 "
        "of patient patient1 (test). Moonshine, for a scan under two names is one patient"
    )
    assert found["equal_pixels"].startswith("1 group of scans under several patient ids has the same pixels")
    trained = said(audit=Audit((0,), (), (), equal_pixels=(equal("train", "test"),)))["leak_pixels"]
    assert "The network has trained on patients it is judged on" in trained


def test_choices_on_test_and_by_networks_of_another_split() -> None:
    choices = (
        Choice("Thresholds", "test"),
        Choice("Checkpoint", "val"),
        Choice("Extra negatives", "train", "mined.csv, chosen by a network of another split", by_others=True),
    )
    found = said(audit=Audit((0,), (), (), choices=choices))
    assert found["leak_choice"] == "Thresholds chosen on test. It has seen what it is judged on; choose on validation."
    assert found["extra_negatives_other_split"].startswith("Extra negatives (mined.csv, chosen by a network of")


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
