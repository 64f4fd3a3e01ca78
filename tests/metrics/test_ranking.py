from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.metrics.ranking import (
    auroc,
    average_precision,
    bootstrap_by_patient,
    precision_recall_curve,
    roc_curve,
    under_patient_weights,
)

Array = npt.NDArray[np.float64]


def draw(seed: int, n: int, levels: int) -> tuple[npt.NDArray[np.int64], Array, Array]:
    """Labels, heavily tied scores, integer weights with zeros among them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    label[:2] = [0, 1]
    score = np.round(rng.normal(size=n) + label, 2) if levels == 0 else rng.integers(0, levels, n).astype(float)
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] = 1
    return label, score, weight


@pytest.mark.parametrize(("seed", "n", "levels"), [(0, 400, 0), (1, 300, 3), (2, 50, 1), (3, 2, 0), (4, 1000, 40)])
def test_areas_and_curves_equal_scikit_learn_with_ties_and_weights(seed: int, n: int, levels: int) -> None:
    label, score, weight = draw(seed, n, levels)
    for w in (None, weight, weight * 0.37):
        assert auroc(label, score, w) == pytest.approx(sk.roc_auc_score(label, score, sample_weight=w), abs=1e-12)
        expected = sk.average_precision_score(label, score, sample_weight=w)
        assert average_precision(label, score, w) == pytest.approx(expected, abs=1e-12)
        ours, theirs = roc_curve(label, score, w), sk.roc_curve(label, score, sample_weight=w, drop_intermediate=False)
        for mine, reference in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, reference, atol=1e-12)
        pr, pr_theirs = (
            precision_recall_curve(label, score, w),
            sk.precision_recall_curve(label, score, sample_weight=w),
        )
        for mine, reference in zip(pr, pr_theirs, strict=True):
            np.testing.assert_allclose(mine, reference, atol=1e-12)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=25),
)
def test_auroc_is_the_share_of_won_pairs(rows: list[tuple[bool, int, int]]) -> None:
    label, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    won = pairs = 0.0
    for (y, s, w), (y0, s0, w0) in product(rows, rows):
        if y and not y0:
            pairs += w * w0
            won += w * w0 * ((s > s0) + 0.5 * (s == s0))
    value = auroc(label, score, weight)
    assert math.isnan(value) if pairs == 0 else value == pytest.approx(won / pairs, abs=1e-12)
    repeated = auroc(np.repeat(label, weight), np.repeat(score, weight))
    assert (math.isnan(value) and math.isnan(repeated)) or value == pytest.approx(repeated, abs=1e-12)


def test_by_hand() -> None:
    label, score = [1, 0, 1, 0, 0], [4.0, 3.0, 2.0, 2.0, 1.0]
    assert auroc(label, score) == pytest.approx((3 + 1.5) / 6)  # second positive: one lost, one tied, one won
    assert average_precision(label, score) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    fpr, tpr, threshold = roc_curve(label, score)
    assert threshold.tolist() == [math.inf, 4, 3, 2, 1]
    assert tpr.tolist() == [0, 0.5, 0.5, 1, 1]
    np.testing.assert_allclose(fpr, [0, 0, 1 / 3, 2 / 3, 1])


def test_infinite_scores_are_ranked() -> None:
    assert auroc([1, 0, 1], [math.inf, -math.inf, 0.0]) == 1.0


@pytest.mark.parametrize(("label", "score"), [([], []), ([0, 0], [1.0, 2.0])])
def test_without_positives_everything_is_nan(label: list[int], score: list[float]) -> None:
    assert math.isnan(auroc(label, score))
    assert math.isnan(average_precision(label, score))
    assert np.isnan(roc_curve(label, score).true_positive_rate).all()
    assert np.isnan(precision_recall_curve(label, score).recall[:-1]).all()


def test_without_negatives_only_the_false_positive_rate_is_nan() -> None:
    assert math.isnan(auroc([1, 1], [0.0, 1.0]))
    assert average_precision([1, 1], [0.0, 1.0]) == 1.0
    assert np.isnan(roc_curve([1, 1], [0.0, 1.0]).false_positive_rate).all()
    assert math.isnan(auroc([1, 0], [0.0, 1.0], [1, 0]))


@pytest.mark.parametrize(
    ("label", "score", "weight", "error", "message"),
    [
        ([0, 1], [1.0], None, ShapeError, r"equally long vectors, got shapes \(2,\) and \(1,\)"),
        ([[0, 1]], [[1.0, 2.0]], None, ShapeError, "equally long vectors"),
        ([0, 2], [1.0, 2.0], None, TableError, "label must be 0 or 1, row 1 has 2"),
        ([0, 1], [1.0, math.nan], None, TableError, "score is NaN in row 1"),
        ([0, 1], [1.0, 2.0], [1.0], ShapeError, r"weight has shape \(1,\), label and score have 2 rows"),
        ([0, 1], [1.0, 2.0], [1.0, -1.0], TableError, r"weight must be finite and >= 0, row 1 has -1\.0"),
        ([0, 1], [1.0, 2.0], [math.inf, 1.0], TableError, "row 0 has inf"),
    ],
)
def test_wrong_rows_are_named(
    label: list[int], score: list[float], weight: list[float] | None, error: type[Exception], message: str
) -> None:
    for function in (auroc, average_precision, roc_curve, precision_recall_curve):
        with pytest.raises(error, match=message):
            function(label, score, weight)


def test_bootstrap_equals_concatenated_patients_scored_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label, score, _ = draw(5, 300, 0)
    patient = rng.choice(["b", "a", "d", "c", "e"], 300)
    result = bootstrap_by_patient(label, score, patient, n_resamples=40, rng=np.random.default_rng(7))
    reference = np.random.default_rng(7)
    names = np.array(["a", "b", "c", "d", "e"])
    for i in range(40):
        rows = np.concatenate([np.flatnonzero(patient == name) for name in names[reference.integers(0, 5, size=5)]])
        assert result.samples["auroc"][i] == pytest.approx(sk.roc_auc_score(label[rows], score[rows]), abs=1e-12)
        expected = sk.average_precision_score(label[rows], score[rows])
        assert result.samples["average_precision"][i] == pytest.approx(expected, abs=1e-12)
    low, high = result.interval("auroc")
    np.testing.assert_allclose((low, high), np.percentile(result.samples["auroc"], [2.5, 97.5]), atol=1e-12)
    assert low < auroc(label, score) < high


def test_bootstrap_does_not_depend_on_the_order_of_rows() -> None:
    label, score, _ = draw(6, 200, 0)
    patient = np.arange(200) % 9
    order = np.random.default_rng(1).permutation(200)
    one = bootstrap_by_patient(label, score, patient, n_resamples=20, rng=np.random.default_rng(3))
    two = bootstrap_by_patient(
        label[order], score[order], patient[order], n_resamples=20, rng=np.random.default_rng(3), metrics=["auroc"]
    )
    np.testing.assert_allclose(one.samples["auroc"], two.samples["auroc"], atol=1e-12)
    assert list(two.samples) == ["auroc"]


def test_resamples_without_a_class_are_nan_and_leave_the_interval_alone() -> None:
    # Patient 0 has the only positive; about a third of the resamples miss it.
    result = bootstrap_by_patient([1, 0, 0], [2.0, 1.0, 3.0], [0, 0, 1], n_resamples=300, rng=np.random.default_rng(0))
    missing = np.isnan(result.samples["auroc"])
    assert 0.15 < missing.mean() < 0.35  # (1/2)^2
    assert result.interval("auroc") == (0.5, 1.0)
    nothing = bootstrap_by_patient([0, 0], [1.0, 2.0], [0, 1], n_resamples=5, rng=np.random.default_rng(0))
    assert np.isnan(nothing.interval("auroc")).all()
    empty = bootstrap_by_patient([], [], [], n_resamples=5, rng=np.random.default_rng(0))
    assert np.isnan(empty.samples["average_precision"]).all()


def test_interval_level() -> None:
    label, score, _ = draw(8, 200, 0)
    result = bootstrap_by_patient(label, score, np.arange(200), n_resamples=50, rng=np.random.default_rng(0))
    assert result.interval("auroc", 0.5)[0] > result.interval("auroc", 0.95)[0]


def test_shared_weights_make_differences_paired() -> None:
    label, score, _ = draw(9, 200, 0)
    patient = np.arange(200) % 7
    weights = np.random.default_rng(0).integers(0, 3, (10, 7)).astype(float)
    one = under_patient_weights(label, score, patient, weights=weights)
    same = under_patient_weights(label, 2 * score + 1, patient, weights=weights)
    np.testing.assert_array_equal(one.samples["auroc"], same.samples["auroc"])
    for i in range(10):
        expected = average_precision(label, score, weights[i][patient])
        assert one.samples["average_precision"][i] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_patients", [3, 40, 400], ids=["few", "some", "one per row or so"])
def test_counting_by_patient_and_going_through_rows_give_the_same_digits(
    n_patients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    label, score, _ = draw(11, 400, 25)
    rng = np.random.default_rng(0)
    patient = rng.integers(0, n_patients, 400).astype(np.int32)
    weights = rng.integers(0, 4, (600, n_patients)).astype(np.float64)  # more than one chunk of draws
    samples = []
    for cells_per_row in (10**9, 0):
        monkeypatch.setattr("lungdet.metrics.ranking._CELLS_PER_ROW", cells_per_row)
        samples.append(under_patient_weights(label, score, patient, weights=weights).samples)
    for metric in ("auroc", "average_precision"):
        np.testing.assert_array_equal(samples[0][metric], samples[1][metric])


def test_wrong_bootstrap_arguments() -> None:
    with pytest.raises(ConfigError, match=r"\['f1'\] cannot be bootstrapped; allowed are \['auroc', "):
        bootstrap_by_patient([0], [1.0], [0], n_resamples=1, rng=np.random.default_rng(0), metrics=["f1"])  # type: ignore[list-item]
    with pytest.raises(ShapeError, match=r"patient has shape \(1,\), label and score have 2 rows"):
        under_patient_weights([0, 1], [1.0, 2.0], [0], weights=np.ones((1, 1)))
    with pytest.raises(TableError, match=r"patient must be in 0\.\.0, found 0 to 1"):
        under_patient_weights([0, 1], [1.0, 2.0], [0, 1], weights=np.ones((1, 1)))


@pytest.mark.slow
def test_a_full_size_bootstrap_is_fast_enough_for_a_report() -> None:
    import time

    rng = np.random.default_rng(0)
    n = 755_000
    label = np.zeros(n, np.int8)
    label[rng.choice(n, 1557, replace=False)] = 1
    score = (rng.normal(size=n) + 2.5 * label).astype(np.float32)
    started = time.perf_counter()
    bootstrap_by_patient(label, score, rng.integers(0, 887, n), n_resamples=200, rng=rng)
    assert time.perf_counter() - started < 10  # measured: 2,000 resamples in 0.6 s on two cores
