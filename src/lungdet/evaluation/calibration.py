"""The calibration of a run: fitted on its validation rows, kept as calibration.json, applied to every table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import MissingFileError, TableError
from lungdet.metrics.calibrators import CalibrationMethod, Calibrator, calibrator_from_dict, fit_calibrator

FITTED_ON = "val"


@dataclass(frozen=True)
class CalibrationFit:
    """The calibrator of one fold.

    Attributes:
        fold: whose network.
        n_rows, n_positives: validation rows it was fitted on.
        calibrator: None where none could be fitted.
        reason: why not; empty where it was.
    """

    fold: int
    n_rows: int
    n_positives: int
    calibrator: Calibrator | None
    reason: str = ""


@dataclass(frozen=True)
class RunCalibration:
    """How the logits of a run become probabilities, and what that was fitted on.

    Each fold has its own network, so each has its own calibrator, fitted on that fold's validation rows: out-of-fold
    probabilities then share one scale, and no test patient of a fold has touched the calibrator it is judged with.

    Attributes:
        method: `temperature`, `platt` or `isotonic`.
        fits: one a fold, by rising fold.
        predictions_sha256: of the file whose validation rows were used; None when it was no file.
        checkpoint: that made those predictions, relative to the run directory; None when unknown.
    """

    method: CalibrationMethod
    fits: tuple[CalibrationFit, ...]
    predictions_sha256: str | None = None
    checkpoint: str | None = None

    @property
    def missing(self) -> str:
        """Why rows cannot be calibrated, naming the folds; empty when every fold has a calibrator."""
        lacking = [fit for fit in self.fits if fit.calibrator is None]
        if not lacking:
            return "" if self.fits else "there are no rows"
        if len(self.fits) == 1:
            return lacking[0].reason
        return "; ".join(f"fold {fit.fold}: {fit.reason}" for fit in lacking)

    @property
    def single(self) -> Calibrator | None:
        """The calibrator of a run with one network; None for several folds, and where none could be fitted."""
        return self.fits[0].calibrator if len(self.fits) == 1 else None

    def logits(self, table: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Calibrated logits of a predictions table.

        Args:
            table: columns fold and logit.

        Returns:
            float64 [N], finite; their sigmoid is the calibrated probability.

        Raises:
            TableError: a fold without a calibrator.
        """
        calibrators = {fit.fold: fit.calibrator for fit in self.fits}
        logit, fold = table["logit"].to_numpy(dtype=np.float64), table["fold"].to_numpy()
        result = np.empty(len(table))
        for name in np.unique(fold):
            calibrator = calibrators.get(int(name))
            if calibrator is None:
                why = self.missing or f"there are those of folds {sorted(calibrators)}"
                raise TableError(f"fold {name} has no calibrator ({why}); fit them again: lungdet eval")
            here = fold == name
            result[here] = calibrator.logit(logit[here])
        return result

    def to_dict(self) -> dict[str, Any]:
        """The content of calibration.json."""
        return {
            "method": self.method,
            "fitted_on": FITTED_ON,
            "fits": [
                {
                    "fold": fit.fold,
                    "n_rows": fit.n_rows,
                    "n_positives": fit.n_positives,
                    "parameters": None if fit.calibrator is None else fit.calibrator.to_dict(),
                    "not_fitted_because": fit.reason,
                }
                for fit in self.fits
            ],
            "predictions_sha256": self.predictions_sha256,
            "checkpoint": self.checkpoint,
        }


def fit_calibration(
    table: pd.DataFrame,
    method: CalibrationMethod,
    *,
    predictions_sha256: str | None = None,
    checkpoint: str | None = None,
) -> RunCalibration:
    """Fit one calibrator a fold on its validation rows; test rows are not looked at.

    Args:
        table: see `lungdet.evaluation.predictions.check_predictions`.
        method: see `fit_calibrator`.
        predictions_sha256: for the record.
        checkpoint: for the record.
    """
    fits = []
    for fold in sorted(int(f) for f in table["fold"].unique()):
        rows = table[(table["fold"] == fold) & (table["partition"] == FITTED_ON)]
        calibrator, reason = None, ""
        try:
            calibrator = fit_calibrator(method, rows["logit"].to_numpy(), rows["label"].to_numpy())
        except TableError as error:
            reason = str(error)
        fits.append(CalibrationFit(fold, len(rows), int(rows["label"].sum()), calibrator, reason))
    return RunCalibration(method, tuple(fits), predictions_sha256, checkpoint)


def read_calibration(path: Path) -> RunCalibration:
    """Read calibration.json.

    Raises:
        MissingFileError: there is no such file.
        TableError: not JSON, or not a calibration.
    """
    if not path.is_file():
        raise MissingFileError(f"no calibration at {path}; fit one: lungdet eval run={path.parent.name}")
    try:
        return calibration_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(f"{path} is no calibration ({error}); fit it again: lungdet eval") from error


def calibration_from_dict(record: Mapping[str, Any]) -> RunCalibration:
    """What `RunCalibration.to_dict` wrote.

    Raises:
        KeyError, TypeError: a part is missing or of another type.
        TableError: parameters that are no calibrator.
    """
    fits = tuple(
        CalibrationFit(
            int(fit["fold"]),
            int(fit["n_rows"]),
            int(fit["n_positives"]),
            None if fit["parameters"] is None else calibrator_from_dict(fit["parameters"]),
            str(fit["not_fitted_because"]),
        )
        for fit in record["fits"]
    )
    return RunCalibration(record["method"], fits, record["predictions_sha256"], record["checkpoint"])
