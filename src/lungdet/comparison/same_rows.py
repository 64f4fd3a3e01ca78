"""Runs may be compared on the same rows only; where theirs differ, this says how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from lungdet.comparison.runs import ComparedRun
from lungdet.errors import TableError

KEY = ["series_uid", "candidate_id"]
_CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]
# Tables hold centres as float64, so the same candidate agrees to the last bit; another one is a voxel away.
_SAME_PLACE_MM = 1e-3
_N_EXAMPLES = 3


def shared_partition(runs: Sequence[ComparedRun]) -> str:
    """`test`, or `val` where no run has test rows.

    Raises:
        TableError: some runs have test rows and some do not, or a run has no rows at all.
    """
    empty = [run.name for run in runs if run.predictions.empty]
    if empty:
        raise TableError(f"{_listed(empty)}: no predictions at all; score the run again: lungdet predict run=...")
    without = [run.name for run in runs if not (run.predictions["partition"] == "test").any()]
    if without and len(without) < len(runs):
        raise TableError(
            f"{_listed(without)} without test rows, beside runs that have them: there is nothing to compare on. Train "
            "with a split that keeps a test partition (split.test_fraction or a fold), or compare runs of one split"
        )
    return "val" if without else "test"


def check_same_task(runs: Sequence[ComparedRun]) -> None:
    """All runs answer the same question.

    Raises:
        TableError: classes or label rules that differ, each run with its own.
    """
    tasks = {run.name: _task(run) for run in runs}
    if len(set(tasks.values())) > 1:
        raise TableError(
            "these runs answer different questions: "
            + "; ".join(f"{name}: {task}" for name, task in tasks.items())
            + ". Compare runs of one task and one label rule"
        )


def check_same_rows(runs: Sequence[ComparedRun], partition: str) -> None:
    """Every run scored the same rows: series, candidate ids, patients, labels and positions.

    Raises:
        TableError: the first pair of runs that differ, with all the ways in which they do.
    """
    for first, second in pairwise(runs):
        problems = list(_differences(first, second, partition))
        if problems:
            raise TableError(
                f"{first.name} and {second.name} were not evaluated on the same {partition} rows:\n"
                + "\n".join(f"  - {problem}" for problem in problems)
                + f"\nScore both with the same split, fold, {_what(first)} and label rule: lungdet predict run=..."
            )


def rows_of(run: ComparedRun, partition: str) -> pd.DataFrame:
    """Rows of one partition, in canonical order, RangeIndex."""
    return run.predictions[run.predictions["partition"] == partition].reset_index(drop=True)


def _task(run: ComparedRun) -> str:
    classes = run.provenance.get("classes")
    rule = run.provenance.get("label_rule")
    said = " or ".join(map(str, classes)) if classes else "classes not recorded"
    said = f"{said} {run.provenance['items']}" if "items" in run.provenance else said
    return f"{said}, label rule {rule}" if rule else said


def _differences(first: ComparedRun, second: ComparedRun, partition: str) -> Iterator[str]:
    item = str(first.provenance.get("item", ""))
    a, b = (rows_of(run, partition).set_index(KEY) for run in (first, second))
    for left, right, run in ((a, b, first), (b, a, second)):
        only = left.index.difference(right.index)
        if len(only):
            whole = set(only.get_level_values(0)) - set(right.index.get_level_values(0))
            in_new = f", among them {len(whole)} series that the other does not have" if whole and not item else ""
            yield f"{len(only):,} of {len(left):,} rows only in {run.name}{in_new}: {_examples(only, item)}"
    common = a.index.intersection(b.index)
    one, two = a.loc[common], b.loc[common]
    apart = np.abs(one[_CENTER].to_numpy() - two[_CENTER].to_numpy()).max(axis=1, initial=0.0) > _SAME_PLACE_MM
    for changed, what in (
        (one["label"].to_numpy() != two["label"].to_numpy(), "labels differ"),
        (apart, "positions differ, so the ids mean other places"),
        (one["patient_id"].to_numpy() != two["patient_id"].to_numpy(), "patients differ"),
    ):
        if changed.any():
            n = np.count_nonzero(changed)
            yield f"{what} in {n:,} of {len(common):,} common rows: {_examples(common[changed], item)}"
    for key, what in (
        ("split_rule", "split rules"),
        ("split_hash", "split hashes"),
        ("fold", "folds"),
        ("store_fingerprint", "stores"),
    ):
        values = [run.provenance.get(key) for run in (first, second)]
        rows_differ = not (len(common) == len(a) == len(b))
        if rows_differ and values[0] != values[1]:
            yield f"{what}: {values[0]} and {values[1]}"


def _what(run: ComparedRun) -> str:
    return str(run.provenance.get("items", "candidates"))


def _examples(rows: pd.Index[Any], item: str) -> str:
    """`item` is what a whole image is called; empty where rows are candidates in series."""
    said = [
        f"{item} {uid}" if item else f"candidate {candidate} of series {uid}" for uid, candidate in rows[:_N_EXAMPLES]
    ]
    return ", ".join(said) + (", ..." if len(rows) > _N_EXAMPLES else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
