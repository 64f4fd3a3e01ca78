"""Remarks on fine-tuned networks and on nodules of one size; see `lungdet.evaluation.findings` for all others."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lungdet.evaluation.remarks import count, span
from lungdet.evaluation.results import ClassificationReport, Finding


def about_initial_weights(report: ClassificationReport) -> Iterator[Finding]:
    """Whether the weights that training started from have seen patients that are held out."""
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
            f"{count(len(seen), 'patient')} of validation and test trained the network that this one started from "
            f"({', '.join(seen[:5])}{f' and {len(seen) - 5} more' if len(seen) > 5 else ''}). Train both with the same "
            "split.",
        )


def about_size_matched(report: ClassificationReport) -> Iterator[Finding]:
    """Whether the model ranks nodules of one size better than chance, and than what is left of the diameter there."""
    matched = report.size_matched
    if matched is None:
        return
    auroc, words = matched.auroc, report.wording
    what = f"Within {count(matched.n_pairs, 'pair')} of one size (diameters within {100 * matched.tolerance:g} %)"
    if not matched.n_pairs:
        yield Finding(
            "note",
            "no_size_matched_pairs",
            f"No {words.positive} has {words.another_negative} of its size: nobody can tell from these rows whether "
            "the model sees more than size.",
        )
        return
    between = auroc.reason if math.isnan(auroc.low) else span(auroc.low, auroc.high)
    beside = "".join(f", of '{row.name}' {row.auroc.value:.3f}" for row in matched.baselines)
    # Pairs of one size still differ by the tolerance, so 0.5 alone would be too easy to beat.
    if auroc.low > 0.5 and all(row.auroc_difference.low > 0 for row in matched.baselines):
        yield Finding(
            "good",
            "size_matched_better",
            f"{what} the AUROC is {auroc.value:.3f} ({between}){beside}: the model sees more than size.",
        )
    else:
        yield Finding(
            "warning",
            "size_matched_chance",
            f"{what} the AUROC is {auroc.value:.3f} ({between}){beside}: that the model sees more than size is not "
            "shown.",
        )
