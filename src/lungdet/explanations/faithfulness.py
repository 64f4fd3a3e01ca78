"""Whether explanations can be trusted: deletion against random order, the nodule's share, weights drawn at random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import ConfigError
from lungdet.evaluation.estimates import Estimate, PatientDraws


@dataclass(frozen=True, kw_only=True)
class FaithfulnessChoice:
    """The keys of `faithfulness`.

    Args:
        n_cases: how many are measured, half of them positive where there are as many; None for all, 0 for none.
        n_resamples: bootstrap resamples of patients.
        seed: of the draw and the resamples.

    Raises:
        ConfigError: a negative number.
    """

    n_cases: int | None = 64
    n_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.n_cases is not None and self.n_cases < 0) or self.n_resamples < 0:
            raise ConfigError(
                [
                    f"faithfulness: n_cases={self.n_cases} and n_resamples={self.n_resamples} must be 0 or more; "
                    "n_cases=null measures all cases, 0 none"
                ]
            )


@dataclass(frozen=True)
class Deletion:
    """Mean areas under the deletion curves of a group of cases.

    Attributes:
        group: `all`, or a class name.
        n_cases, n_patients: how many were measured.
        most_first, random, least_first: areas, each with its interval.
        gain: random minus most_first, case by case: above 0 the order is better than chance.
        better: share of cases whose area is smaller than that of the random orders.
    """

    group: str
    n_cases: int
    n_patients: int
    most_first: Estimate
    random: Estimate
    least_first: Estimate
    gain: Estimate
    better: Estimate


@dataclass(frozen=True)
class OnTarget:
    """How much of the positive part of the maps falls on annotated nodules.

    Attributes:
        n_cases, n_patients: positives with an annotated nodule in their crop.
        share: mean share on the nodule.
        area: mean share of the crop that the nodule takes: the share of a map that is the same everywhere.
        excess: share minus area, case by case.
        n_without: cases whose map has nothing positive, which count for nothing.
    """

    n_cases: int
    n_patients: int
    share: Estimate
    area: Estimate
    excess: Estimate
    n_without: int


def deletion_estimates(
    measured: pd.DataFrame, *, classes: tuple[str, str], n_resamples: int, seed: int
) -> list[Deletion]:
    """All cases, then each class that has any.

    Args:
        measured: patient_id, label, most_first, least_first, random; one row a case.
        classes: names in label order.
        n_resamples: bootstrap resamples of patients.
        seed: of these.
    """
    groups = {"all": measured} | {name: measured[measured["label"] == label] for label, name in enumerate(classes)}
    found = []
    for group, rows in groups.items():
        if rows.empty:
            continue
        draws = PatientDraws(rows["patient_id"], n_resamples=n_resamples, seed=seed)
        areas = {name: rows[name].to_numpy(np.float64) for name in ("most_first", "random", "least_first")}
        gain = areas["random"] - areas["most_first"]
        found.append(
            Deletion(
                group=group,
                n_cases=len(rows),
                n_patients=draws.n_patients,
                **{name: mean_estimate(draws, values) for name, values in areas.items()},
                gain=mean_estimate(draws, gain),
                better=mean_estimate(draws, (gain > 0).astype(np.float64)),
            )
        )
    return found


def target_estimates(measured: pd.DataFrame, *, n_resamples: int, seed: int) -> OnTarget | None:
    """Of positives whose crop has an annotated nodule; None without any.

    Args:
        measured: patient_id, label, target_share, target_area.
        n_resamples: bootstrap resamples of patients.
        seed: of these.
    """
    rows = measured[(measured["label"] == 1) & measured["target_area"].notna()]
    known = rows[rows["target_share"].notna()]
    if known.empty:
        return None
    draws = PatientDraws(known["patient_id"], n_resamples=n_resamples, seed=seed)
    share, area = (known[name].to_numpy(np.float64) for name in ("target_share", "target_area"))
    return OnTarget(
        n_cases=len(known),
        n_patients=draws.n_patients,
        share=mean_estimate(draws, share),
        area=mean_estimate(draws, area),
        excess=mean_estimate(draws, share - area),
        n_without=len(rows) - len(known),
    )


def mean_estimate(draws: PatientDraws, values: npt.NDArray[np.float64]) -> Estimate:
    """Mean over rows with its patient-bootstrap interval.

    Args:
        draws: of the patients of these rows.
        values: float64 [N], finite.
    """
    sums = np.bincount(draws.patient, weights=values, minlength=draws.n_patients)
    counts = np.bincount(draws.patient, minlength=draws.n_patients)
    return draws.estimate(float(values.mean()), (draws.weights @ sums) / (draws.weights @ counts))


def faithfulness_record(
    deletion: list[Deletion], on_target: OnTarget | None, randomised: pd.DataFrame
) -> dict[str, Any]:
    """JSON-ready: every estimate as value, low, high; what does not exist is None."""
    return {
        "deletion": [_plain(vars(row)) for row in deletion],
        "on_target": None if on_target is None else _plain(vars(on_target)),
        "rank_correlation_with_random_weights": _finite(mean_correlation(randomised)),
    }


def mean_correlation(randomised: pd.DataFrame) -> float:
    """Mean over images of the last step of `sanity_check`, where all weights are random; NaN without any."""
    if randomised.empty:
        return math.nan
    last = randomised.loc[randomised["step"] == randomised["step"].max(), "rank_correlation"]
    return float(last.mean())


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _estimate(value) if isinstance(value, Estimate) else value for name, value in row.items()}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    numbers = {name: _finite(getattr(estimate, name)) for name in ("value", "low", "high")}
    return numbers | ({"reason": estimate.reason} if estimate.reason else {})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
