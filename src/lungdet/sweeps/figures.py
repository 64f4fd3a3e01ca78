"""Figures of a sweep: every run with its intervals, and what each swept setting does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.style import COLORS, figure_style
from lungdet.sweeps.table import REPLICATED_BY, SweepRun, SweepTable

_MOST_RUNS = 40
_ROW_INCHES = 0.27


def runs_figure(table: SweepTable) -> Figure:
    """A line a run, best on top: validation and test value of the leading metric with their 95 % intervals."""
    shown = [run for run in table.finished if run.estimates][:_MOST_RUNS]
    with figure_style():
        figure = Figure(figsize=(7.4, 1.1 + _ROW_INCHES * max(3, len(shown))), layout="constrained")
        axes = figure.add_subplot()
        for partition, color, shift in (("val", COLORS["muted"], -0.14), ("test", COLORS["accent"], 0.14)):
            label = "validation" if partition == "val" else "test"
            for row, run in enumerate(shown):
                estimate = run.estimates.get((partition, table.leading), Estimate(math.nan))
                y = row + shift
                if not math.isnan(estimate.low):
                    axes.plot([estimate.low, estimate.high], [y, y], color=color, linewidth=1.4)
                axes.plot([estimate.value], [y], "o", color=color, markersize=4.5, label=label if row == 0 else None)
        axes.set_yticks(range(len(shown)), [run_label(run, table.swept) for run in shown])
        axes.set_ylim(max(1, len(shown)) - 0.5, -0.5)
        axes.set_xlabel(f"{metric_name(table.leading)}, 95 % interval")
        axes.grid(axis="y", visible=False)
        if shown:
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0)
    return figure


def settings_figure(table: SweepTable) -> Figure | None:
    """The monitored metric over each swept setting (not over seeds and folds), a dot a run; None where there is none.

    Numbers stand on a number line (logarithmic where they span more than a factor of 20), words in a row.
    """
    runs = [run for run in table.runs if not math.isnan(run.score)]
    swept = [name for name in table.swept if name not in REPLICATED_BY]
    if len(runs) < 2 or not swept:
        return None
    with figure_style():
        # Always three columns wide: a page scales every figure to its own width.
        columns = 3
        rows = -(-len(swept) // columns)
        figure = Figure(figsize=(7.4, 2.4 * rows), layout="constrained")
        for place, name in enumerate(swept):
            axes = figure.add_subplot(rows, columns, place + 1)
            values = [run.settings.get(name, "") for run in runs]
            numbers = _numbers(values)
            for finished, color in ((False, COLORS["second"]), (True, COLORS["accent"])):
                chosen = [i for i, run in enumerate(runs) if (run.status == "finished") == finished]
                words = list(dict.fromkeys(values))
                x = [numbers[i] if numbers else float(words.index(values[i])) for i in chosen]
                axes.plot(x, [runs[i].score for i in chosen], "o", color=color, markersize=4, alpha=0.75)
            if numbers and min(numbers) > 0 and max(numbers) / min(numbers) > 20:
                axes.set_xscale("log")
            elif not numbers:
                words = list(dict.fromkeys(values))
                axes.set_xticks(range(len(words)), words, rotation=20 if max(map(len, words)) > 8 else 0)
                axes.set_xlim(-0.5, len(words) - 0.5)
            axes.set_xlabel(name)
            if place % columns == 0:
                axes.set_ylabel(f"best {table.monitor}")
    return figure


def run_label(run: SweepRun, swept: Sequence[str]) -> str:
    """What tells a run from the others: `lr 0.001, weight_decay 0.0001`."""
    parts = [f"{name.rpartition('.')[2]} {run.settings[name]}" for name in swept if name in run.settings]
    return ", ".join(parts) or run.name


def metric_name(metric: str) -> str:
    """As figures and tables call it."""
    return {"auroc": "AUROC", "average_precision": "Average precision", "dice": "Dice, whole scans"}.get(metric, metric)


def _numbers(values: Sequence[str]) -> list[float]:
    """The values as numbers; empty where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return []
