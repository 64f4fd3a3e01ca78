"""Compares a detection run with annotations: the challenge's FROC over the searched scans, and the patient's answer."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lungdet.cli.scan_results import PATIENTS, SERIES, TABLE
from lungdet.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
_SPOKEN = {"nodule": "nodule", "malignancy": "malignant nodule"}


def evaluate_detections(
    folder: Path, *, annotations: Path, excluded: Path | None, n_bootstraps: int, seed: int
) -> dict[str, Any]:
    """Write froc/ and patients.json of a detection run, from its tables alone.

    The denominator is the scans that were searched: seriesuids.csv of the run.

    Args:
        folder: a detection run.
        annotations: annotated nodules, in the challenge's format.
        excluded: irrelevant findings; None for none.
        n_bootstraps: resamples behind each interval.
        seed: of the resampling.

    Returns:
        The content of froc.json.

    Raises:
        RunError: not a detection run.
        TableError: a table that cannot be read.
    """
    import pandas as pd

    from lungdet.evaluation.froc_report import froc_record, write_froc
    from lungdet.evaluation.patients import describe_answer, evaluate_patients
    from lungdet.io.luna16_tables import read_excluded, read_seriesuids
    from lungdet.metrics.froc import evaluate_froc

    if not (folder / SERIES).is_file() or not (folder / TABLE).is_file():
        raise RunError(f"{folder} is no detection run: it has no {SERIES} or no {TABLE}")
    uids = read_seriesuids(folder / SERIES)
    marks = pd.read_parquet(folder / TABLE)
    nodules = read_excluded(annotations)
    irrelevant = pd.DataFrame(nodules.iloc[:0]) if excluded is None else read_excluded(excluded)
    result = evaluate_froc(nodules, irrelevant, uids, marks, n_bootstraps=n_bootstraps, seed=seed)
    provenance = {"annotations": annotations.name, "excluded": None if excluded is None else excluded.name}
    write_froc(result, folder / "froc", name="detections", provenance=provenance)
    record = froc_record(result, name="detections", provenance=provenance)
    settings = {
        "annotations": str(annotations.resolve()),
        "excluded": None if excluded is None else str(excluded.resolve()),
        "n_bootstraps": n_bootstraps,
        "seed": seed,
    }
    (folder / EVALUATION).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    patients = pd.read_csv(folder / PATIENTS, dtype={"series_uid": str})
    answers = evaluate_patients(patients, rated_nodules(annotations, nodules), n_resamples=n_bootstraps, seed=seed)
    (folder / "patients.json").write_text(json.dumps(answers, indent=2) + "\n", encoding="utf-8")
    bounds = (record["bootstrap"] or {}).get("cpm")
    interval = (
        f" (95 % interval {bounds['low']:.3f} to {bounds['high']:.3f})" if bounds and bounds["low"] is not None else ""
    )
    cpm = float("nan") if record["cpm"] is None else record["cpm"]
    log.info("CPM %.3f%s over %d scans, %d nodules", cpm, interval, len(uids), record["denominator"]["n_nodules"])
    for question, answer in answers.items():
        log.info("AUROC of the scan score for a scan with a %s: %s", _SPOKEN[question], describe_answer(answer))
    return record


def rated_nodules(path: Path, nodules: pd.DataFrame) -> pd.DataFrame:
    """The nodules with malignancy where the file, or the one beside it, has the readers' ratings."""
    from lungdet.io.luna16_tables import read_malignancy

    for candidate in (path, path.with_name("annotations_with_malignancy.csv")):
        if candidate.is_file() and "mal_details" in candidate.open(encoding="utf-8-sig").readline():
            return read_malignancy(candidate)
    return nodules


def evaluate_again(folder: Path) -> None:
    """Repeat the evaluation of a detection run with the settings it was made with.

    Raises:
        RunError: it was never compared with annotations.
    """
    path = folder / EVALUATION
    if not path.is_file():
        raise RunError(
            f"{folder} was never compared with annotations; type lungdet detect input=... out={folder} annotations=..."
        )
    settings = json.loads(path.read_text(encoding="utf-8"))
    excluded = settings["excluded"]
    evaluate_detections(
        folder,
        annotations=Path(settings["annotations"]),
        excluded=None if excluded is None else Path(excluded),
        n_bootstraps=settings["n_bootstraps"],
        seed=settings["seed"],
    )
