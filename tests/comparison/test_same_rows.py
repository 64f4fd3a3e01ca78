"""Runs on other rows are refused, and the message says how they differ."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from tests.comparison.conftest import MakeRun

from lungdet.comparison.runs import ComparedRun
from lungdet.comparison.same_rows import check_same_rows, check_same_task, shared_partition
from lungdet.errors import TableError


def changed(run: ComparedRun, table: pd.DataFrame) -> ComparedRun:
    return dataclasses.replace(run, predictions=table.reset_index(drop=True))


def test_the_same_rows_pass(run: MakeRun) -> None:
    check_same_rows([run("a"), run("b", seed=1), run("c", seed=2)], "test")


def test_rows_of_one_run_only(run: MakeRun) -> None:
    a, b = run("a"), run("b", split_hash="other", fold=3)
    table = b.predictions
    fewer = changed(
        b,
        table[
            ~((table["series_uid"] == "1.2.840.059") | ((table["partition"] == "test") & (table["candidate_id"] == 7)))
        ],
    )
    with pytest.raises(TableError) as refused:
        check_same_rows([a, fewer], "test")
    said = str(refused.value)
    # 40 test patients of 20 rows: one patient with 20 rows, and candidate 7 of the 39 others.
    assert "a and b were not evaluated on the same test rows" in said
    assert "59 of 800 rows only in a, among them 1 series that the other does not have" in said
    assert "candidate 7 of series 1.2.840.020" in said
    assert "only in b" not in said
    assert "split hashes: 7c0ffee and other" in said
    assert "folds: 0 and 3" in said
    assert "lungdet predict run=..." in said


def test_labels_and_positions_that_differ(run: MakeRun) -> None:
    a, b = run("a"), run("b")
    table = b.predictions.copy()
    test = table.index[table["partition"] == "test"]
    table.loc[test[:3], "label"] = 1 - table.loc[test[:3], "label"]
    table.loc[test[10], "center_z_mm"] += 0.5
    table.loc[test[11], "center_z_mm"] += 1e-6
    with pytest.raises(TableError) as refused:
        check_same_rows([a, changed(b, table)], "test")
    said = str(refused.value)
    assert "labels differ in 3 of 800 common rows: candidate 0 of series 1.2.840.020, candidate 1" in said
    assert "positions differ, so the ids mean other places in 1 of 800 common rows" in said
    assert "only in" not in said
    assert "split" not in said.splitlines()[1]


def test_validation_rows_may_differ(run: MakeRun) -> None:
    a, b = run("a"), run("b")
    check_same_rows([a, changed(b, b.predictions[b.predictions["partition"] == "test"])], "test")


def test_partition(run: MakeRun) -> None:
    a, b = run("a"), run("b")
    val = changed(b, b.predictions[b.predictions["partition"] == "val"])
    assert shared_partition([a, b]) == "test"
    assert shared_partition([val, val]) == "val"
    with pytest.raises(TableError, match=r"^b without test rows"):
        shared_partition([a, val])
    with pytest.raises(TableError, match="no predictions at all"):
        shared_partition([a, changed(b, b.predictions.iloc[:0])])


def test_runs_of_different_tasks(run: MakeRun) -> None:
    check_same_task([run("a"), run("b")])
    with pytest.raises(TableError, match=r"a: non_nodule or nodule; b: benign or malignant, label rule median"):
        check_same_task([run("a"), run("b", classes=["benign", "malignant"], label_rule="median")])
    with pytest.raises(TableError, match="different questions"):
        check_same_task([run("a", label_rule="mean"), run("b", label_rule="median")])
