"""The test candidates of a run as the marks of a detector: what the challenge's FROC is computed from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from lungdet.errors import TableError
from lungdet.evaluation.calibration import read_calibration
from lungdet.evaluation.predictions import read_predictions

_CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]


def marks_of_run(folder: Path) -> pd.DataFrame:
    """Marks of a run directory, or of a cross-validation, whose folds test every series once.

    The score is the logit. Networks of several folds have scales of their own, so theirs are calibrated, each by its
    fold's validation rows (calibration.json): the curve mixes the marks of all folds.

    Args:
        folder: holds predictions.parquet.

    Returns:
        series_uid (str), center_x_mm, center_y_mm, center_z_mm, probability (float64, a logit): one row a test
        candidate, in the order of the table.

    Raises:
        MissingFileError: no predictions, or several folds without calibration.json.
        TableError: a run of other classes, a table of something else or without test rows; a fold without a calibrator.
    """
    provenance = folder / "provenance.json"
    classes = json.loads(provenance.read_text(encoding="utf-8")).get("classes") if provenance.is_file() else None
    if classes and classes[-1] != "nodule":
        raise TableError(f"{folder}: its classes are {', '.join(classes)}; a FROC takes a run that finds nodules")
    table = read_predictions(folder / "predictions.parquet")
    table = table[table["partition"] == "test"].reset_index(drop=True)
    if table.empty:
        raise TableError(f"{folder}: no test candidates in its predictions; a FROC takes a run that has a test part")
    if len(table["fold"].unique()) > 1:
        score = read_calibration(folder / "calibration.json").logits(table)
    else:
        score = table["logit"].to_numpy(dtype=np.float64)
    return table[["series_uid", *_CENTER]].assign(probability=score)
