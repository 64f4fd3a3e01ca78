"""The runs of a sweep, a search or the folds of a cross-validation as one table, best first."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import to_plain

Status = Literal["finished", "pruned", "failed", "unfinished"]

# Replicates of one setting differ in these only.
REPLICATED_BY = ("seed", "split.fold", "split.seed")


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: its folder below the sweep's.
        settings: what was swept -> its value, as typed.
        status: `finished`, `pruned` (a search stopped it early), `failed`, `unfinished`.
        reason: why it failed; empty otherwise.
        score: best value of the monitored metric on validation, by which runs are chosen; NaN where there is none.
        estimates: (partition, metric) -> estimate of the run's report.
        epochs: trained; None where nobody knows.
        seconds: of training; NaN where nobody knows.
    """

    name: str
    settings: Mapping[str, str]
    status: Status
    reason: str = ""
    score: float = math.nan
    estimates: Mapping[tuple[str, str], Estimate] = field(default_factory=dict)
    epochs: int | None = None
    seconds: float = math.nan


@dataclass(frozen=True)
class Setting:
    """One combination of settings over its replicates (seeds, folds).

    Attributes:
        settings: without what the replicates differ in.
        n: finished replicates.
        mean, sd: of the monitored metric; `sd` is that of a sample, NaN for one.
        low, high: smallest and largest.
        test_mean, test_sd: the same of the leading metric on the test partition.
    """

    settings: Mapping[str, str]
    n: int
    mean: float
    sd: float
    low: float
    high: float
    test_mean: float
    test_sd: float


@dataclass(frozen=True)
class SweepTable:
    """All runs, best first.

    Attributes:
        title: of the sweep.
        monitor, mode: the metric that runs are ordered by, and whether its `max` or its `min` is best.
        leading: metric of the reports that is shown with intervals: `auroc`, `dice`.
        swept: names of the settings that differ.
        runs: finished ones first, best first; then the others.
        grouped: settings over their replicates, best first; empty where nothing was replicated.
    """

    title: str
    monitor: str
    mode: Literal["min", "max"]
    leading: str
    swept: tuple[str, ...]
    runs: tuple[SweepRun, ...]
    grouped: tuple[Setting, ...]

    @property
    def finished(self) -> tuple[SweepRun, ...]:
        """Runs that came to their end."""
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def best(self) -> SweepRun | None:
        """The best finished run; None where none has a score."""
        first = self.finished[:1]
        return first[0] if first and not math.isnan(first[0].score) else None

    def frame(self) -> pd.DataFrame:
        """One row a run, for sweep.csv."""
        metrics = list(dict.fromkeys(key for run in self.runs for key in run.estimates))
        rows = []
        for run in self.runs:
            row: dict[str, Any] = {"run": run.name, **{name: run.settings.get(name, "") for name in self.swept}}
            row |= {"status": run.status, self.monitor: run.score}
            for partition, metric in metrics:
                estimate = run.estimates.get((partition, metric), Estimate(math.nan))
                name = f"{partition}_{metric}"
                row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
            rows.append(row | {"epochs": run.epochs, "seconds": run.seconds, "reason": run.reason})
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, see `lungdet.evaluation.results.to_plain`."""
        runs = [
            {
                **{f.name: getattr(run, f.name) for f in dataclasses.fields(run) if f.name != "estimates"},
                "estimates": {f"{partition}/{metric}": e for (partition, metric), e in run.estimates.items()},
            }
            for run in self.runs
        ]
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "runs"}
        plain: dict[str, Any] = to_plain(record | {"runs": runs})
        return plain


def sweep_table(
    runs: Sequence[SweepRun], *, title: str, monitor: str, mode: Literal["min", "max"], leading: str
) -> SweepTable:
    """Order runs and put replicates together.

    Args:
        runs: in the order in which equally good ones shall stand.
        title: of the sweep.
        monitor: the metric that runs are ordered by.
        mode: whether its `max` or its `min` is best.
        leading: metric of the reports that is shown with intervals.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    swept = tuple(name for name in names if len({run.settings.get(name) for run in runs}) > 1)
    sign = -1.0 if mode == "max" else 1.0
    rank = {"finished": 0, "pruned": 1, "unfinished": 2, "failed": 3}

    def place(run: SweepRun) -> tuple[int, bool, float]:
        return rank[run.status], math.isnan(run.score), 0.0 if math.isnan(run.score) else sign * run.score

    ordered = tuple(sorted(runs, key=place))
    return SweepTable(title, monitor, mode, leading, swept, ordered, _grouped(ordered, swept, sign, leading))


def _grouped(runs: Sequence[SweepRun], swept: Sequence[str], sign: float, leading: str) -> tuple[Setting, ...]:
    if not set(swept) & set(REPLICATED_BY):
        return ()
    kept = [name for name in swept if name not in REPLICATED_BY]
    groups: dict[tuple[str, ...], list[SweepRun]] = {}
    for run in runs:
        if run.status == "finished":
            groups.setdefault(tuple(run.settings.get(name, "") for name in kept), []).append(run)
    found = []
    for values, members in groups.items():
        scores = np.array([run.score for run in members])
        tests = np.array([run.estimates.get(("test", leading), Estimate(math.nan)).value for run in members])
        setting = dict(zip(kept, values, strict=True))
        found.append(
            Setting(
                setting, len(members), float(scores.mean()), _sd(scores), float(scores.min()), float(scores.max()),
                float(tests.mean()), _sd(tests),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (math.isnan(one.mean), sign * one.mean)))


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
