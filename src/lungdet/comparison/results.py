"""What a comparison of runs finds; `ComparisonReport.to_dict` is the content of compare.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lungdet.comparison.disagreement import Disagreement
from lungdet.comparison.measures import Measure
from lungdet.comparison.pairs import Pair
from lungdet.comparison.settings import Setting
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import Finding, to_plain
from lungdet.evaluation.thresholds import Threshold


@dataclass(frozen=True)
class ComparisonReport:
    """Everything that the page and the tables of a comparison show.

    Attributes:
        task: what was compared, for people: "Candidate classification", ...
        names: of the runs, in the order given.
        partition: whose rows are compared.
        unit: what was drawn with replacement: patients, scans, or images where nobody knows the patients.
        n_resamples, seed: of the bootstrap.
        counts: what the shared rows hold: name -> number.
        measures: in the order of the table; the first is the headline.
        results: run -> measure key -> value with interval.
        thresholds: run -> threshold name -> where that run calls; empty where nothing is called.
        pairs: every two runs.
        findings: cautions that follow from the data.
        settings, origins: what differs between the runs' configurations and provenance.
        disagreements: group -> rows on which the runs disagree most, worst first.
        are_images: whether rows are whole images, without scan, place and size.
        pictures_left_out: why these have no pictures; empty when they have.
        curves: columns run, curve (`roc`, `precision_recall`, `froc`), x, y; empty where there are none.
        points: run -> threshold name -> curve -> (x, y), to mark.
        prevalence: share of positives, for the precision of guessing; NaN without curves.
        froc_at: run -> false positives per series -> sensitivity.
        histories: run -> per-epoch metrics.
    """

    task: str
    names: tuple[str, ...]
    partition: str
    unit: str
    n_resamples: int
    seed: int
    counts: dict[str, int]
    measures: tuple[Measure, ...]
    results: dict[str, dict[str, Estimate]]
    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]
    settings: tuple[Setting, ...]
    origins: tuple[Setting, ...]
    thresholds: dict[str, dict[str, Threshold]] = field(default_factory=dict)
    disagreements: dict[str, tuple[Disagreement, ...]] = field(default_factory=dict)
    are_images: bool = False
    pictures_left_out: str = ""
    curves: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    points: dict[str, dict[str, dict[str, tuple[float, float]]]] = field(default_factory=dict, repr=False)
    prevalence: float = float("nan")
    froc_at: dict[str, dict[str, float]] = field(default_factory=dict)
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def headline(self) -> Measure:
        """The measure that verdicts are about."""
        return self.measures[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: floats rounded to 12 significant digits, None for NaN; without pictures and curves."""
        elsewhere = {"curves", "points", "histories", "disagreements"}
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in elsewhere}
        record["disagreements"] = {
            group: [item.to_dict() for item in items] for group, items in self.disagreements.items()
        }
        plain: dict[str, Any] = to_plain(record)
        return plain
