"""A comparison of classifiers against its parts computed one by one, and the promise behind the word "different"."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from tests.comparison.conftest import MakeRun, cohort, make_run

from lungdet.comparison.classification import compare_classification, measures_of
from lungdet.comparison.measures import Sampled
from lungdet.comparison.pairs import paired_differences
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.runs import ComparedRun
from lungdet.errors import TableError
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.predictions import check_predictions
from lungdet.metrics.delong import delong_difference
from lungdet.metrics.ranking import auroc, average_precision, under_patient_weights


@pytest.fixture(scope="module")
def runs() -> list[ComparedRun]:
    return [make_run("first", seed=1), make_run("second", seed=2), make_run("poor", seed=3, skill=0.6, noise=1.5)]


@pytest.fixture(scope="module")
def report(runs: list[ComparedRun]) -> ComparisonReport:
    return compare_classification(runs, n_resamples=500)


def test_each_run_by_itself_has_the_numbers_of_its_report(runs: list[ComparedRun], report: ComparisonReport) -> None:
    for run in runs:
        alone = evaluate_classification(run.predictions, title="", provenance={}, n_resamples=500)
        here = report.results[run.name]
        assert here["auroc"] == alone.ranking["test"].auroc
        assert here["average_precision"] == alone.ranking["test"].average_precision
        for name in ("recall_90", "max_f1"):
            on = alone.operating_points[name].on["test"]
            assert report.thresholds[run.name][name] == alone.operating_points[name].threshold
            assert here[f"sensitivity_{name}"] == on.recall
            assert here[f"specificity_{name}"] == on.specificity
            assert here[f"precision_{name}"] == on.precision
            assert here[f"f1_{name}"] == on.f1
        for name in ("brier", "ece"):
            expected = getattr(alone.calibration["test"], name)
            assert here[name].value == pytest.approx(expected.value, abs=1e-12)
            assert [here[name].low, here[name].high] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_two_seeds_of_one_model_are_not_called_different_and_a_poor_one_is(report: ComparisonReport) -> None:
    verdicts = {(pair.first, pair.second): pair.verdict for pair in report.pairs}
    assert verdicts["first", "second"].kind == "not_distinguishable"
    assert verdicts["first", "poor"].kind == verdicts["second", "poor"].kind == "different"
    assert verdicts["first", "poor"].better == "first"
    assert report.pairs[0].differences["auroc"].p_holm > 0.05


def test_differences_are_those_of_resampled_tables(runs: list[ComparedRun], report: ComparisonReport) -> None:
    tables = [run.predictions[run.predictions["partition"] == "test"] for run in runs]
    draws = PatientDraws(tables[0]["patient_id"], n_resamples=500, seed=0)
    differences = []
    for weight in draws.weights:
        rows = np.repeat(np.arange(len(tables[0])), weight[draws.patient].astype(int))
        one, two = (auroc(t["label"].to_numpy()[rows], t["logit"].to_numpy()[rows]) for t in (tables[0], tables[2]))
        differences.append(two - one)
    low, high = np.quantile(differences, [0.025, 0.975])
    found = report.pairs[1].differences["auroc"]
    assert (report.pairs[1].first, report.pairs[1].second) == ("first", "poor")
    assert found.estimate.low == pytest.approx(low, abs=1e-9)
    assert found.estimate.high == pytest.approx(high, abs=1e-9)
    assert found.p == pytest.approx(2 / 501)
    assert found.p_holm == pytest.approx(3 * 2 / 501)


def test_delong_is_by_patient_and_beside_it_as_usual(runs: list[ComparedRun], report: ComparisonReport) -> None:
    a, b = (run.predictions[run.predictions["partition"] == "test"] for run in runs[:2])
    test = report.pairs[0].delong
    assert test is not None
    assert test.independent == delong_difference(a["label"], a["logit"], b["logit"])
    assert test.by_patient == delong_difference(a["label"], a["logit"], b["logit"], cluster=a["patient_id"])
    assert test.by_patient.difference == pytest.approx(report.pairs[0].differences["auroc"].estimate.value, abs=1e-12)
    # Bootstrap and clustered DeLong are two ways to one interval.
    interval = report.pairs[0].differences["auroc"].estimate
    assert test.by_patient.high - test.by_patient.low == pytest.approx(interval.width, rel=0.15)


def test_mcnemar_counts_calls_at_each_runs_own_threshold(runs: list[ComparedRun], report: ComparisonReport) -> None:
    a, b = (run.predictions[run.predictions["partition"] == "test"] for run in runs[:2])
    called = [t["logit"] >= report.thresholds[n]["max_f1"].logit for t, n in ((a, "first"), (b, "second"))]
    positive = (a["label"] == 1).to_numpy()
    tests = report.pairs[0].mcnemar["max_f1"]
    assert tests["positives"].only_first == int((called[0] & ~called[1])[positive].sum())
    assert tests["negatives"].only_first == int((~called[0] & called[1])[~positive].sum())
    assert tests["all"].only_second == tests["positives"].only_second + tests["negatives"].only_second


def test_the_order_of_rows_changes_nothing(runs: list[ComparedRun], report: ComparisonReport) -> None:
    mixed = [
        dataclasses.replace(run, predictions=check_predictions(run.predictions.sample(frac=1, random_state=i)))
        for i, run in enumerate(runs)
    ]
    again = compare_classification(mixed, n_resamples=500).to_dict()
    assert json.dumps(again) == json.dumps(report.to_dict())


def test_without_thresholds_or_positives_there_is_a_reason(run: MakeRun) -> None:
    runs = [run("a"), run("b", seed=1)]
    only_test = [dataclasses.replace(r, predictions=r.predictions[r.predictions["partition"] == "test"]) for r in runs]
    report = compare_classification(only_test, n_resamples=50)
    assert report.results["a"]["f1_max_f1"].reason == "no rows in val"
    assert report.pairs[0].differences["f1_max_f1"].estimate.reason == "no rows in val"
    assert report.pairs[0].mcnemar == {}
    negatives = [dataclasses.replace(r, predictions=r.predictions[r.predictions["label"] == 0]) for r in runs]
    report = compare_classification(negatives, n_resamples=50)
    assert report.pairs[0].verdict.kind == "undecided"
    assert "no positives" in report.pairs[0].verdict.text
    assert report.curves.empty
    json.dumps(report.to_dict(), allow_nan=False)


def test_runs_on_validation_only_are_compared_there_with_a_warning(run: MakeRun) -> None:
    runs = [run("a"), run("b", seed=1)]
    val = [dataclasses.replace(r, predictions=r.predictions[r.predictions["partition"] == "val"]) for r in runs]
    report = compare_classification(val, n_resamples=50)
    assert report.partition == "val"
    assert report.findings[0].code == "no_test"


def test_cautions(run: MakeRun, rows: pd.DataFrame) -> None:
    def codes(*runs: ComparedRun, n_resamples: int = 200) -> set[str]:
        return {finding.code for finding in compare_classification(runs, n_resamples=n_resamples).findings}

    assert codes(run("a"), run("b", seed=1)) == {"only_seed"}
    other = run("b", seed=1, settings={"optim": {"lr": 0.1}, "seed": 1}, split_hash="x")
    assert codes(run("a"), other) == {"other_split"}
    fewer = dataclasses.replace(other, predictions=other.predictions.drop(index=0), provenance=run("b").provenance)
    assert fewer.predictions["partition"].iloc[0] == "test"
    val = other.predictions.index[other.predictions["partition"] == "val"]
    fewer = dataclasses.replace(fewer, predictions=other.predictions.drop(index=val[:5]).reset_index(drop=True))
    assert codes(run("a"), fewer) == {"other_validation"}
    few = cohort(n_patients=24)
    assert codes(run("a", rows=few), run("b", rows=few, seed=1)) == {"few_patients", "only_seed"}
    assert "few_resamples" in codes(*(run(f"r{i}", seed=i) for i in range(4)), n_resamples=50)


def test_refuses_other_rows(run: MakeRun) -> None:
    with pytest.raises(TableError, match="not evaluated on the same test rows"):
        compare_classification([run("a"), run("b", rows=cohort(n_patients=58))])


def test_measures_have_names_of_their_own() -> None:
    assert len({m.key for m in measures_of()}) == len({m.title for m in measures_of()}) == len(measures_of())


N_COHORTS, N_PATIENTS, N_ROWS, N_RESAMPLES = 500, 100, 8, 300


def simulated_difference(rng: np.random.Generator, *, by_row: bool) -> Estimate:
    """One cohort, scored by two networks of one recipe: the true difference of their AUROCs is 0.

    Patients have effects on all their scores that both networks share, and nodules that one network finds easier than
    the other, in one patient all of them.

    Args:
        rng: source of the cohort.
        by_row: draw rows instead of patients, as if they were independent.
    """
    patient = np.repeat(np.arange(N_PATIENTS), N_ROWS)
    label = np.tile([1, 1, 1, *[0] * (N_ROWS - 3)], N_PATIENTS)
    shared = rng.normal(size=patient.size) + rng.normal(size=N_PATIENTS)[patient]
    draws = PatientDraws(
        np.arange(patient.size) if by_row else patient, n_resamples=N_RESAMPLES, seed=int(rng.integers(2**31))
    )
    runs = {}
    for name in "ab":
        own = rng.normal(size=N_PATIENTS)[patient]
        score = shared + label * (1.5 + 0.8 * own) + 0.5 * rng.normal(size=patient.size)
        resampled = under_patient_weights(label, score, draws.patient, weights=draws.weights, metrics=["auroc"])
        samples = resampled.samples["auroc"]
        runs[name] = {"auroc": Sampled(draws.area(auroc(label, score), samples, label=label), samples)}
    return paired_differences(runs, measures_of()[:1], draws)["a", "b"]["auroc"].estimate


def coverage(rng: np.random.Generator, n_cohorts: int, *, by_row: bool = False) -> tuple[float, float]:
    """Share of intervals that hold 0, and the mean difference in its standard errors."""
    found = [simulated_difference(rng, by_row=by_row) for _ in range(n_cohorts)]
    values = np.array([e.value for e in found])
    return float(np.mean([e.low <= 0 <= e.high for e in found])), float(
        abs(values.mean()) / values.std() * math.sqrt(n_cohorts)
    )


def test_the_paired_interval_covers_the_truth_in_95_percent() -> None:
    rng = np.random.default_rng(20240501)
    covered, bias = coverage(rng, N_COHORTS)
    assert covered == pytest.approx(0.95, abs=0.03)
    assert bias < 3


def test_rows_drawn_as_if_independent_promise_more_than_they_keep() -> None:
    covered, _ = coverage(np.random.default_rng(7), 100, by_row=True)
    assert covered < 0.9


def test_average_precision_differs_too(report: ComparisonReport, runs: list[ComparedRun]) -> None:
    a, c = (run.predictions[run.predictions["partition"] == "test"] for run in (runs[0], runs[2]))
    found = report.pairs[1].differences["average_precision"].estimate.value
    expected = average_precision(c["label"], c["logit"]) - average_precision(a["label"], a["logit"])
    assert found == pytest.approx(expected, abs=1e-12)
