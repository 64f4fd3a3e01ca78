"""Which marks hit which nodules: the cap and the distance rule of the LUNA16 evaluation, for all series at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

UNKNOWN_DIAMETER_MM = 10.0
"""What a negative diameter stands for in annotations_excluded.csv (30,513 of its 35,192 rows say -1)."""


class Spheres(NamedTuple):
    """Annotated places, in file order.

    `series` int64 [N] numbers the series; `center_xyz_mm` float64 [N, 3]; `diameter_mm` float64 [N], negative: unknown.
    """

    series: IndexArray
    center_xyz_mm: FloatArray
    diameter_mm: FloatArray


class Marks(NamedTuple):
    """A detector's answers, in file order.

    `series` int64 [M] as in `Spheres`; `center_xyz_mm` float64 [M, 3]; `probability` float64 [M], any finite score.
    """

    series: IndexArray
    center_xyz_mm: FloatArray
    probability: FloatArray


class Hits(NamedTuple):
    """Pairs of a sphere and a mark inside it, sorted by sphere: row numbers, int64 [H] each."""

    sphere: IndexArray
    mark: IndexArray


@dataclass(frozen=True)
class Matching:
    """What became of every nodule and every mark.

    Attributes:
        score: float64 [N], the largest probability among the marks that hit each included nodule; NaN when missed.
        n_hits: int64 [N], how many marks hit it.
        is_false_positive: bool [M], marks that hit neither an included nor an excluded place.
        is_on_excluded: bool [M], marks ignored because they hit only excluded places.
    """

    score: FloatArray
    n_hits: IndexArray
    is_false_positive: BoolArray
    is_on_excluded: BoolArray

    @property
    def n_detected(self) -> int:
        """Included nodules with at least one mark."""
        return int(np.count_nonzero(self.n_hits))

    @property
    def n_double(self) -> int:
        """Surplus marks on nodules, ignored: every hit of a nodule but its first."""
        return int(np.maximum(self.n_hits - 1, 0).sum())


def cap_marks(series: IndexArray, probability: FloatArray, *, n_series: int, max_marks: int | None = 100) -> BoolArray:
    """Which marks stay when a series may have at most `max_marks`.

    A series with more loses every mark that is not strictly above its (max_marks + 1)-th largest probability: all marks
    tied with that one go, and of a series whose probabilities are all equal nothing is left.

    Args:
        series: int64 [M], 0 <= series < n_series.
        probability: float64 [M], finite.
        n_series: how many series there are.
        max_marks: None: no cap.

    Returns:
        bool [M].
    """
    counts = np.bincount(series, minlength=n_series)
    if max_marks is None or not (counts > max_marks).any():
        return np.ones(len(series), dtype=np.bool_)
    # Sorting by probability and then, stably, by series is np.lexsort; numpy's radix sort of 16-bit integers and its
    # vectorised argsort of floats make the two steps 3 times as fast as the call.
    by_probability = np.argsort(-probability)
    grouped = series[by_probability]
    order = by_probability[np.argsort(grouped.astype(np.uint16) if n_series <= 65536 else grouped, kind="stable")]
    starts = np.cumsum(counts) - counts
    full = np.flatnonzero(counts > max_marks)
    threshold = np.full(n_series, -np.inf)
    threshold[full] = probability[order[starts[full] + max_marks]]
    return np.asarray(probability > threshold[series])


def find_hits(spheres: Spheres, marks: Marks) -> Hits:
    """All pairs of a sphere and a mark of the same series that lies strictly inside it.

    A mark is inside when its squared distance to the centre is smaller than the squared radius, not equal to it. The
    candidates for that test come from one sorted list of (series, x), so no loop runs over series or nodules.
    """
    diameter = np.where(spheres.diameter_mm < 0, UNKNOWN_DIAMETER_MM, spheres.diameter_mm)
    radius = diameter / 2
    x, mark_x = spheres.center_xyz_mm[:, 0], marks.center_xyz_mm[:, 0]

    # Ranks instead of coordinates make the combined key an exact integer, whatever the coordinates.
    by_x = np.argsort(mark_x)
    sorted_x = mark_x[by_x]
    rank = np.empty(len(by_x), dtype=np.int64)
    rank[by_x] = np.arange(len(by_x))
    stride = len(by_x) + 1
    key = marks.series * stride + rank
    order = np.argsort(key)
    key = key[order]
    # Wider than the radius by more than any rounding; the exact test follows.
    reach = radius * (1 + 1e-9) + 1e-9 * np.abs(x)
    first = np.searchsorted(key, spheres.series * stride + np.searchsorted(sorted_x, x - reach, side="left"))
    last = np.searchsorted(key, spheres.series * stride + np.searchsorted(sorted_x, x + reach, side="right"))

    counts = last - first
    sphere = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(sphere)) - np.repeat(np.cumsum(counts) - counts, counts)
    mark = order[np.repeat(first, counts) + within]
    inside = _is_inside(spheres.center_xyz_mm[sphere], marks.center_xyz_mm[mark], radius[sphere])
    return Hits(sphere[inside], mark[inside])


def match_marks(included: Spheres, excluded: Spheres, marks: Marks) -> Matching:
    """Decide about every mark: included nodules first, then excluded places, as the challenge does.

    One mark may detect several included nodules, and a nodule may be hit by several marks; none of them is a false
    positive. A mark that hits an excluded place and no included nodule is neither true nor false.

    Args:
        included: the nodules that count.
        excluded: places that are neither right nor wrong to mark.
        marks: after the cap.
    """
    hits = find_hits(included, marks)
    n_hits = np.bincount(hits.sphere, minlength=len(included.series)).astype(np.int64)
    score = np.full(len(n_hits), -np.inf)
    np.maximum.at(score, hits.sphere, marks.probability[hits.mark])
    score[n_hits == 0] = np.nan

    is_pooled: BoolArray = np.ones(len(marks.series), dtype=np.bool_)
    is_pooled[hits.mark] = False
    is_on_excluded: BoolArray = np.zeros(len(marks.series), dtype=np.bool_)
    is_on_excluded[find_hits(excluded, marks).mark] = True
    is_on_excluded &= is_pooled
    return Matching(score, n_hits, is_pooled & ~is_on_excluded, is_on_excluded)


def _is_inside(center: FloatArray, mark: FloatArray, radius: FloatArray) -> BoolArray:
    with np.errstate(over="ignore"):  # coordinates of 1e200 are far away, not an error
        dx, dy, dz = (center - mark).T
        squared = dx * dx + dy * dy + dz * dz
    limit = radius * radius
    inside: BoolArray = squared < limit
    # The official script squares with the C library's pow, which differs from a product in the last bit of about one
    # number in a thousand; where that could decide, do as it does.
    for i in np.flatnonzero(np.abs(squared - limit) <= 1e-12 * limit):
        inside[i] = math.pow(dx[i], 2.0) + math.pow(dy[i], 2.0) + math.pow(dz[i], 2.0) < math.pow(radius[i], 2.0)
    return inside
