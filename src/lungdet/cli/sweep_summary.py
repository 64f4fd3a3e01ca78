"""What a sweep leaves besides its runs: a table, a page with figures, and the reasons of the jobs that failed."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lungdet.errors import LungdetError

if TYPE_CHECKING:
    from lungdet.evaluation.estimates import Estimate
    from lungdet.sweeps.table import SweepRun, SweepTable

log = logging.getLogger(__name__)

# Beside a failed job's log: why it failed. A job may run in another process or on another machine.
FAILURE = "failure.txt"

# Overrides that say where runs go or how they are shown, not what they are.
_NOT_SETTINGS = ("paths.", "hydra", "ckpt_path", "trainer.enable_progress_bar", "callbacks.progress", "logger")

# Job -> what it failed with, of the last multirun of this process, for its exit code.
failures: dict[str, str] = {}


class SummariseSweep(Callback):
    """Hydra's callback of `conf/hydra/default.yaml`: after the last job of a multirun, write the sweep's table."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write sweep.csv, sweep.json, sweep.md and sweep.html, and remember what failed."""
        folder = Path(str(config.hydra.sweep.dir)).resolve()
        jobs = sorted((p for p in folder.glob("*") if (p / ".hydra").is_dir()), key=_by_number)
        failures.update({job.name: (job / FAILURE).read_text().strip() for job in jobs if (job / FAILURE).is_file()})
        try:
            table = summarise(jobs, title=folder.name)
        except LungdetError as error:
            log.warning("no table of this sweep: %s", error)
            return
        from lungdet.sweeps.page import write_sweep

        log_best(table)
        write_sweep(table, folder)


def summarise(jobs: Sequence[Path], *, title: str, status: Mapping[str, str] | None = None) -> SweepTable:
    """The table of the runs in these directories.

    Args:
        jobs: run directories, finished or not.
        title: of the table.
        status: run name -> status, where it is known better than the files say.
    """
    from lungdet.sweeps.table import sweep_table
    from lungdet.training.run_directory import RunDirectory

    monitor, mode = "val/auroc", "max"
    for job in jobs:
        config = RunDirectory(job).config
        node = OmegaConf.select(OmegaConf.load(config), "callbacks.checkpoint") if config.is_file() else None
        if node is not None:
            monitor, mode = str(node.monitor), str(node.mode)
    runs = [read_run(job, monitor=monitor, mode=mode, status=(status or {}).get(job.name)) for job in jobs]
    metrics = {metric for run in runs for _, metric in run.estimates}
    leading = "dice" if "dice" in metrics else "auroc"
    return sweep_table(runs, title=title, monitor=monitor, mode="max" if mode == "max" else "min", leading=leading)


def read_run(job: Path, *, monitor: str, mode: str, status: str | None = None) -> SweepRun:
    """What the files of one run say about it.

    Args:
        job: its directory.
        monitor: the metric that runs are chosen by; taken from the history where the run did not finish.
        mode: whether its `max` or its `min` is best.
        status: where it is known better than the files say.
    """
    import pandas as pd

    from lungdet.sweeps.table import SweepRun
    from lungdet.training.run_directory import RunDirectory

    run = RunDirectory(job)
    failure = job / FAILURE
    found: Any = status or ("finished" if run.is_finished else "failed" if failure.is_file() else "unfinished")
    history = pd.read_csv(run.history) if run.history.is_file() else None
    score = run.best_score
    if math.isnan(score) and history is not None and monitor in history:
        score = float(history[monitor].max() if mode == "max" else history[monitor].min())
    report = json.loads(run.report.read_text()) if found == "finished" and run.report.is_file() else {}
    return SweepRun(
        name=job.name,
        settings=settings_of(job),
        status=found,
        reason=failure.read_text().strip().splitlines()[-1] if failure.is_file() else "",
        score=score,
        estimates=estimates_of(report),
        epochs=None if history is None else len(history),
        seconds=math.nan if history is None else float(history["seconds"].sum()),
    )


def settings_of(job: Path) -> dict[str, str]:
    """What was typed for a job, key -> value, without where it goes."""
    typed = job / ".hydra" / "overrides.yaml"
    words = OmegaConf.to_container(OmegaConf.load(typed)) if typed.is_file() else []
    pairs = (str(word).lstrip("+~").partition("=") for word in words if "=" in str(word))  # type: ignore[union-attr]
    return {key: value for key, _, value in pairs if not key.startswith(_NOT_SETTINGS)}


def estimates_of(report: Mapping[str, Any]) -> dict[tuple[str, str], Estimate]:
    """The leading estimates of a report of candidates, nodules or masks, by partition and metric."""
    from lungdet.evaluation.estimates import Estimate

    found: dict[tuple[str, str], Any] = {}
    for partition, ranking in report.get("ranking", {}).items():
        found |= {(partition, metric): ranking[metric] for metric in ("auroc", "average_precision")}
    for partition, scopes in report.get("results", {}).items():
        found[partition, "dice"] = scopes["whole_volume"]["at_half"]["dice"]

    def estimate(record: Mapping[str, Any]) -> Estimate:
        value, low, high = (math.nan if record[end] is None else record[end] for end in ("value", "low", "high"))
        return Estimate(value, low, high, record["reason"])

    return {key: estimate(record) for key, record in found.items() if record["value"] is not None}


def log_best(table: SweepTable) -> None:
    """Say which run is best, and how many there are."""
    best = table.best
    counted = f"{len(table.finished)} of {len(table.runs)} runs finished"
    if best is None:
        log.info("%s", counted)
        return
    settings = " ".join(f"{name}={best.settings[name]}" for name in table.swept if name in best.settings)
    log.info("%s; best %s %.4g: %s %s", counted, table.monitor, best.score, best.name, settings)


def note_failure(folder: Path, message: str) -> None:
    """Keep why a job failed beside its log, for whoever collects the sweep; an earlier reason is replaced."""
    if folder.is_dir():
        (folder / FAILURE).write_text(message + "\n")


def forget_failure(folder: Path) -> None:
    """A job that is tried again starts without the reason of its last failure."""
    (folder / FAILURE).unlink(missing_ok=True)


def _by_number(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdigit() else (-1, path.name)
