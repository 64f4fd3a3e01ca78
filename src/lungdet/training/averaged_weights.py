"""A moving average of the network's weights: what is validated, saved as best and exported, while training goes on."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from lungdet.errors import ConfigError

_CURRENT = "current_net"
_STEPS = "averaged_steps"


class AveragedWeights(Callback):
    """Exponential moving average of weights and running statistics, over optimiser steps.

    Validation sees the average, and so does a checkpoint's `state_dict`: whatever is chosen by validation, predicted
    with or exported is the average. The weights that training goes on from lie beside it, so a resumed run is exact.

    Only the network is averaged, not what the task counts; Lightning's own callback averages every buffer of the
    module, whole numbers too.

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992,
    doi:10.1137/0330046; Tarvainen and Valpola, "Mean teachers", 2017, arXiv:1703.01780 (the growing decay).

    Args:
        decay: weight of the past at each step, once there is one: step n takes min(decay, (1 + n) / (10 + n)).

    Raises:
        ConfigError: a decay outside of [0, 1).
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ConfigError([f"callbacks.average.decay={decay} must be at least 0 and below 1; type 0.99"])
        self.decay = decay
        self._average: dict[str, Tensor] | None = None
        self._n_steps = 0
        self._seen_step = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start anew with every training; a checkpoint is read after this."""
        if stage == "fit":
            self._average, self._n_steps, self._seen_step = None, 0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights that training begins with (pretrained ones are in place by now)."""
        if self._average is None:
            self._average = {name: tensor.detach().clone() for name, tensor in _net(pl_module).state_dict().items()}
        self._seen_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average towards the weights, after each step of the optimiser."""
        if trainer.global_step == self._seen_step:
            return
        self._seen_step = trainer.global_step
        self._n_steps += 1
        decay = min(self.decay, (1 + self._n_steps) / (10 + self._n_steps))
        average = self._average or {}
        for name, tensor in _net(pl_module).state_dict().items():
            if tensor.is_floating_point():
                average[name].lerp_(tensor, 1 - decay)
            else:
                average[name].copy_(tensor)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let validation see the average."""
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the weights that train."""
        self._swap(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the average behind."""
        if self._average is not None:
            _net(pl_module).load_state_dict(self._average)
            self._average = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average where everybody looks for weights, and the weights that train beside it."""
        if self._average is None:
            return
        state = checkpoint["state_dict"]
        checkpoint[_CURRENT] = {name: state[f"net.{name}"].clone() for name in self._average}
        checkpoint[_STEPS] = self._n_steps
        checkpoint["state_dict"] = {**state, **{f"net.{name}": t.clone() for name, t in self._average.items()}}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up both, where training goes on; predictions are made with the average, which is loaded already."""
        if trainer.state.fn != TrainerFn.FITTING or _CURRENT not in checkpoint:
            return
        net = _net(pl_module)
        self._average = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}
        self._n_steps = int(checkpoint[_STEPS])
        net.load_state_dict(checkpoint[_CURRENT])

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        for name, tensor in _net(pl_module).state_dict().items():
            other = (self._average or {}).get(name)
            if other is not None:
                kept = tensor.clone()
                tensor.copy_(other)
                other.copy_(kept)


def _net(pl_module: pl.LightningModule) -> nn.Module:
    net: nn.Module = pl_module.net  # type: ignore[assignment]
    return net
