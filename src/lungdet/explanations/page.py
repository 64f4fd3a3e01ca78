"""The explanations of a run as one HTML page that refers to nothing outside itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import Tile, count_text, flat_lines, number_text, page_environment, probability_text
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.evaluation.remarks import warnings_first
from lungdet.evaluation.results import Finding
from lungdet.explanations.faithfulness import Deletion, OnTarget, mean_correlation
from lungdet.explanations.figures import case_figure, gain_figure
from lungdet.explanations.findings import faithfulness_remarks
from lungdet.explanations.pictures import Panel
from lungdet.explanations.study import ShownCase

_N_ROWS = 10


@dataclass(frozen=True)
class CaseOnPage:
    """One case with what its pictures were made of.

    Attributes:
        row: series_uid, patient_id, candidate_id, label, probability, correct.
        shown: its explanation.
        panels: its pictures; empty where there are none.
        problem: why there are none.
    """

    row: Mapping[str, Any]
    shown: ShownCase
    panels: tuple[Panel, ...]
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Everything that the page and the files of one study say.

    Attributes:
        title: name of the run.
        method: name of the method.
        unit: what importance is.
        classes: names in label order.
        item, items: what one of the explained is called, and several.
        cases: those shown, in their order.
        measured: one row a measured case: patient_id, label and `Study.facts`; empty where none was measured.
        deletion, on_target: estimates from it.
        randomised: see `lungdet.explain.randomised.sanity_check`; empty where it was not measured.
        randomised_because: why it was not.
        notes: sentences on how this was made.
        provenance: what was explained and with which settings.
        n_bars: parts of the bar charts.
    """

    title: str
    method: str
    unit: str
    classes: tuple[str, str]
    item: str
    items: str
    cases: Sequence[CaseOnPage]
    measured: pd.DataFrame
    deletion: list[Deletion]
    on_target: OnTarget | None
    randomised: pd.DataFrame
    randomised_because: str
    notes: Sequence[Finding]
    provenance: Mapping[str, Any]
    n_bars: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Warnings first."""
        remarks = faithfulness_remarks(
            self.deletion,
            self.on_target,
            mean_correlation(self.randomised),
            randomised_because=self.randomised_because,
        )
        return warnings_first([*self.notes, *remarks])


def render_explanations(explanations: Explanations) -> str:
    """The page."""
    found = explanations
    figures = []
    if len(found.measured):
        caption = (
            "Area under the deletion curve of each measured case, most important parts first, over the mean area of "
            "random orders. Below the line the order beats chance."
        )
        figures.append(embedded_figure("gain", gain_figure(found.measured, found.classes), caption))
    sections = [("cases", "Cases"), ("faithfulness", "Faithfulness"), ("provenance", "Provenance")]
    return (
        page_environment("lungdet.explanations")
        .get_template("explanations.html.j2")
        .render(
            found=found,
            tiles=list(_tiles(found)),
            sections=sections,
            cases=[_card(n, case, found) for n, case in enumerate(found.cases, start=1)],
            figures=figures,
            steps=_steps(found.randomised),
            facts=list(flat_lines(found.provenance, none="none")),
        )
    )


def _tiles(found: Explanations) -> list[Tile]:
    tiles: list[Tile] = []
    if found.deletion:
        gain = found.deletion[0].gain
        tiles.append(("Deletion gain over chance", number_text(gain.value), _note(gain)))
    if found.on_target is not None:
        share = found.on_target.share
        expected = f"{100 * found.on_target.area.value:.1f} % expected by its size"
        tiles.append(("Share of the maps on the nodule", f"{100 * share.value:.1f} %", expected))
    correlation = mean_correlation(found.randomised)
    if not math.isnan(correlation):
        tiles.append(("Likeness to random weights", number_text(correlation, 2), "rank correlation; near 0 is good"))
    tiles.append(("Cases", count_text(len(found.cases)), f"{count_text(len(found.measured))} measured"))
    return tiles


def _note(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return estimate.reason
    return f"95 % interval {number_text(estimate.low)} to {number_text(estimate.high)}"


def _card(n: int, case: CaseOnPage, found: Explanations) -> dict[str, Any]:
    row, facts = case.row, case.shown.facts
    figure = case_figure(case.shown.regions, case.shown.curves, n_bars=found.n_bars, unit=found.unit)
    caption = (
        f"Deletion area {number_text(facts['most_first'])} (random {number_text(facts['random'])}), insertion "
        f"{number_text(facts['insertion_most_first'])} (random {number_text(facts['insertion_random'])})"
    )
    if not math.isnan(facts["gap"]):
        caption += f"; the attributions miss the change of the logit by {number_text(facts['gap'])}"
    if not math.isnan(facts["target_share"]):
        caption += (
            f"; {100 * facts['target_share']:.0f} % on the nodule ({100 * facts['target_area']:.1f} % of the crop)"
        )
    return {
        "n": n,
        "columns": 3 if len(case.panels) > 2 else 2,
        "panels": case.panels,
        "problem": case.problem,
        "class": found.classes[int(row["label"])],
        "probability": probability_text(float(row["probability"])),
        "correct": bool(row["correct"]),
        "series_uid": row["series_uid"],
        "patient_id": row["patient_id"],
        "candidate_id": row["candidate_id"],
        "figure": embedded_figure(f"case-{n}", figure, caption + "."),
        "rows": case.shown.regions.iloc[::-1].head(_N_ROWS).to_dict("records"),
        "n_regions": len(case.shown.regions),
    }


def _steps(randomised: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean, least and greatest correlation of each step."""
    if randomised.empty:
        return []
    grouped = randomised.groupby(["step", "module"], sort=True)["rank_correlation"]
    return [
        {"step": step, "module": module, "mean": values.mean(), "low": values.min(), "high": values.max()}
        for (step, module), values in grouped
    ]
