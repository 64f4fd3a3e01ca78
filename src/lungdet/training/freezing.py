"""Which parts of a pretrained network train when: the head alone at first, then a named stage and what follows."""

from __future__ import annotations

import logging
from typing import Protocol, cast, runtime_checkable

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lungdet.errors import ConfigError

log = logging.getLogger(__name__)


@runtime_checkable
class StagedNetwork(Protocol):
    """What can be trained in parts, such as `Backbone2d`."""

    def stages(self) -> dict[str, nn.Module]:
        """The modules that are frozen or trained as one, by name, in forward order; `head` is the last."""

    def stages_from(self, stage: str) -> dict[str, nn.Module]:
        """The stage of this name and all after it; `ConfigError` where there is none."""


class HeadFirst(Callback):
    """Trains the head alone for some epochs, then the network from a named stage on, or all of it.

    Frozen is what lies in a frozen module, never what has a certain word in its name: the head of `efficientnet_b0` is
    1,281 parameters, while torchvision's also has an `fc1` and an `fc2` in every block, and a rule that looked for `fc`
    trained 637,821. Frozen modules are in evaluation mode, so their batch norms neither normalise by a batch nor move.

    The epoch alone decides, so a resumed run is exact. The optimiser holds every parameter from the start (nothing is
    frozen when it is made) and leaves those without a gradient alone, weight decay included. With several processes
    the gradients that are shared follow.

    Args:
        head_epochs: epochs that train the head alone; 0 leaves them out.
        then_from: first stage that is trained after them (`backbone.layer4`); None for everything, `head` for the head
            alone to the end.
        hold_batch_norm: keep the running statistics of the backbone's batch norms as they were loaded, also where their
            layers train: with few images or small batches the pretrained ones are the better estimate.

    Raises:
        ConfigError: `head_epochs` below 0; at setup, a network without stages or without this one.
    """

    def __init__(self, *, head_epochs: int = 1, then_from: str | None = None, hold_batch_norm: bool = False) -> None:
        if head_epochs < 0:
            raise ConfigError([f"callbacks.freezing.head_epochs: must be 0 or more, got {head_epochs}"])
        self.head_epochs = head_epochs
        self.then_from = then_from
        self.hold_batch_norm = hold_batch_norm

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that the network has the stage, and free what an earlier training left frozen for the optimiser."""
        net = _staged(pl_module)
        if self.then_from is not None:
            net.stages_from(self.then_from)
        if stage == "fit":
            train_from(net, None)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze for a run that goes on in the middle of an epoch, whose start Lightning does not announce again."""
        self._freeze(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze or free what this epoch asks for; validation leaves the modes as it found them."""
        self._freeze(trainer, pl_module)

    def _freeze(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = "head" if trainer.current_epoch < self.head_epochs else self.then_from
        net = _staged(pl_module)
        changed = train_from(net, first)
        if self.hold_batch_norm:
            _hold_batch_norm(net)
        if not changed:
            return
        trained = sum(p.numel() for p in cast(nn.Module, net).parameters() if p.requires_grad)
        log.info("epoch %d: %s parameters train (%s)", trainer.current_epoch + 1, f"{trained:,}", first or "everything")
        _share_gradients(trainer, pl_module)


def train_from(net: StagedNetwork, first: str | None) -> bool:
    """Freeze everything before a stage and hold it still; train that stage and what follows.

    Args:
        net: in any state.
        first: name of the first stage that trains; None for everything.

    Returns:
        Whether any parameter was frozen or freed; False where this was the state already.

    Raises:
        ConfigError: no such stage.
    """
    module = cast(nn.Module, net)
    trained = [module] if first is None else list(net.stages_from(first).values())
    wanted = {parameter for part in trained for parameter in part.parameters()}
    changed = [p for p in module.parameters() if p.requires_grad != (p in wanted)]
    for parameter in changed:
        parameter.requires_grad_(parameter in wanted)
        parameter.grad = None  # an optimiser that is not told to forget it would go on stepping along it
    module.train()
    if first is not None:
        for stage in net.stages().values():
            stage.train(stage in trained)
    return bool(changed)


def _hold_batch_norm(net: StagedNetwork) -> None:
    """Let batch norms normalise by their running statistics, and leave these as they are; weights still train."""
    for name, stage in net.stages().items():
        if name != "head":
            for module in stage.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()


def _share_gradients(trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
    """Wrap the network anew: DDP averages the gradients of what was trainable when it was made, and waits for them."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        strategy.model = pl_module
        strategy.configure_ddp()


def _staged(pl_module: pl.LightningModule) -> StagedNetwork:
    net = getattr(pl_module, "net", None)
    if not isinstance(net, StagedNetwork):
        raise ConfigError(
            [
                f"callbacks.freezing: {type(net).__name__} has no stages to freeze; choose model=transfer2d, or type "
                "callbacks.freezing=null"
            ]
        )
    return net
