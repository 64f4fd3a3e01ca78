"""Strata of patients by their number of positives; folds and draws that keep their proportions.

scikit-learn's StratifiedKFold is not used: with strata smaller than the number of folds it warns and may leave a fold
without positives, and merging rare strata beforehand mixes "none" with "some". Dealing like cards has neither problem.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Strata are 0, 1, 2, 3-4 and 5 or more positives per patient: the upper ends of the first four.
_UPPER = (0, 1, 2, 4)

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def stratify(n_positive: IntArray) -> IntArray:
    """Stratum of each patient: 0, 1, 2, 3-4 or 5 and more positives.

    Args:
        n_positive: int64 [N], positives per patient.

    Returns:
        int64 [N], 0..4.

    Example:
        >>> stratify(np.array([0, 1, 2, 3, 4, 5, 30])).tolist()
        [0, 1, 2, 3, 3, 4, 4]
    """
    return np.searchsorted(_UPPER, n_positive, side="left").astype(np.int64)


def deal_folds(strata: IntArray, *, n_folds: int, seed: int) -> IntArray:
    """Deal patients to folds like cards: highest stratum first, shuffled within strata, one to each fold per round.

    Fold sizes, and each stratum's share in them, differ by at most one patient (a stratum that spans rounds: two);
    every fold gets a patient with positives when there are at least `n_folds` of them.

    Args:
        strata: int64 [N] from `stratify`.
        n_folds: number of folds.
        seed: decides who comes first within a stratum, and the order of the folds in every round.

    Returns:
        int64 [N], 0..n_folds-1.
    """
    generator = _generator(seed)
    order = generator.permutation(len(strata))
    order = order[np.argsort(-strata[order], kind="stable")]
    rounds = -(-len(strata) // n_folds)
    # A new order in every round, or fold 0 would always get the first, that is the higher, card of a round.
    hands = np.argsort(generator.random((rounds, n_folds)), axis=1).ravel()[: len(strata)]
    folds = np.empty(len(strata), dtype=np.int64)
    folds[order] = hands
    return folds


def draw_fraction(strata: IntArray, eligible: BoolArray, *, fraction: float, seed: Sequence[int]) -> BoolArray:
    """Mark about `fraction` of the eligible patients, each stratum in proportion (largest remainders), at least one.

    A patient with positives is among them if two or more are eligible, and, from two places on, one without.

    Args:
        strata: int64 [N] from `stratify`.
        eligible: bool [N], who may be drawn.
        fraction: of the eligible patients, in (0, 1).
        seed: numbers that decide the draw.

    Returns:
        bool [N], a subset of `eligible`.
    """
    levels, counts = np.unique(strata[eligible], return_counts=True)
    n = max(1, round(fraction * int(counts.sum())))
    quota = n * counts / counts.sum()
    places = np.floor(quota).astype(np.int64)
    places[np.argsort(places - quota, kind="stable")[: n - int(places.sum())]] += 1
    for wanted, least in ((levels > 0, 1), (levels == 0, 2)):
        if n >= least and places[wanted].sum() == 0 and counts[wanted].sum() >= 2:
            places[np.argmax(places)] -= 1
            places[np.argmax(counts * wanted)] += 1
    generator = _generator(*seed)
    drawn = np.zeros(len(strata), dtype=bool)
    for level, n_here in zip(levels, places, strict=True):
        members = np.flatnonzero(eligible & (strata == level))
        drawn[generator.permutation(members)[:n_here]] = True
    return drawn


def _generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng([int(part) & 0xFFFFFFFFFFFFFFFF for part in seed])
