"""Which voxels are nodule: trains and applies a segmentation network, on slices or on 3-D patches."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from lungdet.data.sample import MaskBatch, SampleSpec
from lungdet.errors import ShapeError
from lungdet.losses.segmentation import mask_logit
from lungdet.metrics.overlap import OVERLAP_NAMES
from lungdet.metrics.segmentation import (
    MASK_METRIC_NAMES,
    SCOPES,
    MaskOverlap,
    MeanLoss,
    logit_histogram,
    scoped_histograms,
)
from lungdet.tasks.epoch_task import EpochTask
from lungdet.tasks.optimisation import OptimizerFactory, SchedulerSpec

# A row of the predictions is a slice or a patch: these bins keep it at 2 kB, and average precision within .004, as
# measured with the seed book's network on a real scan. Bounds of the exact value follow from the counts themselves.
PREDICTED_BINS = 64

_TRAIN_NAMES = (*OVERLAP_NAMES, "average_precision")


class Segmentation(EpochTask):
    """Nodule or not, for every voxel.

    Logged once per epoch: `loss` (mean over samples), `dice`, `precision`, `recall`, `f1`, `average_precision` (of all
    voxels of the epoch together, called at probability 0.5), for `train` and `val`; for `val` also `crop_dice`,
    `crop_precision` and so on, of the voxels where a crop around a nodule might lie; and `samples_seen`, the training
    samples seen so far by all processes. Training numbers are those of augmented crops, of which most hold a nodule,
    while the weights change: compare them with `val/crop_dice` rather than with `val/dice`, where every voxel of the
    scans counts.

    Voxels outside `valid` and rows that are repeats count for nothing. Resuming is exact, as `EpochTask` says.

    Args:
        net: float32 [B, C, H, W] or [B, 1, D, H, W] -> [B, 1, ...] (one logit) or [B, 2, ...] (softmax pair).
        loss: outputs, mask, valid -> float32 [B], not reduced.
        optim: makes the optimiser from parameters; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.
    """

    shown: ClassVar[tuple[str, ...]] = ("train/loss", "val/loss", "val/dice")
    train_metrics: _EpochMetrics
    val_metrics: _EpochMetrics

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optim: OptimizerFactory | None = None,
        scheduler: SchedulerSpec | None = None,
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__(
            net=net, loss=loss, optim=optim, scheduler=scheduler, channels_last=channels_last, compile=compile
        )
        self.train_metrics = _EpochMetrics(_TRAIN_NAMES)
        self.val_metrics = _EpochMetrics(MASK_METRIC_NAMES)

    @property
    def logged_names(self) -> tuple[str, ...]:
        """Every name that is logged, and so can be monitored."""
        train = (f"train/{name}" for name in ("loss", *_TRAIN_NAMES))
        val = (f"val/{name}" for name in ("loss", *MASK_METRIC_NAMES))
        return (*train, *val, "samples_seen")

    def check_sample(self, spec: SampleSpec) -> list[str]:
        """Say in what the data does not fit this task: an empty list when it does."""
        problems = []
        if spec.target != "mask":
            problems.append(
                f"the model segments, the data has targets '{spec.target}': set data/samples to one of masks"
            )
        if len(spec.classes) != 2:
            problems.append(f"the model tells two classes apart, the data has {list(spec.classes)}")
        layout = _layout_of(self.net)
        if spec.layout != layout:
            taken = {"volume": "patches (data/samples=patches)", "image": "slices (data/samples=slices)"}[layout]
            return [*problems, f"{type(self.net).__name__} takes {taken}, the data gives '{spec.layout}' samples"]
        try:
            check_input = getattr(self.net, "check_input", None)
            if check_input is not None:
                check_input(spec.channels, spec.shape)
        except ShapeError as error:
            problems.append(str(error))
        try:
            mask_logit(torch.zeros(1, getattr(self.net, "n_classes", 1), 1))
        except ShapeError as error:
            problems.append(str(error))
        return problems

    def training_step(self, batch: MaskBatch, batch_idx: int) -> Tensor:
        """Mean loss of a batch, float32 scalar."""
        loss = self._observe(batch, self.train_metrics)
        self.count_samples(batch["index"])
        return loss

    def validation_step(self, batch: MaskBatch, batch_idx: int) -> None:
        """Observe a batch."""
        self._observe(batch, self.val_metrics)

    def predict_step(self, batch: MaskBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Count the voxels of each row, so that evaluation needs no network.

        Returns:
            index: int64 [B], row of the DataModule's records. Rows that are repeats have theirs twice, as usual.
            tp, fp, fn, tn: int64 [B], valid voxels by reference and call at probability 0.5 (logit >= 0).
            positives, negatives: int64 [B, 64], valid voxels of nodules and of the rest by logit, low to high: the
                input of `average_precision_from_histogram`, after summing over rows.
            not_a_number: int64 [B], valid voxels without a logit, in none of the counts; more than 0 means that the
                weights are broken.
            crop_tp, ..., crop_negatives, crop_not_a_number: the same of the voxels that are `near`.
        """
        logit = mask_logit(self(batch["image"]))
        counts = logit_histogram(logit, batch["mask"], valid=batch["valid"], near=batch["near"], n_bins=PREDICTED_BINS)
        rows = {"index": batch["index"]}
        for scope, histogram in zip(SCOPES, scoped_histograms(counts).unbind(1), strict=True):
            negatives, positives = histogram[..., :PREDICTED_BINS].unbind(1)
            # The lower and the upper half of the bins: not called, called.
            tn, fp = negatives.reshape(-1, 2, PREDICTED_BINS // 2).sum(2).unbind(1)
            fn, tp = positives.reshape(-1, 2, PREDICTED_BINS // 2).sum(2).unbind(1)
            named = {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "positives": positives, "negatives": negatives}
            named["not_a_number"] = histogram[..., PREDICTED_BINS].sum(1)
            rows |= {f"{scope}{name}": values for name, values in named.items()}
        return rows

    def _observe(self, batch: MaskBatch, metrics: _EpochMetrics) -> Tensor:
        outputs = self(batch["image"])
        loss: Tensor = self.loss(outputs, batch["mask"], batch["valid"])
        metrics.update(loss, mask_logit(outputs), batch)
        counted = ~batch["is_repeat"]
        return torch.where(counted, loss, 0.0).sum() / counted.sum().clamp(min=1)


class _EpochMetrics(nn.Module):
    """What is computed over one epoch of one stage; of the mask's metrics, those named."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.loss = MeanLoss()
        self.overlap = MaskOverlap()

    @property
    def has_rows(self) -> bool:
        return self.loss.update_called

    def update(self, loss: Tensor, logit: Tensor, batch: MaskBatch) -> None:
        self.loss.update(loss, batch["is_repeat"])
        self.overlap.update(logit, batch["mask"], batch["valid"], batch["near"], batch["is_repeat"])

    def finish(self) -> dict[str, Tensor]:
        """Values of the epoch over all processes; the next epoch starts empty."""
        overlap = self.overlap.compute()
        values = {"loss": self.loss.compute(), **{name: overlap[name] for name in self.names}}
        self.loss.reset()
        self.overlap.reset()
        return values


def _layout_of(net: nn.Module) -> str:
    return "volume" if any(isinstance(module, nn.Conv3d) for module in net.modules()) else "image"
