"""What a reader is told beside a comparison, and when."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from tests.comparison.conftest import MakeRun, make_run

from lungdet.comparison.cautions import cautions
from lungdet.comparison.runs import ComparedRun
from lungdet.evaluation.results import Finding

DIFFERENT = {"optim": {"lr": 0.1}, "seed": 1}


def found(
    *runs: ComparedRun, partition: str = "test", n_patients: int = 40, n_resamples: int = 1000
) -> dict[str, Finding]:
    remarks = cautions(runs, partition, n_patients=n_patients, n_resamples=n_resamples, rows="candidates")
    return {remark.code: remark for remark in remarks}


@pytest.fixture(scope="module")
def two() -> tuple[ComparedRun, ComparedRun]:
    return make_run("a"), make_run("b", settings=DIFFERENT)


def test_a_sound_comparison_needs_none(two: tuple[ComparedRun, ComparedRun]) -> None:
    assert found(*two) == {}


def test_validation_comes_with_a_warning_and_says_nothing_of_other_validation(
    two: tuple[ComparedRun, ComparedRun],
) -> None:
    fewer = dataclasses.replace(two[1], predictions=two[1].predictions.iloc[:-3])
    assert set(found(two[0], fewer, partition="val")) == {"no_test"}


@pytest.mark.parametrize(("n", "said"), [(19, "19 patients only:"), (1, "1 patient only:"), (20, "")])
def test_few_patients(n: int, said: str, two: tuple[ComparedRun, ComparedRun]) -> None:
    remark = found(*two, n_patients=n).get("few_patients")
    assert (remark.text[: len(said)] if remark else "") == said


def test_three_pairs_need_120_resamples() -> None:
    """With R resamples no p is below 2 / (R + 1); Holm makes it three times that, and 0.05 has to be more."""
    runs = [make_run(name, settings={"seed": 0, "lr": name}) for name in "abc"]
    assert "few_resamples" not in found(*runs, n_resamples=120)
    text = found(*runs, n_resamples=119)["few_resamples"].text
    assert text.startswith(
        "With 119 resamples no p is below 0.017, and Holm's correction over 3 pairs lifts that above"
    )
    assert text.endswith("Set evaluation.n_resamples=1000 or more.")
    assert "few_resamples" not in found(*runs[:2], n_resamples=5), "one pair is not corrected"


def test_the_advice_grows_with_the_pairs() -> None:
    runs = [make_run(str(n), settings={"n": n}) for n in range(6)]
    text = found(*runs, n_resamples=200)["few_resamples"].text
    assert "over 15 pairs" in text
    assert text.endswith("n_resamples=2000 or more.")
    assert "few_resamples" not in found(*runs, n_resamples=2000)


def test_other_splits_are_named(two: tuple[ComparedRun, ComparedRun]) -> None:
    other = make_run("b", settings=DIFFERENT, split_hash="abc")
    assert "(hashes 7c0ffee, abc)" in found(two[0], other)["other_split"].text


@pytest.mark.parametrize("provenance", [{}, {"split_hash": None}, {"classes": ["a", "b"]}])
def test_a_split_that_nobody_recorded_is_not_another_one(
    provenance: dict[str, object], two: tuple[ComparedRun, ComparedRun]
) -> None:
    """Such as that of merged folds, each of which has its own."""
    unknown = dataclasses.replace(two[1], provenance=provenance)
    assert "other_split" not in found(two[0], unknown)


def test_other_validation_rows_name_the_runs(two: tuple[ComparedRun, ComparedRun], rows: pd.DataFrame) -> None:
    val = rows.index[rows["partition"] == "val"]
    fewer = make_run("b", rows=rows.drop(index=val[:1]).reset_index(drop=True), settings=DIFFERENT)
    labels = rows.assign(label=rows["label"].where(rows.index != val[0], 1 - rows["label"]))
    relabelled = make_run("c", rows=labels, settings={"c": 1})
    text = found(two[0], fewer, relabelled)["other_validation"].text
    assert text.startswith(
        "b, c had other validation rows than a: checkpoints and thresholds were chosen on other cand"
    )


def test_seeds_alone(run: MakeRun) -> None:
    assert set(found(run("a"), run("b", seed=1))) == {"only_seed"}
    without = dataclasses.replace(run("b", seed=1), settings={})
    assert found(run("a"), without) == {}, "nobody knows what was set"


def test_warnings_come_first(run: MakeRun) -> None:
    remarks = cautions([run("a"), run("b", seed=1)], "val", n_patients=3, n_resamples=9, rows="r")
    assert [remark.kind for remark in remarks] == ["warning", "note", "note"]
