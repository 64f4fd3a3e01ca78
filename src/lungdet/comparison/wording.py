"""How a comparison puts its numbers into words and digits, the same on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from lungdet.comparison.pairs import Verdict
from lungdet.comparison.results import ComparisonReport
from lungdet.evaluation.page import PARTITION_NAMES, count_text

VERDICT_NAMES = {
    "different": "Different.",
    "not_distinguishable": "Not distinguishable.",
    "undecided": "Undecided.",
}
_THRESHOLD_NAMES = {"max_f1": "largest F1", "max_dice": "largest Dice"}
GROUP_NAMES = {"positives": "positives", "negatives": "negatives", "all": "all rows"}


def threshold_name(key: str) -> str:
    """What a threshold aims at.

    Example:
        >>> threshold_name("recall_97"), threshold_name("max_f1")
        ('recall ≥ 0.97', 'largest F1')
    """
    aim = key.removeprefix("recall_")
    return _THRESHOLD_NAMES[key] if aim == key else f"recall ≥ {float(aim) / 100:g}"


def title_of(report: ComparisonReport) -> str:
    """`a, b and c`."""
    return ", ".join(report.names[:-1]) + f" and {report.names[-1]}"


def lead_of(report: ComparisonReport) -> str:
    """The answer in one or two sentences."""
    if len(report.pairs) == 1:
        return report.pairs[0].verdict.text
    different = [pair for pair in report.pairs if pair.verdict.kind == "different"]
    n = len(report.pairs)
    if not different:
        return f"None of the {n} pairs of runs is distinguishable in {report.headline.title}."
    beaten: dict[str, int] = {}
    for pair in different:
        beaten[pair.verdict.better] = beaten.get(pair.verdict.better, 0) + 1
    said = ", ".join(f"{name} is better than {count_text(k, 'other')}" for name, k in beaten.items())
    return f"{len(different)} of {n} pairs of runs are different in {report.headline.title}: {said}."


def verdict_name(verdict: Verdict) -> str:
    """`Different.`, ..."""
    return VERDICT_NAMES[verdict.kind]


def counts_of(report: ComparisonReport) -> str:
    """`Test: 24 patients, 24 CT series, 1,200 candidates, 40 nodules`."""
    return f"{PARTITION_NAMES.get(report.partition, report.partition)}: " + ", ".join(
        f"{n:,} {what}" for what, n in report.counts.items()
    )


def method_of(report: ComparisonReport) -> Iterator[tuple[str, str]]:
    """How the numbers came about: topic and text."""
    unit = report.unit
    yield (
        "Intervals",
        f"95 %: {unit} drawn with replacement {report.n_resamples:,} times, seed {report.seed}, the same draws for all "
        "runs; 2.5th to 97.5th percentile.",
    )
    yield (
        "Differences",
        "Second run minus first, computed within each resample, so that what is hard for both cancels. p is the share "
        "of resamples on the other side of 0, doubled.",
    )
    if len(report.pairs) > 1:
        yield (
            "Holm",
            f"p after Holm's correction for the {len(report.pairs)} pairs, for each measure by itself.",
        )
    yield (
        "Verdicts",
        f"“Different” only when the paired interval of the {report.headline.title} excludes 0"
        + (" and p after Holm's correction is below 0.05." if len(report.pairs) > 1 else ".")
        + " They are about these networks on such patients; another seed of the same recipe is another network.",
    )
    if any(pair.delong for pair in report.pairs):
        yield (
            "DeLong",
            "By patient: rows of a patient as a cluster (Obuchowski 1997). As independent: the usual form, "
            "whose error is wrong where patients have several rows; it is shown because others report it.",
        )
    if any(pair.mcnemar for pair in report.pairs):
        yield (
            "McNemar",
            "Who is right where the other is wrong, at thresholds that each run chose on its own validation rows. It "
            "takes rows as independent, which rows of one patient are not: read p beside the paired intervals of "
            "sensitivity and specificity above it, and trust those.",
        )
    if any(measure.key == "ece" for measure in report.measures):
        yield ("Calibration", "ECE (15 bins of equal width) and Brier score are of the raw probabilities.")
