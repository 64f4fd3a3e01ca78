"""What an evaluation finds, as plain records; `ClassificationReport.to_dict` is the content of report.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from lungdet.evaluation.audit_results import Audit
from lungdet.evaluation.calibration import RunCalibration
from lungdet.evaluation.estimates import Estimate, PointEstimates
from lungdet.evaluation.gallery import Gallery
from lungdet.evaluation.roc_points import RocPoint
from lungdet.evaluation.size_results import SizeClass, SizeMatched
from lungdet.evaluation.thresholds import Threshold
from lungdet.evaluation.wording import Wording

# Twelve digits keep every count exact and every ratio to 1e-12, and hide the last bits in which libraries differ.
_DIGITS = 12


@dataclass(frozen=True)
class Counts:
    """What one partition holds; `prevalence` is positives / candidates, NaN without candidates."""

    patients: int
    series: int
    candidates: int
    positives: int
    prevalence: float


@dataclass(frozen=True)
class Ranking:
    """How well scores order candidates, without any threshold."""

    auroc: Estimate
    average_precision: Estimate


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does on each partition; empty when it could not be chosen.

    `calibrated_probability` is the same threshold after calibration; NaN without one calibrator for all rows.
    """

    threshold: Threshold
    on: dict[str, PointEstimates]
    calibrated_probability: float = math.nan


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say, on one partition, before or after calibration.

    Attributes:
        ece: expected calibration error, 15 bins of equal width.
        ece_equal_mass: the same with bins that hold equally many candidates.
        brier: mean squared error of the probability.
        negative_log_likelihood: log loss, natural logarithm.
        slope: of the logistic regression of the label on the logit; 1 is right, below 1 is overconfident.
        intercept: calibration in the large; 0 is right, below 0 probabilities are too high.
        brier_of_prevalence: the Brier score of always saying the prevalence; a useful model is below it.
        mean_probability: over candidates; equal to the prevalence when calibrated in the large.
        bins: the bins of equal width that hold candidates, columns of `metrics.calibration.ReliabilityCurve`.
    """

    ece: Estimate
    ece_equal_mass: Estimate
    brier: Estimate
    negative_log_likelihood: Estimate
    slope: Estimate
    intercept: Estimate
    brier_of_prevalence: float
    mean_probability: float
    bins: pd.DataFrame = field(repr=False)


@dataclass(frozen=True)
class FoldResult:
    """One fold of a cross-validation, judged on its own rows of one partition.

    Attributes:
        auroc, average_precision: of the raw logits.
        brier: of the calibrated probabilities, of the raw ones where there is no calibration.
        threshold_logit: chosen for the first of the recalls asked for on this fold's validation rows; NaN when it could
            not be.
        sensitivity: at that threshold.
    """

    ESTIMATES: ClassVar[tuple[str, ...]] = ("auroc", "average_precision", "brier", "sensitivity")

    fold: int
    patients: int
    candidates: int
    positives: int
    auroc: Estimate
    average_precision: Estimate
    brier: Estimate
    threshold_logit: float
    sensitivity: Estimate


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) over `n` folds; NaN where too few have the number."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True)
class Folds:
    """The folds of a cross-validation: `spread` says for each of `FoldResult.ESTIMATES` how they differ."""

    partition: str
    is_calibrated: bool
    folds: tuple[FoldResult, ...]
    spread: dict[str, Spread]


@dataclass(frozen=True)
class Comparison:
    """A baseline on the same candidates; differences are model minus baseline, paired by patient."""

    name: str
    ranking: Ranking
    auroc_difference: Estimate
    average_precision_difference: Estimate


@dataclass(frozen=True)
class Finding:
    """A remark in plain language that follows from the numbers."""

    kind: Literal["warning", "note", "good"]
    code: str
    text: str


@dataclass(frozen=True)
class ClassificationReport:
    """Everything a report shows; made by `evaluate_classification`, written by `write_report`.

    Attributes:
        title: headline of the report.
        provenance: where the predictions come from: run, split hash, store fingerprint, git commit, versions, ...
        wording: how the report calls what was scored; gives `classes` and `label_rule` of report.json.
        partition: the one whose numbers are reported: `test`, or `val` when there is no test row.
        n_resamples, seed: of the patient bootstrap.
        recalls: name of each operating point that aims at a recall -> that recall; the first is the one to quote.
        headline: name of the operating point that the headline quotes.
        counts, ranking: by partition.
        calibration: by partition, of the raw probabilities.
        calibrated: by partition, after calibration; empty without one.
        calibrator: what made them; None where calibration is switched off.
        folds: side by side where there are several, else None.
        operating_points: by name, in the order half, max_f1, youden, recall_90, ...
        roc_points: where the ROC curve of the reported partition itself reaches each recall, by the same names.
        size_matched: ranking within pairs of one size; None where negatives have no diameters.
        curves: columns partition, model, curve (`roc`: x = false-positive rate, y = sensitivity; `precision_recall`:
            x = recall, y = precision), x, y, logit (threshold).
        histogram: columns low, high (logit), negatives, positives (counts) of the reported partition.
        pictures_left_out: why galleries have no pictures; empty when they have.
        history: per-epoch training metrics, or None.
    """

    title: str
    provenance: dict[str, Any]
    wording: Wording
    partition: str
    n_resamples: int
    seed: int
    recalls: dict[str, float]
    headline: str
    counts: dict[str, Counts]
    audit: Audit
    ranking: dict[str, Ranking]
    operating_points: dict[str, OperatingPoint]
    roc_points: dict[str, RocPoint]
    calibration: dict[str, Calibration]
    calibrated: dict[str, Calibration]
    calibrator: RunCalibration | None
    folds: Folds | None
    by_size: tuple[SizeClass, ...]
    size_matched: SizeMatched | None
    baselines: tuple[Comparison, ...]
    findings: tuple[Finding, ...]
    galleries: tuple[Gallery, ...]
    pictures_left_out: str
    curves: pd.DataFrame = field(repr=False)
    histogram: pd.DataFrame = field(repr=False)
    history: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def aim(self) -> str:
        """Name of the operating point for the first of the recalls, whether it could be chosen or not."""
        return next(iter(self.recalls))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: dicts, lists, strings, ints, floats rounded to 12 significant digits, None for NaN.

        Pictures and curves are left out (curves have their own file).
        """
        elsewhere = {"curves", "history", "galleries", "wording"}
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in elsewhere}
        record |= {"classes": self.wording.classes, "label_rule": self.wording.rule}
        record["galleries"] = {
            gallery.name: [{**item.row, "called": item.called} for item in gallery.items] for gallery in self.galleries
        }
        record["calibrator"] = None if self.calibrator is None else self.calibrator.to_dict()
        record["history"] = None if self.history is None else self.history.to_dict("list")
        plain: dict[str, Any] = to_plain(record)
        return plain


def to_plain(value: Any) -> Any:
    """Turn records, arrays and numbers into what JSON knows; NaN and infinities become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        record = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        # Derived quantities that a reader of the JSON would otherwise have to recompute.
        if isinstance(value, Threshold):
            record["probability"] = to_plain(value.probability)
        if isinstance(value, Audit):
            del record["words"]
            record |= {"disjoint": value.disjoint, "verdict": value.verdict}
        return record
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, pd.DataFrame):
        return to_plain(value.to_dict("list"))
    if isinstance(value, list | tuple | np.ndarray):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") + 0.0 if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
