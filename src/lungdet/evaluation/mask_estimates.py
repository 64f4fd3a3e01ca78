"""Overlap and average precision of one partition with patient-bootstrap intervals, from histograms of logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.mask_predictions import HALF, N_BINS, stacked
from lungdet.evaluation.mask_results import OverlapEstimates, ScopeResult
from lungdet.evaluation.predictions import sigmoid
from lungdet.metrics.overlap import average_precision_bounds, average_precision_from_histogram

Floats = npt.NDArray[np.float64]

# Bins are equally wide in x / (8 + |x|), see `lungdet.metrics.segmentation.logit_histogram`.
_HALF_WAY = 8.0


def edge_logits() -> Floats:
    """Lower edge of each bin: float64 [64], from -inf; edge 32 is logit 0, that is probability 0.5."""
    share = np.arange(N_BINS) / HALF - 1
    with np.errstate(divide="ignore"):
        edges: Floats = _HALF_WAY * share / (1 - np.abs(share))
    return edges


class VoxelCounts:
    """Histograms of one partition and scope, summed per patient, and what follows from them.

    A threshold is an edge of the bins, 0 to 63: voxels of that bin and of those above are called. Counts at an edge are
    exact; only average precision is binned.

    Args:
        part: rows of one partition of a table of counted voxels.
        prefix: of the columns, one of `SCOPES`.
        draws: of the patients of these rows.
    """

    def __init__(self, part: pd.DataFrame, prefix: str, draws: PatientDraws) -> None:
        self.draws = draws
        self.positives = _by_patient(stacked(part, f"{prefix}positives"), draws)
        self.negatives = _by_patient(stacked(part, f"{prefix}negatives"), draws)
        self.not_a_number = int(part[f"{prefix}not_a_number"].sum())
        # float64 sums of whole numbers are exact up to 2^53.
        self._positive_samples: Floats = draws.weights @ self.positives
        self._negative_samples: Floats = draws.weights @ self.negatives

    @property
    def undefined(self) -> str:
        """Why nothing can be computed; empty when it can."""
        if self.not_a_number:
            return f"the network gave no number for {self.not_a_number:,} voxel{'' if self.not_a_number == 1 else 's'}"
        return "" if self.positives.sum() + self.negatives.sum() else "no voxels"

    def result(self) -> ScopeResult:
        """Everything at probability 0.5, and average precision."""
        positives, negatives = self.positives.sum(0), self.negatives.sum(0)
        total = int(positives.sum() + negatives.sum())
        bounds = (math.nan, math.nan) if self.undefined else average_precision_bounds(positives, negatives)
        return ScopeResult(
            voxels=total,
            nodule_voxels=int(positives.sum()),
            not_a_number=self.not_a_number,
            prevalence=float(positives.sum() / total) if total else math.nan,
            at_half=self.overlap_at(HALF),
            average_precision=self._estimate(
                average_precision_from_histogram(positives, negatives),
                _average_precisions(self._positive_samples, self._negative_samples),
                reason="no nodule voxels",
            ),
            average_precision_bounds=bounds,
        )

    def overlap_at(self, edge: int) -> OverlapEstimates:
        """Dice, precision, recall and F1 at a threshold."""
        tp, fp = (int(histogram[:, edge:].sum()) for histogram in (self.positives, self.negatives))
        fn, tn = (int(histogram[:, :edge].sum()) for histogram in (self.positives, self.negatives))
        tps, fps = self._positive_samples[:, edge:].sum(1), self._negative_samples[:, edge:].sum(1)
        all_positive = self._positive_samples.sum(1)
        dice = self._estimate(*self._dice(edge), reason="no nodule voxels, none called")
        return OverlapEstimates(
            tp=tp,
            fp=fp,
            fn=fn,
            tn=tn,
            dice=dice,
            precision=self._estimate(float(_ratios(tp, tp + fp)), _ratios(tps, tps + fps), reason="no voxel is called"),
            recall=self._estimate(float(_ratios(tp, tp + fn)), _ratios(tps, all_positive), reason="no nodule voxels"),
            f1=dice,
        )

    def dice_difference(self, edge: int, other: int) -> Estimate:
        """Dice at one threshold minus Dice at another, the same patients drawn for both."""
        (one, ones), (two, twos) = (self._dice(k) for k in (edge, other))
        return self._estimate(one - two, ones - twos, reason="no nodule voxels, none called")

    def best_edge(self) -> int:
        """The threshold with the largest Dice, the highest of equals; the lowest, which calls everything, is left out.

        Raises:
            ValueError: nothing to choose by: ask `undefined` and for nodule voxels first.
        """
        if self.undefined or not self.positives.sum():
            raise ValueError(self.undefined or "no nodule voxels")
        dice = self.curve()["dice"].to_numpy()
        return int(N_BINS - 1 - np.argmax(dice[:0:-1]))

    def curve(self) -> pd.DataFrame:
        """At each edge: logit, probability, tp, fp, fn, dice, precision, recall; no rows where nothing is defined."""
        tp, fp = (histogram.sum(0)[::-1].cumsum()[::-1] for histogram in (self.positives, self.negatives))
        fn = self.positives.sum() - tp
        logit = edge_logits()
        table = pd.DataFrame({"logit": logit, "probability": sigmoid(logit), "tp": tp, "fp": fp, "fn": fn})
        table = table.assign(
            dice=_ratios(2 * tp, 2 * tp + fp + fn), precision=_ratios(tp, tp + fp), recall=_ratios(tp, tp + fn)
        )
        return table.iloc[:0] if self.undefined else table

    def _dice(self, edge: int) -> tuple[float, Floats]:
        tp, fp = self.positives[:, edge:].sum(), self.negatives[:, edge:].sum()
        tps, fps = self._positive_samples[:, edge:].sum(1), self._negative_samples[:, edge:].sum(1)
        return (
            float(_ratios(2 * tp, tp + fp + self.positives.sum())),
            _ratios(2 * tps, tps + fps + self._positive_samples.sum(1)),
        )

    def _estimate(self, value: float, samples: Floats, *, reason: str) -> Estimate:
        if self.undefined or math.isnan(value):
            return Estimate(math.nan, reason=self.undefined or reason)
        with_nodule = int(np.count_nonzero(self.positives.sum(1)))
        if with_nodule < 2:
            who = "one patient only" if with_nodule else "no patient: every call is false"
            return Estimate(value, reason=f"nodule voxels in {who}")
        finite = samples[np.isfinite(samples)]
        if finite.size and np.all(finite == value):
            # Percentiles would claim certainty, and a Dice has no exact interval to stand in for them.
            return Estimate(value, reason="the same in every resample")
        return self.draws.estimate(value, samples)


def _by_patient(histograms: npt.NDArray[np.int64], draws: PatientDraws) -> npt.NDArray[np.int64]:
    summed = np.zeros((draws.n_patients, N_BINS), np.int64)
    np.add.at(summed, draws.patient, histograms)
    return summed


def _average_precisions(positives: Floats, negatives: Floats) -> Floats:
    """`average_precision_from_histogram` of every row: float64 [R, 64] twice -> [R]."""
    found, reached = positives[:, ::-1].cumsum(1), negatives[:, ::-1].cumsum(1)
    precision = np.nan_to_num(_ratios(found, found + reached))  # bins above the first score hold nothing
    return _ratios((positives[:, ::-1] * precision).sum(1), found[:, -1])


def _ratios(part: Any, whole: Any) -> Floats:
    """Part by whole in float64, NaN where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(whole) > 0, np.divide(part, whole, dtype=np.float64), np.nan)
