"""Functions from a network's logit to a probability that means what it says: temperature, Platt and isotonic.

Fitted by maximum likelihood (isotonic: least squares) on rows that did not train the network; kept as a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import scipy.optimize
import scipy.special

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.metrics.logistic import fit_line, fit_scale

CalibrationMethod = Literal["temperature", "platt", "isotonic"]
FloatVector = npt.NDArray[np.float64]

# Isotonic regression says 0 and 1 at its ends. As a logit, and in a likelihood, certainty is bounded by this.
LEAST_PROBABILITY = 1e-7


class Calibrator(Protocol):
    """A rising function from logits to probabilities."""

    @property
    def method(self) -> CalibrationMethod:
        """How it was fitted."""

    def probability(self, logit: npt.ArrayLike) -> FloatVector:
        """Float64 [N] in [0, 1] of float [N]."""

    def logit(self, logit: npt.ArrayLike) -> FloatVector:
        """The logit of that probability, float64 [N], always finite."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `calibrator_from_dict` gives an equal one."""


@dataclass(frozen=True)
class Temperature:
    """p = sigmoid(logit / temperature): sharper or flatter, 0.5 stays 0.5, so a shifted prior stays shifted.

    Attributes:
        temperature: > 0.
        smoothed: fitted to softened labels, because every logit had the right sign; see `fit_calibrator`.

    Reference:
        Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.
    """

    temperature: float
    smoothed: bool = False
    method: ClassVar[CalibrationMethod] = "temperature"

    def logit(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`."""
        return _vector(logit) / self.temperature

    def probability(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`."""
        return _expit(self.logit(logit))

    def to_dict(self) -> dict[str, Any]:
        """See `Calibrator`."""
        return {"method": self.method, "temperature": self.temperature, "smoothed": self.smoothed}


@dataclass(frozen=True)
class Platt:
    """p = sigmoid(slope * logit + intercept): the intercept undoes the prior that balanced sampling puts in.

    Attributes:
        slope: > 0.
        intercept: any.
        smoothed: fitted to softened labels, because a threshold separated the classes; see `fit_calibrator`.

    Reference:
        Platt, "Probabilistic Outputs for Support Vector Machines", Advances in Large Margin Classifiers, MIT Press
        1999, pp. 61-74.
    """

    slope: float
    intercept: float
    smoothed: bool = False
    method: ClassVar[CalibrationMethod] = "platt"

    def logit(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`."""
        return self.slope * _vector(logit) + self.intercept

    def probability(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`."""
        return _expit(self.logit(logit))

    def to_dict(self) -> dict[str, Any]:
        """See `Calibrator`."""
        return {
            "method": self.method,
            "slope": self.slope,
            "intercept": self.intercept,
            "smoothed": self.smoothed,
        }


@dataclass(frozen=True)
class Isotonic:
    """The rising step function of least squares, straight lines between its knots, constant outside of them.

    Needs many positives, and gives equal probabilities to logits of one step: ranking loses where they tie.

    Attributes:
        knot_logit: strictly rising.
        knot_probability: not falling, in [0, 1], of the same length.

    Reference:
        Zadrozny, Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD 2002,
        doi:10.1145/775047.775151.
    """

    knot_logit: tuple[float, ...]
    knot_probability: tuple[float, ...]
    method: ClassVar[CalibrationMethod] = "isotonic"

    def probability(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`."""
        return np.interp(_vector(logit), self.knot_logit, self.knot_probability)

    def logit(self, logit: npt.ArrayLike) -> FloatVector:
        """See `Calibrator`; probabilities are kept `LEAST_PROBABILITY` away from 0 and 1."""
        bounded = np.clip(self.probability(logit), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        return np.log(bounded) - np.log1p(-bounded)

    def to_dict(self) -> dict[str, Any]:
        """See `Calibrator`."""
        return {
            "method": self.method,
            "knot_logit": list(self.knot_logit),
            "knot_probability": list(self.knot_probability),
        }


def fit_calibrator(method: CalibrationMethod, logit: npt.ArrayLike, label: npt.ArrayLike) -> Calibrator:
    """Fit on rows that trained neither the network nor anything that is judged afterwards.

    Where the classes are separable, the likelihood has no maximum: temperature falls to 0, Platt's slope grows without
    end. Labels are then softened as Platt proposed, to (P + 1) / (P + 2) and 1 / (N + 2) for P positives and N
    negatives, which has one; the result says `smoothed`. Elsewhere labels stay 0 and 1, so that the mean probability
    equals the prevalence.

    Args:
        method: `temperature`, `platt` or `isotonic`.
        logit: float [N], finite.
        label: {0, 1} [N].

    Raises:
        ConfigError: another method.
        ShapeError: vectors of different lengths.
        TableError: labels of one class only or other than 0 and 1, a logit that is not finite, or logits that do not
            rise with the label, for which no rising function makes sense.
    """
    if method not in get_args(CalibrationMethod):
        raise ConfigError([f"calibration: {method!r} is unknown; allowed are {', '.join(get_args(CalibrationMethod))}"])
    x, y = _checked(logit, label)
    values, place = np.unique(x, return_inverse=True)
    rows = np.bincount(place, minlength=len(values)).astype(np.float64)
    positives = np.bincount(place, weights=y, minlength=len(values)).astype(np.float64)
    values = values.astype(np.float64)
    if method == "isotonic":
        return _fit_isotonic(values, positives, rows)
    if method == "temperature":
        return _fit_temperature(values, positives, rows)
    return _fit_platt(values, positives, rows)


def calibrator_from_dict(record: Mapping[str, Any]) -> Calibrator:
    """The calibrator that `to_dict` described.

    Raises:
        TableError: an unknown method, a missing, unknown or wrong value.
    """
    kinds: dict[str, Callable[..., Temperature | Platt | Isotonic]] = {
        "temperature": Temperature,
        "platt": Platt,
        "isotonic": Isotonic,
    }
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    kind = kinds.get(str(values.pop("method", None)))
    if kind is None:
        raise TableError(f"calibration: method {record.get('method')!r} is unknown; known are {', '.join(kinds)}")
    try:
        calibrator = kind(**values)
        _check_parameters(calibrator)
    except (TypeError, ValueError) as error:
        raise TableError(f"calibration: {dict(record)} is no calibrator ({error})") from error
    return calibrator


def _fit_temperature(logit: FloatVector, positives: FloatVector, rows: FloatVector) -> Temperature:
    slope, smoothed = float(fit_scale(logit, positives, rows)), False
    if math.isnan(slope):
        slope, smoothed = float(fit_scale(logit, _softened(positives, rows), rows)), True
    if not slope > 0:
        raise TableError(
            "the logits are no larger for positives than for negatives, seen from 0: no temperature can make "
            "probabilities of them; choose platt"
        )
    return Temperature(1 / slope, smoothed)


def _fit_platt(logit: FloatVector, positives: FloatVector, rows: FloatVector) -> Platt:
    (slope, intercept), smoothed = map(float, fit_line(logit, positives, rows)), False
    if math.isnan(slope):
        soft = _softened(positives, rows)
        (slope, intercept), smoothed = map(float, fit_line(logit, soft, rows)), True
    if not slope > 0:
        raise TableError(
            "positives do not score higher than negatives there, so calibrating would turn the ranking round; is the "
            "network trained?"
        )
    return Platt(slope, intercept, smoothed)


def _fit_isotonic(logit: FloatVector, positives: FloatVector, rows: FloatVector) -> Isotonic:
    fitted = scipy.optimize.isotonic_regression(positives / rows, weights=rows).x
    # Within a step only its ends are needed: the line between them is the step.
    turns = np.flatnonzero(np.diff(fitted) != 0)
    kept = np.unique(np.concatenate([[0], turns, turns + 1, [len(fitted) - 1]]))
    bounded = np.clip(fitted[kept], 0.0, 1.0)
    return Isotonic(tuple(map(float, logit[kept])), tuple(map(float, bounded)))


def _softened(positives: FloatVector, rows: FloatVector) -> FloatVector:
    n_positive = positives.sum()
    n_negative = rows.sum() - n_positive
    soft: FloatVector = positives * (n_positive + 1) / (n_positive + 2) + (rows - positives) / (n_negative + 2)
    return soft


def _check_parameters(calibrator: Temperature | Platt | Isotonic) -> None:
    if isinstance(calibrator, Isotonic):
        x, p = np.asarray(calibrator.knot_logit, np.float64), np.asarray(calibrator.knot_probability, np.float64)
        right = x.ndim == 1 and x.shape == p.shape and x.size > 0
        right = right and bool(np.isfinite(x).all() and (np.diff(x) > 0).all() and (np.diff(p) >= 0).all())
        right = right and bool(0 <= p[0] <= p[-1] <= 1)
    elif isinstance(calibrator, Temperature):
        right = 0 < calibrator.temperature < math.inf
    else:
        right = 0 < calibrator.slope < math.inf and math.isfinite(calibrator.intercept)
    if not right:
        raise ValueError("a number is out of range")


def _checked(logit: npt.ArrayLike, label: npt.ArrayLike) -> tuple[FloatVector, FloatVector]:
    x, y = _vector(logit), np.asarray(label, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(f"logit and label must be equally long vectors, got shapes {x.shape} and {y.shape}")
    for name, values, good, allowed in (
        ("logit", x, np.isfinite(x), "finite"),
        ("label", y, np.isin(y, (0.0, 1.0)), "0 or 1"),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise TableError(f"{name} must be {allowed}, row {row} has {values[row]:g}")
    if not 0 < y.sum() < y.size:
        missing = "no rows" if not y.size else f"no {'positives' if not y.sum() else 'negatives'}"
        raise TableError(f"{missing} to fit a calibration on; it needs both classes")
    return x, y


def _vector(values: npt.ArrayLike) -> FloatVector:
    return np.asarray(values, dtype=np.float64)


def _expit(logit: FloatVector) -> FloatVector:
    result: FloatVector = scipy.special.expit(logit)
    return result
