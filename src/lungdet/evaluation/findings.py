"""Remarks in plain language that follow from the numbers: what a careful colleague would point out first."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lungdet.evaluation.clinical_findings import about_clinical
from lungdet.evaluation.malignancy_findings import about_initial_weights, about_size_matched
from lungdet.evaluation.remarks import about_split, count, span, warnings_first
from lungdet.evaluation.results import ClassificationReport, Finding

FEW_POSITIVES = 30
WIDE_INTERVAL = 0.1
GOOD_AUROC = 0.8


def find(report: ClassificationReport) -> tuple[Finding, ...]:
    """All remarks on a report's numbers, warnings first, otherwise in the order of the report."""
    return warnings_first(
        [
            *_about_data(report),
            *about_initial_weights(report),
            *about_clinical(report),
            *_about_ranking(report),
            *_about_half(report),
            *_about_transfer(report),
            *_about_calibration(report),
            *_about_size(report),
            *about_size_matched(report),
            *_about_baselines(report),
        ]
    )


def _about_data(report: ClassificationReport) -> Iterator[Finding]:
    partition = report.partition
    here = report.counts[partition]
    yield from about_split(
        partition,
        report.audit,
        n_patients=here.patients,
        provenance=report.provenance,
        chosen="the checkpoint and the thresholds were",
        leaked="Thresholds have seen patients they are judged on",
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
            f"Only {count(here.positives, 'positive')} in {partition}{_of_patients(report)}: read the intervals, not "
            "the point values, and rank no two models on them.",
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
    for name, aim in report.recalls.items():
        point = report.operating_points[name]
        if not {"val", "test"} <= set(point.on):
            continue
        recall, val = point.on["test"].recall, point.on["val"].recall
        if recall.high < aim:
            yield Finding(
                "warning",
                "recall_not_carried",
                f"The threshold that reaches recall {val.value:.2f} on validation reaches {recall.value:.2f} on test "
                f"({recall.low:.2f}-{recall.high:.2f}): the aim of {aim:g} is missed.",
            )
            return
        if recall.value < aim and name == report.aim:
            yield Finding(
                "note",
                "recall_below_aim",
                f"The threshold chosen for recall {aim:g} reaches {recall.value:.2f} on test; its interval "
                f"({span(recall.low, recall.high)}) still allows {aim:g}.",
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
            f"but do not read {'the raw ones' if report.calibrated else 'them'} as chances.",
        )
    yield from _about_calibrator(report)


def _about_calibrator(report: ClassificationReport) -> Iterator[Finding]:
    if report.calibrator is None:
        return
    if report.calibrator.missing:
        yield Finding("warning", "not_calibrated", f"Probabilities are not calibrated: {report.calibrator.missing}.")
        return
    raw, after = report.calibration[report.partition], report.calibrated[report.partition]
    before, now = raw.negative_log_likelihood.value, after.negative_log_likelihood.value
    if report.partition != "test" or math.isnan(now):
        return
    change = f"log loss {before:.4f} before and {now:.4f} after, ECE {raw.ece.value:.3f} and {after.ece.value:.3f}"
    if now > before:
        yield Finding(
            "warning",
            "calibration_not_carried",
            f"The calibration fitted on validation makes the probabilities on test worse ({change}): are the two of "
            "one kind, and are there enough positives in validation?",
        )
    elif after.intercept.low > 0 or after.intercept.high < 0:
        yield Finding(
            "note",
            "calibration_shifted",
            f"Calibration helps on test ({change}), but probabilities remain too "
            f"{'low' if after.intercept.low > 0 else 'high'} there: the prevalence is "
            f"{report.counts['val'].prevalence:.3g} in validation and {report.counts['test'].prevalence:.3g} in test.",
        )


def _about_size(report: ClassificationReport) -> Iterator[Finding]:
    name = report.aim
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
            f"threshold for recall {report.recalls[name]:g}.",
        )


def _about_baselines(report: ClassificationReport) -> Iterator[Finding]:
    unit = "patient" if report.audit.patients_known else report.wording.item
    for row in report.baselines:
        difference = row.auroc_difference
        between = span(difference.low, difference.high, signed=True)
        if difference.low > 0:
            yield Finding(
                "good",
                "beats_baseline",
                f"The model beats the baseline '{row.name}': AUROC {difference.value:+.3f} ({between}, paired by "
                f"{unit}).",
            )
        elif difference.high < 0:
            yield Finding(
                "warning",
                "below_baseline",
                f"The baseline '{row.name}' is better than the model: AUROC {difference.value:+.3f} ({between}).",
            )
        elif not math.isnan(difference.low):
            yield Finding(
                "warning",
                "no_better_than_baseline",
                f"The model is not measurably better than the baseline '{row.name}': AUROC {difference.value:+.3f} "
                f"({between}).",
            )


def _of_patients(report: ClassificationReport) -> str:
    if not report.audit.patients_known:
        return ""
    patients = report.counts[report.partition].patients
    return f", from {count(patients, 'patient')} with {report.wording.items}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _two(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"
