"""Remarks on clinical features: how much of them is missing, and whether it is missing alike in all partitions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lungdet.evaluation.remarks import count
from lungdet.evaluation.results import ClassificationReport, Finding

# A difference of shares that is worth a word: large, and more than chance makes of so few patients once in 100 times.
_UNLIKE = 0.2
_UNLIKE_Z = 2.58
_MOSTLY = 0.5


def about_clinical(report: ClassificationReport) -> Iterator[Finding]:
    """What is missing of the clinical features, as the run noted it in its provenance."""
    clinical = report.provenance.get("clinical")
    if not clinical:
        return
    train, here = clinical["train"], clinical[report.partition]
    yield Finding("note", "clinical_missing", _shares(clinical, report.partition))
    for place, partition in ((train, "train"), (here, report.partition)):
        if place["without_a_row"]:
            yield Finding(
                "note",
                "clinical_without_a_row",
                f"{place['without_a_row']} of {count(place['n_patients'], 'patient')} in {partition} have no row in "
                f"{clinical['file']}: only the image speaks for their {report.wording.items}.",
            )
    useless = [name for name, share in train["missing"].items() if share is not None and share >= 1]
    if useless:
        yield Finding(
            "warning",
            "clinical_unused",
            f"{', '.join(useless)}: no value tells training patients apart, so nothing could be learned from it.",
        )
    unlike = [
        f"{name} ({_percent(share)} in train, {_percent(here['missing'][name])} in {report.partition})"
        for name, share in train["missing"].items()
        if _are_unlike(share, here["missing"][name], n=(train["n_patients"], here["n_patients"]))
    ]
    if unlike:
        yield Finding(
            "warning",
            "clinical_missing_unlike",
            f"Values are missing unlike in the partitions: {', '.join(unlike)}. What a missing value means may differ, "
            "too.",
        )


def _shares(clinical: Mapping[str, Any], partition: str) -> str:
    """One sentence with the shares of every column, the most missing first."""
    missing = clinical[partition]["missing"]
    known = {name: share for name, share in missing.items() if share is not None}
    if not any(known.values()):
        return f"Clinical features ({', '.join(known)}) of {clinical['file']}: no value is missing in {partition}."
    order = sorted(known, key=lambda name: -known[name])
    listed = ", ".join(f"{name} {_percent(known[name])}" for name in order)
    mostly = [name for name in order if known[name] >= _MOSTLY]
    verdict = f" Mostly missing: {', '.join(mostly)}." if mostly else ""
    return (
        f"Clinical features of {clinical['file']}, share of {partition} patients without a value: {listed}. A missing "
        f"value counts as the mean of the training patients, and the network is told that it is missing.{verdict}"
    )


def _are_unlike(one: float | None, other: float | None, *, n: tuple[int, int]) -> bool:
    if one is None or other is None:
        return False
    pooled = (one * n[0] + other * n[1]) / (n[0] + n[1])
    error = math.sqrt(pooled * (1 - pooled) * (1 / n[0] + 1 / n[1]))
    return abs(one - other) > max(_UNLIKE, _UNLIKE_Z * error)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
