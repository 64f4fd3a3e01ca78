"""What the remarks of all reports share: their order, their words, and what is wrong with any split of patients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lungdet.evaluation.audit_results import Audit, leaks_of
from lungdet.evaluation.results import Finding

FEW_PATIENTS = 20

_ORDER = {"warning": 0, "note": 1, "good": 2}


def warnings_first(remarks: Iterable[Finding]) -> tuple[Finding, ...]:
    """Warnings, then notes, then what is good; otherwise in the order given."""
    return tuple(sorted(remarks, key=lambda remark: _ORDER[remark.kind]))


def about_split(
    partition: str, audit: Audit, *, n_patients: int, provenance: Mapping[str, Any], chosen: str, leaked: str
) -> Iterator[Finding]:
    """What the split had to repair, no test rows, every leak, too few patients.

    Args:
        partition: whose numbers are quoted.
        audit: of the run and its predictions table.
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
    yield from _about_leaks(audit, leaked=leaked)
    if audit.patients_known and 1 <= n_patients < FEW_PATIENTS:
        yield Finding(
            "note",
            "few_patients",
            f"{count(n_patients, 'patient')} in {partition}: a bootstrap over so few tends to give intervals that are "
            "too narrow.",
        )


def _about_leaks(audit: Audit, *, leaked: str) -> Iterator[Finding]:
    # What it means depends on whether training or only the choices saw the other side.
    trained = "The network has trained on patients it is judged on"
    in_training = {
        "leak": any("train" in partitions for partitions in audit.shared_in.values()),
        "leak_pixels": any(scan.partition == "train" for group in audit.crossing for scan in group.scans),
    }
    meaning = {code: trained if seen else leaked for code, seen in in_training.items()}
    words = audit.words
    same_patient = (
        "a scan under two names is one patient: give both the same patient id (series.csv of a LUNA16 folder)"
        if not words.are_images
        else f"equal pixels under two names are one {words.one}: keep both in one partition"
    )
    advice = {
        "leak": f"{meaning['leak']}; repair the split",
        "leak_pixels": f"{meaning['leak_pixels']}, for {same_patient}, or take one out",
        "leak_choice": "It has seen what it is judged on; choose on validation",
    }
    for code, leak in leaks_of(audit):
        yield Finding("warning", code, f"{leak[:1].upper()}{leak[1:]}. {advice[code]}.")
    if len(audit.equal_pixels) > len(audit.crossing):
        first = next(group for group in audit.equal_pixels if not group.crosses_in)
        verb = "has" if len(audit.equal_pixels) - len(audit.crossing) == 1 else "have"
        yield Finding(
            "note",
            "equal_pixels",
            f"{count(len(audit.equal_pixels) - len(audit.crossing), 'group')} of {words.pixels} under several patient "
            f"ids {verb} the same pixels, in one partition here: {first.named(words)}. They count twice, and a split "
            "by patient id alone would tear them apart.",
        )
    for choice in audit.choices:
        if choice.by_others:
            yield Finding(
                "note",
                "extra_negatives_other_split",
                f"{choice.what} ({choice.how}): it may have trained on patients who validate or test here, whose own "
                "rows are left out. Mine with a run of this split to be sure.",
            )


def count(n: int, noun: str) -> str:
    """`1,234 pairs`, `1 pair`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def span(low: float, high: float, *, signed: bool = False) -> str:
    """An interval in words: `0.25-0.75`, or signed with three decimals: `-0.100 to +0.200`."""
    return f"{low:+.3f} to {high:+.3f}" if signed else f"{low:.2f}-{high:.2f}"
