"""Sections on what is equal pixel by pixel, and on what cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.content import Section, Words

_LISTED = 40


def copies_section(groups: Sequence[Sequence[str]], rows: pd.DataFrame, words: Words, *, looked_at: str) -> Section:
    """Groups of equal images or scans, and which of them no split may part.

    Args:
        groups: names of equal ones, two or more a group.
        rows: name, patient_id, label, partition; one row a name or several (then any of them counts).
        words: what rows are called.
        looked_at: a sentence on what was compared.
    """
    facts = rows.groupby("name").agg(
        patients=("patient_id", lambda values: frozenset(map(str, values))),
        labels=("label", frozenset),
        parts=("partition", lambda values: frozenset(v for v in values if v)),
    )

    def are_several(names: Sequence[str], column: str) -> bool:
        found: set[Any] = set()
        for name in names:
            found |= facts[column].get(name, frozenset())
        return len(found) > 1

    across = {
        column: [names for names in groups if are_several(names, column)] for column in ("patients", "labels", "parts")
    }
    n = sum(len(group) for group in groups)
    said = f"{count_text(n, 'copy', 'copies')} in {count_text(len(groups), 'group')}" if groups else "None found"
    findings = []
    if across["labels"]:
        findings.append(Finding(
            "warning", "contradictions",
            f"{count_text(len(across['labels']), 'group')} of pixel-identical {words.items} carry contradicting "
            "labels; the first: " + ", ".join(across["labels"][0]) + ".",
        ))  # fmt: skip
    if across["parts"]:
        findings.append(Finding(
            "warning", "copies_across_parts",
            f"{count_text(len(across['parts']), 'group')} of pixel-identical {words.items} lie in several "
            f"{words.parts}: a split along them tests on what was trained on.",
        ))  # fmt: skip
    if across["patients"]:
        findings.append(Finding(
            "note", "copies_across_patients",
            f"{count_text(len(across['patients']), 'group')} of pixel-identical {words.items} go by several patient "
            "ids: a split by patient alone would part them.",
        ))  # fmt: skip
    return Section(
        name="copies",
        title="Identical pixels",
        text=f"{said}. {looked_at}",
        lists={"Groups": tuple(" = ".join(map(str, group)) for group in groups[:_LISTED])} if groups else {},
        findings=tuple(findings),
        record={
            "groups": [list(map(str, group)) for group in groups],
            **{f"groups_across_{name}": len(found) for name, found in across.items()},
        },
    )


def problems_section(failures: Mapping[str, str], *, n: int, items: str) -> Section:
    """What could not be read, and why.

    Args:
        failures: name -> reason.
        n: how many were tried.
        items: what they are.
    """
    listed = tuple(reason if name in reason else f"{name}: {reason}" for name, reason in failures.items())
    findings = (
        (
            Finding(
                "warning", "unreadable",
                f"{len(failures):,} of {n:,} {items} cannot be read; the first: {listed[0]}",
            ),
        )
        if failures
        else ()
    )  # fmt: skip
    return Section(
        name="unreadable",
        title="Unreadable files",
        text=f"{len(failures):,} of {n:,} {items} cannot be read." if failures else f"All {n:,} {items} could be read.",
        lists={"Files": listed[:_LISTED]} if failures else {},
        findings=findings,
        record={"tried": n, "failures": dict(failures)},
    )
