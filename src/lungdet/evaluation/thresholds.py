"""Operating points: the fixed 0.5 and those chosen on validation, and what each calls right and wrong elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, ShapeError
from lungdet.evaluation.predictions import sigmoid

# What conf/evaluation asks for, for those who call from Python.
RECALLS = (0.9, 0.97)


@dataclass(frozen=True)
class Threshold:
    """A row is called positive when its logit is at least `logit`.

    Attributes:
        name: `half`, `max_f1`, `youden`, or `recall_90` for a recall of 0.9.
        rule: how it was chosen, for people.
        logit: the threshold itself; NaN when it could not be chosen. Decisions compare logits, because an fp32
            probability near 0 or 1 ties where logits still differ.
        chosen_on: `fixed` or the partition.
        reason: why there is none, or an empty string.
    """

    name: str
    rule: str
    logit: float
    chosen_on: str
    reason: str = ""

    @property
    def probability(self) -> float:
        """The same threshold on the probability scale; NaN when there is none."""
        return float(sigmoid(self.logit))


@dataclass(frozen=True)
class Confusion:
    """Counts of one partition at one threshold; a ratio with an empty denominator is NaN."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def recall(self) -> float:
        """Sensitivity: called positives among positives."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def precision(self) -> float:
        """Positives among the called; NaN when nothing is called."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def specificity(self) -> float:
        """Not called among the negatives."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); 0 when there are positives but no hit."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


HALF = Threshold("half", "probability 0.5", 0.0, "fixed")

_RULES = {
    "max_f1": "largest F1",
    "youden": "largest sensitivity + specificity - 1 (Youden's J)",
}


def recall_names(recalls: Sequence[float]) -> dict[str, float]:
    """Name -> recall of the operating points that aim at one.

    Raises:
        ConfigError: none, one twice, or one outside (0, 1].

    Example:
        >>> recall_names([0.9, 0.975])
        {'recall_90': 0.9, 'recall_97.5': 0.975}
    """
    wrong = [recall for recall in recalls if not 0 < recall <= 1]
    names = {f"recall_{100 * recall:g}": float(recall) for recall in recalls}
    if wrong or not names or len(names) < len(recalls):
        raise ConfigError(
            [f"evaluation.recalls: {list(recalls)}: give some of (0, 1], each once; type evaluation.recalls=[0.9,0.97]"]
        )
    return names


def choose_thresholds(
    label: npt.ArrayLike, logit: npt.ArrayLike, *, partition: str = "val", recalls: Sequence[float] = RECALLS
) -> dict[str, Threshold]:
    """Choose operating points on one partition, to be carried to another.

    Every distinct logit is a possible threshold (a row is called when its logit is >= it). Of thresholds that are
    equally good the highest is taken: it calls fewest.

    Args:
        label: {0, 1} [N].
        logit: float [N], finite.
        partition: where the rows come from, for the record.
        recalls: for each, the highest threshold that reaches it.

    Returns:
        `half`, `max_f1`, `youden`, then `recall_90`, ... in the order given. Without positives all but the first are
        NaN with the reason; without negatives Youden's J is.

    Raises:
        ConfigError: see `recall_names`.

    References:
        Youden WJ (1950) Index for rating diagnostic tests, Cancer 3:32-35,
        doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3
    """
    scores, tp, fp = _counts_at_scores(label, logit)
    n_positive = int(tp[-1]) if tp.size else 0
    n_negative = int(fp[-1]) if fp.size else 0
    chosen = {"half": HALF}
    aims = recall_names(recalls)
    rules = {name: f"largest threshold with recall of at least {aim:g}" for name, aim in aims.items()}
    for name, rule in (_RULES | rules).items():
        reason = ""
        best = math.nan
        if not scores.size:
            reason = f"no rows in {partition}"
        elif n_positive == 0:
            reason = f"no positives in {partition}"
        elif name == "youden" and n_negative == 0:
            reason = f"no negatives in {partition}"
        elif name in aims:
            # Counts, not ratios: 0.9 has no exact binary form, and 9 of 10 has to pass.
            best = scores[np.argmax(tp >= aims[name] * n_positive - 1e-9)]
        elif name == "max_f1":
            best = scores[np.argmax(2 * tp / (tp + fp + n_positive))]
        else:
            # In whole numbers (J times both totals), so that ties are ties.
            best = scores[np.argmax(tp * n_negative - fp * n_positive)]
        chosen[name] = Threshold(name, rule, float(best), partition, reason)
    return chosen


def confusion(label: npt.ArrayLike, logit: npt.ArrayLike, *, threshold: Threshold) -> Confusion:
    """Count what a threshold calls right and wrong.

    Args:
        label: {0, 1} [N].
        logit: float [N].
        threshold: one that could be chosen (its logit is not NaN).

    Example:
        >>> confusion([1, 0, 1], [2.0, 0.0, -1.0], threshold=HALF)
        Confusion(tp=1, fp=1, fn=1, tn=0)
    """
    positive = np.asarray(label) == 1
    called = np.asarray(logit, dtype=np.float64) >= threshold.logit
    tp = int(np.count_nonzero(called & positive))
    fp = int(np.count_nonzero(called)) - tp
    fn = int(np.count_nonzero(positive)) - tp
    return Confusion(tp, fp, fn, positive.size - tp - fp - fn)


def _counts_at_scores(
    label: npt.ArrayLike, logit: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct logits from high to low, and the positives and negatives called at each."""
    positive = np.asarray(label) == 1
    scores = np.asarray(logit, dtype=np.float64)
    if positive.shape != scores.shape or scores.ndim != 1:
        raise ShapeError(f"label and logit must be equally long vectors, got shapes {positive.shape}, {scores.shape}")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if scores.size else np.zeros(0, dtype=np.int64)
    tp = np.cumsum(positive[order], dtype=np.int64)[last]
    return ordered[last], tp, last + 1 - tp


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
