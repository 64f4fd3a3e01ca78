"""Compare runs on the same test rows: a table with intervals, paired differences, verdicts, curves, settings."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.comparison.results import ComparisonReport
    from lungdet.comparison.runs import ComparedRun
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

_LONGEST_NAME = 120


def run(cfg: DictConfig) -> None:
    """Find the runs, compare them, write the files, say the verdicts.

    Raises:
        ConfigError: fewer than two runs, or names that do not fit.
        RunError: a run that is not there or has no predictions.
        TableError: runs of different tasks, or evaluated on different rows.
    """
    from lungdet.comparison.files import write_comparison
    from lungdet.comparison.runs import run_names
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="compare")
    folders = [_folder(str(name), cfg) for name in cfg.runs]
    names = run_names(folders, None if cfg.names is None else list(cfg.names))
    report = compare(dict(zip(names, folders, strict=True)), cfg.evaluation)
    write_comparison(report, Path(cfg.out) if cfg.out else Path(cfg.paths.root).resolve() / default_folder(names))
    for pair in report.pairs:
        log.info("%s", pair.verdict.text)
    for finding in report.findings:
        log.log(logging.WARNING if finding.kind == "warning" else logging.INFO, "%s", finding.text)


def compare(folders: dict[str, Path], evaluation: DictConfig) -> ComparisonReport:
    """The comparison of runs of one kind.

    Args:
        folders: name -> run directory or detection folder.
        evaluation: `n_resamples`, `seed`, `recalls`, `n_gallery`.
    """
    from lungdet.comparison.classification import compare_classification
    from lungdet.comparison.masks import compare_masks
    from lungdet.evaluation.wording import wording_of
    from lungdet.training.run_directory import RunDirectory

    kinds = {name: _kind(folder) for name, folder in folders.items()}
    if len(set(kinds.values())) > 1:
        raise TableError(
            "these runs are of different kinds: "
            + ", ".join(f"{name} is {kind}" for name, kind in kinds.items())
            + ". Compare runs of one kind"
        )
    kind = next(iter(kinds.values()))
    if kind == _DETECTION:
        from lungdet.cli.detection_comparison import compare_detection_folders

        return compare_detection_folders(folders, n_bootstraps=evaluation.n_resamples, seed=evaluation.seed)
    directories = {name: RunDirectory(folder) for name, folder in folders.items()}
    runs = [read_run(name, directory) for name, directory in directories.items()]
    if kind == _SEGMENTATION:
        return compare_masks(runs, n_resamples=evaluation.n_resamples, seed=evaluation.seed)
    load_pictures, reason = _pictures(directories)
    return compare_classification(
        runs,
        wording=wording_of(runs[0].provenance),
        load_pictures=load_pictures,
        no_pictures_because=reason,
        n_resamples=evaluation.n_resamples,
        seed=evaluation.seed,
        recalls=list(evaluation.recalls),
        n_disagreements=evaluation.n_gallery,
    )


def read_run(name: str, directory: RunDirectory) -> ComparedRun:
    """What a comparison takes of one training run.

    Args:
        name: what to call it.
        directory: holds predictions.parquet; provenance, configuration and history where they exist.
    """
    import pandas as pd

    from lungdet.comparison.runs import ComparedRun

    settings: Any = OmegaConf.to_container(OmegaConf.load(directory.config)) if directory.config.is_file() else {}
    return ComparedRun(
        name,
        _predictions(directory),
        provenance=directory.read_provenance(),
        settings=settings,
        history=pd.read_csv(directory.history) if directory.history.is_file() else None,
    )


def default_folder(names: tuple[str, ...]) -> Path:
    """`comparisons/a_b_c`; of many long names the first, and a hash of all.

    Example:
        >>> default_folder(("a", "sweep/b")).as_posix()
        'comparisons/a_sweep-b'
    """
    joined = "_".join(name.replace("/", "-") for name in names)
    if len(joined) > _LONGEST_NAME:
        digest = hashlib.sha256(joined.encode()).hexdigest()[:8]
        joined = f"{joined[: _LONGEST_NAME // 2]}_and_{len(names) - 1}_more_{digest}"
    return Path("comparisons") / joined


_DETECTION, _SEGMENTATION, _CLASSIFICATION = "a lungdet detect folder", "a segmentation run", "a classification run"


def _folder(name: str, cfg: DictConfig) -> Path:
    from lungdet.cli.eval import detection_run
    from lungdet.training.run_directory import find_run

    detections = detection_run(name, Path(cfg.paths.root))
    if detections is not None:
        return detections.resolve()
    return find_run(name, Path(cfg.paths.runs), holding="predictions.parquet").path.resolve()


def _kind(folder: Path) -> str:
    from lungdet.cli.scan_results import SETTINGS
    from lungdet.evaluation.mask_predictions import holds_masks
    from lungdet.training.run_directory import RunDirectory

    if (folder / SETTINGS).is_file():
        return _DETECTION
    return _SEGMENTATION if holds_masks(RunDirectory(folder).predictions) else _CLASSIFICATION


def _predictions(directory: RunDirectory) -> pd.DataFrame:
    from lungdet.evaluation.mask_predictions import holds_masks, read_mask_predictions
    from lungdet.evaluation.predictions import read_predictions

    read = read_mask_predictions if holds_masks(directory.predictions) else read_predictions
    return read(directory.predictions)


def _pictures(directories: dict[str, RunDirectory]) -> tuple[Any, str]:
    """Where pictures come from: the first run whose data are still there; else None, and why the first has none."""
    from lungdet.cli.eval import open_data, picture_loader

    reasons = []
    for directory in directories.values():
        datamodule, reason = open_data(directory)
        if datamodule is not None:
            return picture_loader(datamodule), ""
        reasons.append(reason)
    return None, reasons[0].rstrip(".")


def main() -> None:
    """Entry point of `lungdet compare`."""
    launch("compare", run)


if __name__ == "__main__":
    main()
