"""What the remarks of all reports share: their order, their words, and what is wrong with any split of patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lungdet.evaluation.results import Audit, Finding

FEW_PATIENTS = 20

_ORDER = {"warning": 0, "note": 1, "good": 2}


def warnings_first(remarks: Iterable[Finding]) -> tuple[Finding, ...]:
    """Warnings, then notes, then what is good; otherwise in the order given."""
    return tuple(sorted(remarks, key=lambda remark: _ORDER[remark.kind]))


def about_split(
    partition: str, audit: Audit, *, n_patients: int, provenance: Mapping[str, Any], chosen: str, leaked: str
) -> Iterator[Finding]:
    """What the split had to repair, no test rows, patients on both sides, too few patients.

    Args:
        partition: whose numbers are quoted.
        audit: of the predictions table.
        n_patients: in that partition.
        provenance: of the run; `split_notes` are said.
        chosen: what was chosen on validation, with its verb: "the checkpoint was".
        leaked: what patients on both sides mean.
    """
    notes = provenance.get("split_notes")
    if notes:
        yield Finding("note", "split", "About the split: " + " ".join(notes))
    if partition != "test":
        yield Finding(
            "warning",
            "no_test",
            f"There are no test rows: every number is from validation, where {chosen} chosen, and is therefore "
            "optimistic.",
        )
    if not audit.disjoint:
        who = ", ".join(audit.shared_patients[:5] or audit.shared_series[:5])
        more = f" and {len(audit.shared_patients) - 5} more" if len(audit.shared_patients) > 5 else ""
        yield Finding(
            "warning",
            "leak",
            f"{count(len(audit.shared_patients), 'patient')} in validation and in test of the same fold ({who}{more}). "
            f"{leaked}; repair the split.",
        )
    if 1 <= n_patients < FEW_PATIENTS:
        yield Finding(
            "note",
            "few_patients",
            f"{count(n_patients, 'patient')} in {partition}: a bootstrap over so few tends to give intervals that are "
            "too narrow.",
        )


def count(n: int, noun: str) -> str:
    """`1,234 pairs`, `1 pair`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def span(low: float, high: float, *, signed: bool = False) -> str:
    """An interval in words: `0.25-0.75`, or signed with three decimals: `-0.100 to +0.200`."""
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.2f}-{high:.2f}"
