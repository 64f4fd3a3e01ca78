"""The official LUNA16 evaluation as plain loops: slow, independent of src, and checked against nothing but its rules.

Lists of tuples in, lists out; ROC by scikit-learn, bootstrap by concatenating the rows of the drawn series with numpy's
global generator. Where the official script stops with an error or gives NaN, so does this one: tests say what is wanted
there instead.
"""

# ruff: noqa: NPY002  the official script draws from numpy's global generator

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

Point = tuple[str, float, float, float, float]  # series, x, y, z, diameter or probability


def slow_rows(
    annotations: Sequence[Point],
    excluded: Sequence[Point],
    seriesuids: Sequence[str],
    marks: Sequence[Point],
    *,
    max_marks: int | None = 100,
) -> tuple[list[tuple[str, float, float, bool]], dict[str, int]]:
    """Rows (series, 1 for a nodule or 0, score, missed) in official order, and the counts."""
    by_series: dict[str, tuple[list[Point], list[Point], list[Point]]] = {uid: ([], [], []) for uid in seriesuids}
    for kind, table in enumerate((annotations, excluded, marks)):
        for point in table:
            if point[0] in by_series:
                by_series[point[0]][kind].append(point)
    rows: list[tuple[str, float, float, bool]] = []
    names = ("true_positives", "false_positives", "false_negatives", "candidates", "nodules")
    counts = dict.fromkeys((*names, "ignored_excluded", "ignored_double"), 0)
    for uid in seriesuids:
        nodules, irrelevant, listed = by_series[uid]
        candidates = slow_cap(listed, max_marks)
        counts["candidates"] += len(candidates)
        pool = set(range(len(candidates)))
        for nodule in nodules:
            counts["nodules"] += 1
            hits = [i for i, mark in enumerate(candidates) if is_hit(nodule, mark)]
            pool -= set(hits)
            counts["ignored_double"] += max(len(hits) - 1, 0)
            if hits:
                counts["true_positives"] += 1
                rows.append((uid, 1.0, max(candidates[i][4] for i in hits), False))
            else:
                counts["false_negatives"] += 1
                rows.append((uid, 1.0, -1e9, True))
        for place in irrelevant:
            for i, candidate in enumerate(candidates):
                if i in pool and is_hit(place, candidate):
                    counts["ignored_excluded"] += 1
                    pool.remove(i)
        for j in sorted(pool):
            counts["false_positives"] += 1
            rows.append((uid, 0.0, candidates[j][4], False))
    return rows, counts


def slow_cap(marks: Sequence[Point], max_marks: int | None) -> list[Point]:
    if max_marks is None or len(marks) <= max_marks:
        return list(marks)
    threshold = sorted((mark[4] for mark in marks), reverse=True)[max_marks]
    return [mark for mark in marks if mark[4] > threshold][:max_marks]


def is_hit(place: Point, mark: Point) -> bool:
    diameter = 10.0 if place[4] < 0 else place[4]
    (_, x, y, z, _), (_, x2, y2, z2, _) = place, mark
    squared = math.pow(x - x2, 2.0) + math.pow(y - y2, 2.0) + math.pow(z - z2, 2.0)
    return squared < math.pow(diameter / 2.0, 2.0)


def slow_curve(
    label: Sequence[float], score: Sequence[float], missed: Sequence[float], n_series: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positives per scan, sensitivity, threshold. Without any row but missed nodules: ValueError."""
    from sklearn.metrics import roc_curve

    kept = [(gt, p) for gt, p, gone in zip(label, score, missed, strict=True) if not gone]
    detected = sum(gt for gt, _ in kept)
    lesions = sum(label)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fpr, tpr, thresholds = roc_curve([gt for gt, _ in kept], [p for _, p in kept])
        all_positive = lesions == len(label)
        fps = np.zeros(len(fpr)) if all_positive else fpr * (len(kept) - detected) / n_series
        sensitivity = tpr * detected / np.float64(lesions)
    return fps, sensitivity, thresholds


def slow_draws(n_series: int, *, n: int, seed: int) -> list[list[int]]:
    """The series of each resample, by number."""
    before = np.random.get_state()
    np.random.seed(seed)
    drawn = [np.random.randint(n_series, size=n_series).tolist() for _ in range(n)]
    np.random.set_state(before)
    return drawn


def slow_resamples(
    rows: Sequence[tuple[str, float, float, bool]], seriesuids: Sequence[str], *, n: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """The curve of each resample; None where the official script stops: no row left, or missed nodules alone."""
    of_series: dict[str, np.ndarray] = {}
    for uid, label, score, missed in rows:
        column = np.array([[label], [score], [float(missed)]])
        of_series[uid] = np.concatenate([of_series[uid], column], axis=1) if uid in of_series else column
    curves: list[tuple[np.ndarray, np.ndarray] | None] = []
    for drawn in slow_draws(len(seriesuids), n=n, seed=seed):
        found = [of_series[seriesuids[i]] for i in drawn if seriesuids[i] in of_series]
        if found and not all(np.concatenate(found, axis=1)[2]):
            label, score, missed = np.concatenate(found, axis=1)
            curves.append(slow_curve(list(label), list(score), list(missed), len(seriesuids))[:2])
        else:
            curves.append(None)
    return curves


def slow_bounds(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lower and upper bound on the official grid, in the official float32 arithmetic."""
    grid = np.linspace(0.125, 8, num=10000)
    table = np.zeros((len(curves), len(grid)), dtype="float32")
    for i, (fps, sensitivity) in enumerate(curves):
        table[i, :] = np.interp(grid, fps, sensitivity)
    mean, lower, upper = (np.zeros(len(grid), dtype="float32") for _ in range(3))
    tail = (1.0 - 0.95) / 2.0
    for i in range(len(grid)):
        vector = table[:, i]
        vector.sort()
        mean[i] = np.average(vector)
        lower[i] = vector[math.floor(tail * len(vector))]
        upper[i] = vector[math.floor((1.0 - tail) * len(vector))]
    return mean, lower, upper


@pytest.fixture(scope="session")
def slow() -> Any:
    """The slow reference: rows, curve, draws, resamples, bounds."""
    return SimpleNamespace(
        rows=slow_rows, curve=slow_curve, draws=slow_draws, resamples=slow_resamples, bounds=slow_bounds
    )
