"""Whether probabilities mean what they say: reliability curve, expected calibration error, Brier score, log loss,
calibration slope and intercept.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.metrics.logistic import fit_line, fit_shift

Binning = Literal["width", "mass"]
FloatVector = npt.NDArray[np.float64]


class ReliabilityCurve(NamedTuple):
    """One entry per bin, from probability 0 to 1; a bin is (lower, upper], the first one includes its lower edge.

    Attributes:
        lower, upper: float64, edges of the bin.
        n_rows: int64, rows in it.
        mean_probability: float64, what was predicted; NaN in an empty bin.
        observed_fraction: float64, positives among its rows; NaN in an empty bin.
    """

    lower: FloatVector
    upper: FloatVector
    n_rows: npt.NDArray[np.int64]
    mean_probability: FloatVector
    observed_fraction: FloatVector


def reliability_curve(
    probability: npt.ArrayLike, label: npt.ArrayLike, *, n_bins: int = 15, binning: Binning = "width"
) -> ReliabilityCurve:
    """Predicted against observed frequency of the positive class.

    Args:
        probability: float [N] in [0, 1], of the positive class.
        label: {0, 1} [N].
        n_bins: number of bins, >= 1.
        binning: `width` cuts [0, 1] into equal parts; `mass` cuts at the quantiles of `probability`, so that bins hold
            about equally many rows. Equal probabilities always share a bin, so `mass` may give fewer bins than asked.

    Raises:
        ShapeError: vectors of different lengths.
        TableError: a probability outside [0, 1] or a label other than 0 and 1; names the row.
        ConfigError: no bins, or another binning.
    """
    p, y = _checked(probability, label)
    if n_bins < 1:
        raise ConfigError([f"n_bins must be at least 1, got {n_bins}"])
    if binning == "width":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    elif binning == "mass":
        cuts = np.quantile(p, np.arange(1, n_bins) / n_bins, method="inverted_cdf") if p.size else np.zeros(0)
        edges = np.unique(np.concatenate([[0.0], cuts, [1.0]]))
    else:
        raise ConfigError([f"binning must be 'width' or 'mass', got {binning!r}"])
    place = np.searchsorted(edges[1:-1], p, side="left")
    count = np.bincount(place, minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        mean_probability = np.bincount(place, weights=p, minlength=len(count)) / count
        observed = np.bincount(place, weights=y, minlength=len(count)) / count
    return ReliabilityCurve(edges[:-1], edges[1:], count.astype(np.int64), mean_probability, observed)


def expected_calibration_error(
    probability: npt.ArrayLike, label: npt.ArrayLike, *, n_bins: int = 15, binning: Binning = "width"
) -> float:
    """Mean distance of predicted and observed frequency over the bins, each weighted by its rows.

    Arguments and errors are those of `reliability_curve`.

    Returns:
        In [0, 1], 0 is perfect; NaN without rows.

    Reference:
        Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    curve = reliability_curve(probability, label, n_bins=n_bins, binning=binning)
    filled = curve.n_rows > 0
    if not filled.any():
        return math.nan
    gap = np.abs(curve.mean_probability[filled] - curve.observed_fraction[filled])
    return float(np.average(gap, weights=curve.n_rows[filled]))


def brier_score(probability: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Mean squared distance of probability and label.

    Args:
        probability: float [N] in [0, 1], of the positive class.
        label: {0, 1} [N].

    Returns:
        In [0, 1], 0 is perfect, 0.25 is what "always one half" gets; NaN without rows.

    Raises:
        ShapeError: vectors of different lengths.
        TableError: a probability outside [0, 1] or a label other than 0 and 1; names the row.

    Reference:
        Brier (1950), Monthly Weather Review 78:1-3, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    p, y = _checked(probability, label)
    return float(np.mean((p - y) ** 2)) if p.size else math.nan


def negative_log_likelihood(logit: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Mean of -log of the probability that the true class was given (log loss, cross-entropy; natural logarithm).

    Args:
        logit: float [N], finite, of the positive class: a probability would have rounded to 0 or 1 near the ends.
        label: {0, 1} [N].

    Returns:
        >= 0, 0 is perfect, 0.693 is what "always one half" gets; NaN without rows.

    Raises:
        ShapeError: vectors of different lengths.
        TableError: a logit that is not finite or a label other than 0 and 1; names the row.
    """
    z, y = _checked_logit(logit, label)
    return float(np.mean(np.logaddexp(0.0, z) - y * z)) if z.size else math.nan


def calibration_slope(logit: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Slope of the logistic regression of the label on the logit (and a free intercept).

    Arguments and errors are those of `negative_log_likelihood`.

    Returns:
        1 when calibrated; below 1 probabilities are too extreme (overfitting), above 1 not extreme enough, below 0 the
        ranking is turned round. NaN where it does not exist: one class only, or a threshold separates the classes.

    References:
        Cox (1958), Biometrika 45:562-565, doi:10.1093/biomet/45.3-4.562;
        Van Calster et al. (2019), BMC Medicine 17:230, doi:10.1186/s12916-019-1466-7.
    """
    z, y = _checked_logit(logit, label)
    return float(fit_line(z, y, np.ones_like(y))[0])


def calibration_intercept(logit: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Calibration in the large: the intercept of the logistic regression of the label with the logit as offset.

    Arguments, errors and references are those of `calibration_slope`.

    Returns:
        0 when the mean probability is the prevalence, negative when probabilities are too high: the shift of all logits
        that would repair it. NaN with one class only.
    """
    z, y = _checked_logit(logit, label)
    return float(fit_shift(z, y, np.ones_like(y)))


def _checked_logit(logit: npt.ArrayLike, label: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    z, y = np.asarray(logit, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if z.ndim != 1 or z.shape != y.shape:
        raise ShapeError(f"logit and label must be equally long vectors, got shapes {z.shape} and {y.shape}")
    if not np.isfinite(z).all():
        row = int(np.argmin(np.isfinite(z)))
        raise TableError(f"logit must be finite, row {row} has {z[row]}")
    _require_labels(y)
    return z, y


def _checked(probability: npt.ArrayLike, label: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ShapeError(f"probability and label must be equally long vectors, got shapes {p.shape} and {y.shape}")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise TableError(f"probability must be in [0, 1], row {row} has {p[row]}; logits go through a sigmoid first")
    _require_labels(y)
    return p, y


def _require_labels(label: FloatVector) -> None:
    if not np.isin(label, (0.0, 1.0)).all():
        row = int(np.flatnonzero(~np.isin(label, (0.0, 1.0)))[0])
        raise TableError(f"label must be 0 or 1, row {row} has {label[row]:g}")
