"""The numbers of a segmentation report, against voxels: masks and logits are compared directly, without histograms."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from tests.evaluation.mask_examples import Cohort, ceiling_of, make_cohort

from lungdet.errors import TableError
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.mask_estimates import VoxelCounts, edge_logits
from lungdet.evaluation.mask_predictions import SCOPES, check_mask_predictions
from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.masks import evaluate_masks
from lungdet.metrics.overlap import average_precision_from_histogram

N_RESAMPLES = 60


def evaluate(table: pd.DataFrame, **changed: object) -> MaskReport:
    settings: dict[str, object] = {"title": "t", "provenance": {}, "n_resamples": N_RESAMPLES, "seed": 5}
    return evaluate_masks(table, **(settings | changed))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return make_cohort()


@pytest.fixture(scope="module")
def report(cohort: Cohort) -> MaskReport:
    return evaluate(cohort.table(), ceiling=ceiling_of(cohort))


def dice_of(called: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_]) -> float:
    whole = called.sum() + mask.sum()
    return float(2 * (called & mask).sum() / whole) if whole else math.nan


@pytest.mark.parametrize("partition", ["val", "test"])
@pytest.mark.parametrize("scope", list(SCOPES))
def test_overlap_is_that_of_the_masks_themselves(
    cohort: Cohort, report: MaskReport, partition: str, scope: str
) -> None:
    where = cohort.where(partition, scope)
    mask, called = cohort.mask[where], cohort.logit[where] >= 0
    result = report.results[partition][scope]
    half = result.at_half
    counts = (mask & called, ~mask & called, mask & ~called, ~mask & ~called)
    assert (half.tp, half.fp, half.fn, half.tn) == tuple(int(c.sum()) for c in counts)
    assert half.dice.value == pytest.approx(dice_of(called, mask))
    assert half.f1 == half.dice
    assert half.precision.value == pytest.approx(mask[called].mean())
    assert half.recall.value == pytest.approx(called[mask].mean())
    assert (result.voxels, result.nodule_voxels, result.not_a_number) == (mask.size, mask.sum(), 0)
    assert result.prevalence == pytest.approx(mask.mean())
    low, high = result.average_precision_bounds
    assert low <= average_precision_score(mask, cohort.logit[where]) <= high
    binned = average_precision_score(mask, np.digitize(cohort.logit[where], edge_logits()))
    assert result.average_precision.value == pytest.approx(binned)
    assert low <= binned <= high


@pytest.mark.parametrize("scope", list(SCOPES))
def test_intervals_are_those_of_a_loop_over_resamples(cohort: Cohort, report: MaskReport, scope: str) -> None:
    rows = cohort.rows.reset_index(drop=True)
    test = rows[rows["partition"] == "test"]
    draws = PatientDraws(test["patient_id"], n_resamples=N_RESAMPLES, seed=5)
    patients = sorted(test["patient_id"].unique())
    found: dict[str, list[float]] = {"dice": [], "precision": [], "recall": [], "average_precision": []}
    where = cohort.where("test", scope)
    table = cohort.table()
    for weights in draws.weights.astype(int):
        drawn = [
            row for p, n in zip(patients, weights, strict=True) for row in [*test.index[test["patient_id"] == p]] * n
        ]
        mask = np.concatenate([cohort.mask[row][where[row]] for row in drawn])
        called = np.concatenate([cohort.logit[row][where[row]] for row in drawn]) >= 0
        found["dice"].append(dice_of(called, mask))
        found["precision"].append(float(mask[called].mean()) if called.any() else math.nan)
        found["recall"].append(float(called[mask].mean()) if mask.any() else math.nan)
        histograms = [
            sum(table[f"{SCOPES[scope]}{name}"].loc[row] for row in drawn) for name in ("positives", "negatives")
        ]
        found["average_precision"].append(average_precision_from_histogram(*histograms))
    result = report.results["test"][scope]
    for name, samples in found.items():
        estimate = result.average_precision if name == "average_precision" else getattr(result.at_half, name)
        low, high = np.nanquantile(samples, [0.025, 0.975])
        assert (estimate.low, estimate.high) == pytest.approx((low, high)), name


def test_curve_is_exact_at_every_edge(cohort: Cohort, report: MaskReport) -> None:
    where = cohort.where("test", "whole_volume")
    mask, logit = cohort.mask[where], cohort.logit[where]
    curve = report.curves[(report.curves["partition"] == "test") & (report.curves["scope"] == "whole_volume")]
    assert curve["logit"].tolist() == edge_logits().tolist()
    for row in curve.to_dict("records"):
        called = logit >= row["logit"]
        assert (row["tp"], row["fp"]) == ((called & mask).sum(), (called & ~mask).sum())
        assert row["dice"] == pytest.approx(dice_of(called, mask))
        if called.any():
            assert row["precision"] == pytest.approx(mask[called].mean())
        else:
            assert math.isnan(row["precision"])
        assert row["recall"] == pytest.approx(called[mask].mean())


def test_threshold_is_the_best_of_validation_and_carried_to_test(cohort: Cohort, report: MaskReport) -> None:
    val, test = (cohort.where(name, "whole_volume") for name in ("val", "test"))
    dice = [dice_of(cohort.logit[val] >= edge, cohort.mask[val]) for edge in edge_logits()]
    best = max(range(1, 64), key=lambda k: (dice[k], k))
    assert report.threshold.logit == edge_logits()[best] != 0
    assert report.threshold.probability == pytest.approx(1 / (1 + math.exp(-report.threshold.logit)))
    there = report.threshold.on["test"]["whole_volume"]
    called = cohort.logit[test] >= report.threshold.logit
    assert there.dice.value == pytest.approx(dice_of(called, cohort.mask[test]))
    change = report.threshold.dice_difference["test"]["whole_volume"]
    assert change.value == pytest.approx(there.dice.value - report.results["test"]["whole_volume"].at_half.dice.value)
    assert change.low <= change.value <= change.high
    assert change.width < there.dice.width + report.results["test"]["whole_volume"].at_half.dice.width


def test_of_equally_good_thresholds_the_highest() -> None:
    """Nodule voxels at logit 20, the rest at -20: every threshold between is perfect."""
    cohort = make_cohort()
    cohort.logit[:] = np.where(cohort.mask, 20, -20)
    report = evaluate(cohort.table())
    assert report.threshold.logit == max(edge for edge in edge_logits() if edge <= 20)
    assert report.threshold.on["val"]["whole_volume"].dice.value == 1.0
    assert report.results["test"]["whole_volume"].at_half.dice.reason == "the same in every resample"


def test_tiles_passed_over_and_marked(cohort: Cohort, report: MaskReport) -> None:
    for partition in ("val", "test"):
        rows = np.flatnonzero(cohort.rows["partition"] == partition)
        valid = cohort.valid[rows]
        mask, called = cohort.mask[rows] & valid, (cohort.logit[rows] >= 0) & valid
        has = mask.any((1, 2))
        tiles = report.tiles[partition]
        assert tiles.with_nodule == has.sum()
        assert tiles.missed == (has & ~(called & mask).any((1, 2))).sum()
        assert tiles.silent == (has & ~called.any((1, 2))).sum()
        assert tiles.without_nodule == (~has).sum()
        assert tiles.marked == (~has & called.any((1, 2))).sum()
        assert tiles.marked_share.value == pytest.approx(tiles.marked / tiles.without_nodule)
        assert tiles.marked_share.low < tiles.marked_share.value < tiles.marked_share.high


def test_missed_and_silent_by_hand() -> None:
    """One patient of two tiles with nodules each: P000 one hit and one where only air is called, P001 both silent."""
    cohort = make_cohort(n_patients=3, n_tiles=8)
    cohort.rows["partition"] = "test"
    cohort.logit[:] = -5
    cohort.logit[3, 4, 5] = 5  # tile 3 of P000: a nodule voxel
    cohort.logit[4, 0, 0] = 5  # tile 4 of P000: air
    cohort.logit[16 + 7, 2, 2] = 5  # tile 7 of P002, without nodule
    tiles = evaluate(cohort.table()).tiles["test"]
    assert (tiles.with_nodule, tiles.missed, tiles.silent) == (6, 5, 4)
    assert (tiles.without_nodule, tiles.marked) == (18, 1)


def test_scans(cohort: Cohort, report: MaskReport) -> None:
    assert len(report.scans) == 12
    for row in report.scans.to_dict("records"):
        at = np.flatnonzero(cohort.rows["series_uid"] == row["series_uid"])
        valid = cohort.valid[at]
        mask, called = cohort.mask[at][valid], cohort.logit[at][valid] >= 0
        assert row["partition"] == cohort.rows["partition"][at[0]]
        assert (row["nodule_voxels"], row["fp"], row["tiles"]) == (mask.sum(), (called & ~mask).sum(), 8)
        if mask.any():
            assert row["dice"] == pytest.approx(dice_of(called, mask))
        else:
            assert math.isnan(row["dice"])
    here = report.scans[report.scans["partition"] == "test"]
    summary = report.scan_summary["test"]
    assert (summary.with_nodule, summary.without_nodule, summary.marked_without_nodule) == (6, 2, 2)
    assert summary.mean_dice.value == pytest.approx(here["dice"].mean())
    assert summary.dice_quartiles[1] == pytest.approx(here["dice"].median())
    assert summary.fp_voxels_median == here.loc[here["nodule_voxels"] == 0, "fp"].median()
    assert summary.fp_voxels_largest == here.loc[here["nodule_voxels"] == 0, "fp"].max()


def test_counts(report: MaskReport) -> None:
    """Twelve patients, P003, P007 and P011 without nodule; the first four validate; a nodule lies in two tiles."""
    val, test = report.counts["val"], report.counts["test"]
    assert (val.patients, val.series, val.series_with_nodule, val.tiles, val.tiles_with_nodule) == (4, 4, 3, 32, 6)
    assert (test.patients, test.series_with_nodule, test.tiles_with_nodule) == (8, 6, 12)
    assert report.audit.disjoint
    assert report.partition == "test"


def test_the_order_of_rows_changes_nothing(cohort: Cohort, report: MaskReport) -> None:
    again = evaluate(cohort.table().sample(frac=1, random_state=2), ceiling=ceiling_of(cohort))
    assert again.to_dict() == report.to_dict()
    pd.testing.assert_frame_equal(again.curves, report.curves)


def test_json_holds_no_nan(report: MaskReport) -> None:
    text = json.dumps(report.to_dict(), allow_nan=False)
    record = json.loads(text)
    assert record["scans"][3]["dice"] is None or isinstance(record["scans"][3]["dice"], float)
    assert record["results"]["test"]["whole_volume"]["at_half"]["dice"]["value"] > 0
    assert record["audit"]["disjoint"] is True


def test_logits_that_are_no_numbers_leave_no_score() -> None:
    cohort = make_cohort()
    test = cohort.rows["partition"] == "test"
    cohort.logit[np.flatnonzero(test)[0], 0, 0] = np.nan  # away from nodules
    report = evaluate(cohort.table())
    whole, crop = report.results["test"]["whole_volume"], report.results["test"]["crop_level"]
    assert whole.not_a_number == 1
    for estimate in (whole.at_half.dice, whole.at_half.recall, whole.average_precision):
        assert math.isnan(estimate.value)
        assert estimate.reason == "the network gave no number for 1 voxel"
    assert crop.at_half.dice.value > 0
    assert math.isnan(report.scans.loc[report.scans["not_a_number"] == 1, "dice"].item())
    assert report.results["val"]["whole_volume"].at_half.dice.value > 0
    assert {"not_a_number"} <= {f.code for f in report.findings}


@pytest.mark.parametrize("empty", ["val", "test"])
def test_a_partition_without_rows(cohort: Cohort, empty: str) -> None:
    table = cohort.table()
    report = evaluate(table[table["partition"] != empty], ceiling=ceiling_of(cohort))
    gone = report.results[empty]["whole_volume"]
    assert (gone.voxels, gone.at_half.tp) == (0, 0)
    assert math.isnan(gone.at_half.dice.value)
    assert gone.at_half.dice.reason == "no voxels"
    assert report.counts[empty].series == 0
    assert empty not in report.ceiling
    assert math.isnan(report.tiles[empty].missed_share.value)
    assert set(report.curves["partition"]) == {"val", "test"} - {empty}
    json.dumps(report.to_dict(), allow_nan=False)
    if empty == "val":
        assert report.threshold.reason == "no rows in validation"
        assert report.partition == "test"
    else:
        assert report.partition == "val"
        assert set(report.threshold.on) == {"val"}


def test_without_nodules_only_false_voxels_are_counted(cohort: Cohort) -> None:
    healthy = cohort.rows["patient_id"].isin(["P003", "P007", "P011"]).to_numpy()
    report = evaluate(cohort.table()[healthy])
    whole, crop = (report.results["test"][scope] for scope in SCOPES)
    assert whole.at_half.fp > 0
    assert whole.at_half.dice.reason == "nodule voxels in no patient: every call is false"
    assert math.isnan(whole.at_half.dice.low)
    assert (whole.at_half.recall.reason, whole.average_precision.reason) == ("no nodule voxels", "no nodule voxels")
    assert crop.at_half.dice.reason == "no voxels"
    assert report.threshold.reason == "no nodule voxels in validation"


def test_a_nodule_of_one_patient_gives_no_interval(cohort: Cohort) -> None:
    report = evaluate(cohort.table()[cohort.rows["patient_id"].isin(["P003", "P005", "P007"]).to_numpy()])
    dice = report.results["test"]["whole_volume"].at_half.dice
    assert dice.value > 0
    assert (math.isnan(dice.low), dice.reason) == (True, "nodule voxels in one patient only")
    assert report.scan_summary["test"].mean_dice.reason == "nodule voxels in one patient only"


def test_no_rows_at_all(cohort: Cohort) -> None:
    with pytest.raises(TableError, match="has no rows: was the run's predict step skipped"):
        evaluate(cohort.table().iloc[:0])


def test_there_is_no_best_threshold_without_nodules(cohort: Cohort) -> None:
    part = check_mask_predictions(cohort.table())
    part = part[part["patient_id"] == "P003"].reset_index(drop=True)
    counts = VoxelCounts(part, "", PatientDraws(part["patient_id"], n_resamples=3, seed=0))
    with pytest.raises(ValueError, match="no nodule voxels"):
        counts.best_edge()


def test_history_is_one_row_an_epoch(cohort: Cohort) -> None:
    history = pd.DataFrame({"epoch": [0, 0, 1], "train/loss": [0.5, np.nan, 0.4], "val/dice": [np.nan, 0.2, 0.3]})
    report = evaluate(cohort.table(), history=history)
    assert report.to_dict()["history"] == {"epoch": [0, 1], "train/loss": [0.5, 0.4], "val/dice": [0.2, 0.3]}
    with pytest.raises(TableError, match="needs a column epoch; it has step"):
        evaluate(cohort.table(), history=history.rename(columns={"epoch": "step"}))


def test_calling_everything_is_no_threshold(cohort: Cohort) -> None:
    """Logits below the first finite edge: only the edge at -inf would have a Dice above 0."""
    silent = Cohort(cohort.rows, np.full_like(cohort.logit, -1000), cohort.mask, cohort.valid, cohort.near)
    threshold = evaluate(silent.table()).threshold
    assert threshold.logit == edge_logits()[-1]
    assert threshold.on["val"]["whole_volume"].dice.value == 0
