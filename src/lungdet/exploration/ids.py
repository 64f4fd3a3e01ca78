"""The section on ids that should be the SHA-1 of the pixels, as in PCam."""

from __future__ import annotations

from lungdet.evaluation.results import Finding
from lungdet.exploration.content import Section
from lungdet.exploration.image_survey import OriginalSurvey

_LISTED = 40


def ids_section(survey: OriginalSurvey, *, n: int, items: str) -> Section:
    """Whether ids are the SHA-1 of the pixels.

    Args:
        survey: with `check_ids`.
        n: images that were read.
        items: what they are called.
    """
    wrong, n_checked = survey.wrong_ids, survey.n_ids_checked
    if not n_checked:
        return Section(
            name="ids",
            title="Ids",
            text=f"None of {n:,} ids has the form of a SHA-1, so there is nothing to compare.",
            record={"checked": 0},
        )
    if wrong:
        said = (
            f"{len(wrong):,} of {n_checked:,} ids are not the SHA-1 of their pixels: these {items} were changed or "
            f"mixed up; the first: {next(iter(wrong))}."
        )
        finding = Finding("warning", "wrong_ids", said)
    else:
        finding = Finding("good", "ids", f"All {n_checked:,} ids are the SHA-1 of their pixels.")
    return Section(
        name="ids",
        title="Ids",
        text=f"{n_checked:,} of {n:,} ids have the form of a SHA-1; {len(wrong):,} of them do not match.",
        lists={"Wrong": tuple(f"{name}: {what}" for name, what in list(wrong.items())[:_LISTED])} if wrong else {},
        findings=(finding,),
        record={"checked": n_checked, "wrong": dict(wrong)},
    )
