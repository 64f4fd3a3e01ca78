"""Curves of several classifiers on the same rows: ROC, precision-recall, and FROC counted in candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungdet.evaluation.curves import ranking_curves, why_no_area
from lungdet.evaluation.froc_figures import PAGE_FPS
from lungdet.metrics.froc_curve import FP_RATES, FrocCurve, froc_curve


def comparison_curves(tables: Mapping[str, pd.DataFrame], *, with_froc: bool) -> pd.DataFrame:
    """Columns run, curve (`roc`, `precision_recall`, `froc`), x, y; no rows where a class is missing.

    Args:
        tables: run -> predictions of one partition.
        with_froc: also count false positives per series, which rows that lie in scans have.
    """
    areas = ranking_curves(tables).rename(columns={"model": "run"})[["run", "curve", "x", "y"]]
    frocs = [
        pd.DataFrame({"run": name, "curve": "froc", "x": PAGE_FPS, "y": curve.sensitivity_at(PAGE_FPS)})
        for name, curve in (_frocs(tables) if with_froc else {}).items()
    ]
    return pd.concat([areas, *frocs], ignore_index=True) if frocs else areas


def froc_sensitivities(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """Run -> sensitivity per candidate at 1/8, 1/4, ..., 8 false positives per series, and `mean` of the seven."""
    return {
        name: {
            **{f"{rate:g}": float(value) for rate, value in zip(FP_RATES, curve.sensitivity_at(FP_RATES), strict=True)},
            "mean": curve.cpm,
        }
        for name, curve in _frocs(tables).items()
    }


def _frocs(tables: Mapping[str, pd.DataFrame]) -> dict[str, FrocCurve]:
    return {name: _froc(table) for name, table in tables.items() if not why_no_area(table)}


def _froc(table: pd.DataFrame) -> FrocCurve:
    """Every positive candidate is one thing to find; series without candidates are not known here."""
    logit, positive = table["logit"].to_numpy(dtype=np.float64), table["label"].to_numpy() == 1
    return froc_curve(logit[positive], logit[~positive], n_series=table["series_uid"].nunique())
