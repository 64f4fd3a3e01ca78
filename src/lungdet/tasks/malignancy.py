"""Malignant or benign: the classifier of nodules, from scratch or fine-tuned from a trained candidate classifier."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import Parameter

from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.errors import ConfigError, LungdetError
from lungdet.losses.classification import binary_logit
from lungdet.nets.late_fusion import LateFusion, check_same
from lungdet.nets.transfer import (
    check_all_but_head,
    find_modules,
    freeze,
    head_names,
    hold_still,
    load_all_but_head,
    read_network_weights,
)
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.tasks.optimisation import OptimizerFactory, SchedulerSpec, configure_optimisation

log = logging.getLogger(__name__)


class MalignancyClassification(CandidateClassification):
    """Binary classification of crops around nodules; what it logs is said in `CandidateClassification`.

    A fresh training with `init_from` starts from those weights, but for the head, which is new. The file is read then
    and never again: resuming, predicting and evaluating work without it.

    With `fusion`, clinical features join behind the image branch. `net` stays the image branch alone, so weights to
    start from, frozen modules, exports and detection mean what they mean without it.

    Args:
        net: float32 [B, C, D, H, W] -> outputs float32 [B, 2] (softmax pair) or [B, 1] (one logit).
        loss: outputs, labels int64 [B] -> float32 [B], not reduced.
        optim: makes the optimiser from the parameters that are not frozen; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        class_names: the negative and the positive class, as in logged names.
        init_from: a checkpoint whose network is of the same kind, or a `.state` file of the seed book; None starts at
            random. The command line also takes a run directory or `latest`.
        frozen: names of the network's modules that stay as loaded: their weights are not trained, and they run in
            evaluation mode, so that running statistics of batch norm stay too.
        fusion: how `features` of the batches change the outputs of `net`; None where there are none.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.

    Raises:
        ConfigError: not two different class names; a module that does not exist, the head, or anything to be frozen
            without `init_from`.
    """

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optim: OptimizerFactory | None = None,
        scheduler: SchedulerSpec | None = None,
        class_names: Sequence[str] = ("benign", "malignant"),
        init_from: str | None = None,
        frozen: Sequence[str] = (),
        fusion: LateFusion | None = None,
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
        if frozen and init_from is None:
            raise ConfigError(
                [f"model.frozen: {list(frozen)} would stay random; name the trained weights by model.init_from=..."]
            )
        self.init_from = init_from
        self.frozen = tuple(frozen)
        self._frozen_modules = find_modules(self.net, self.frozen, key="model.frozen")
        freeze(self._frozen_modules)
        self._has_weights = init_from is None
        self.fusion = fusion
        self.takes_features = fusion is not None

    def check_sample(self, spec: SampleSpec) -> list[str]:
        """Say in what the data, or the weights to start from, do not fit: an empty list when they do."""
        problems = super().check_sample(spec)
        # A missing file is no problem of a run that is resumed; a fresh one says so when it starts.
        if self.init_from is not None and Path(self.init_from).is_file():
            try:
                check_all_but_head(self.net, read_network_weights(self.init_from), path=self.init_from)
            except LungdetError as error:
                problems.append(f"model.init_from: {error}; train both with the same model.net")
        return problems

    def outputs_of(self, batch: ClassBatch) -> Tensor:
        """The image branch's answer, and what the clinical features add to it; without any it answers alone."""
        return self._fused(super().outputs_of(batch), batch)

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """As `CandidateClassification.predict_step`; with clinical features also `image_logit`, without their part."""
        outputs = self(batch["image"])
        answers = {"index": batch["index"], "logit": binary_logit(self._fused(outputs, batch))}
        return answers if "features" not in batch else {**answers, "image_logit": binary_logit(outputs)}

    def setup(self, stage: str) -> None:
        """Fit scale and start of the fusion on the training patients; Lightning restores a checkpoint after this.

        Raises:
            RunError: the clinical features are not those of an earlier `setup` or checkpoint.
        """
        super().setup(stage)
        given = getattr(getattr(self.trainer, "datamodule", None), "clinical_features", None)
        if self.fusion is None or given is None:
            return
        is_new = not self.fusion.names
        self.fusion.build(given.names)
        if stage == "fit" and is_new:
            rows = given.is_training
            self.fusion.fit(given.values[rows], given.label[rows], weight=given.row_weight[rows])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and schedule for the image branch and the fusion."""
        fusion: Iterable[Parameter] = () if self.fusion is None else self.fusion.parameters()
        parameters = [*self.net.parameters(), *fusion]
        return configure_optimisation(parameters, optim=self.optim, scheduler=self.scheduler)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the features that the fusion's weights belong to."""
        super().on_save_checkpoint(checkpoint)
        if self.fusion is not None:
            checkpoint["clinical_features"] = list(self.fusion.names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Weights come from this checkpoint, not from `init_from`; so do the fusion and its features.

        Raises:
            RunError: the clinical table gives other features than the network was trained on.
        """
        super().on_load_checkpoint(checkpoint)
        self._has_weights = True
        if self.fusion is not None and "clinical_features" in checkpoint:
            trained = checkpoint["clinical_features"]
            if self.fusion.names:
                check_same(trained, self.fusion.names)
            self.fusion.build(trained)

    def on_fit_start(self) -> None:
        """Take over the weights to start from; Lightning has restored a checkpoint before this, if there is one.

        Raises:
            MissingFileError: no file at `init_from`.
            RunError, ShapeError: not the weights of this network.
        """
        if self._has_weights or self.init_from is None:
            return
        load_all_but_head(self.net, read_network_weights(self.init_from), path=self.init_from)
        self._has_weights = True
        log.info(
            "starting from %s; new: %s; frozen: %s",
            self.init_from,
            ", ".join(head_names(self.net)),
            ", ".join(self.frozen) or "nothing",
        )

    def on_train_start(self) -> None:
        """Hold still what is frozen: Lightning trains in the mode it finds, and restores it after validation."""
        super().on_train_start()
        # Not earlier: Lightning warns of modules in evaluation mode just before this.
        hold_still(self._frozen_modules)

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything that is not frozen."""
        super().train(mode)
        hold_still(self._frozen_modules)
        return self

    def _fused(self, outputs: Tensor, batch: ClassBatch) -> Tensor:
        if self.fusion is None or "features" not in batch:
            return outputs
        fused: Tensor = self.fusion(outputs, batch["features"])
        return fused


__all__ = ["MalignancyClassification"]
