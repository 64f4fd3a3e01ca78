"""Bootstraps as they are usually written: draw, put the rows together again, and let scikit-learn sort them anew."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from lungdet.metrics.froc_bootstrap import CURVE_FPS, Findings

FloatArray = npt.NDArray[np.float64]


class PlainFroc:
    """The FROC curve of resampled series, as the challenge's script does it.

    Args:
        findings: what matching left of a submission; the baseline is given them for nothing.
    """

    def __init__(self, findings: Findings) -> None:
        series = np.concatenate([findings.nodule_series, findings.false_series])
        label = np.repeat([1.0, 0.0], [len(findings.nodule_series), len(findings.false_series)])
        score = np.concatenate([findings.nodule_score, findings.false_score])
        self.n_series = findings.n_series
        order = np.argsort(series, kind="stable")
        ends = np.cumsum(np.bincount(series, minlength=self.n_series))[:-1]
        self._rows = np.split(np.stack([label, score])[:, order], ends, axis=1)

    def sensitivity(self, drawn: npt.NDArray[np.integer]) -> FloatArray:
        """Over `CURVE_FPS` when these series (with repetitions) are the collection."""
        label, score = np.concatenate([self._rows[number] for number in drawn], axis=1)
        n_nodules, kept = label.sum(), ~np.isnan(score)
        label, score = label[kept], score[kept]
        fpr, tpr, _ = roc_curve(label, score)
        n_found = label.sum()
        curve: FloatArray = np.interp(
            CURVE_FPS, fpr * (len(label) - n_found) / self.n_series, tpr * n_found / n_nodules
        )
        return curve


class PlainAreas:
    """AUROC and average precision of resampled patients.

    Args:
        label: {0, 1} [N].
        logit: float [N].
        patient: int [N], 0 to the number of patients - 1.
    """

    def __init__(self, label: npt.NDArray[np.integer], logit: FloatArray, patient: npt.NDArray[np.integer]) -> None:
        self._label, self._logit = label, logit
        order = np.argsort(patient, kind="stable")
        self._rows = np.split(order, np.cumsum(np.bincount(patient))[:-1])

    def areas(self, drawn: npt.NDArray[np.integer]) -> tuple[float, float]:
        """When these patients (with repetitions) are the collection; NaN where they have rows of one class only."""
        rows = np.concatenate([self._rows[number] for number in drawn])
        label, logit = self._label[rows], self._logit[rows]
        if label.min() == label.max():
            return math.nan, math.nan
        return float(roc_auc_score(label, logit)), float(average_precision_score(label, logit))
