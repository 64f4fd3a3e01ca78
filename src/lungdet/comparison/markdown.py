"""A comparison as Markdown: the tables of the page, ready to paste into a paper, an issue or a lab book."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from lungdet.comparison.digits import p_text, signed
from lungdet.comparison.pairs import Pair
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.settings import Setting
from lungdet.comparison.wording import (
    GROUP_NAMES,
    counts_of,
    lead_of,
    method_of,
    threshold_name,
    title_of,
    verdict_name,
)
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import interval_text, number_text, probability_text

# An underscore between letters is no sign of Markdown's, and names are full of them.
_SIGNS = re.compile(r"[\\|*`<\[]|(?<![^\W_])_|_(?![^\W_])")


def render_markdown(report: ComparisonReport) -> str:
    """The whole comparison as text; the same report gives the same characters."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ComparisonReport) -> Iterator[str]:
    yield from (f"# {_escaped(title_of(report))}", "", f"{report.task}. {counts_of(report)}.", "")
    yield from (_escaped(lead_of(report)), "", "## Verdicts", "")
    yield from (f"- **{verdict_name(pair.verdict)}** {_escaped(pair.verdict.text)}" for pair in report.pairs)
    if report.findings:
        yield ""
        yield from (f"- {'Caution' if f.kind == 'warning' else 'Note'}: {_escaped(f.text)}" for f in report.findings)
    yield from ("", "## Measures, 95 % intervals", "")
    yield from _table(
        ["", *report.names],
        (
            [
                measure.title,
                *(_estimate(report.results[name][measure.key], measure.digits) for name in report.names),
            ]
            for measure in report.measures
        ),
    )
    if report.thresholds:
        yield from ("", "Thresholds, chosen by each run on its own validation rows, as probability:", "")
        names = list(next(iter(report.thresholds.values())))
        yield from _table(
            ["", *(threshold_name(name) for name in names)],
            (
                [name, *(t.reason or probability_text(t.probability) for t in chosen.values())]
                for name, chosen in report.thresholds.items()
            ),
        )
    for pair in report.pairs:
        yield from _pair(report, pair)
    if report.froc_at:
        yield from ("", "## Sensitivity per candidate at false positives per series", "")
        rates = list(next(iter(report.froc_at.values())))
        yield from _table(
            ["", *rates],
            ([name, *(number_text(value) for value in row.values())] for name, row in report.froc_at.items()),
        )
    yield from ("", "## What was set differently", "")
    yield from _settings(report, report.settings) if report.settings else ["Nothing that is known."]
    if report.origins:
        yield from ("", "Where the runs come from, as far as it differs:", "")
        yield from _settings(report, report.origins)
    yield from _disagreements(report)
    yield from ("", "## Method", "")
    yield from (f"- {topic}: {text}" for topic, text in method_of(report))


def _pair(report: ComparisonReport, pair: Pair) -> Iterator[str]:
    several = len(report.pairs) > 1
    yield from ("", f"## {_escaped(pair.second)} minus {_escaped(pair.first)}", "")
    yield from _table(
        ["", "difference, 95 % interval", "p", *(["p, Holm"] if several else [])],
        (
            [
                measure.title,
                _gap(pair.differences[measure.key].estimate, measure.digits),
                p_text(pair.differences[measure.key].p),
                *([p_text(pair.differences[measure.key].p_holm)] if several else []),
            ]
            for measure in report.measures
        ),
    )
    if pair.delong is not None:
        test, plain = pair.delong.by_patient, pair.delong.independent
        holm = f", Holm {p_text(pair.delong.p_holm)}" if several else ""
        yield ""
        yield (
            f"DeLong, AUROC, by patient: {signed(test.difference)} ({signed(test.low)} to {signed(test.high)}), z = "
            f"{number_text(test.z, 2)}, p {p_text(test.p)}{holm}; with all rows as independent {signed(plain.low)} to "
            f"{signed(plain.high)}, p {p_text(plain.p)}."
        )
    if pair.mcnemar:
        yield ""
        yield from _table(
            ["McNemar at", "on", f"only {pair.first} right", f"only {pair.second} right", "p, exact", "p, χ²"],
            (
                [
                    threshold_name(name),
                    GROUP_NAMES[group],
                    str(test.only_first),
                    str(test.only_second),
                    p_text(test.p_exact),
                    p_text(test.p_chi_square),
                ]
                for name, groups in pair.mcnemar.items()
                for group, test in groups.items()
            ),
        )


def _disagreements(report: ComparisonReport) -> Iterator[str]:
    for group, items in report.disagreements.items():
        if items:
            yield from ("", f"## Where they disagree most: {group} (probability, percentile)", "")
            place = ["image"] if report.are_images else ["series", "id"]
            yield from _table(
                [*place, "patient", *report.names],
                (
                    [
                        item.row["series_uid"],
                        *([] if report.are_images else [str(item.row["candidate_id"])]),
                        item.row["patient_id"],
                        *(
                            f"{probability_text(item.probability[name])}, {item.percentile[name]:.1f}"
                            for name in report.names
                        ),
                    ]
                    for item in items
                ),
            )


def _settings(report: ComparisonReport, rows: Sequence[Setting]) -> Iterator[str]:
    yield from _table(["key", *report.names], ([row.key, *row.values] for row in rows))


def _estimate(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.value):
        return f"none: {estimate.reason}"
    bounds = estimate.reason if math.isnan(estimate.low) else interval_text(estimate, digits)
    return f"{number_text(estimate.value, digits)} ({bounds})" if bounds else number_text(estimate.value, digits)


def _gap(estimate: Estimate, digits: int) -> str:
    if math.isnan(estimate.value):
        return f"none: {estimate.reason}"
    bounds = (
        estimate.reason
        if math.isnan(estimate.low)
        else f"{signed(estimate.low, digits)} to {signed(estimate.high, digits)}"
    )
    return f"{signed(estimate.value, digits)} ({bounds})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(_escaped(word) for word in head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(_escaped(word) for word in row) + " |"


def _escaped(text: str) -> str:
    """Names and values as they are, also those that hold Markdown's own signs."""
    return _SIGNS.sub(r"\\\g<0>", text).replace("\n", " ")
