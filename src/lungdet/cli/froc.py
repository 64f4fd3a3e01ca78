"""Score a detector's marks by the rules of the LUNA16 challenge: FROC curve, CPM, bootstrap, by nodule size."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, TableError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.metrics.froc import FrocResult

log = logging.getLogger(__name__)

_SERIES_NAMED = 5
_CHALLENGE = "it comes with the challenge's evaluation script"
_FILES = {
    "annotations": _CHALLENGE,
    "excluded": f"{_CHALLENGE}; excluded=null excludes nothing",
    "seriesuids": f"{_CHALLENGE}: one series a line, all that were searched",
    "submission": "a CSV with seriesuid,coordX,coordY,coordZ,probability, or a run directory",
    "submission_b": "a CSV with seriesuid,coordX,coordY,coordZ,probability, or a run directory",
}


def run(cfg: DictConfig) -> None:
    """Read the tables, evaluate, write the files, say the result.

    Raises:
        ConfigError: two submissions of one name, or to be compared without resamples.
        TableError: a table that cannot be used, or a submission with marks in series that are not listed.
    """
    import pandas as pd

    from lungdet.config import check_config
    from lungdet.evaluation.froc_report import Rival, denominator_statement, write_froc
    from lungdet.evaluation.run_marks import marks_of_run
    from lungdet.io.luna16_tables import read_excluded, read_marks, read_seriesuids
    from lungdet.metrics.froc import compare_froc, evaluate_froc

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="froc")
    name, name_b = _names(cfg)
    seriesuids = read_seriesuids(cfg.seriesuids)
    # Read as the excluded ones are, because the rules also have an answer to diameters of 0 and -1.
    annotations = read_excluded(cfg.annotations)
    excluded = pd.DataFrame(annotations.iloc[:0]) if cfg.excluded is None else read_excluded(cfg.excluded)

    def evaluate(path: str, key: str) -> FrocResult:
        marks = marks_of_run(Path(path)) if Path(path).is_dir() else read_marks(path)
        _check_foreign(marks, seriesuids, key=key, allowed=cfg.allow_foreign_series)
        return evaluate_froc(
            annotations,
            excluded,
            seriesuids,
            marks,
            n_bootstraps=cfg.n_bootstraps,
            seed=cfg.seed,
            max_marks=cfg.max_marks,
        )

    result = evaluate(cfg.submission, "submission")
    rival = None
    if name_b is not None:
        second = evaluate(cfg.submission_b, "submission_b")
        rival = Rival(name_b, second, compare_froc(result, second))
    written = write_froc(result, cfg.out, name=name, rival=rival, provenance=_provenance(cfg))
    _say(name, result)
    log.info("denominator: %s", denominator_statement(result))
    if rival is not None:
        _say(rival.name, rival.result)
        log.info(
            "CPM of %s minus CPM of %s: %+.4f (95 %% interval %+.4f to %+.4f, the same series drawn for both)",
            rival.name,
            name,
            rival.difference.difference,
            rival.difference.low,
            rival.difference.high,
        )
    log.info("report: %s", written.html)


def _names(cfg: DictConfig) -> tuple[str, str | None]:
    """What the submissions are called in files and log: as told, else as their files; with that, what is not there."""
    problems = [
        f"{key}: {cfg[key]}: no such {'file or run' if 'submission' in key else 'file'}; {where}"
        for key, where in _FILES.items()
        if cfg[key] is not None and not Path(cfg[key]).exists()
    ]
    name = str(cfg.name or Path(cfg.submission).stem)
    name_b = None
    if cfg.submission_b is not None:
        name_b = str(cfg.name_b or Path(cfg.submission_b).stem)
        if name_b == name:
            problems.append(f"name_b: both submissions are called '{name}'; tell them apart with name=... name_b=...")
        if cfg.n_bootstraps < 1:
            problems.append(f"n_bootstraps: {cfg.n_bootstraps}; comparing two submissions takes resamples, e.g. 1000")
    elif cfg.name_b is not None:
        problems.append("name_b: there is no second submission; add submission_b=...")
    problems += [f"name: '{n}' is part of file names; leave out '/'" for n in (name, name_b) if n and "/" in n]
    if problems:
        raise ConfigError(problems)
    return name, name_b


def _check_foreign(marks: pd.DataFrame, seriesuids: tuple[str, ...], *, key: str, allowed: bool) -> None:
    from lungdet.metrics.froc_tables import foreign_series

    foreign = foreign_series(marks, seriesuids)
    if not foreign:
        return
    named = ", ".join(foreign[:_SERIES_NAMED]) + (", ..." if len(foreign) > _SERIES_NAMED else "")
    what = (
        f"{key}: marks in {len(foreign)} series that seriesuids does not list ({named}), "
        f"beside {marks['series_uid'].nunique() - len(foreign)} that it lists"
    )
    if not allowed:
        raise TableError(
            f"{what}; list every series that was searched, or add allow_foreign_series=true to ignore those marks"
        )
    log.warning("%s; those marks are ignored", what)


def _provenance(cfg: DictConfig) -> dict[str, Any]:
    """Version, and name and SHA-256 of every file read."""
    from lungdet import __version__

    record: dict[str, Any] = {"lungdet": __version__}
    for key in ("annotations", "excluded", "seriesuids", "submission", "submission_b"):
        if cfg[key] is not None:
            given = Path(cfg[key])
            with (given / "predictions.parquet" if given.is_dir() else given).open("rb") as file:
                record[key] = {"file": given.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    return record


def _say(name: str, result: FrocResult) -> None:
    from lungdet.metrics.froc_bootstrap import interval

    bounds = ""
    if result.bootstrap is not None:
        _, low, high = interval(result.bootstrap.cpm_samples())
        bounds = f" (95 % interval {low:.4f} to {high:.4f})"
    rates = ", ".join(f"{value:.3f} at {rate:g}" for rate, value in result.sensitivity_at.items())
    log.info("%s: CPM %.4f%s; sensitivity %s FP per scan", name, result.cpm, bounds, rates)


def main() -> None:
    """Entry point of `lungdet froc`."""
    launch("froc", run)


if __name__ == "__main__":
    main()
