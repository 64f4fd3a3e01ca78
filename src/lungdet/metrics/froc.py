"""The official LUNA16 evaluation of a detector: FROC curve, competition metric, counts, bootstrap, nodule sizes.

Setio et al., "Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules in
computed tomography images: the LUNA16 challenge", Medical Image Analysis 42 (2017), doi:10.1016/j.media.2017.06.015.
The rules, and where the official script is followed beyond them, stand in docs/froc.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungdet.errors import ConfigError
from lungdet.metrics.froc_bootstrap import (
    Findings,
    FrocBootstrap,
    Interval,
    PairedDifference,
    bootstrap_froc,
    interval,
)
from lungdet.metrics.froc_bootstrap import paired_difference as _paired_difference
from lungdet.metrics.froc_curve import FP_RATES, BoolArray, FloatArray, FrocCurve, froc_curve
from lungdet.metrics.froc_tables import CENTER, check_series, marks_of_listed, spheres
from lungdet.metrics.matching import Marks, cap_marks, match_marks

DIAMETER_CLASSES: tuple[tuple[str, float, float], ...] = (
    ("< 3 mm", 0.0, 3.0),
    ("3-6 mm", 3.0, 6.0),
    ("6-10 mm", 6.0, 10.0),
    ("10-20 mm", 10.0, 20.0),
    ("20-30 mm", 20.0, 30.0),
    (">= 30 mm", 30.0, math.inf),
    ("unknown", -math.inf, 0.0),
)
"""Name, smallest diameter (within), largest (without). The first and the last appear only when they hold nodules."""


@dataclass(frozen=True)
class FrocCounts:
    """What the official CADAnalysis.txt counts, and what was left out before it.

    Attributes:
        n_series: the denominator of false positives per scan: all listed series, with or without marks.
        n_series_without_marks: listed series for which the submission has no row.
        true_positives, false_negatives: detected and missed nodules; `nodules` is their sum.
        false_positives: marks on neither a nodule nor an excluded place.
        candidates: marks of listed series after the cap.
        ignored_excluded: marks on excluded places only.
        ignored_double: surplus marks on nodules.
        marks_read: rows of the submission; `marks_foreign` of series that are not listed, `marks_capped` by the cap.
        annotations_foreign: included nodules of series that are not listed.
    """

    n_series: int
    n_series_without_marks: int
    true_positives: int
    false_positives: int
    false_negatives: int
    candidates: int
    nodules: int
    ignored_excluded: int
    ignored_double: int
    marks_read: int
    marks_foreign: int
    marks_capped: int
    annotations_foreign: int

    @property
    def sensitivity(self) -> float:
        """Detected nodules among all, over all marks; NaN without nodules."""
        return self.true_positives / self.nodules if self.nodules else math.nan

    @property
    def candidates_per_scan(self) -> float:
        """Marks per listed series, after the cap."""
        return self.candidates / self.n_series


@dataclass(frozen=True)
class DiameterClass:
    """The evaluation of the nodules of one size.

    Every class is charged with all false positives of the submission (a false positive has no size); nodules of other
    classes and the marks on them are ignored. So the classes' sensitivities at one false-positive rate, weighted by
    their numbers of nodules, add up to the overall sensitivity.
    """

    name: str
    n_nodules: int
    n_detected: int
    curve: FrocCurve
    cpm: float
    cpm_interval: Interval


@dataclass(frozen=True)
class FrocResult:
    """Everything the evaluation of one submission gives.

    Attributes:
        curve: corners of the FROC curve.
        counts: see `FrocCounts`.
        nodules: one row per included nodule of the listed series, in official order (series as listed, then file
            order): series_uid, center_*_mm, diameter_mm, score float64 (NaN: missed), n_hits int64.
        by_diameter: one entry per size class.
        bootstrap: None when no resamples were asked for.
        series_uids: the listed series, in order.
        max_marks: the cap; None without.
    """

    curve: FrocCurve
    counts: FrocCounts
    nodules: pd.DataFrame
    by_diameter: tuple[DiameterClass, ...]
    bootstrap: FrocBootstrap | None
    series_uids: tuple[str, ...]
    max_marks: int | None

    @property
    def fps(self) -> FloatArray:
        """False positives per scan at the corners, float64 [P], rising."""
        return self.curve.fps

    @property
    def sensitivity(self) -> FloatArray:
        """Sensitivity at the corners, float64 [P]."""
        return self.curve.sensitivity

    @property
    def thresholds(self) -> FloatArray:
        """Score from which marks count at the corners, float64 [P], falling; the first is infinite."""
        return self.curve.threshold

    @property
    def cpm(self) -> float:
        """Mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per scan."""
        return self.curve.cpm

    @property
    def sensitivity_at(self) -> dict[float, float]:
        """False positives per scan -> sensitivity, at the seven rates of the metric."""
        return dict(zip(FP_RATES, self.curve.sensitivity_at(FP_RATES).tolist(), strict=True))


def evaluate_froc(
    annotations: pd.DataFrame,
    excluded: pd.DataFrame,
    seriesuids: Sequence[str],
    marks: pd.DataFrame,
    *,
    n_bootstraps: int = 1000,
    seed: int = 0,
    max_marks: int | None = 100,
) -> FrocResult:
    """Score a submission by the rules of the challenge.

    Args:
        annotations: included nodules: series_uid, center_x_mm, center_y_mm, center_z_mm, diameter_mm (a negative one
            stands for 10 mm, 0 hits nothing).
        excluded: places to ignore, same columns.
        seriesuids: the denominator: every series once, also those without nodules or marks. Rows of other series are
            ignored in all three tables; `foreign_series` names them.
        marks: series_uid, center_x_mm, center_y_mm, center_z_mm, probability (any finite score), in file order.
        n_bootstraps: 0: none.
        seed: of the bootstrap, as in `np.random.seed(seed)`.
        max_marks: per series; None: no cap.

    Raises:
        ConfigError: arguments out of range.
        TableError: a missing column, a value that is not finite (the message names the rows), a series listed twice, no
            series at all.
    """
    _check_arguments(n_bootstraps, seed, max_marks)
    uids = check_series(seriesuids)
    included, rows = spheres(annotations, uids, name="annotations")
    others, _ = spheres(excluded, uids, name="excluded annotations")
    listed = marks_of_listed(marks, uids, name="marks")
    kept = cap_marks(listed.series, listed.probability, n_series=len(uids), max_marks=max_marks)
    candidates = Marks(listed.series[kept], listed.center_xyz_mm[kept], listed.probability[kept])
    matching = match_marks(included, others, candidates)
    false = matching.is_false_positive

    counts = FrocCounts(
        n_series=len(uids),
        n_series_without_marks=len(uids) - len(np.unique(listed.series)),
        true_positives=matching.n_detected,
        false_positives=int(np.count_nonzero(false)),
        false_negatives=len(rows) - matching.n_detected,
        candidates=len(candidates.series),
        nodules=len(rows),
        ignored_excluded=int(np.count_nonzero(matching.is_on_excluded)),
        ignored_double=matching.n_double,
        marks_read=len(marks),
        marks_foreign=len(marks) - len(listed.series),
        marks_capped=len(listed.series) - len(candidates.series),
        annotations_foreign=len(annotations) - len(rows),
    )
    nodules = annotations.iloc[rows][["series_uid", *CENTER, "diameter_mm"]].reset_index(drop=True)
    nodules = nodules.assign(score=matching.score, n_hits=matching.n_hits)
    findings = Findings(
        included.series, matching.score, candidates.series[false], candidates.probability[false], len(uids)
    )
    classes = _diameter_groups(included.diameter_mm)
    groups = np.stack([np.ones(len(rows), dtype=np.bool_), *(group for _, group in classes)])
    bootstrap = bootstrap_froc(findings, groups, n_bootstraps=n_bootstraps, seed=seed) if n_bootstraps else None
    by_diameter = tuple(
        _diameter_class(name, findings, group, np.empty(0) if bootstrap is None else bootstrap.cpm_samples(k + 1))
        for k, (name, group) in enumerate(classes)
    )
    curve = froc_curve(findings.nodule_score, findings.false_score, n_series=len(uids))
    return FrocResult(curve, counts, nodules, by_diameter, bootstrap, uids, max_marks)


def compare_froc(first: FrocResult, second: FrocResult) -> PairedDifference:
    """CPM of the second submission minus that of the first, with the interval of the paired bootstrap.

    Raises:
        ConfigError: the two were not evaluated on the same series and nodules, or without the same resamples.
    """
    columns = ["series_uid", *CENTER, "diameter_mm"]
    same = first.series_uids == second.series_uids and first.nodules[columns].equals(second.nodules[columns])
    if not same or first.bootstrap is None or second.bootstrap is None:
        raise ConfigError(
            [
                "paired bootstrap: both submissions need the same annotations, seriesuids (in the same order) and at "
                f"least one resample; got {len(first.series_uids)} and {len(second.series_uids)} series"
            ]
        )
    return _paired_difference(first.bootstrap, second.bootstrap, cpm_first=first.cpm, cpm_second=second.cpm)


def _check_arguments(n_bootstraps: int, seed: int, max_marks: int | None) -> None:
    problems = []
    if n_bootstraps < 0:
        problems.append(f"n_bootstraps: {n_bootstraps}; give a number of resamples, 0 for none")
    if not 0 <= seed < 2**32:
        problems.append(f"seed: {seed}; numpy's legacy generator takes 0 to {2**32 - 1}")
    if max_marks is not None and max_marks < 1:
        problems.append(f"max_marks: {max_marks}; give a positive number, the challenge's is 100, or null for no cap")
    if problems:
        raise ConfigError(problems)


def _diameter_groups(diameter_mm: FloatArray) -> list[tuple[str, BoolArray]]:
    groups = []
    for name, low, high in DIAMETER_CLASSES:
        group = (diameter_mm >= low) & (diameter_mm < high)
        if low >= 3 or group.any():
            groups.append((name, group))
    return groups


def _diameter_class(name: str, findings: Findings, group: BoolArray, cpm_samples: FloatArray) -> DiameterClass:
    scores = findings.nodule_score[group]
    curve = froc_curve(scores, findings.false_score, n_series=findings.n_series)
    n_detected = int(np.count_nonzero(~np.isnan(scores)))
    return DiameterClass(name, len(scores), n_detected, curve, curve.cpm, interval(cpm_samples))
