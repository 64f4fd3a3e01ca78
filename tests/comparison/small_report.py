"""A comparison written down by hand: two or three runs, two measures, numbers that can be read off a page."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

from lungdet.comparison.measures import Measure
from lungdet.comparison.pairs import Difference, Pair, Verdict
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.settings import Setting
from lungdet.evaluation.estimates import Estimate

MEASURES = (Measure("auroc", "AUROC"), Measure("brier", "Brier score", larger_is_better=False, digits=4))
UNDECIDED = Verdict("undecided", "", "Nobody knows.")


def different(better: str) -> Verdict:
    return Verdict("different", better, f"{better} is better.")


def small_report(
    *names: str, verdicts: dict[tuple[str, str], Verdict] | None = None, **changed: Any
) -> ComparisonReport:
    """Run k has AUROC 0.7 + 0.1 k; every difference is +0.100 (0.050 to 0.150), p 0.02; no Brier score."""
    names = names or ("a", "b")
    estimates = {"auroc": Estimate(0.1, 0.05, 0.15), "brier": Estimate(math.nan, reason="no rows")}
    differences = {"auroc": Difference(estimates["auroc"], 0.02, 0.04), "brier": Difference(estimates["brier"])}
    given: dict[str, Any] = {
        "task": "Candidate classification",
        "names": names,
        "partition": "test",
        "unit": "patients",
        "n_resamples": 1000,
        "seed": 3,
        "counts": {"patients": 24, "candidates": 1200},
        "measures": MEASURES,
        "results": {
            name: {
                "auroc": Estimate(0.7 + 0.1 * k, 0.6 + 0.1 * k, 0.8 + 0.1 * k),
                "brier": Estimate(0.01, reason="one patient only"),
            }
            for k, name in enumerate(names)
        },
        "pairs": tuple(
            Pair(first, second, differences, (verdicts or {}).get((first, second), UNDECIDED))
            for first, second in combinations(names, 2)
        ),
        "findings": (),
        "settings": (Setting("optim.lr", tuple("0.1" for _ in names)),),
        "origins": (),
    }
    return ComparisonReport(**(given | changed))
