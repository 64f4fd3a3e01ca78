"""Who is in several partitions, by the run's record, its split or the table alone; and what was chosen where."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lungdet.errors import TableError
from lungdet.evaluation.audit import audit_of_split, audit_partitions, merge_audits
from lungdet.evaluation.audit_results import AuditedPartition, AuditWords, Choice


def rows(*given: tuple[str, str, int, str]) -> pd.DataFrame:
    return pd.DataFrame(given, columns=["patient_id", "series_uid", "fold", "partition"])


TABLE = rows(("C", "3", 0, "val"), ("D", "4", 0, "test"))


def recorded(fold: int | None = 0, **changed: Any) -> dict[str, Any]:
    """An audit.json as `lungdet.training.leak_audit` writes it, read back: keys sorted."""
    counts = {"patients": 2, "series": 3, "rows": 10, "labels": {"nodule": 1, "other": 9}}
    return {
        "fold": fold,
        "split_hash": "abc",
        "classes": ["other", "nodule"],
        "partitions": {"train": counts, "val": counts | {"patients": 1}, "test": counts | {"patients": 1}},
        "shared_patients": {},
        "shared_series": {},
        "equal_pixels": [],
        "scans_hashed": 9,
        "scans_of_one_value": [],
        "extra_negatives": [],
    } | changed


def group(digest: str, *scans: tuple[str, str, str]) -> dict[str, Any]:
    names = ("series_uid", "patient_id", "partition")
    return {
        "pixel_hash": digest,
        "crosses_partitions": len({partition for *_, partition in scans}) > 1,
        "scans": [dict(zip(names, scan, strict=True)) for scan in scans],
    }


def test_shared_within_a_fold_only() -> None:
    """A is in both partitions of fold 0; B validates in fold 0 and is tested in fold 1, as folds do."""
    table = rows(
        ("A", "1", 0, "val"), ("A", "2", 0, "test"), ("B", "3", 0, "val"), ("B", "3", 1, "test"), ("B", "3", 1, "test")
    )
    found = audit_partitions(table)
    assert (found.folds, found.shared_patients, found.shared_series) == ((0, 1), ("A",), ())
    assert found.shared_in == {"A": ("val", "test")}
    assert not found.disjoint
    assert audit_partitions(table.iloc[2:]).disjoint


def test_a_table_alone_says_what_was_not_looked_at() -> None:
    found = audit_partitions(rows(("C", "3", 0, "val"), ("C", "4", 0, "val"), ("D", "5", 0, "test")))
    assert found.partitions == (AuditedPartition(0, "val", 1, 2, 2), AuditedPartition(0, "test", 1, 1, 1))
    assert found.looked_at == "table"
    assert found.scans_hashed is None
    assert "Training patients are not in it, and pixels were not compared" in found.verdict


def test_a_record_gives_training_patients_and_pixels() -> None:
    leak = group("f0", ("1", "A", "train"), ("4", "D", "test"))
    found = audit_partitions(TABLE, record=recorded(equal_pixels=[leak], scans_of_one_value=["7", "8"]))
    assert found.looked_at == "scans"
    assert found.partitions[0] == AuditedPartition(0, "train", 2, 3, 10, {"other": 9, "nodule": 1})
    assert list(found.partitions[0].labels) == ["other", "nodule"], "in class order"
    assert [part.name for part in found.partitions] == ["train", "val", "test"]
    assert not found.disjoint
    assert found.shared_patients == ()
    assert found.crossing[0].crosses_in == (0,)
    assert found.verdict == (
        "LEAK: the same pixels in different partitions: series 1 of patient A (training) and series 4 of patient D "
        "(test)."
    )
    assert found.scans_of_one_value == ("7", "8")


def test_what_the_record_and_the_table_found_is_put_together() -> None:
    table = rows(("C", "3", 0, "val"), ("C", "4", 0, "test"))
    found = audit_partitions(table, record=recorded(shared_patients={"A": ["train", "val"]}))
    assert found.shared_patients == ("A", "C")
    assert found.shared_in == {"C": ("val", "test"), "A": ("train", "val")}


def test_a_split_file_names_all_patients_but_no_pixels() -> None:
    found = audit_partitions(
        TABLE, record=audit_of_split({"train": ["A", "B"], "val": ["C"], "test": ["D", "E"], "fold": 3})
    )
    assert [(part.fold, part.name, part.patients, part.series) for part in found.partitions] == [
        (3, "train", 2, None), (3, "val", 1, None), (3, "test", 2, None),
    ]  # fmt: skip
    assert found.looked_at == "split"
    assert found.verdict.endswith("by the split of the run. Pixels were not compared.")
    edited = audit_of_split({"train": ["A", "D"], "val": ["C"], "test": ["D"], "fold": None})
    assert audit_partitions(TABLE, record=edited).shared_in == {"D": ("train", "test")}


def test_folds_are_merged_and_stay_apart() -> None:
    """One pair of scans crosses in fold 1 only; C and D change places between the folds, which is no leak."""
    pair = [("1", "A", "train"), ("2", "B", "train")]
    crossed = [("1", "A", "train"), ("2", "B", "val")]
    merged = merge_audits(
        [
            recorded(1, equal_pixels=[group("f0", *crossed)]),
            recorded(0, equal_pixels=[group("aa", ("5", "E", "val"), ("6", "F", "val")), group("f0", *pair)]),
        ]
    )
    assert [audit["fold"] for audit in merged["folds"]] == [0, 1]
    table = pd.concat([TABLE, rows(("D", "4", 1, "val"), ("C", "3", 1, "test"))])
    found = audit_partitions(table, record=merged)
    assert found.shared_patients == ()
    assert [(part.fold, part.name) for part in found.partitions] == [
        (fold, name) for fold in (0, 1) for name in ("train", "val", "test")
    ]
    assert [(one.pixel_hash, one.crosses_in) for one in found.equal_pixels] == [("f0", (1,)), ("aa", ())]
    assert [scan.partition for scan in found.crossing[0].scans] == ["train", "val"], "of the fold that it crosses in"
    assert "in two partitions of a fold" in audit_partitions(table, record=merge_audits([recorded(0)])).verdict


@pytest.mark.parametrize("audits", [[], [recorded(2), recorded(2)]])
def test_only_different_folds_are_merged(audits: list[dict[str, Any]]) -> None:
    with pytest.raises(TableError, match=r"give one audit\.json of each fold"):
        merge_audits(audits)


def test_where_things_were_chosen() -> None:
    provenance = {"checkpoint_chosen_by": "best val/auroc", "checkpoint_chosen_on": "val"}
    record = recorded(
        extra_negatives=[
            {"table": "a.csv", "split_hash": "abc", "same_split": True},
            {"table": "b.csv", "split_hash": "x", "same_split": False},
            {"table": "c.csv", "split_hash": None, "same_split": None},
        ]
    )
    found = audit_partitions(
        TABLE,
        record=record,
        provenance=provenance,
        thresholds=Choice("Thresholds", "val", "largest F1"),
        calibration={"method": "platt", "fitted_on": "val"},
    )
    assert found.choices[:3] == (
        Choice("Checkpoint", "val", "best val/auroc"),
        Choice("Thresholds", "val", "largest F1"),
        Choice("Calibration", "val", "platt"),
    )
    assert [choice.by_others for choice in found.choices[3:]] == [False, True, False]
    assert found.choices[5].how == "c.csv, chosen by an unknown network"
    nothing = audit_partitions(TABLE, calibration={"method": "none"})
    assert nothing.choices == (Choice("Checkpoint", "unknown", ""),)
    peeked = audit_partitions(TABLE, provenance={"checkpoint_chosen_on": "test"})
    assert peeked.verdict == "LEAK: checkpoint chosen on test."
    assert peeked.disjoint, "a choice is no shared patient"


@pytest.mark.parametrize(
    ("provenance", "seen", "said"),
    [
        ({}, (), "No leak found: "),
        ({"initial_weights": "w", "seen_by_initial_weights": []}, (), "No leak found: "),
        ({"initial_weights": "w", "seen_by_initial_weights": None}, None, "Nobody knows whom the initial weights"),
        ({"initial_weights": "w", "seen_by_initial_weights": ["D"]}, ("D",), "LEAK: 1 patient (D) of validation or"),
    ],
)
def test_weights_that_training_started_from(
    provenance: dict[str, Any], seen: tuple[str, ...] | None, said: str
) -> None:
    found = audit_partitions(TABLE, record=recorded(), provenance=provenance)
    assert found.seen_before == seen
    assert said in found.verdict


def test_images_that_stand_as_patients_under_their_own_names() -> None:
    """Where pixel-identical images are joined, one of them carries the name of the other."""
    words = AuditWords("patch", "patches", pixels="patches", column="Patches", are_images=True)
    table = rows(("a", "a", 0, "val"), ("a", "b", 0, "val"), ("c", "c", 0, "test"))
    assert not audit_partitions(table, words=words).patients_known
    known = rows(("P", "a", 0, "val"), ("P", "b", 0, "val"), ("Q", "c", 0, "test"))
    assert audit_partitions(known, words=words).patients_known
    assert audit_partitions(table).patients_known, "series may be called as their patients"
