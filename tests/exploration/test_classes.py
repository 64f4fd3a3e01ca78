"""Class balance and rows per patient against hand counts; what is remarked and what is not."""

from __future__ import annotations

import pandas as pd
import pytest

from lungdet.exploration.classes import classes_section, patients_section
from lungdet.exploration.content import Words

WORDS = Words(("normal", "pneumonia"), "chest X-ray", "chest X-rays")

# patient, label, partition
ROWS = pd.DataFrame(
    [("a", 0, "train"), ("a", 1, "train"), ("a", 1, "test"), ("b", 1, "train"), ("c", 0, "val")],
    columns=["patient_id", "label", "partition"],
)


def many(n_patients: int, *, positives: float, partition: str = "") -> pd.DataFrame:
    rows = [(f"{partition}{n}", int(n < positives * n_patients), partition) for n in range(n_patients)]
    return pd.DataFrame(rows, columns=["patient_id", "label", "partition"])


def test_rows_and_patients_are_counted_in_all_and_by_part() -> None:
    section = classes_section(ROWS, WORDS)
    assert section.record["all"] == {
        "rows": {"normal": 2, "pneumonia": 3},
        "patients": {"normal": 2, "pneumonia": 2},
        "positive_share": 0.6,
    }
    assert list(section.record) == ["all", "train", "val", "test"], "in the usual order, not in that of the table"
    assert section.record["val"]["rows"] == {"normal": 1, "pneumonia": 0}
    (table,) = section.tables
    assert table.columns[1] == "normal, chest X-rays"
    assert table.rows[1] == ("Train", 1, 2, 1, 2, pytest.approx(2 / 3))


def test_leaks_and_few_patients_are_told() -> None:
    codes = {finding.code: finding for finding in classes_section(ROWS, WORDS).findings}
    assert codes["shared_patients"].text.startswith("1 patient has chest X-rays in more than one shipped part")
    assert "normal from 2 patients, pneumonia from 2 patients" in codes["few_patients"].text
    assert "parts_differ" not in codes, "three rows say nothing about a share"


def test_imbalance_and_other_prevalence_are_told() -> None:
    rows = pd.concat([many(200, positives=0.15, partition="train"), many(100, positives=0.4, partition="test")])
    texts = {finding.code: finding.text for finding in classes_section(rows, WORDS).findings}
    assert texts["parts_differ"].startswith("The share of pneumonia is 40% in test and 15% in train")
    assert "imbalance" not in texts, "230 to 70"
    texts = {finding.code: finding.text for finding in classes_section(many(500, positives=0.1), WORDS).findings}
    assert texts["imbalance"].startswith("9 chest X-rays of class normal for one of pneumonia")
    assert set(texts) == {"imbalance"}


def test_a_class_without_rows_is_told_and_one_class_alone_is_not_compared() -> None:
    texts = [finding.text for finding in classes_section(many(50, positives=0), WORDS).findings]
    assert texts == ["There are no chest X-rays of the class pneumonia."]
    section = classes_section(many(50, positives=0), Words(("nodule",), "nodule", "nodules"))
    assert (section.findings, section.drawings) == ((), ())
    assert section.tables[0].columns == ("", "nodule, nodules", "nodule, patients")


def test_rows_per_patient() -> None:
    section = patients_section(ROWS, WORDS)
    assert section.record["patients"] == 3
    assert section.record["with_all_classes"] == 1
    assert section.record["rows_per_patient"]["All"] == {
        "patients": 3,
        "fewest": 1,
        "median": 1,
        "mean": 5 / 3,
        "most": 3,
    }
    assert section.record["rows_per_patient"]["pneumonia"] == {
        "patients": 2, "fewest": 1, "median": 1.5, "mean": 1.5, "most": 2,
    }  # fmt: skip
    assert section.record["most_rows"]["a"] == 3
    assert section.text == "1 patient has chest X-rays of more than one class."


def test_rows_that_are_all_patients_of_their_own_are_suspicious_unless_somebody_says_why() -> None:
    rows = many(60, positives=0.5)
    assert [finding.code for finding in patients_section(rows, WORDS).findings] == ["no_patients"]
    assert patients_section(rows, WORDS, is_explained=True).findings == ()
    assert patients_section(rows, WORDS).drawings == (), "a histogram of ones"
