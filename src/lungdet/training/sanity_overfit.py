"""`lungdet sanity what=overfit_one_batch`: a network that cannot learn one batch by heart is broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader

from lungdet.data.collection_data import CollectionData
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.sanity_checks import SanityCheck, SanityNumber, not_judged
from lungdet.metrics.ranking import auroc

NAME = "overfit_one_batch"
QUESTION = "Can the network learn one batch by heart?"

# Batches that are looked through for one with both classes, or with a nodule in a mask.
_MOST_BATCHES = 100
# Steps; measuring is a forward pass.
_MEASURED_EVERY = 5

MakeTrainer = Callable[[list[Callback]], pl.Trainer]


class OneBatch(pl.LightningDataModule):
    """The same finished batch at every step, without augmentation; what a task asks of its data the origin answers.

    Args:
        batch: as the task takes it, on the CPU.
        steps: how often.
        origin: where it comes from.
    """

    def __init__(self, batch: Any, *, steps: int, origin: CollectionData) -> None:
        super().__init__()
        self.batch, self.steps, self.origin = batch, steps, origin

    def __getattr__(self, name: str) -> Any:
        """Class counts, clinical features and whatever else a task's `setup` looks for."""
        if name.startswith("__") or name == "origin":
            raise AttributeError(name)
        return getattr(self.origin, name)

    def train_dataloader(self) -> DataLoader[Any]:
        """One epoch of it."""
        return DataLoader(_Repeated(self.batch, self.steps), batch_size=None, shuffle=False)

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Nothing to validate on."""
        return []


class StopWhenLearned(Callback):
    """Notes the loss of every step, and stops once it is below the target and the scores are right too.

    Args:
        target_loss: of the training step, batch statistics and dropout included.
        target_score: of `measure`.
        measure: task -> score of the batch as the network is used, in evaluation mode.
    """

    def __init__(
        self, *, target_loss: float, target_score: float, measure: Callable[[pl.LightningModule], float]
    ) -> None:
        self.target_loss, self.target_score, self.measure = target_loss, target_score, measure
        self.losses: list[float] = []
        self.score = math.nan

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the step."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            trainer.should_stop = True
        elif self.losses[-1] < self.target_loss and len(self.losses) % _MEASURED_EVERY == 0:
            trainer.should_stop = self.measure(pl_module) >= self.target_score

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score what was reached."""
        if math.isfinite(self.losses[-1]):
            self.score = self.measure(pl_module)


def check_overfit_one_batch(
    datamodule: CollectionData,
    task: pl.LightningModule,
    make_trainer: MakeTrainer,
    *,
    steps: int,
    target_loss: float,
    target_dice: float,
) -> SanityCheck:
    """Train on one batch by the task's own step and optimiser until it is known by heart.

    Passed: the loss falls below the target, and on the batch, as the network is used afterwards (evaluation mode), the
    AUROC is 1, or the Dice of a segmentation reaches its target. A segmentation's loss only has to fall, because its
    least value depends on the loss.

    Args:
        datamodule: after setup, without augmentation.
        task: with an optimiser and without a schedule: a rate that falls, or waits for validation, has no place here.
        make_trainer: callbacks -> a trainer of one epoch on one device, without validation.
        steps: at most so many.
        target_loss: of classifiers.
        target_dice: of segmentations.
    """
    batch = batch_to_learn(datamodule)
    is_mask = datamodule.spec.target == "mask"
    if batch is None:
        wanted = "a nodule" if is_mask else "both classes"
        return not_judged(NAME, QUESTION, f"None of {_MOST_BATCHES} training batches holds {wanted}.")
    watcher = StopWhenLearned(
        target_loss=math.inf if is_mask else target_loss,
        target_score=target_dice if is_mask else 1.0,
        measure=lambda module: score_of_batch(module, batch),
    )
    make_trainer([watcher]).fit(task, datamodule=OneBatch(batch, steps=steps, origin=datamodule))
    return _judged(watcher, n_rows=len(batch["index"]), steps=steps, is_mask=is_mask)


def batch_to_learn(datamodule: CollectionData) -> Any:
    """The first finished training batch that holds both classes, or a nodule in its masks; None if there is none."""
    for raw in islice(_batches(datamodule), _MOST_BATCHES):
        batch = datamodule.on_after_batch_transfer(datamodule.on_before_batch_transfer(raw, 0), 0)
        if "label" in batch:
            if len(torch.unique(batch["label"])) > 1:
                return batch
        elif bool(batch["mask"].any()):
            return batch
    return None


def score_of_batch(task: pl.LightningModule, batch: Any) -> float:
    """AUROC of the logits on the batch in evaluation mode; the Dice of masks."""
    was_training = task.training
    task.eval()
    with torch.no_grad():
        moved = {name: value.to(task.device) for name, value in batch.items()}
        outputs: Any = task.predict_step(moved, 0)
    task.train(was_training)
    if "logit" in outputs:
        logit = outputs["logit"].float().cpu().numpy()
        return auroc(batch["label"].numpy(), logit) if np.isfinite(logit).all() else math.nan
    tp, fp, fn = (int(outputs[name].sum()) for name in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn)


class _Repeated(torch.utils.data.Dataset[Any]):
    def __init__(self, batch: Any, n: int) -> None:
        self.batch, self.n = batch, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, step: int) -> Any:
        return self.batch


def _batches(datamodule: CollectionData) -> Iterator[Any]:
    epoch = 0
    while True:
        loader = datamodule.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader
        epoch += 1


def _judged(watcher: StopWhenLearned, *, n_rows: int, steps: int, is_mask: bool) -> SanityCheck:
    first, last = watcher.losses[0], watcher.losses[-1]
    n, measure = len(watcher.losses), "Dice" if is_mask else "AUROC"
    is_known = watcher.score >= watcher.target_score
    is_low = last < first if is_mask else last < watcher.target_loss
    cautions = []
    if is_known and is_low:
        says = f"After {n} steps the loss is {last:.3g}, from {first:.3g}; the batch has {measure} {watcher.score:.3f}."
    elif not math.isfinite(last):
        says = f"The loss is not a number after {n} steps: the training diverges."
        cautions.append("Try a smaller learning rate (optim.lr) before looking for a defect.")
    else:
        wanted = "" if is_mask else f" (wanted: below {watcher.target_loss:g})"
        says = (
            f"After {n} steps the loss is still {last:.3g}{wanted}, from {first:.3g}; the {measure} of the batch is "
            f"{watcher.score:.3f} (wanted: {watcher.target_score:g})."
        )
        cautions.append(
            f"Slow is not broken: try overfit.steps={5 * steps}, or a larger optim.lr, before looking for a defect."
        )
    marks = {} if is_mask else {"target": watcher.target_loss}
    return SanityCheck(
        NAME,
        QUESTION,
        "passed" if is_known and is_low else "failed",
        says,
        (
            SanityNumber("Loss of the first step", Estimate(first)),
            SanityNumber("Loss of the last step", _number(last), f"step {n} of at most {steps}"),
            SanityNumber(f"{measure} of the batch", _number(watcher.score), f"{n_rows} rows"),
        ),
        tuple(cautions),
        curve={"loss": watcher.losses},
        marks=marks,
    )


def _number(value: float) -> Estimate:
    return Estimate(value) if math.isfinite(value) else Estimate(math.nan, reason="not a number")
