"""Per-sample losses of masks: outputs float32 [B, K, ...], masks [B, 1, ...] -> float32 [B], never reduced.

K = 1 is one logit per voxel, K = 2 a softmax pair. The task takes the mean over samples. Everything is computed in
float32, under autocast too, and voxels outside `valid` count for nothing, whatever the network says there.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError


def mask_logit(outputs: Tensor) -> Tensor:
    """Turn a network's outputs into the logit of "nodule" per voxel, so that probability = sigmoid(logit).

    Args:
        outputs: float [B, 1, ...] (one logit) or [B, 2, ...] (softmax pair, class 1 is nodule).

    Returns:
        float32 [B, 1, ...]: the logit, or the difference of the pair.

    Raises:
        ShapeError: another number of channels.

    Example:
        >>> mask_logit(torch.tensor([[[[1.0]], [[3.0]]]])).tolist()
        [[[[2.0]]]]
    """
    if outputs.ndim < 3 or outputs.shape[1] not in (1, 2):
        raise ShapeError(
            f"segmentation needs outputs [B, 1, ...] or [B, 2, ...], the network gave {tuple(outputs.shape)}: "
            "set n_classes to 1 or 2"
        )
    outputs = outputs.float()
    return outputs if outputs.shape[1] == 1 else outputs[:, 1:] - outputs[:, :1]


class DiceRecall(nn.Module):
    """The seed book's loss: Dice of the prediction, plus Dice that looks at nodule voxels only, many times over.

    loss = dice(p, m) + false_negative_weight * dice(p * m, m), with dice(a, b) = 1 - (2 sum(ab) + eps) / (sum(a) +
    sum(b) + eps). The second term does not see false positives: of a nodule's voxels none shall be lost, what is found
    too much is for the classifier to refuse. A sample without nodule voxels gets sum(p) / (sum(p) + eps).

    Reference: Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapter 13.

    Args:
        false_negative_weight: factor of the second term, >= 0; the book has 8.
        epsilon: > 0, keeps the ratio of empty masks defined; the book has 1.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, false_negative_weight: float = 8.0, epsilon: float = 1.0) -> None:
        super().__init__()
        _require({"false_negative_weight": false_negative_weight}, {"epsilon": epsilon})
        self.false_negative_weight = false_negative_weight
        self.epsilon = epsilon

    def forward(self, outputs: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """Float [B, 1, ...] or [B, 2, ...], bool or float [B, 1, ...], bool [B, 1, ...] -> float32 [B].

        Raises:
            ShapeError: outputs of another shape.
        """
        _, probability, label, _ = _compared(outputs, mask, valid)
        missed = _dice_loss(probability * label, label, self.epsilon)
        return _dice_loss(probability, label, self.epsilon) + self.false_negative_weight * missed


class DiceCrossEntropy(nn.Module):
    """Soft Dice loss plus the mean sigmoid cross-entropy over the valid voxels of the sample.

    Reference: Isensee et al., "nnU-Net", Nature Methods 2021, doi:10.1038/s41592-020-01008-z.

    Args:
        dice_weight: factor of the Dice loss, >= 0.
        cross_entropy_weight: factor of the cross-entropy, >= 0.
        pos_weight: factor on the cross-entropy of nodule voxels, > 0.
        epsilon: > 0, added to both sides of the Dice ratio, in voxels.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        pos_weight: float = 1.0,
        epsilon: float = 1.0,
    ) -> None:
        super().__init__()
        _require(
            {"dice_weight": dice_weight, "cross_entropy_weight": cross_entropy_weight},
            {"pos_weight": pos_weight, "epsilon": epsilon},
        )
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.pos_weight = pos_weight
        self.epsilon = epsilon

    def forward(self, outputs: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """Float [B, 1, ...] or [B, 2, ...], bool or float [B, 1, ...], bool [B, 1, ...] -> float32 [B].

        Raises:
            ShapeError: outputs of another shape.
        """
        logit, probability, label, weight = _compared(outputs, mask, valid)
        entropy = F.softplus(logit) * (1 - label) + self.pos_weight * F.softplus(-logit) * label
        mean_entropy = (entropy * weight).sum(1) / weight.sum(1).clamp(min=1)
        dice = _dice_loss(probability, label, self.epsilon)
        return self.dice_weight * dice + self.cross_entropy_weight * mean_entropy


class FocalTversky(nn.Module):
    """Focal Tversky loss: (1 - TI)^(1/gamma), TI = (TP + eps) / (TP + alpha FN + beta FP + eps) of soft counts.

    Reference: Abraham & Khan, "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion
    Segmentation", ISBI 2019, doi:10.1109/ISBI.2019.8759329. Alpha, beta and gamma are the paper's; note that others
    (MONAI among them) call the weight of false positives alpha.

    Args:
        alpha: weight of false negatives, >= 0.
        beta: weight of false positives, >= 0.
        gamma: >= 1 looks harder at samples that are segmented badly; 1 is the plain Tversky loss.
        epsilon: > 0, added to both sides of the ratio, in voxels.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(self, alpha: float = 0.7, beta: float = 0.3, gamma: float = 4.0 / 3.0, epsilon: float = 1.0) -> None:
        super().__init__()
        _require({"alpha": alpha, "beta": beta}, {"gamma": gamma, "epsilon": epsilon})
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.epsilon = epsilon

    def forward(self, outputs: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """Float [B, 1, ...] or [B, 2, ...], bool or float [B, 1, ...], bool [B, 1, ...] -> float32 [B].

        Raises:
            ShapeError: outputs of another shape.
        """
        _, probability, label, weight = _compared(outputs, mask, valid)
        hits = (probability * label).sum(1)
        errors = self.alpha * ((weight - probability) * label).sum(1)
        errors = errors + self.beta * (probability * (weight - label)).sum(1)
        # 1 - TI without the subtraction. At 0 the power has an infinite slope; below 1e-7 nothing is left to learn.
        return (errors / (hits + errors + self.epsilon)).clamp(min=1e-7) ** (1 / self.gamma)


class _Compared(NamedTuple):
    """Float32 [B, N] each; outside `valid` the logit, the probability, the label and the weight are 0."""

    logit: Tensor
    probability: Tensor
    label: Tensor
    weight: Tensor


def _compared(outputs: Tensor, mask: Tensor, valid: Tensor) -> _Compared:
    logit = mask_logit(outputs)
    if not logit.shape == mask.shape == valid.shape:
        raise ShapeError(
            f"logits {tuple(logit.shape)}, mask {tuple(mask.shape)} and valid {tuple(valid.shape)} "
            "must have one shape: [B, 1, ...]"
        )
    # Chosen, not multiplied: infinity times zero would be NaN, and so would its gradient.
    valid = valid.bool().flatten(1)
    logit = torch.where(valid, logit.flatten(1), 0.0)
    weight = valid.float()
    return _Compared(logit, torch.sigmoid(logit) * weight, mask.flatten(1).float() * weight, weight)


def _dice_loss(prediction: Tensor, label: Tensor, epsilon: float) -> Tensor:
    """1 - soft Dice of float32 [B, N] -> float32 [B]."""
    correct = (prediction * label).sum(1)
    return 1 - (2 * correct + epsilon) / (prediction.sum(1) + label.sum(1) + epsilon)


def _require(not_negative: dict[str, float], positive: dict[str, float]) -> None:
    problems = [f"loss.{name} must be >= 0, got {v}" for name, v in not_negative.items() if not 0 <= v < math.inf]
    problems += [f"loss.{name} must be > 0, got {v}" for name, v in positive.items() if not 0 < v < math.inf]
    if problems:
        raise ConfigError(problems)
