"""Operating points counted by hand, with ties, and against scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from lungdet.errors import ConfigError, ShapeError
from lungdet.evaluation.thresholds import HALF, Confusion, Threshold, choose_thresholds, confusion

#: From high to low, with two ties:
#:   logit  3  2  2  1  0  0 -1 -2
#:   label  1  1  0  1  0  1  0  0     4 positives, 4 negatives
LOGIT = [3.0, 2.0, 2.0, 1.0, 0.0, 0.0, -1.0, -2.0]
LABEL = [1, 1, 0, 1, 0, 1, 0, 0]


def test_hand_counted_choice_with_ties() -> None:
    """At threshold      3    2    1    0   -1   -2
    TP                   1    2    3    4    4    4
    FP                   0    1    1    2    3    4
    F1 = 2TP/(TP+FP+4)  2/5  4/7  6/8  8/10 8/11 8/12   best at 0
    J = TP/4 - FP/4     1/4  1/4  2/4  2/4  1/4  0      1 and 0 tie: the higher, 1
    recall              .25  .5   .75   1    1    1     >= .9 first at 0
    """
    chosen = choose_thresholds(LABEL, LOGIT)
    assert list(chosen) == ["half", "max_f1", "youden", "recall_90", "recall_97"]
    assert [t.logit for t in chosen.values()] == [0, 0, 1, 0, 0]
    assert {t.chosen_on for t in chosen.values()} == {"fixed", "val"}
    assert not any(t.reason for t in chosen.values())


def test_recalls_that_are_asked_for() -> None:
    chosen = choose_thresholds(LABEL, LOGIT, recalls=[0.5, 0.25, 0.755])
    assert list(chosen)[3:] == ["recall_50", "recall_25", "recall_75.5"]
    assert [chosen[name].logit for name in list(chosen)[3:]] == [2, 3, 0]
    assert chosen["recall_75.5"].rule == "largest threshold with recall of at least 0.755"


@pytest.mark.parametrize("recalls", [[], [0.9, 0.9], [0.0], [90], [math.nan]])
def test_recalls_that_make_no_sense(recalls: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.recalls: .*: give some of \(0, 1\], each once"):
        choose_thresholds(LABEL, LOGIT, recalls=recalls)


def test_hand_counted_confusion() -> None:
    """At logit 1: called 3, 2, 2, 1 with labels 1, 1, 0, 1; not called 0, 0, -1, -2 with labels 0, 1, 0, 0."""
    counted = confusion(LABEL, LOGIT, threshold=Threshold("youden", "", 1.0, "val"))
    assert counted == Confusion(tp=3, fp=1, fn=1, tn=3)
    assert (counted.recall, counted.precision, counted.specificity, counted.f1) == (3 / 4, 3 / 4, 3 / 4, 6 / 8)


def test_a_score_on_the_threshold_is_called() -> None:
    assert confusion([1, 0], [0.0, np.nextafter(0.0, -1)], threshold=HALF) == Confusion(1, 0, 0, 1)


def test_nine_of_ten_is_a_recall_of_point_nine() -> None:
    """Ten positives at 10..1: the ninth (logit 2) reaches 0.9 exactly, which no binary fraction does."""
    assert choose_thresholds([1] * 10 + [0], [*range(10, 0, -1), 0])["recall_90"].logit == 2


def test_all_scores_equal_leave_one_threshold() -> None:
    chosen = choose_thresholds([1, 0, 0], [-3.0, -3.0, -3.0])
    assert {chosen[name].logit for name in ("max_f1", "youden", "recall_90")} == {-3.0}


def test_what_cannot_be_chosen_says_why() -> None:
    for label, reason in (([], "no rows in val"), ([0, 0], "no positives in val")):
        chosen = choose_thresholds(label, [0.0] * len(label))
        assert chosen["half"].logit == 0
        for name in ("max_f1", "youden", "recall_90"):
            assert math.isnan(chosen[name].logit)
            assert math.isnan(chosen[name].probability)
            assert chosen[name].reason == reason
    only_positives = choose_thresholds([1, 1], [0.0, 1.0], partition="test")
    assert only_positives["youden"].reason == "no negatives in test"
    assert only_positives["max_f1"].logit == 0.0


def test_ratios_without_data_are_nan_and_f1_without_a_hit_is_zero() -> None:
    nothing_called = Confusion(tp=0, fp=0, fn=5, tn=95)
    assert math.isnan(nothing_called.precision)
    assert nothing_called.recall == 0
    assert nothing_called.f1 == 0
    assert math.isnan(Confusion(0, 0, 0, 5).f1)
    assert math.isnan(Confusion(0, 0, 0, 5).recall)
    assert math.isnan(Confusion(1, 0, 0, 0).specificity)


def test_label_and_logit_must_match() -> None:
    with pytest.raises(ShapeError, match=r"equally long vectors, got shapes \(1,\), \(2,\)"):
        choose_thresholds([1], [0.0, 1.0])


def test_confusion_and_ratios_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label, logit = rng.integers(0, 2, 200), rng.integers(-4, 5, 200).astype(float)
    for t in range(-5, 6):
        called = (logit >= t).astype(int)
        tn, fp, fn, tp = sk.confusion_matrix(label, called).ravel()
        counted = confusion(label, logit, threshold=Threshold("", "", float(t), "val"))
        assert (counted.tp, counted.fp, counted.fn, counted.tn) == (tp, fp, fn, tn)
        assert counted.f1 == pytest.approx(sk.f1_score(label, called))
        assert counted.recall == pytest.approx(sk.recall_score(label, called))
        assert counted.specificity == pytest.approx(sk.recall_score(1 - label, 1 - called))
        if called.any():
            assert counted.precision == pytest.approx(sk.precision_score(label, called))


@given(st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), max_size=40))
@settings(deadline=None)  # the machine may be busy
def test_choice_is_the_best_of_all_by_brute_force(rows: list[tuple[bool, int]]) -> None:
    rows = [(False, 0), (True, 0), *rows]
    chosen = choose_thresholds([label for label, _ in rows], [logit for _, logit in rows])
    n_positive = sum(label for label, _ in rows)
    n_negative = len(rows) - n_positive
    f1, youden, recall = {}, {}, {}
    for t in {logit for _, logit in rows}:
        tp = sum(label and logit >= t for label, logit in rows)
        fp = sum(not label and logit >= t for label, logit in rows)
        recall[t] = Fraction(tp, n_positive)
        f1[t] = Fraction(2 * tp, tp + fp + n_positive)
        youden[t] = recall[t] - Fraction(fp, n_negative)
    for name, value in (("max_f1", f1), ("youden", youden)):
        assert chosen[name].logit == max(t for t in value if value[t] == max(value.values()))
    assert chosen["recall_90"].logit == max(t for t in recall if recall[t] >= Fraction(9, 10))
