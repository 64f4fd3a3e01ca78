"""What a sanity check says: a verdict, the numbers it rests on, and what a reader should be careful with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.metrics.ranking import auroc, under_patient_weights

Verdict = Literal["passed", "failed", "cannot be judged"]


@dataclass(frozen=True)
class SanityNumber:
    """One number of a check.

    Attributes:
        name: what it is, for people.
        estimate: the value, with its interval or the reason why there is none.
        note: what the interval is over, or what to compare the number with.
    """

    name: str
    estimate: Estimate
    note: str = ""


@dataclass(frozen=True)
class SanityTable:
    """Rows beside the numbers, e.g. one for each training.

    Attributes:
        caption: what the rows are.
        columns: their heads; the first names the row.
        rows: texts and numbers.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(frozen=True)
class SanityCheck:
    """One check with its answer.

    Attributes:
        name: as typed in `what=`.
        question: what it asks.
        verdict: passed, failed, or cannot be judged.
        says: the reason for the verdict, one or two sentences.
        numbers: what the verdict rests on.
        cautions: what does not change the verdict and should be read all the same.
        tables: more rows.
        curve: named columns of equal length for the figure: `shuffled` AUROCs, or the `loss` of every step.
        marks: name -> value to mark in the figure.
    """

    name: str
    question: str
    verdict: Verdict
    says: str
    numbers: tuple[SanityNumber, ...] = ()
    cautions: tuple[str, ...] = ()
    tables: tuple[SanityTable, ...] = ()
    curve: Mapping[str, Sequence[float]] = field(default_factory=dict)
    marks: Mapping[str, float] = field(default_factory=dict)


def not_judged(name: str, question: str, reason: str) -> SanityCheck:
    """The check that has nothing to look at."""
    return SanityCheck(name, question, "cannot be judged", reason)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Failed if one is, else not judged if one is not.

    Example:
        >>> worst(["passed", "cannot be judged"]), worst(["failed", "cannot be judged"]), worst(["passed"])
        ('cannot be judged', 'failed', 'passed')
    """
    order: tuple[Verdict, ...] = ("failed", "cannot be judged", "passed")
    return next(verdict for verdict in order if verdict in verdicts)


def auroc_with_interval(label: npt.ArrayLike, score: npt.ArrayLike, draws: PatientDraws) -> Estimate:
    """AUROC and its patient-bootstrap interval; NaN and the reason where a class is missing.

    Args:
        label: {0, 1} [N].
        score: float [N].
        draws: of the patients of these rows.
    """
    labels = np.asarray(label)
    if labels.size == 0 or labels.min() == labels.max():
        return Estimate(math.nan, reason="no rows" if not labels.size else f"all rows have label {int(labels[0])}")
    samples = under_patient_weights(labels, score, draws.patient, weights=draws.weights, metrics=["auroc"])
    return draws.area(auroc(labels, score), samples.samples["auroc"], label=labels)


def checks_record(checks: Sequence[SanityCheck], *, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Content of sanity.json: plain values, None for what is not a number.

    Args:
        checks: in the order of the page.
        provenance: what was looked at.
    """
    return {
        "verdict": worst([check.verdict for check in checks]) if checks else "cannot be judged",
        "checks": {check.name: _check_record(check) for check in checks},
        "provenance": dict(provenance),
    }


def checks_lines(checks: Sequence[SanityCheck]) -> Iterator[str]:
    """The answers as lines of a log: one for each check, its numbers and cautions indented below."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        yield f"{check.name:<{width}}  {check.verdict.upper()}: {check.says}"
        indent = " " * (width + 2)
        for number in check.numbers:
            yield f"{indent}{number.name}: {estimate_text(number.estimate)}{f' ({number.note})' if number.note else ''}"
        for caution in check.cautions:
            yield f"{indent}caution: {caution}"


def estimate_text(estimate: Estimate) -> str:
    """`0.512 [0.430, 0.590]`, or why there is no number.

    Example:
        >>> estimate_text(Estimate(0.5, 0.25, 0.75)), estimate_text(Estimate(math.nan, reason="no rows"))
        ('0.500 [0.250, 0.750]', 'none: no rows')
    """
    if math.isnan(estimate.value):
        return f"none: {estimate.reason}"
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{interval}"


def patient_draws(table: pd.DataFrame, *, n_resamples: int, seed: int) -> PatientDraws:
    """The resamples that all numbers of these rows share."""
    return PatientDraws(table["patient_id"].to_numpy(), n_resamples=n_resamples, seed=seed)


def _check_record(check: SanityCheck) -> dict[str, Any]:
    return {
        "question": check.question,
        "verdict": check.verdict,
        "says": check.says,
        "numbers": {
            n.name: {
                "value": _plain(n.estimate.value),
                "low": _plain(n.estimate.low),
                "high": _plain(n.estimate.high),
                "reason": n.estimate.reason,
                "note": n.note,
            }
            for n in check.numbers
        },
        "cautions": list(check.cautions),
        "tables": [
            {"caption": t.caption, "columns": list(t.columns), "rows": [[_plain(v) for v in row] for row in t.rows]}
            for t in check.tables
        ],
        "curve": {name: [_plain(v) for v in values] for name, values in check.curve.items()},
        "marks": {name: _plain(value) for name, value in check.marks.items()},
    }


def _plain(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return value
    return round(float(value), 12) if math.isfinite(value) else None
