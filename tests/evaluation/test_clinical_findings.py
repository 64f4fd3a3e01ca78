"""What the report says of missing clinical values follows from the provenance alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lungdet.evaluation.clinical_findings import about_clinical


def report(train: dict[str, float], test: dict[str, float], **given: Any) -> Any:
    def place(missing: dict[str, float]) -> dict[str, Any]:
        return {"n_patients": given.get("n", 100), "without_a_row": given.get("without_a_row", 0), "missing": missing}

    clinical = {"file": "clinical.csv", "train": place(train), "val": place(test), "test": place(test)}
    return SimpleNamespace(
        provenance={"clinical": clinical}, partition="test", wording=SimpleNamespace(items="nodules")
    )


def said(found: Any) -> dict[str, str]:
    return {finding.code: finding.text for finding in about_clinical(found)}


def test_nothing_without_clinical_features() -> None:
    assert said(SimpleNamespace(provenance={})) == {}


def test_shares_most_missing_first() -> None:
    texts = said(report({"age": 0.1, "sex": 0.15}, {"age": 0.12, "sex": 0.2}))
    assert list(texts) == ["clinical_missing"]
    assert "share of test patients without a value: sex 20 %, age 12 %." in texts["clinical_missing"]
    assert "Mostly missing" not in texts["clinical_missing"]


def test_nothing_missing() -> None:
    texts = said(report({"age": 0.0, "sex": 0.0}, {"age": 0.0, "sex": 0.0}))
    assert texts == {"clinical_missing": "Clinical features (age, sex) of clinical.csv: no value is missing in test."}


def test_mostly_missing_unused_and_without_a_row() -> None:
    texts = said(report({"age": 0.6, "stage": 1.0}, {"age": 0.6, "stage": 1.0}, without_a_row=3))
    assert texts["clinical_missing"].endswith("Mostly missing: stage, age.")
    assert texts["clinical_unused"].startswith("stage: no value tells training patients apart")
    assert texts["clinical_without_a_row"].startswith("3 of 100 patients in test have no row in clinical.csv")


@pytest.mark.parametrize(("n", "test", "is_said"), [(100, 0.45, True), (7, 0.45, False), (100, 0.25, False)])
def test_missing_unlike_is_large_and_more_than_chance(n: int, test: float, is_said: bool) -> None:
    texts = said(report({"age": 0.1}, {"age": test}, n=n))
    assert ("clinical_missing_unlike" in texts) == is_said
    if is_said:
        assert "age (10 % in train, 45 % in test)" in texts["clinical_missing_unlike"]


def test_an_empty_partition_says_nothing_of_shares() -> None:
    found = report({"age": 0.1}, {})
    found.provenance["clinical"]["test"] = {"n_patients": 0, "without_a_row": 0, "missing": {"age": None}}
    assert "clinical_missing_unlike" not in said(found)
