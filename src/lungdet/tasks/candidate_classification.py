"""Nodule or not: trains and applies a classifier of candidate crops. Owns steps and logged names, not paths or data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.errors import ConfigError, ShapeError
from lungdet.losses.classification import binary_logit
from lungdet.metrics.classification import BinaryRanking, LossAndAccuracy
from lungdet.tasks.epoch_task import EpochTask
from lungdet.tasks.optimisation import OptimizerFactory, SchedulerSpec

_MODEL_OF_LAYOUT = {"volume": "luna_cls", "image": "transfer2d"}


class CandidateClassification(EpochTask):
    """Binary classification of crops around candidates.

    Logged once per epoch, for `train` and `val`: `loss`, `percent_correct` (both also per class, as in
    `train/loss_nodule`), `auroc`, `average_precision`, `precision`, `recall`, `f1`, and beside them `samples_seen`, the
    training samples seen so far by all processes. Training metrics are those of the augmented samples while the weights
    change; validation counts every candidate once, however the processes share them.

    Resuming is exact, as `EpochTask` says.

    Args:
        net: float32 [B, C, D, H, W] -> outputs float32 [B, 2] (softmax pair) or [B, 1] (one logit).
        loss: outputs, labels int64 [B] -> float32 [B], not reduced. `fit_class_counts(counts)`, where it has one, is
            called before training with the class counts of the training fold.
        optim: makes the optimiser from parameters; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        class_names: the negative and the positive class, as in logged names.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.

    Raises:
        ConfigError: not two different class names.
    """

    shown: ClassVar[tuple[str, ...]] = ("train/loss", "val/loss", "val/auroc")
    takes_features = False
    layout: ClassVar[str] = "volume"
    # Whether the data has to call its classes by the names that are logged here.
    fixed_class_names = True
    train_metrics: _EpochMetrics
    val_metrics: _EpochMetrics

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optim: OptimizerFactory | None = None,
        scheduler: SchedulerSpec | None = None,
        class_names: Sequence[str] = ("non_nodule", "nodule"),
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        if len(class_names) != 2 or len(set(class_names)) != 2:
            raise ConfigError([f"model.class_names: needs two different names, got {list(class_names)}"])
        super().__init__(
            net=net, loss=loss, optim=optim, scheduler=scheduler, channels_last=channels_last, compile=compile
        )
        self.class_names = tuple(class_names)
        self.train_metrics = _EpochMetrics(self.class_names)
        self.val_metrics = _EpochMetrics(self.class_names)

    @property
    def logged_names(self) -> tuple[str, ...]:
        """Every name that is logged, and so can be monitored."""
        with_classes = ["", *(f"_{name}" for name in self.class_names)]
        metrics = [f"{metric}{suffix}" for metric in ("loss", "percent_correct") for suffix in with_classes]
        metrics += ["auroc", "average_precision", "precision", "recall", "f1"]
        return (*(f"{stage}/{metric}" for stage in ("train", "val") for metric in metrics), "samples_seen")

    def check_sample(self, spec: SampleSpec) -> list[str]:
        """Say in what the data does not fit this task: an empty list when it does."""
        problems = []
        if spec.target != "class":
            problems.append(f"the model classifies, the data has targets '{spec.target}'; choose another model")
        # Other classes are no news where even the number of axes differs.
        is_alike = spec.layout == self.layout
        if is_alike and self.fixed_class_names and tuple(spec.classes) != self.class_names:
            problems.append(f"the data has classes {list(spec.classes)}, the model {list(self.class_names)}")
        if spec.has_features and not self.takes_features:
            problems.append(
                "the data gives clinical features, the model takes none; type data.clinical=null or "
                "model=malignancy_clinical"
            )
        if self.takes_features and not spec.has_features:
            problems.append(
                "the model fuses clinical features, the data gives none; type data/clinical=table, or model=malignancy"
            )
        if not is_alike:
            problem = f"the model takes {self.layout}s, the data gives samples of layout '{spec.layout}'"
            if spec.target == "class":
                problem += f"; type a model of {spec.layout}s, such as model={_MODEL_OF_LAYOUT[spec.layout]}"
            return [*problems, problem]
        try:
            check_input = getattr(self.net, "check_input", None)
            if check_input is not None:
                check_input(spec.channels, spec.shape)
        except ShapeError as error:
            problems.append(str(error))
        try:
            outputs = torch.zeros(1, getattr(self.net, "n_classes", 2))
            self.loss(outputs, torch.zeros(1, dtype=torch.int64))
        except ShapeError as error:
            problems.append(str(error))
        return problems

    def setup(self, stage: str) -> None:
        """Give the loss its class counts; Lightning restores a checkpoint after this."""
        super().setup(stage)
        fit_class_counts = getattr(self.loss, "fit_class_counts", None)
        if stage != "predict" and fit_class_counts is not None:
            datamodule = getattr(self.trainer, "datamodule", None)
            fit_class_counts(getattr(datamodule, "train_class_counts", ()))

    def outputs_of(self, batch: ClassBatch) -> Tensor:
        """What the network answers to a batch: float32 [B, 2] or [B, 1]."""
        outputs: Tensor = self(batch["image"])
        return outputs

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        """Mean loss of a batch, float32 scalar. Nothing here waits for the device."""
        loss = self._observe(batch, self.train_metrics, None)
        self.count_samples(batch["index"])
        return loss

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        """Observe a batch; rows that a distributed sampler repeats count once."""
        self._observe(batch, self.val_metrics, batch["index"])

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Give `index` int64 [B] and `logit` float32 [B] of the positive class; probability = sigmoid(logit)."""
        return {"index": batch["index"], "logit": binary_logit(self.outputs_of(batch))}

    def _observe(self, batch: ClassBatch, metrics: _EpochMetrics, index: Tensor | None) -> Tensor:
        outputs = self.outputs_of(batch)
        loss: Tensor = self.loss(outputs, batch["label"])
        metrics.update(loss, binary_logit(outputs), label=batch["label"], index=index)
        return loss.mean()


class _EpochMetrics(nn.Module):
    """What is computed over one epoch of one stage."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.accuracy = LossAndAccuracy(class_names)
        self.ranking = BinaryRanking()

    @property
    def has_rows(self) -> bool:
        return self.ranking.update_called

    def update(self, loss: Tensor, logit: Tensor, *, label: Tensor, index: Tensor | None) -> None:
        self.accuracy.update(loss, logit, label, index)
        self.ranking.update(logit, label, index)

    def finish(self) -> dict[str, Tensor]:
        """Values of the epoch over all processes; the next epoch starts empty."""
        values = {**self.accuracy.compute(), **self.ranking.compute()}
        self.accuracy.reset()
        self.ranking.reset()
        return values
