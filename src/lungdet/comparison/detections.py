"""Detectors on the same scans and annotations: the challenge's CPM and sensitivities, and all paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd

from lungdet.comparison.measures import Floats, Measure
from lungdet.comparison.pairs import Difference, Pair, bootstrap_p, holm, judge
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.settings import differing_records
from lungdet.errors import TableError
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.froc_figures import PAGE_FPS
from lungdet.evaluation.remarks import FEW_PATIENTS
from lungdet.evaluation.results import Finding
from lungdet.metrics.froc import FrocResult
from lungdet.metrics.froc_bootstrap import interval
from lungdet.metrics.froc_curve import FP_RATES

_RATES = {f"{rate:g}": i for i, rate in enumerate(FP_RATES)}
MEASURES = (
    Measure("cpm", "CPM"),
    *(Measure(f"sensitivity_{rate}", f"Sensitivity at {rate} FP per scan") for rate in _RATES),
)
_NODULE = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm", "diameter_mm"]
# Where a run was made is no difference of the recipe.
_NOISE = ("input", "out", "annotations", "excluded", "format", "single")


def compare_detections(
    results: Mapping[str, FrocResult], *, settings: Sequence[Mapping[str, Any]] = ()
) -> ComparisonReport:
    """Compare detectors, with the same scans drawn for all.

    Args:
        results: name -> evaluation by the challenge's rules, all with the same seed and number of resamples.
        settings: what each run was made with, in the same order; empty when nobody knows.

    Raises:
        TableError: other scans or other nodules, or an evaluation without resamples.
    """
    _check_same_scans(results)
    first = next(iter(results.values()))
    bootstrap = first.bootstrap
    if (
        bootstrap is None
        or len({(r.bootstrap.seed, r.bootstrap.n_bootstraps) for r in results.values() if r.bootstrap}) > 1
    ):
        raise TableError(
            "detectors are compared on the same drawn scans: evaluate all with the same resamples and seed"
        )
    pairs = list(combinations(results, 2))
    differences = {pair: _differences(results[pair[0]], results[pair[1]]) for pair in pairs}
    adjusted = {m.key: holm([differences[pair][m.key].p for pair in pairs]) for m in MEASURES}
    found = {
        pair: {key: Difference(d.estimate, d.p, adjusted[key][i]) for key, d in differences[pair].items()}
        for i, pair in enumerate(pairs)
    }
    return ComparisonReport(
        task="Nodule detection, rules of the LUNA16 challenge",
        names=tuple(results),
        partition="Scans searched",
        unit="scans",
        n_resamples=bootstrap.n_bootstraps,
        seed=bootstrap.seed,
        counts={"CT series": first.counts.n_series, "nodules": first.counts.nodules},
        measures=MEASURES,
        results={
            name: {
                m.key: _estimate(value, samples) for m, (value, samples) in zip(MEASURES, _sampled(result), strict=True)
            }
            for name, result in results.items()
        },
        pairs=tuple(
            Pair(
                a, b, found[a, b], judge(a, b, found[a, b]["cpm"], measure=MEASURES[0], n_pairs=len(pairs), unit="scan")
            )
            for a, b in pairs
        ),
        findings=tuple(_cautions(first)),
        settings=differing_records(settings, ignored=_NOISE),
        origins=(),
        curves=pd.concat(
            [
                pd.DataFrame(
                    {"run": name, "curve": "froc_scans", "x": PAGE_FPS, "y": result.curve.sensitivity_at(PAGE_FPS)}
                )
                for name, result in results.items()
            ],
            ignore_index=True,
        ),
    )


def _check_same_scans(results: Mapping[str, FrocResult]) -> None:
    for (a, one), (b, two) in pairwise(results.items()):
        left, right = set(one.series_uids), set(two.series_uids)
        if left != right:
            only = [f"{len(x - y)} only by {name}" for name, x, y in ((a, left, right), (b, right, left)) if x - y]
            example = sorted(left ^ right)[0]
            raise TableError(
                f"{a} and {b} searched different scans: {' and '.join(only)}, e.g. {example}. Detect in the same input "
                "with both"
            )
        if one.series_uids != two.series_uids or not one.nodules[_NODULE].equals(two.nodules[_NODULE]):
            raise TableError(
                f"{a} and {b} were compared with different annotations: {one.counts.nodules} and {two.counts.nodules} "
                "nodules in the same scans, or in another order; repeat lungdet detect with one annotations=..."
            )


def _sampled(result: FrocResult) -> Iterator[tuple[float, Floats]]:
    """Value and samples of each measure, in their order."""
    assert result.bootstrap is not None
    yield result.cpm, result.bootstrap.cpm_samples()
    for i, value in enumerate(result.sensitivity_at.values()):
        yield value, result.bootstrap.sensitivity_samples[0, :, i]


def _estimate(value: float, samples: Floats) -> Estimate:
    bounds = interval(samples)
    return Estimate(value, bounds.low, bounds.high, reason="" if np.isfinite(bounds.low) else "no nodules")


def _differences(first: FrocResult, second: FrocResult) -> dict[str, Difference]:
    found = {}
    for measure, (a, a_samples), (b, b_samples) in zip(MEASURES, _sampled(first), _sampled(second), strict=True):
        samples = b_samples - a_samples
        found[measure.key] = Difference(_estimate(b - a, samples), p=bootstrap_p(samples))
    return found


def _cautions(result: FrocResult) -> Iterator[Finding]:
    if result.counts.n_series < FEW_PATIENTS:
        yield Finding(
            "note",
            "few_scans",
            f"{result.counts.n_series} scans only: a bootstrap over so few gives intervals that are too narrow.",
        )
