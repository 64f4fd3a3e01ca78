"""Trackers. TensorBoard can count the x-axis in training samples seen, as the seed book does, instead of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pytorch_lightning.loggers import TensorBoardLogger


class TensorBoard(TensorBoardLogger):
    """TensorBoard event files in `<save_dir>/tensorboard`.

    Args:
        save_dir: the run directory; the command fills it in.
        x_axis: `samples` plots against the number of training samples seen over all processes, so that runs with
            different batch sizes lie on one axis; `steps` against optimiser steps.
    """

    def __init__(self, *, save_dir: str, x_axis: Literal["samples", "steps"] = "samples") -> None:
        super().__init__(save_dir=save_dir, name="tensorboard", version="")
        self.x_axis = x_axis

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars; `samples_seen`, which the task logs with every metric, becomes the x-axis."""
        samples = metrics.get("samples_seen")
        if self.x_axis == "samples" and samples is not None:
            step = int(samples)
        super().log_metrics(dict(metrics), step)
