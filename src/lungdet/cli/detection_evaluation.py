"""Compares a detection run with annotations: the challenge's FROC over the searched scans, and the patient's answer."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lungdet.cli.scan_results import PATIENTS, SERIES, TABLE
from lungdet.errors import RunError

if TYPE_CHECKING:
    import numpy.typing as npt

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
ANSWERS = "patients.json"
_RATED = "annotations_with_malignancy.csv"
_SPOKEN = {"nodule": "nodule", "malignancy": "malignant nodule"}
_CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]
# In the challenge's files the same nodule has the same centre to 1e-9 mm; another one is a nodule's size away.
_SAME_MM = 1.0
# What the challenge takes a diameter of -1, unknown, for.
_UNKNOWN_DIAMETER_MM = 10.0


@dataclass(frozen=True)
class Truth:
    """Annotated nodules and what goes with them, read.

    Attributes:
        annotations: the file.
        excluded: the file of irrelevant findings; None for none.
        nodules: of `annotations`: series_uid, center_x_mm, center_y_mm, center_z_mm, diameter_mm, and is_malignant
            (True, False, or None where readers left no rating) where ratings are known at all.
        irrelevant: of `excluded`, without is_malignant.
    """

    annotations: Path
    excluded: Path | None
    nodules: pd.DataFrame
    irrelevant: pd.DataFrame

    def of_scan(self, series_uid: str) -> pd.DataFrame:
        """The nodules of one scan as its report takes them: ratings only where every nodule has one."""
        nodules = self.nodules[self.nodules["series_uid"] == series_uid].reset_index(drop=True)
        diameter = nodules["diameter_mm"].where(nodules["diameter_mm"] >= 0, _UNKNOWN_DIAMETER_MM)
        nodules = nodules.assign(diameter_mm=diameter)
        if "is_malignant" in nodules and nodules["is_malignant"].isna().any():
            return nodules.drop(columns="is_malignant")
        return nodules


def read_truth(annotations: Path, excluded: Path | None) -> Truth:
    """Read what detections are compared with; ratings from the same file, or from the one beside it that LUNA16 has.

    Raises:
        MissingFileError: no such file.
        TableError: a wrong column or value, with its line.
    """
    from lungdet.io.luna16_tables import read_excluded, read_malignancy

    # Read as the excluded ones are, because the challenge's rules also have an answer to diameters of 0 and -1.
    nodules = read_excluded(annotations)
    irrelevant = nodules.iloc[:0].copy() if excluded is None else read_excluded(excluded)
    for file in (annotations, annotations.with_name(_RATED)):
        if _has_ratings(file):
            rated = read_malignancy(file)
            nodules = nodules.assign(is_malignant=_ratings(nodules, rated))
            n_rated = int(nodules["is_malignant"].notna().sum())
            log.info("%d of %d annotated nodules have a malignancy rating (%s)", n_rated, len(nodules), file.name)
            break
    return Truth(annotations, excluded, nodules, irrelevant)


def _has_ratings(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open(encoding="utf-8-sig") as lines:
        return "mal_details" in lines.readline()


def _ratings(nodules: pd.DataFrame, rated: pd.DataFrame) -> npt.NDArray[np.object_]:
    """For each nodule whether the rated one at the same place is malignant; None where there is none: object [N]."""
    ratings = np.full(len(nodules), None, dtype=object)
    of_series = dict(iter(rated.groupby("series_uid", sort=False)))
    for row, (uid, center) in enumerate(zip(nodules["series_uid"], nodules[_CENTER].to_numpy(), strict=True)):
        if uid in of_series:
            distance = np.linalg.norm(of_series[uid][_CENTER].to_numpy() - center, axis=1)
            if distance.min() < _SAME_MM:
                ratings[row] = bool(of_series[uid]["is_malignant"].iloc[int(distance.argmin())])
    return ratings


def evaluate_detections(folder: Path, truth: Truth, *, n_bootstraps: int, seed: int) -> dict[str, Any]:
    """Write froc/ and patients.json of a detection run, from its tables alone.

    The denominator is the scans that were searched: seriesuids.csv of the run.

    Args:
        folder: a detection run.
        truth: what to compare with.
        n_bootstraps: resamples behind each interval.
        seed: of the resampling.

    Returns:
        The content of froc.json.

    Raises:
        RunError: not a detection run.
        TableError: a table that cannot be read.
    """
    from lungdet.evaluation.froc_report import froc_record, write_froc
    from lungdet.evaluation.patients import describe_answer, evaluate_patients
    from lungdet.io.luna16_tables import read_seriesuids
    from lungdet.metrics.froc import evaluate_froc

    absent = [name for name in (SERIES, TABLE, PATIENTS) if not (folder / name).is_file()]
    if absent:
        raise RunError(f"{folder} is no finished detection run: it has no {absent[0]}; repeat its lungdet detect")
    uids = read_seriesuids(folder / SERIES)
    marks = pd.read_parquet(folder / TABLE)
    result = evaluate_froc(truth.nodules, truth.irrelevant, uids, marks, n_bootstraps=n_bootstraps, seed=seed)
    provenance = _provenance(truth)
    write_froc(result, folder / "froc", name="detections", provenance=provenance)
    record = froc_record(result, name="detections", provenance=provenance)
    patients = pd.read_csv(folder / PATIENTS, dtype={"series_uid": str})
    answers = evaluate_patients(patients, truth.nodules, n_resamples=n_bootstraps, seed=seed)
    _write_json(folder / ANSWERS, answers)
    excluded = None if truth.excluded is None else str(truth.excluded.resolve())
    settings = {"annotations": str(truth.annotations.resolve()), "excluded": excluded}
    _write_json(folder / EVALUATION, {**settings, "n_bootstraps": n_bootstraps, "seed": seed})
    bounds = (record["bootstrap"] or {}).get("cpm")
    interval = (
        f" (95 % interval {bounds['low']:.3f} to {bounds['high']:.3f})" if bounds and bounds["low"] is not None else ""
    )
    cpm = float("nan") if record["cpm"] is None else record["cpm"]
    log.info("CPM %.3f%s over %d scans, %d nodules", cpm, interval, len(uids), record["denominator"]["n_nodules"])
    for question, answer in answers.items():
        log.info("AUROC of the scan score for a scan with a %s: %s", _SPOKEN[question], describe_answer(answer))
    return record


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
    log.info("as detected: n_bootstraps=%d seed=%d", settings["n_bootstraps"], settings["seed"])
    excluded = settings["excluded"]
    truth = read_truth(Path(settings["annotations"]), None if excluded is None else Path(excluded))
    evaluate_detections(folder, truth, n_bootstraps=settings["n_bootstraps"], seed=settings["seed"])


def _provenance(truth: Truth) -> dict[str, Any]:
    """Version, and name and SHA-256 of every file read."""
    from lungdet import __version__

    record: dict[str, Any] = {"lungdet": __version__}
    for key, path in (("annotations", truth.annotations), ("excluded", truth.excluded)):
        if path is not None:
            record[key] = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return record


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
