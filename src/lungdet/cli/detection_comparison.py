"""Reads folders of `lungdet detect` that were compared with annotations, for `lungdet compare`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lungdet.errors import RunError

if TYPE_CHECKING:
    from lungdet.comparison.results import ComparisonReport
    from lungdet.metrics.froc import FrocResult


def compare_detection_folders(folders: Mapping[str, Path], *, n_bootstraps: int, seed: int) -> ComparisonReport:
    """Score each folder against its annotations again, all on the same drawn scans, and compare.

    Args:
        folders: name -> detection run.
        n_bootstraps: resamples of scans.
        seed: of the resampling.

    Raises:
        RunError: a run that was never compared with annotations.
        TableError: other scans, or other annotations.
    """
    from lungdet.cli.scan_results import SETTINGS
    from lungdet.comparison.detections import compare_detections

    results = {name: _evaluated(name, folder, n_bootstraps=n_bootstraps, seed=seed) for name, folder in folders.items()}
    settings = [json.loads((folder / SETTINGS).read_text(encoding="utf-8")) for folder in folders.values()]
    return compare_detections(results, settings=settings)


def _evaluated(name: str, folder: Path, *, n_bootstraps: int, seed: int) -> FrocResult:
    import pandas as pd

    from lungdet.cli.detection_evaluation import EVALUATION, read_truth
    from lungdet.cli.scan_results import SERIES, TABLE
    from lungdet.io.luna16_tables import read_seriesuids
    from lungdet.metrics.froc import evaluate_froc

    path = folder / EVALUATION
    if not path.is_file():
        raise RunError(
            f"{name} ({folder}) was never compared with annotations, so there is nothing to compare it by; type "
            f"lungdet detect input=... out={folder} annotations=..."
        )
    known = json.loads(path.read_text(encoding="utf-8"))
    truth = read_truth(Path(known["annotations"]), None if known["excluded"] is None else Path(known["excluded"]))
    # In one order everywhere, so that the same draw is the same scans.
    uids = tuple(sorted(read_seriesuids(folder / SERIES)))
    marks = pd.read_parquet(folder / TABLE)
    return evaluate_froc(truth.nodules, truth.irrelevant, uids, marks, n_bootstraps=n_bootstraps, seed=seed)
