"""Whole images of two classes: trains and applies a 2-D classifier, from random or pretrained weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lungdet.data.sample import ClassBatch
from lungdet.errors import ConfigError
from lungdet.losses.classification import binary_logit
from lungdet.nets.image_views import ViewAverage, Views
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.tasks.optimisation import OptimizerFactory, SchedulerSpec, configure_optimisation

log = logging.getLogger(__name__)

RANDOM = "random"


class ImageClassification(CandidateClassification):
    """Binary classification of images; what it logs is said in `CandidateClassification`.

    The weights to start from are read when a fresh training starts and never again: resuming, predicting and exporting
    work without them. A network with `fit_input_moments` is told the collection's mean and deviation then.

    Predictions average over `views`; training and validation look once. The exported graph holds the views too.

    Args:
        net: float32 [B, C, H, W] in [0, 1] -> outputs float32 [B, 1] (one logit) or [B, 2] (softmax pair).
        loss: outputs, labels int64 [B] -> float32 [B], not reduced.
        weights: `random`, or what `net.load_pretrained` takes: `imagenet`, `imagenet_lite0`, a path.
        head_lr, body_lr: learning rates of the head and of the rest, of networks with `parameter_groups`
            (`lungdet.nets.backbone2d`); None takes that of `optim`.
        views: what predictions average over: `one`, `flip`, `dihedral`.
        center_crop: part of the image that predictions look at, per side; 1 is all of it.
        optim: makes the optimiser from parameters; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        class_names: as in logged names; what the classes are is for the data to say.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.

    Raises:
        ConfigError: weights for a network that has no pretrained ones, learning rates for one without parameter groups,
            unknown views.
    """

    layout: ClassVar[str] = "image"
    fixed_class_names = False

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        weights: str = RANDOM,
        head_lr: float | None = None,
        body_lr: float | None = None,
        views: Views = "one",
        center_crop: float = 1.0,
        optim: OptimizerFactory | None = None,
        scheduler: SchedulerSpec | None = None,
        class_names: Sequence[str] = ("negative", "positive"),
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__(
            net=net,
            loss=loss,
            optim=optim,
            scheduler=scheduler,
            class_names=class_names,
            channels_last=channels_last,
            compile=compile,
        )
        name = type(net).__name__
        problems = []
        if weights != RANDOM and not hasattr(net, "load_pretrained"):
            problems.append(f"model.weights={weights}: {name} has no pretrained weights; type model.weights=random")
        if (head_lr, body_lr) != (None, None) and not hasattr(net, "parameter_groups"):
            problems.append(f"model.head_lr, model.body_lr: {name} has no head of its own; set both to null")
        if problems:
            raise ConfigError(problems)
        self.weights = weights
        self.head_lr, self.body_lr = head_lr, body_lr
        self._has_weights = False
        self.views: Views = views
        self.center_crop = center_crop
        _ = self.view_average  # refuses what it cannot average over

    @property
    def view_average(self) -> ViewAverage:
        """The network as predictions ask it; not a part of this module, so that no weight is saved twice."""
        return ViewAverage(self.net, views=self.views, center_crop=self.center_crop)

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Give `index` int64 [B] and `logit` float32 [B], the mean over the views."""
        image = batch["image"].to(memory_format=self.memory_format)
        return {"index": batch["index"], "logit": binary_logit(self.view_average(image).float())}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and schedule; head and body in groups of their own where their rates differ."""
        if (self.head_lr, self.body_lr) == (None, None) or self.optim is None:
            return super().configure_optimizers()
        rate = float(self.optim([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"])
        net: Any = self.net
        groups = net.parameter_groups(
            head_lr=rate if self.head_lr is None else self.head_lr,
            stage_lr=rate if self.body_lr is None else self.body_lr,
        )
        return configure_optimisation(groups, optim=self.optim, scheduler=self.scheduler)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Weights come from this checkpoint, not from `weights`."""
        super().on_load_checkpoint(checkpoint)
        self._has_weights = True

    def on_fit_start(self) -> None:
        """Take over the weights to start from; Lightning has restored a checkpoint before this, if there is one.

        Raises:
            MissingFileError, ConfigError, ShapeError, RunError: see `Backbone2d.load_pretrained`.
        """
        if self._has_weights:
            return
        net: Any = self.net
        if hasattr(net, "fit_input_moments"):
            moments = self.trainer.datamodule.input_moments  # type: ignore[attr-defined]
            net.fit_input_moments(moments.mean, moments.std)
        if self.weights != RANDOM:
            net.load_pretrained(self.weights)
            log.info("starting from the weights %s; the head is new", self.weights)
        self._has_weights = True
