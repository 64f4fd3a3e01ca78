"""ROC and precision-recall curves and the score histogram, thinned to what can be seen and written to a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.metrics.ranking import precision_recall_curve, roc_curve


def ranking_curves(models: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Both curves of several models on every partition they have predictions for.

    Args:
        models: name -> predictions table.

    Returns:
        Columns partition, model, curve (`roc`: x = false-positive rate, y = sensitivity; `precision_recall`:
        x = recall, y = precision), x, y, logit: the threshold, +inf for the first point of both, where nothing is
        called and the precision is 1 by convention. A partition without positives or negatives has no curves.
    """
    frames = []
    for model, table in models.items():
        for partition, part in table.groupby("partition"):
            if why_no_area(part):
                continue
            label, logit = part["label"].to_numpy(), part["logit"].to_numpy(dtype=np.float64)
            roc, from_the_low_end = roc_curve(label, logit), precision_recall_curve(label, logit)
            curves = {
                "roc": (roc.false_positive_rate, roc.true_positive_rate),
                "precision_recall": (from_the_low_end.recall[::-1], from_the_low_end.precision[::-1]),
            }
            # Between two positives nothing bends: of 755,000 thresholds the ends of those stretches are kept.
            kept = _ends_of_runs(roc.true_positive_rate)
            frames += [
                pd.DataFrame(
                    {"partition": partition, "model": model, "curve": curve, "x": x[kept], "y": y[kept]}
                ).assign(logit=roc.threshold[kept])
                for curve, (x, y) in curves.items()
            ]
    columns = ["partition", "model", "curve", "x", "y", "logit"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def score_histogram(part: pd.DataFrame, *, n_bins: int = 30) -> pd.DataFrame:
    """How many negatives and positives have a logit in each of `n_bins` equal bins: low, high, negatives, positives."""
    logit, positive = part["logit"].to_numpy(dtype=np.float64), part["label"].to_numpy() == 1
    edges = np.histogram_bin_edges(logit, bins=n_bins)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "negatives": np.histogram(logit[~positive], edges)[0],
            "positives": np.histogram(logit[positive], edges)[0],
        }
    )


def why_no_area(part: pd.DataFrame) -> str:
    """Why AUROC and average precision do not exist on these rows; empty when they do."""
    positives = int(part["label"].sum())
    if part.empty:
        return "no rows"
    if not positives:
        return "no positives"
    return "no negatives" if positives == len(part) else ""


def _ends_of_runs(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    changes = np.diff(values) != 0
    ends: npt.NDArray[np.bool_] = np.append(True, changes) | np.append(changes, True)
    return ends
