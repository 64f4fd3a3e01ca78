"""How well readers agree with each other, as numbers with intervals over the same patients as the network's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import TableError
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.mask_results import Ceiling

_NODULE_KEYS = ("patient_id", "shared", "marked")


def ceilings(
    measured: Mapping[str, Any] | None, *, parts: Mapping[str, pd.DataFrame], draws: Mapping[str, PatientDraws]
) -> dict[str, Ceiling]:
    """The ceiling of every partition that was measured.

    Args:
        measured: partition -> n_scans, n_scans_by_rule, n_single_reader and nodules: patient_id, shared, marked (lists
            of one length), as `lungdet.training.reader_ceiling.reader_ceiling` gives it.
        parts: partition -> rows of the predictions.
        draws: partition -> draws of the patients of these rows.

    Raises:
        TableError: something is missing, or nodules of patients who are not among the rows.
    """
    return {
        name: _ceiling(measured[name], part=part, draws=draws[name], partition=name)
        for name, part in parts.items()
        if measured is not None and name in measured and len(part)
    }


def _ceiling(record: Mapping[str, Any], *, part: pd.DataFrame, draws: PatientDraws, partition: str) -> Ceiling:
    try:
        patient, shared, marked = (np.asarray(record["nodules"][key]) for key in _NODULE_KEYS)
        n_scans, n_by_rule, n_single = (int(record[k]) for k in ("n_scans", "n_scans_by_rule", "n_single_reader"))
    except KeyError as error:
        raise TableError(f"the readers' ceiling of {partition} has no {error}; measure it again") from error
    known = np.unique(part["patient_id"].to_numpy(object))
    strangers = sorted(set(patient.tolist()) - set(known.tolist()))
    if strangers:
        raise TableError(
            f"the readers' ceiling of {partition} holds patient {strangers[0]}, whom the predictions do not: it was "
            "measured with another split; predict and measure with one"
        )
    codes = np.searchsorted(known, patient.astype(object)).astype(np.int64)
    why = "no scan whose mask readers drew" if not n_scans else "no nodule that two readers marked"
    # One nodule counts as its voxels in the pooled number, as one in the mean.
    dice = shared / marked if len(shared) else np.zeros(0)
    return Ceiling(
        pooled_dice=_ratio(shared, marked, codes=codes, draws=draws, reason=why),
        mean_dice=_ratio(dice, np.ones(len(dice)), codes=codes, draws=draws, reason=why),
        n_nodules=len(shared),
        n_single_reader=n_single,
        n_scans=n_scans,
        n_scans_by_rule=n_by_rule,
    )


def _ratio(
    part: npt.NDArray[Any], whole: npt.NDArray[Any], *, codes: npt.NDArray[np.int64], draws: PatientDraws, reason: str
) -> Estimate:
    if not len(part):
        return Estimate(math.nan, reason=reason)
    value = float(part.sum() / whole.sum())
    if len(np.unique(codes)) < 2:
        return Estimate(value, reason="nodules of one patient only")
    tops, bottoms = (
        draws.weights @ np.bincount(codes, weights=values, minlength=draws.n_patients) for values in (part, whole)
    )
    samples = np.divide(tops, bottoms, out=np.full(len(tops), np.nan), where=bottoms > 0)
    return draws.estimate(value, samples)
