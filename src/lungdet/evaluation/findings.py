"""Remarks in plain language that follow from the numbers: what a careful colleague would point out first."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lungdet.evaluation.results import ClassificationReport, Finding

FEW_POSITIVES = 30
FEW_PATIENTS = 20
WIDE_INTERVAL = 0.1
GOOD_AUROC = 0.8


def find(report: ClassificationReport) -> tuple[Finding, ...]:
    """All remarks on a report's numbers, warnings first, otherwise in the order of the report."""
    remarks = [
        *_about_data(report),
        *_about_initial_weights(report),
        *_about_ranking(report),
        *_about_half(report),
        *_about_transfer(report),
        *_about_calibration(report),
        *_about_size(report),
        *_about_size_matched(report),
        *_about_baselines(report),
    ]
    order = {"warning": 0, "note": 1, "good": 2}
    return tuple(sorted(remarks, key=lambda remark: order[remark.kind]))


def _about_data(report: ClassificationReport) -> Iterator[Finding]:
    partition, audit = report.partition, report.audit
    here = report.counts[partition]
    if partition != "test":
        yield Finding(
            "warning",
            "no_test",
            "There are no test rows: every number is from validation, where the checkpoint and the thresholds were "
            "chosen, and is therefore optimistic.",
        )
    if not audit.disjoint:
        who = ", ".join(audit.shared_patients[:5] or audit.shared_series[:5])
        more = max(0, len(audit.shared_patients) - 5)
        yield Finding(
            "warning",
            "leak",
            f"{_count(len(audit.shared_patients), 'patient')} in validation and in test of the same fold ({who}"
            f"{f' and {more} more' if more else ''}). Thresholds have seen patients they are judged on; repair the "
            "split.",
        )
    if here.positives == 0:
        yield Finding(
            "warning",
            "no_positives",
            f"The {partition} partition has no positives: AUROC, average precision and sensitivity are undefined.",
        )
    elif here.positives < FEW_POSITIVES:
        yield Finding(
            "warning",
            "few_positives",
            f"Only {_count(here.positives, 'positive')} in {partition}, from {_count(here.patients, 'patient')} with "
            f"{report.wording.items}: read the intervals, not the point values, and rank no two models on them.",
        )
    if 1 <= here.patients < FEW_PATIENTS:
        yield Finding(
            "note",
            "few_patients",
            f"{_count(here.patients, 'patient')} in {partition}: a bootstrap over so few tends to give intervals that "
            "are too narrow.",
        )
    val = report.counts["val"]
    if val.candidates == 0:
        yield Finding(
            "warning", "no_val", "There are no validation rows: no threshold could be chosen; only 0.5 is reported."
        )
    elif val.positives == 0:
        yield Finding(
            "warning",
            "no_val_positives",
            "Validation has no positives: no threshold could be chosen there; only 0.5 is reported.",
        )


def _about_initial_weights(report: ClassificationReport) -> Iterator[Finding]:
    if "initial_weights" not in report.provenance:
        return
    seen = report.provenance.get("seen_by_initial_weights")
    if seen is None:
        yield Finding(
            "note",
            "initial_weights_unknown",
            "Nobody knows which patients the weights that training started from had seen; if patients of validation or "
            "test are among them, the results are optimistic.",
        )
    elif seen:
        yield Finding(
            "warning",
            "initial_weights_leak",
            f"{_count(len(seen), 'patient')} of validation and test trained the network that this one started from "
            f"({', '.join(seen[:5])}{f' and {len(seen) - 5} more' if len(seen) > 5 else ''}). Train both with the same "
            "split.",
        )


def _about_ranking(report: ClassificationReport) -> Iterator[Finding]:
    auroc = report.ranking[report.partition].auroc
    if auroc.width > WIDE_INTERVAL:
        yield Finding(
            "warning",
            "wide_interval",
            f"The AUROC is known to {auroc.low:.3f}-{auroc.high:.3f} only: smaller differences between models may be "
            "chance.",
        )
    if auroc.low <= 0.5 <= auroc.high:
        yield Finding(
            "warning", "chance", "The AUROC's interval includes 0.5: the scores may be no better than guessing."
        )
    elif auroc.high < 0.5:
        yield Finding(
            "warning",
            "reversed",
            f"AUROC {auroc.value:.3f} is below guessing: {report.wording.positives} score lower than "
            f"{report.wording.the_negatives}. Are the labels or the sign of the logit reversed?",
        )
    if auroc.value == 1.0:
        yield Finding(
            "warning",
            "perfect",
            f"AUROC is exactly 1: every {report.wording.positive} outranks every {report.wording.negative}. Suspect a "
            "leak, or negatives that are too easy, before believing it.",
        )
    val = report.ranking["val"].auroc
    if report.partition == "test" and val.value > auroc.high:
        yield Finding(
            "note",
            "val_optimistic",
            f"Validation AUROC {val.value:.3f} lies above the test interval ({auroc.low:.3f}-{auroc.high:.3f}): "
            "the checkpoint was chosen on validation, which flatters it.",
        )


def _about_half(report: ClassificationReport) -> Iterator[Finding]:
    partition, points = report.partition, report.operating_points
    half = points["half"].on[partition]
    auroc = report.ranking[partition].auroc.value
    positives = report.counts[partition].positives
    if not positives:
        return
    advice = ""
    usable = points["max_f1"]
    if partition in usable.on:
        there = usable.on[partition]
        advice = (
            f" Use a threshold chosen on validation: at {usable.threshold.probability:.3g} (largest F1) the recall is "
            f"{there.recall.value:.2f} and the precision {_two(there.precision.value)}."
        )
    contrast = f", though AUROC is {auroc:.2f}: the scores rank well, their scale is off" if auroc > GOOD_AUROC else ""
    called = half.confusion.tp + half.confusion.fp
    item, positive = report.wording.item, report.wording.a_positive
    if half.confusion.tp == 0:
        what = f"no {item} is called {positive}" if called == 0 else f"not one {report.wording.positive} is called"
        yield Finding("warning", "half_calls_nothing", f"At 0.5 {what}{contrast}.{advice}")
    elif called == report.counts[partition].candidates:
        yield Finding("warning", "half_calls_all", f"At 0.5 every {item} is called {positive}{contrast}.{advice}")
    elif half.recall.value < 0.5 and contrast:
        yield Finding(
            "note",
            "half_misses_most",
            f"At 0.5 only {half.confusion.tp} of {positives} {report.wording.positives} are called{contrast}.{advice}",
        )


def _about_transfer(report: ClassificationReport) -> Iterator[Finding]:
    point = report.operating_points["recall_90"]
    if not {"val", "test"} <= set(point.on):
        return
    recall, val = point.on["test"].recall, point.on["val"].recall
    if math.isnan(recall.value):
        return
    if recall.high < 0.9:
        yield Finding(
            "warning",
            "recall_not_carried",
            f"The threshold that reaches recall {val.value:.2f} on validation reaches {recall.value:.2f} on test "
            f"({recall.low:.2f}-{recall.high:.2f}): the aim of 0.9 is missed.",
        )
    elif recall.value < 0.9:
        yield Finding(
            "note",
            "recall_below_aim",
            f"The threshold chosen for recall 0.9 reaches {recall.value:.2f} on test; its interval "
            f"({_span(recall.low, recall.high)}) still allows 0.9.",
        )


def _about_calibration(report: ClassificationReport) -> Iterator[Finding]:
    counts, calibration = report.counts[report.partition], report.calibration[report.partition]
    if not counts.positives:
        return
    ratio = calibration.mean_probability / counts.prevalence
    if ratio > 2 or ratio < 0.5:
        yield Finding(
            "note",
            "miscalibrated",
            f"Probabilities are {'too high' if ratio > 1 else 'too low'}: their mean is "
            f"{calibration.mean_probability:.3g}, while {counts.prevalence:.3g} of the {report.wording.items} are "
            f"{report.wording.are_positives}. That is usual after balanced sampling and does not change the ranking, "
            "but do not read them as chances.",
        )


def _about_size(report: ClassificationReport) -> Iterator[Finding]:
    name = "recall_90"
    known = [row for row in report.by_size if row.n >= 5 and name in row.sensitivity]
    if len(known) < 2:
        return
    worst = min(known, key=lambda row: row.sensitivity[name].value)
    best = max(known, key=lambda row: row.sensitivity[name].value)
    low, high = worst.sensitivity[name], best.sensitivity[name]
    if high.value - low.value >= 0.2:
        yield Finding(
            "note",
            "size",
            f"{_capital(report.wording.positives)} of {worst.name} are {report.wording.found} least often: sensitivity "
            f"{low.value:.2f} (n = {worst.n}), against {high.value:.2f} (n = {best.n}) for {best.name}, at the "
            "threshold for recall 0.9.",
        )


def _about_size_matched(report: ClassificationReport) -> Iterator[Finding]:
    matched = report.size_matched
    if matched is None:
        return
    auroc, words = matched.auroc, report.wording
    what = f"Within {_count(matched.n_pairs, 'pair')} of one size (diameters within {100 * matched.tolerance:g} %)"
    if not matched.n_pairs:
        yield Finding(
            "note",
            "no_size_matched_pairs",
            f"No {words.positive} has a {words.negative} of its size: nobody can tell from these rows whether the "
            "model sees more than size.",
        )
    elif math.isnan(auroc.low) or auroc.low <= 0.5:
        span = auroc.reason if math.isnan(auroc.low) else _span(auroc.low, auroc.high)
        yield Finding(
            "warning",
            "size_matched_chance",
            f"{what} the AUROC is {auroc.value:.3f} ({span}): that the model sees more than size is not shown.",
        )
    else:
        yield Finding(
            "good",
            "size_matched_better",
            f"{what} the AUROC is {auroc.value:.3f} ({_span(auroc.low, auroc.high)}): the model sees more than size.",
        )


def _about_baselines(report: ClassificationReport) -> Iterator[Finding]:
    for row in report.baselines:
        difference = row.auroc_difference
        span = _span(difference.low, difference.high, signed=True)
        if difference.low > 0:
            yield Finding(
                "good",
                "beats_baseline",
                f"The model beats the baseline '{row.name}': AUROC {difference.value:+.3f} ({span}, paired by "
                "patient).",
            )
        elif difference.high < 0:
            yield Finding(
                "warning",
                "below_baseline",
                f"The baseline '{row.name}' is better than the model: AUROC {difference.value:+.3f} ({span}).",
            )
        elif not math.isnan(difference.low):
            yield Finding(
                "warning",
                "no_better_than_baseline",
                f"The model is not measurably better than the baseline '{row.name}': AUROC {difference.value:+.3f} "
                f"({span}).",
            )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _two(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _span(low: float, high: float, *, signed: bool = False) -> str:
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.2f}-{high:.2f}"
