"""Counts, overlap and thresholds of histograms of a few voxels; `test_masks` holds whole tables against voxels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.mask_estimates import VoxelCounts, edge_logits
from lungdet.evaluation.mask_predictions import HALF, N_BINS

BINS = {"lowest": 0, "low": 10, "below": HALF - 1, "half": HALF, "high": 60}


def histogram(**voxels: int) -> np.ndarray:
    counts = np.zeros(N_BINS, np.int64)
    for name, n in voxels.items():
        counts[BINS[name]] = n
    return counts


def tile(
    patient: str, positives: dict[str, int], negatives: dict[str, int], not_a_number: int = 0
) -> dict[str, object]:
    return {
        "patient_id": patient,
        "positives": histogram(**positives),
        "negatives": histogram(**negatives),
        "not_a_number": not_a_number,
    }


def counted(*tiles: dict[str, object], n_resamples: int = 50) -> VoxelCounts:
    part = pd.DataFrame(list(tiles), columns=["patient_id", "positives", "negatives", "not_a_number"])
    return VoxelCounts(part, "", PatientDraws(part["patient_id"], n_resamples=n_resamples, seed=0))


TWO = (
    tile("b", {"high": 3, "below": 1}, {"low": 5, "half": 1}),
    tile("a", {"half": 2}, {"low": 7}),
    tile("b", {"low": 2}, {"high": 1, "low": 1}),
)


def test_edges_rise_and_their_middle_is_half() -> None:
    edges = edge_logits()
    assert edges.shape == (N_BINS,)
    assert edges[0] == -math.inf
    assert edges[HALF] == 0
    assert (np.diff(edges) > 0).all()
    assert edges[HALF + 16] == 8.0, "half way to infinity: 8 x 0.5 / (1 - 0.5)"


def test_tiles_are_summed_by_patient() -> None:
    counts = counted(*TWO)
    assert counts.positives.sum(1).tolist() == [2, 6], "a, b"
    assert counts.negatives[:, BINS["low"]].tolist() == [7, 6]
    assert counts.undefined == ""


def test_what_is_called_at_half() -> None:
    """Called: 3 + 2 positives of 8, 1 + 1 negatives of 15."""
    half = counted(*TWO).overlap_at(HALF)
    assert (half.tp, half.fp, half.fn, half.tn) == (5, 2, 3, 13)
    assert half.dice.value == pytest.approx(10 / 15)
    assert half.precision.value == pytest.approx(5 / 7)
    assert half.recall.value == pytest.approx(5 / 8)
    assert half.f1 == half.dice
    assert half.dice.low <= half.dice.value <= half.dice.high


def test_the_scope_as_a_whole() -> None:
    found = counted(*TWO).result()
    assert (found.voxels, found.nodule_voxels, found.not_a_number) == (23, 8, 0)
    assert found.prevalence == pytest.approx(8 / 23)
    # From the top: bin high 3 of 4, half 5 of 7, below 6 of 8, low 8 of 23.
    assert found.average_precision.value == pytest.approx((3 * 3 / 4 + 2 * 5 / 7 + 6 / 8 + 2 * 8 / 23) / 8)
    low, high = found.average_precision_bounds
    assert low <= found.average_precision.value <= high


def test_the_best_threshold_is_the_highest_of_equals_and_never_calls_everything() -> None:
    """Dice of 8 positives: 2*3/(8+4) at high, 10/(8+7) at half, 12/(8+8) below that, 16/(8+23) from low on."""
    counts = counted(*TWO)
    assert counts.best_edge() == BINS["below"]
    assert counts.dice_difference(BINS["below"], HALF).value == pytest.approx(12 / 16 - 10 / 15)
    everything = counted(tile("a", {"low": 1}, {}), tile("b", {"low": 2}, {}))
    assert everything.best_edge() == BINS["low"], "equal down to edge 1"
    by_all = counted(tile("a", {"lowest": 4}, {}), tile("b", {"lowest": 4, "high": 1}, {}))
    assert by_all.curve()["dice"].idxmax() == 0
    assert by_all.best_edge() == BINS["high"]


def test_the_curve_has_a_row_an_edge() -> None:
    curve = counted(*TWO).curve()
    assert curve["logit"].tolist() == edge_logits().tolist()
    assert curve.loc[[0, HALF, N_BINS - 1], ["tp", "fp", "fn"]].to_numpy().tolist() == [
        [8, 15, 0],
        [5, 2, 3],
        [0, 0, 8],
    ]
    assert math.isnan(curve["precision"].iloc[-1]), "no voxel is called"
    assert curve["dice"].iloc[-1] == 0
    assert (curve["probability"].iloc[0], curve["probability"].iloc[HALF]) == (0, 0.5)


def test_one_patient_with_nodules_has_values_without_intervals() -> None:
    half = counted(TWO[0], tile("a", {}, {"low": 3})).overlap_at(HALF)
    assert half.dice.value == pytest.approx(6 / 8)
    assert math.isnan(half.dice.low)
    assert half.dice.reason == "nodule voxels in one patient only"


def test_without_nodule_voxels() -> None:
    counts = counted(tile("a", {}, {"low": 3}), tile("b", {}, {"half": 1}))
    half = counts.overlap_at(HALF)
    assert (half.dice.value, half.dice.reason) == (0, "nodule voxels in no patient: every call is false")
    assert math.isnan(half.recall.value)
    assert half.recall.reason == "no nodule voxels"
    assert math.isnan(counts.result().average_precision.value)
    with pytest.raises(ValueError, match=r"^no nodule voxels$"):
        counts.best_edge()
    silent = counted(tile("a", {}, {"low": 3})).overlap_at(HALF)
    assert silent.dice.reason == "no nodule voxels, none called"
    assert silent.precision.reason == "no voxel is called"


def test_the_same_in_every_resample_is_no_certainty() -> None:
    half = counted(tile("a", {"high": 1}, {"low": 3}), tile("b", {"high": 4}, {"low": 1})).overlap_at(HALF)
    assert (half.dice.value, half.dice.reason) == (1.0, "the same in every resample")
    assert math.isnan(half.dice.low)


def test_no_rows() -> None:
    counts = counted()
    assert counts.undefined == "no voxels"
    found = counts.result()
    assert (found.voxels, found.at_half.tn) == (0, 0)
    assert math.isnan(found.prevalence)
    assert found.at_half.dice.reason == "no voxels"
    assert all(map(math.isnan, found.average_precision_bounds))
    assert counts.curve().empty
    assert list(counts.curve()) == ["logit", "probability", "tp", "fp", "fn", "dice", "precision", "recall"]
    with pytest.raises(ValueError, match=r"^no voxels$"):
        counts.best_edge()


@pytest.mark.parametrize(("n", "said"), [(1, "1 voxel"), (2000, "2,000 voxels")])
def test_voxels_without_a_number_leave_nothing_defined(n: int, said: str) -> None:
    counts = counted(*TWO, tile("c", {}, {}, n))
    assert counts.undefined == f"the network gave no number for {said}"
    found = counts.result()
    assert (found.voxels, found.not_a_number) == (23, n)
    assert math.isnan(found.at_half.recall.value)
    assert found.at_half.recall.reason == counts.undefined
    assert counts.curve().empty
    with pytest.raises(ValueError, match="gave no number"):
        counts.best_edge()


def test_columns_of_the_scope_are_taken() -> None:
    part = pd.DataFrame([tile("a", {"high": 9}, {}) | {f"crop_{k}": v for k, v in TWO[1].items()}])
    draws = PatientDraws(part["patient_id"], n_resamples=5, seed=0)
    assert VoxelCounts(part, "crop_", draws).positives.sum() == 2
    assert VoxelCounts(part, "", draws).positives.sum() == 9
