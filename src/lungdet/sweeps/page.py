"""The files of a sweep: sweep.csv, sweep.json, sweep.md and sweep.html; the same runs give the same bytes."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import EN_DASH, PARTITION_NAMES, interval_text, number_text, page_environment
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.sweeps.figures import metric_name, runs_figure, settings_figure
from lungdet.sweeps.table import SweepRun, SweepTable

logger = logging.getLogger(__name__)

_COUNTED = ("finished", "pruned", "failed")


def write_sweep(table: SweepTable, folder: Path) -> Path:
    """Write all files of a sweep into its folder and return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    table.frame().to_csv(folder / "sweep.csv", index=False, float_format="%.12g")
    record = json.dumps(table.to_dict(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / "sweep.json").write_text(record + "\n", encoding="utf-8")
    (folder / "sweep.md").write_text(markdown(table), encoding="utf-8")
    page = folder / "sweep.html"
    page.write_text(render(table, folder), encoding="utf-8")
    logger.info("sweep: %s", page)
    return page


def render(table: SweepTable, folder: Path) -> str:
    """The page; it refers to nothing outside itself but the reports of the runs, as links."""
    effects = settings_figure(table)
    names = [run.name for run in table.runs]
    figures = []
    if any(run.estimates for run in table.finished):
        figures.append(
            embedded_figure(
                "runs",
                runs_figure(table),
                "Finished runs, best on top, chosen on validation alone. The intervals are those of each run's "
                "patients; overlapping ones do not say that two runs are equal: `lungdet compare` pairs them.",
            )
        )
    if effects is not None:
        caption = f"Best {table.monitor} of every run over each setting."
        pruned = " Orange: runs that were stopped early." if any(r.status == "pruned" for r in table.runs) else ""
        figures.append(embedded_figure("settings", effects, caption + pruned))
    return page_environment("lungdet.sweeps").get_template("sweep.html.j2").render(
        table=table,
        metrics=columns(table),
        metric_name=metric_name,
        partition_names=PARTITION_NAMES,
        figures=figures,
        links={name: f"{name}/report.html" for name in names if (folder / name / "report.html").exists()},
        counted={status: sum(run.status == status for run in table.runs) for status in _COUNTED},
        nothing=Estimate(math.nan, reason="no report"),
    )  # fmt: skip


def markdown(table: SweepTable) -> str:
    """The table for an issue or a paper."""
    metrics = columns(table)
    heads = ["run", *table.swept, f"best {table.monitor}"]
    heads += [f"{partition} {metric_name(metric)}" for partition, metric in metrics]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for run in table.runs:
        cells = [run.name, *(run.settings.get(name, "") for name in table.swept), _score(run)]
        cells += [_cell(run.estimates.get(key)) for key in metrics]
        lines.append("| " + " | ".join(cells) + " |")
    return f"# {table.title}\n\n" + "\n".join(lines) + "\n"


def columns(table: SweepTable) -> list[tuple[str, str]]:
    """(partition, metric) pairs that are shown: the leading one on validation, all on test."""
    found: dict[Any, None] = dict.fromkeys(key for run in table.runs for key in run.estimates)
    shown = [key for key in found if key[0] == "test" or key[1] == table.leading]
    return sorted(shown, key=lambda key: (key[0] != "val", shown.index(key)))


def _score(run: SweepRun) -> str:
    return number_text(run.score) if run.status in ("finished", "pruned") else run.status


def _cell(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return EN_DASH
    span = "" if math.isnan(estimate.low) else f" ({interval_text(estimate)})"
    return f"{number_text(estimate.value)}{span}"
