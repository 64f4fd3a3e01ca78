"""Per-sample classification losses: outputs float32 [B, K] and labels int64 [B] -> float32 [B], never reduced.

K = 2 is a softmax pair, K = 1 one logit. The task takes the mean; metrics take the mean per class. Everything is
computed in float32, under autocast too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError


def binary_logit(outputs: Tensor) -> Tensor:
    """Turn a network's outputs into the logit of class 1, so that probability = sigmoid(logit).

    Args:
        outputs: float [B, 2] (softmax pair) or [B, 1] (single logit).

    Returns:
        float32 [B]: `outputs[:, 1] - outputs[:, 0]` or `outputs[:, 0]`.

    Raises:
        ShapeError: outputs of another shape.

    Example:
        >>> binary_logit(torch.tensor([[1.0, 3.0]])).tolist(), binary_logit(torch.tensor([[2.0]])).tolist()
        ([2.0], [2.0])
    """
    if outputs.ndim != 2 or outputs.shape[1] not in (1, 2):
        raise ShapeError(
            f"a binary task needs outputs [B, 1] or [B, 2], the network gave {tuple(outputs.shape)}: "
            "set n_classes to 1 or 2"
        )
    outputs = outputs.float()
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]


class CrossEntropy(nn.Module):
    """Softmax cross-entropy for K >= 2 outputs.

    Args:
        weight: one factor per class, multiplied into the loss of its samples; None weighs all the same. The mean is
            taken over samples, not over weights as in `torch.nn.CrossEntropyLoss(reduction="mean")`.
        label_smoothing: in [0, 1); part of the target spread evenly over the classes.

    Raises:
        ConfigError: a negative weight or a smoothing outside [0, 1).
    """

    weight: Tensor | None

    def __init__(self, weight: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if weight is not None and (len(weight) < 2 or not all(math.isfinite(w) and w >= 0 for w in weight)):
            raise ConfigError([f"loss.weight must be one number >= 0 per class, got {list(weight)}"])
        if not 0 <= label_smoothing < 1:
            raise ConfigError([f"loss.label_smoothing must be in [0, 1), got {label_smoothing}"])
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None if weight is None else torch.tensor(list(weight), dtype=torch.float32))

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Float [B, K], int64 [B] -> float32 [B].

        Raises:
            ShapeError: one output per sample, or another number of classes than `weight` has.
        """
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ShapeError(
                f"cross-entropy needs outputs [B, K] with K >= 2, the network gave {tuple(outputs.shape)}: set the "
                "network's n_classes=2, or use the loss bce or focal"
            )
        if self.weight is not None and len(self.weight) != outputs.shape[1]:
            raise ShapeError(f"loss.weight has {len(self.weight)} numbers for {outputs.shape[1]} classes")
        return F.cross_entropy(
            outputs.float(), labels, weight=self.weight, label_smoothing=self.label_smoothing, reduction="none"
        )


class BinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy on the logit of class 1, for one output or a pair.

    Args:
        pos_weight: factor on the loss of the positives. `train` takes negatives / positives of the training fold, once,
            when the task starts; the value is a buffer, so checkpoints carry it. Until then it is NaN, and so would be
            the loss.

    Raises:
        ConfigError: a number that is not positive.
    """

    pos_weight: Tensor

    def __init__(self, pos_weight: float | Literal["train"] | None = None) -> None:
        super().__init__()
        self.needs_class_counts = pos_weight == "train"
        value = {"train": math.nan, None: 1.0}.get(pos_weight, pos_weight)  # type: ignore[arg-type]
        if not self.needs_class_counts and not (isinstance(value, int | float) and 0 < value < math.inf):
            raise ConfigError([f"loss.pos_weight must be a number > 0, 'train' or null, got {pos_weight!r}"])
        self.register_buffer("pos_weight", torch.tensor(value, dtype=torch.float32))

    def fit_class_counts(self, counts: tuple[int, ...]) -> None:
        """Set `pos_weight` from (negatives, positives) of the training fold; does nothing unless it is `train`.

        Raises:
            ConfigError: not two classes, or a class without samples.
        """
        if not self.needs_class_counts:
            return
        if len(counts) != 2 or min(counts) < 1:
            raise ConfigError(
                [
                    f"loss.pos_weight=train needs negatives and positives in the training fold, which has {counts}: "
                    "choose another fold or give pos_weight as a number"
                ]
            )
        self.pos_weight.fill_(counts[0] / counts[1])

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Float [B, 1] or [B, 2], int64 [B] -> float32 [B].

        Raises:
            ShapeError: outputs of another shape.
        """
        return F.binary_cross_entropy_with_logits(
            binary_logit(outputs), labels.float(), pos_weight=self.pos_weight, reduction="none"
        )


class Focal(nn.Module):
    """Focal loss: cross-entropy times (1 - p of the true class)^gamma, for one output or a pair.

    Reference: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, doi:10.1109/ICCV.2017.324.

    Args:
        gamma: >= 0; 0 is plain cross-entropy.
        alpha: weight of the positives in [0, 1], negatives get 1 - alpha; None weighs both by 1.

    Raises:
        ConfigError: gamma or alpha out of range.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise ConfigError([f"loss.gamma must be >= 0, got {gamma}"])
        if alpha is not None and not 0 <= alpha <= 1:
            raise ConfigError([f"loss.alpha must be in [0, 1] or null, got {alpha}"])
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Float [B, 1] or [B, 2], int64 [B] -> float32 [B].

        Raises:
            ShapeError: outputs of another shape.
        """
        # z > 0 where the sample is on the right side. 1 - p of the true class is sigmoid(-z) = exp(-softplus(z)); in
        # this form the gradient stays finite for gamma < 1, where a power of an underflowed sigmoid gives NaN.
        z = binary_logit(outputs) * (2 * labels.float() - 1)
        loss = F.softplus(-z) * torch.exp(-self.gamma * F.softplus(z))
        if self.alpha is None:
            return loss
        return loss * torch.where(labels == 1, self.alpha, 1 - self.alpha)
