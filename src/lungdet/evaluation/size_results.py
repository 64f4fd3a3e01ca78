"""What an evaluation finds out about sizes, as plain records."""

from __future__ import annotations

from dataclasses import dataclass

from lungdet.evaluation.estimates import Estimate


@dataclass(frozen=True)
class SizeClass:
    """Positives of one diameter class, against its negatives where those have diameters, else against all negatives.

    Attributes:
        name: "3-6 mm", ...
        n: positives of the class.
        auroc: these positives against the negatives of the class, or all of the partition.
        sensitivity: threshold name -> share of these positives called.
        n_negatives: negatives of the class; None where negatives have no diameters.
        specificity: threshold name -> share of these negatives not called; empty where negatives have no diameters.
    """

    name: str
    n: int
    auroc: Estimate
    sensitivity: dict[str, Estimate]
    n_negatives: int | None
    specificity: dict[str, Estimate]


@dataclass(frozen=True)
class SizeMatchedBaseline:
    """A baseline on the same pairs; the difference is model minus baseline, paired by patient."""

    name: str
    auroc: Estimate
    auroc_difference: Estimate


@dataclass(frozen=True)
class SizeMatched:
    """Ranking within pairs of one positive and one negative of the same size.

    Attributes:
        tolerance: the larger diameter of a pair exceeds the smaller by at most this share.
        n_pairs: how many pairs there are.
        n_positives, n_negatives: rows that are in any pair.
        auroc: share of the pairs in which the positive scores higher, ties counting half. In a resample a pair counts
            as often as both its patients were drawn, multiplied.
        baselines: the same for each baseline.
    """

    tolerance: float
    n_pairs: int
    n_positives: int
    n_negatives: int
    auroc: Estimate
    baselines: tuple[SizeMatchedBaseline, ...]
