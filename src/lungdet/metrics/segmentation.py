"""Epoch metrics of masks: one histogram of logits, which adds up over batches and processes and tells everything.

The threshold 0.5 lies on an edge of the bins, so counts at it are exact; only average precision is binned.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from lungdet.errors import ConfigError, ShapeError
from lungdet.metrics.overlap import OVERLAP_NAMES, average_precision_from_histogram, overlap_from_counts

# Prefixes of the names: whole-volume counts every valid voxel, crop-level those that are near a nodule.
SCOPES = ("", "crop_")

MASK_METRIC_NAMES = tuple(f"{scope}{name}" for scope in SCOPES for name in (*OVERLAP_NAMES, "average_precision"))

# Half of the bins lie between logits -8 and 8. A network trained with Dice alone has logits far beyond the +-17 where
# a sigmoid is 1 in float32: the seed book's has -142 to 231 on a real scan, where bins that end at +-32 lose half of
# its average precision (.014 instead of .031); these lose .0002 with 2,048 bins and .003 with 64.
_HALF_WAY = 8.0
_LARGEST_LOGIT = 1e6


def logit_histogram(logit: Tensor, mask: Tensor, *, valid: Tensor, near: Tensor, n_bins: int) -> Tensor:
    """Count the voxels of each row by logit, reference and place.

    Bins are equally wide in x / (8 + |x|), so every logit has one, and so is the order of logits kept. The upper half
    of the bins are those with logit >= 0, that is probability >= 0.5.

    Measured on one core: 2 ms for a slice of 512 x 512.

    Args:
        logit: float [B, 1, ...].
        mask: bool [B, 1, ...], True on nodules.
        valid: bool [B, 1, ...]; other voxels are not counted.
        near: bool [B, 1, ...], True around nodules.
        n_bins: even.

    Returns:
        int64 [B, 2, 2, n_bins + 1]: row, near (0 elsewhere, 1 near), reference (0 negative, 1 nodule), bin from low to
        high. The last bin counts logits that are NaN.

    Raises:
        ShapeError: tensors of different shapes.
        ConfigError: an odd number of bins.
    """
    shapes = {tuple(tensor.shape) for tensor in (logit, mask, valid, near)}
    if len(shapes) != 1:
        raise ShapeError(f"logit, mask, valid and near must have one shape, got {sorted(shapes)}")
    if n_bins < 2 or n_bins % 2:
        raise ConfigError([f"n_bins must be even, so that 0.5 is an edge, got {n_bins}"])
    row_size = 4 * (n_bins + 1)
    x = logit.detach().float().clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    # In place and in int32 from here on: new memory for each step would take five times as long.
    bins = x.div_(x.abs().add_(_HALF_WAY)).mul_(n_bins / 2).floor_()
    # Shifted after rounding down: a small negative logit plus n_bins / 2 would round to the positive side.
    place = bins.add_(n_bins / 2).clamp_(0, n_bins - 1).nan_to_num_(nan=n_bins).int()
    place += near.to(torch.uint8).mul_(2).add_(mask.to(torch.uint8)).int().mul_(n_bins + 1)
    first = torch.arange(len(logit), dtype=torch.int32, device=logit.device) * row_size
    place += first.view(-1, *[1] * (logit.ndim - 1))
    place.masked_fill_(~valid, len(logit) * row_size)
    counts = _count(place.flatten(), len(logit) * row_size + 1)[:-1]
    return counts.view(len(logit), 2, 2, n_bins + 1)


def scoped_histograms(histogram: Tensor) -> Tensor:
    """Int64 [..., 2 (near), 2, n] as from `logit_histogram` -> the same with `SCOPES` instead of near.

    The first scope is elsewhere and near together, the second near alone.
    """
    return torch.stack([histogram.sum(-3), histogram.select(-3, 1)], dim=-3)


class MaskOverlap(Metric):
    """Dice, voxel precision, recall, F1 and average precision over an epoch, whole-volume and crop-level.

    `compute` gives float32 scalars named as in `MASK_METRIC_NAMES`. Counts are pooled over all voxels of the epoch:
    not means of per-slice numbers, which are undefined on the slices without a nodule. A voxel is called when its logit
    is >= 0. What has no data is NaN; a NaN logit makes its scope NaN.

    Average precision takes logits of one bin for ties; of `n_bins` = 2,048 each is 1/64 wide near 0. Measured on a real
    scan: within 0.0002 of the exact value; `average_precision_bounds` proves an interval.

    Args:
        n_bins: of the histogram; even.
    """

    is_differentiable = False
    full_state_update = False
    histogram: Tensor

    def __init__(self, n_bins: int = 2048) -> None:
        super().__init__()
        self.n_bins = n_bins
        self.add_state("histogram", torch.zeros(2, 2, n_bins + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logit: Tensor, mask: Tensor, valid: Tensor, near: Tensor, is_repeat: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            logit: float [B, 1, ...].
            mask: bool [B, 1, ...].
            valid: bool [B, 1, ...]; other voxels count for nothing.
            near: bool [B, 1, ...].
            is_repeat: bool [B], rows that count for nothing; None: every row counts.
        """
        if is_repeat is not None:
            valid = valid & ~is_repeat.view(-1, *[1] * (valid.ndim - 1))
        counts = logit_histogram(logit, mask, valid=valid, near=near, n_bins=self.n_bins)
        # Not in place: a state that was reset under Lightning's inference mode could not be written to outside it.
        self.histogram = self.histogram + counts.sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Name -> float32 scalar."""
        values: dict[str, float] = {}
        for scope, histogram in zip(SCOPES, scoped_histograms(self.histogram).cpu().numpy(), strict=True):
            values |= {f"{scope}{name}": value for name, value in _metrics(histogram).items()}
        return {name: torch.tensor(value, device=self.device) for name, value in values.items()}


class MeanLoss(Metric):
    """Mean over the rows that are no repeats, float32 scalar; NaN without rows, or with a NaN among them."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    n_rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("n_rows", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, is_repeat: Tensor) -> None:
        """Add a batch: loss float [B], is_repeat bool [B]."""
        self.total = self.total + torch.where(is_repeat, 0.0, loss.detach().float()).sum()
        self.n_rows = self.n_rows + (~is_repeat).sum()

    def compute(self) -> Tensor:
        """Total by rows; 0 / 0 is NaN."""
        return self.total / self.n_rows


def _count(values: Tensor, n: int) -> Tensor:
    """How often each of 0..n-1 occurs: int64 [n]."""
    # bincount asks a GPU for the largest value first, and the host would wait for the answer in every step.
    return torch.bincount(values, minlength=n) if values.device.type == "cpu" else _added_up(values, n)


def _added_up(values: Tensor, n: int) -> Tensor:
    """The same; on a CPU 2.7 times slower than bincount."""
    ones = torch.ones((), dtype=torch.int64, device=values.device).expand_as(values)
    return torch.zeros(n, dtype=torch.int64, device=values.device).scatter_add_(0, values.long(), ones)


def _metrics(histogram: npt.NDArray[np.int64]) -> dict[str, float]:
    """Int64 [2, n_bins + 1] of one scope -> its metrics."""
    (negatives, positives), n_nan = histogram[:, :-1], histogram[:, -1].sum()
    half = len(positives) // 2
    values = overlap_from_counts(
        tp=int(positives[half:].sum()), fp=int(negatives[half:].sum()), fn=int(positives[:half].sum())
    )
    values["average_precision"] = average_precision_from_histogram(positives, negatives)
    return dict.fromkeys(values, math.nan) if n_nan else values
