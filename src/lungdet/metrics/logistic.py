"""Logistic regression in one variable by Newton's method, for many weightings of the same rows at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.special

FloatArray = npt.NDArray[np.float64]

_MAX_STEPS = 100
# With more distinct logits than this, the first steps are taken on so many cells of equal width.
_MANY, _COARSE_CELLS = 5000, 1000
_MAX_HALVINGS = 30
_LONGEST_STEP = 5.0
# Half the squared Newton step in the metric of the likelihood, per row: the estimate is then good to about 1e-8.
_DECREMENT_PER_ROW = 1e-18


def fit_line(logit: npt.ArrayLike, positives: npt.ArrayLike, rows: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Maximum likelihood of P(positive) = sigmoid(slope * logit + intercept), without regularisation.

    Args:
        logit: float [K], finite.
        positives: float [..., K] >= 0, how many positives have that logit; fractions are soft labels.
        rows: float [..., K], how many rows have it; at least `positives`.

    Returns:
        slope and intercept, float64 [...]; NaN where no finite maximum exists: a class is missing, all logits are
        equal, or a cut separates the classes (perfectly, or with ties at the cut).
    """
    x, p, n = _prepared(logit, positives, rows)
    low, high = _range(x, p > 0)
    low_negative, high_negative = _range(x, n - p > 0)
    exists = (low < high_negative) & (low_negative < high)
    middle, spread = (float(x.mean()), float(x.std()) or 1.0) if x.size else (0.0, 1.0)
    # Centred and scaled, so that the two parameters are of one size whatever the network's logits are.
    design = np.stack([(x - middle) / spread, np.ones_like(x)], axis=1)
    answer = _newton(_Likelihood(design, np.zeros_like(x), p, n), exists=exists)
    slope = answer[:, 0] / spread
    return _shaped(slope, positives), _shaped(answer[:, 1] - slope * middle, positives)


def fit_scale(logit: npt.ArrayLike, positives: npt.ArrayLike, rows: npt.ArrayLike) -> FloatArray:
    """Maximum likelihood of P(positive) = sigmoid(slope * logit). Arguments as for `fit_line`.

    Returns:
        slope, float64 [...]; NaN where no finite maximum exists: the sign of every logit is right, or every one wrong.
    """
    x, p, n = _prepared(logit, positives, rows)
    right = ((p > 0) & (x > 0)) | ((n - p > 0) & (x < 0))
    wrong = ((p > 0) & (x < 0)) | ((n - p > 0) & (x > 0))
    spread = float(np.sqrt(np.mean(x**2))) if x.size else 0.0
    exists = right.any(axis=1) & wrong.any(axis=1)
    answer = _newton(_Likelihood((x / (spread or 1.0))[:, None], np.zeros_like(x), p, n), exists=exists)
    return _shaped(answer[:, 0] / (spread or 1.0), positives)


def fit_shift(logit: npt.ArrayLike, positives: npt.ArrayLike, rows: npt.ArrayLike) -> FloatArray:
    """Maximum likelihood of P(positive) = sigmoid(logit + intercept). Arguments as for `fit_line`.

    Returns:
        intercept, float64 [...]; NaN where a class is missing.
    """
    x, p, n = _prepared(logit, positives, rows)
    total, wanted = n.sum(axis=1), p.sum(axis=1)
    exists = (wanted > 0) & (wanted < total)
    answer = _newton(_Likelihood(np.ones((len(x), 1)), x, p, n), exists=exists)
    return _shaped(answer[:, 0], positives)


def _prepared(
    logit: npt.ArrayLike, positives: npt.ArrayLike, rows: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    x = np.asarray(logit, dtype=np.float64)
    shape = (-1, len(x)) if x.size else (1, 0)
    return (
        x,
        np.asarray(positives, dtype=np.float64).reshape(shape),
        np.asarray(rows, dtype=np.float64).reshape(shape),
    )


def _shaped(values: FloatArray, like: npt.ArrayLike) -> FloatArray:
    return values.reshape(np.shape(like)[:-1])


def _range(x: FloatArray, present: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    low = np.where(present, x, np.inf).min(axis=1, initial=np.inf)
    high = np.where(present, x, -np.inf).max(axis=1, initial=-np.inf)
    return low, high


class _Likelihood(NamedTuple):
    """Binomial likelihoods of several weightings: design float64 [K, D], offset [K], positives and rows [R, K]."""

    design: FloatArray
    offset: FloatArray
    positives: FloatArray
    rows: FloatArray

    def only(self, which: npt.NDArray[Any]) -> _Likelihood:
        return self._replace(positives=self.positives[which], rows=self.rows[which])

    def summed(self) -> _Likelihood:
        return self._replace(
            positives=self.positives.sum(axis=0, keepdims=True), rows=self.rows.sum(axis=0, keepdims=True)
        )

    def coarse(self) -> _Likelihood:
        """The same with neighbouring rows of design and offset added up: an approximation, for a place to start."""
        line = self.design[:, 0] + self.offset
        width = float(np.ptp(line)) or 1.0
        cell = ((line - line.min()) / width * (_COARSE_CELLS - 1)).astype(np.int64)
        count = np.bincount(cell)
        filled = count > 0

        def means(values: FloatArray) -> FloatArray:
            return np.bincount(cell, weights=values)[filled] / count[filled]

        def sums(values: FloatArray) -> FloatArray:
            return np.stack([np.bincount(cell, weights=row)[filled] for row in values])

        design = np.stack([means(column) for column in self.design.T], axis=1)
        return _Likelihood(design, means(self.offset), sums(self.positives), sums(self.rows))

    def loss(self, theta: FloatArray) -> FloatArray:
        """Of parameters float64 [R, D]: float64 [R]."""
        eta = theta @ self.design.T + self.offset
        total: FloatArray = (self.rows * np.logaddexp(0, eta) - self.positives * eta).sum(axis=1)
        return total

    def step(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Newton's step float64 [R, D] and what it promises, per row: float64 [R]."""
        n_parameters = self.design.shape[1]
        products = (self.design[:, :, None] * self.design[:, None, :]).reshape(len(self.design), -1)
        chance = scipy.special.expit(theta @ self.design.T + self.offset)
        gradient = (self.rows * chance - self.positives) @ self.design
        hessian = ((self.rows * chance * (1 - chance)) @ products).reshape(-1, n_parameters, n_parameters)
        total = self.rows.sum(axis=1)
        # Far out all chances round to 0 or 1; a trace of ridge keeps the step finite, and halving does the rest.
        ridge = 1e-14 * total[:, None, None] * np.eye(n_parameters)
        step = np.linalg.solve(hessian + ridge, gradient[:, :, None])[:, :, 0]
        return step, (gradient * step).sum(axis=1) / 2 / total


def _newton(likelihood: _Likelihood, *, exists: npt.ArrayLike, max_steps: int = _MAX_STEPS) -> FloatArray:
    """Parameters float64 [R, D] of each weighting, found by Newton's method with halved steps; NaN where none exist."""
    n_parameters = likelihood.design.shape[1]
    result = np.full((len(likelihood.rows), n_parameters), np.nan)
    at = np.flatnonzero(np.asarray(exists))
    if not at.size:
        return result
    left = likelihood.only(at)
    theta = np.zeros((len(at), n_parameters))
    # Most of the way on a smaller problem: on cells, and for many weightings on their sum, which lies in their midst.
    if len(left.design) > _MANY:
        # Not to the end: cells may separate classes that overlap within one of them.
        theta = _newton(left.coarse(), exists=np.ones(len(at)), max_steps=10)
    elif len(at) > 1:
        theta = np.tile(_newton(left.summed(), exists=[True]), (len(at), 1))
    loss = left.loss(theta)
    for _ in range(max_steps):
        step, decrement = left.step(theta)
        done = decrement <= _DECREMENT_PER_ROW
        result[at[done]] = theta[done] - step[done]
        at, left, theta, step, loss = at[~done], left.only(~done), theta[~done], step[~done], loss[~done]
        if not at.size:
            return result
        theta, loss, stuck = _shortened(left, theta, step, loss)
        result[at[stuck]] = theta[stuck]
        at, left, theta, loss = at[~stuck], left.only(~stuck), theta[~stuck], loss[~stuck]
    result[at] = theta
    return result


def _shortened(
    likelihood: _Likelihood, theta: FloatArray, step: FloatArray, before: FloatArray
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """After the step, halved where it would make the likelihood worse; the loss there, and where nothing is better."""
    # Where all chances are near 0 or 1 the curvature vanishes, and a full step would lead anywhere.
    length, reach = np.linalg.norm(step, axis=1), _LONGEST_STEP + np.linalg.norm(theta, axis=1)
    factor = np.minimum(1.0, reach / np.maximum(length, 1e-300))
    for _ in range(_MAX_HALVINGS):
        tried = theta - factor[:, None] * step
        loss = likelihood.loss(tried)
        worse = loss > before + 1e-12 * np.abs(before)
        if not worse.any():
            break
        factor[worse] /= 2
    return np.where(worse[:, None], theta, tried), np.where(worse, before, loss), worse
