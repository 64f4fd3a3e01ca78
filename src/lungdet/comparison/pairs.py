"""Every two runs against each other: paired differences, what is left after Holm's correction, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from lungdet.comparison.digits import p_text, signed
from lungdet.comparison.measures import Floats, Measure, Sampled
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.metrics.delong import AurocDifference
from lungdet.metrics.mcnemar import McNemar

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Second run minus first in one measure.

    Attributes:
        estimate: with the percentile interval of the paired bootstrap, or why there is none.
        p: two-sided, the share of resamples on the other side of 0, doubled; NaN without an interval.
        p_holm: p with Holm's correction for the other pairs of runs in the same measure; p itself for one pair.
    """

    estimate: Estimate
    p: float = math.nan
    p_holm: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """The interval lies on one side of 0."""
        return self.estimate.low > 0 or self.estimate.high < 0

    @property
    def is_different(self) -> bool:
        """The interval excludes 0, and it is not one of many pairs among which one would by chance."""
        return self.excludes_zero and self.p_holm < LEVEL


@dataclass(frozen=True)
class Verdict:
    """One sentence on a pair.

    Attributes:
        kind: `different` only when the paired interval of the headline measure excludes 0, and with several pairs
            Holm's correction does not take that back.
        better: name of the better run where they differ; else empty.
        text: the sentence.
    """

    kind: Literal["different", "not_distinguishable", "undecided"]
    better: str
    text: str


@dataclass(frozen=True)
class Delong:
    """DeLong's comparison of the AUROCs.

    Attributes:
        by_patient: with candidates of a patient as a cluster (Obuchowski 1997): the one to quote.
        independent: with all candidates as independent, as most software does it.
        p_holm: of `by_patient`, with Holm's correction over the pairs.
    """

    by_patient: AurocDifference
    independent: AurocDifference
    p_holm: float


@dataclass(frozen=True)
class Pair:
    """Two runs.

    Attributes:
        first, second: names; differences are second minus first.
        differences: measure key -> difference.
        verdict: in the headline measure.
        delong: of the AUROC, or None.
        mcnemar: threshold name -> `positives`, `negatives` or `all` -> test of who is right; empty without thresholds.
    """

    first: str
    second: str
    differences: dict[str, Difference]
    verdict: Verdict
    delong: Delong | None = None
    mcnemar: dict[str, dict[str, McNemar]] = field(default_factory=dict)


def paired_differences(
    runs: Mapping[str, Mapping[str, Sampled]], measures: Sequence[Measure], draws: PatientDraws
) -> dict[tuple[str, str], dict[str, Difference]]:
    """All differences of all pairs, second minus first.

    Args:
        runs: run name -> measure key -> what was sampled; the same draws behind all.
        measures: which to compare.
        draws: those.
    """
    pairs = list(combinations(runs, 2))
    raw = {(a, b): {m.key: _difference(runs[a][m.key], runs[b][m.key], draws) for m in measures} for a, b in pairs}
    adjusted = {m.key: holm([raw[pair][m.key].p for pair in pairs]) for m in measures}
    return {
        pair: {
            key: Difference(difference.estimate, difference.p, adjusted[key][i])
            for key, difference in raw[pair].items()
        }
        for i, pair in enumerate(pairs)
    }


def bootstrap_p(samples: Floats) -> float:
    """Two-sided p of no difference: the share of resampled differences on the other side of 0, doubled.

    Args:
        samples: float64 [n_resamples]; NaN are left out.
    """
    finite = samples[np.isfinite(samples)]
    if not finite.size:
        return math.nan
    beyond = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    # One is added to both: the data themselves are a resample, and no finite number of others shows p = 0.
    return min(1.0, 2 * (beyond + 1) / (finite.size + 1))


def holm(p: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values; NaN stays NaN and does not count as a test.

    Reference:
        Holm (1979), Scandinavian Journal of Statistics 6:65-70.
    """
    known = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    adjusted = [math.nan] * len(p)
    reached = 0.0
    for rank, i in enumerate(known):
        reached = max(reached, min(1.0, (len(known) - rank) * p[i]))
        adjusted[i] = reached
    return adjusted


def judge(
    first: str, second: str, difference: Difference, *, measure: Measure, n_pairs: int, unit: str = "patient"
) -> Verdict:
    """The verdict on one pair.

    Args:
        first: name of a run.
        second: name of the other, from whose value that of the first is subtracted.
        difference: in the headline measure.
        measure: that measure.
        n_pairs: how many pairs are compared at once.
        unit: what was drawn: patient or scan.
    """
    estimate = difference.estimate
    if math.isnan(estimate.value):
        return Verdict(
            "undecided", "", f"{first} and {second} cannot be compared: no {measure.title}, {estimate.reason}."
        )
    said = f"{measure.title} of {second} minus that of {first} is {signed(estimate.value, measure.digits)}"
    if math.isnan(estimate.low):
        return Verdict("undecided", "", f"No verdict: {said}, without an interval ({estimate.reason}).")
    between = f"95 % interval {signed(estimate.low, measure.digits)} to {signed(estimate.high, measure.digits)}"
    if difference.is_different:
        is_better = (estimate.value > 0) == measure.larger_is_better
        corrected = (
            f"; p {p_text(difference.p_holm)} after Holm's correction for {n_pairs} pairs" if n_pairs > 1 else ""
        )
        return Verdict(
            "different",
            second if is_better else first,
            f"{second} is {'better' if is_better else 'worse'} than {first}: {said} ({between}, paired by {unit}"
            f"{corrected}).",
        )
    if difference.excludes_zero:
        return Verdict(
            "not_distinguishable",
            "",
            f"{first} and {second} are not distinguishable when {n_pairs} pairs are looked at: {said} ({between}); "
            f"that excludes 0 by itself, but not after Holm's correction (p {p_text(difference.p_holm)}).",
        )
    return Verdict(
        "not_distinguishable",
        "",
        f"{first} and {second} are not distinguishable: {said} ({between}, paired by {unit}), which includes 0.",
    )


def _difference(first: Sampled, second: Sampled, draws: PatientDraws) -> Difference:
    a, b = first.estimate, second.estimate
    value = b.value - a.value
    reason = next((e.reason for e in (a, b) if math.isnan(e.low)), "")
    if math.isnan(value) or reason:
        return Difference(Estimate(value, reason=reason or "undefined"))
    samples = second.samples - first.samples
    finite = samples[np.isfinite(samples)]
    if finite.size and np.ptp(finite) < 1e-12:
        if abs(value) < 1e-12:  # the two give the same on every patient
            return Difference(Estimate(0.0, 0.0, 0.0), p=1.0)
        # One is right wherever the other is wrong: percentiles would claim certainty, be it from two rows.
        return Difference(Estimate(value, reason="the same in every resample"))
    estimate = draws.estimate(value, samples)
    if math.isnan(estimate.low):
        return Difference(estimate)
    return Difference(estimate, p=bootstrap_p(finite))
