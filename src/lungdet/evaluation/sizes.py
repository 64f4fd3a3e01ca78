"""Results by size: classes of diameter, and pairs of one size, where the diameter itself is of no help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.results import OperatingPoint
from lungdet.evaluation.size_results import SizeClass, SizeMatched, SizeMatchedBaseline
from lungdet.evaluation.wording import Wording
from lungdet.metrics.ranking import auroc, under_patient_weights
from lungdet.metrics.size_matched import SizeMatchedPairs

# LUNA16's diameter classes; a class holds its lower bound.
SIZE_EDGES_MM = (3.0, 6.0, 10.0, 20.0, 30.0, math.inf)
# Diameters that differ by at most this share of the smaller one count as equal: 0.6 mm at LUNA16's median of 6.4 mm,
# less than two readers differ. What is left of the diameter within such pairs is an AUROC of 0.56 (two_readers_4, all
# 1,182 rated nodules, 16,249 pairs), where it has 0.92 over all pairs; 5 % would leave 0.54 and half of the pairs.
SIZE_TOLERANCE = 0.1

Mask = npt.NDArray[np.bool_]


def both_classes_have_sizes(here: pd.DataFrame) -> bool:
    """Whether every row has a diameter (rated nodules do, candidates without nodule have none), and both classes rows.

    Args:
        here: rows of one partition, see `check_predictions`.
    """
    return bool(here["diameter_mm"].notna().all()) and here["label"].nunique() == 2


def by_size(
    here: pd.DataFrame, draws: PatientDraws, points: Mapping[str, OperatingPoint], *, wording: Wording
) -> tuple[SizeClass, ...]:
    """Positives of each diameter class, against the negatives of the same class, or all negatives if they have no size.

    Args:
        here: rows of one partition, see `check_predictions`.
        draws: patients of the same rows.
        points: operating points, those without a threshold included.
        wording: how reasons call the classes.
    """
    label, logit = here["label"].to_numpy(), here["logit"].to_numpy(dtype=np.float64)
    positive, sized = label == 1, both_classes_have_sizes(here)
    rows = []
    for name, member in _members(here["diameter_mm"].to_numpy(), positive):
        chosen, rivals = member & positive, ~positive & member if sized else ~positive
        n, n_rivals = int(np.count_nonzero(chosen)), int(np.count_nonzero(rivals))
        none, no_rival = f"no {wording.positive} of this size", f"no {wording.negative} of this size"
        area = Estimate(math.nan, reason=none if not n else no_rival if sized else "no negatives")
        if n and n_rivals:
            keep = chosen | rivals
            resampled = under_patient_weights(
                label[keep], logit[keep], draws.patient[keep], weights=draws.weights, metrics=["auroc"]
            )
            area = draws.area(auroc(label[keep], logit[keep]), resampled.samples["auroc"], label=chosen.astype(np.int8))
        sensitivity, specificity = {}, {}
        for key, point in points.items():
            if point.on:
                called = logit >= point.threshold.logit
                sensitivity[key] = draws.ratio(chosen & called, chosen, reason=none)
                if sized:
                    specificity[key] = draws.ratio(rivals & ~called, rivals, reason=no_rival)
        rows.append(SizeClass(name, n, area, sensitivity, n_rivals if sized else None, specificity))
    return tuple(rows)


def size_matched(
    here: pd.DataFrame, others: Mapping[str, pd.DataFrame], draws: PatientDraws, *, tolerance: float = SIZE_TOLERANCE
) -> SizeMatched | None:
    """AUROC over pairs of one size, of the model and of its baselines, with their paired differences.

    Args:
        here: the model's rows of one partition, see `check_predictions`.
        others: name -> a baseline's table with the same rows in the same order.
        draws: patients of these rows.
        tolerance: see `SizeMatchedPairs`.

    Returns:
        None where a class has no sizes.
    """
    if not both_classes_have_sizes(here):
        return None
    label = here["label"].to_numpy()
    pairs = SizeMatchedPairs(label, here["diameter_mm"].to_numpy(), tolerance=tolerance)
    paired = np.zeros(len(label), np.int8)  # positives that have a partner
    paired[pairs.positive] = 1

    def estimate(value: float, samples: npt.NDArray[np.float64]) -> Estimate:
        if not len(pairs):
            return Estimate(math.nan, reason="no two of one size and different class")
        return draws.area(value, samples, label=paired)

    def ranked(table: pd.DataFrame) -> tuple[float, npt.NDArray[np.float64]]:
        logit = table["logit"].to_numpy(dtype=np.float64)
        return pairs.auroc(logit), pairs.under_patient_weights(logit, draws.patient, weights=draws.weights)

    value, samples = ranked(here)
    compared = []
    for name, table in others.items():
        other_value, other_samples = ranked(table)
        difference = estimate(value - other_value, samples - other_samples)
        compared.append(SizeMatchedBaseline(name, estimate(other_value, other_samples), difference))
    return SizeMatched(
        tolerance=tolerance,
        n_pairs=len(pairs),
        n_positives=int(paired.sum()),
        n_negatives=len(np.unique(pairs.negative)),
        auroc=estimate(value, samples),
        baselines=tuple(compared),
    )


def _members(diameter: npt.NDArray[Any], positive: Mask) -> list[tuple[str, Mask]]:
    """Name and rows of each diameter class; those below 3 mm and without diameter only where positives are in them."""
    classes = [
        (f"{low:g}-{high:g} mm" if math.isfinite(high) else f">= {low:g} mm", (diameter >= low) & (diameter < high))
        for low, high in pairwise(SIZE_EDGES_MM)
    ]
    # LUNA16 has neither; other collections may.
    rare = [("< 3 mm", diameter < SIZE_EDGES_MM[0]), ("unknown", np.isnan(diameter))]
    return classes + [(name, member) for name, member in rare if (member & positive).any()]
