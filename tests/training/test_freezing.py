"""Frozen is exactly what lies in a frozen module, does not move; resuming and two processes change nothing."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lungdet.errors import ConfigError
from lungdet.nets.backbone2d import Backbone2d
from lungdet.training.freezing import HeadFirst, train_from

WATCHDOG_S = 240
HEADS = {"efficientnet_b0": 1281, "densenet121": 1025, "tf_efficientnet_lite0": 1281, "resnet50": 2049}
STAGE = "backbone.blocks.2"


class Task(pl.LightningModule):
    """Two learning rates and a weight decay that nobody could overlook."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        image, label = batch
        return nn.functional.binary_cross_entropy_with_logits(self.net(image)[:, 0], label)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if isinstance(self.net, Backbone2d):
            return torch.optim.AdamW(self.net.parameter_groups(head_lr=0.05, stage_lr=0.01), weight_decay=0.5)
        return torch.optim.SGD([p for p in self.net.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


class ValidatedTask(Task):
    """Looks at the network in evaluation mode too."""

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        assert not self.net.training
        self.net(batch[0])


class Watch(pl.Callback):
    """What trains in every step, and the state after every epoch."""

    def __init__(self) -> None:
        self.trained: list[set[str]] = []
        self.states: list[dict[str, Tensor]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trained.append({name for name, p in pl_module.net.named_parameters() if p.requires_grad})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.states.append(copy_of(pl_module.net))


class Steps(nn.Module):
    """Three linear layers in stages: nothing random, no statistics of a batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return logits

    def stages(self) -> dict[str, nn.Module]:
        return {"first": self.first, "second": self.second, "head": self.head}

    def stages_from(self, stage: str) -> dict[str, nn.Module]:
        names = list(self.stages())
        return {name: self.stages()[name] for name in names[names.index(stage) :]}


def small_net() -> Backbone2d:
    torch.manual_seed(0)
    return Backbone2d("test_efficientnet", in_channels=1, dropout=0.0)


def copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def images(rows: int = 8) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, 1, 32, 32, generator=generator) + 1
    return DataLoader(TensorDataset(x, (torch.arange(rows) % 2).float()), batch_size=4)


def numbers(devices: int = 1) -> DataLoader[Any]:
    """One batch for all processes together, so it does not matter which rows each of them draws."""
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).float()), batch_size=16 // devices)


def trainer_in(folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    given: dict[str, Any] = {"limit_val_batches": 0, "max_epochs": 4} | options
    return pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        **given,
    )


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("backbone", HEADS)
def test_head_only_is_exactly_the_head(backbone: str) -> None:
    net = Backbone2d(backbone)
    assert train_from(net, "head")
    trained = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad}
    assert set(trained) == {"head.1.weight", "head.1.bias"}
    assert sum(trained.values()) == HEADS[backbone]
    assert not any(module.training for stage in list(net.stages().values())[:-1] for module in stage.modules())
    assert all(module.training for module in net.head.modules())
    assert not train_from(net, "head")
    assert train_from(net, None)
    assert all(p.requires_grad for p in net.parameters())
    assert all(module.training for module in net.modules())


def test_an_old_gradient_moves_nothing_that_is_frozen() -> None:
    net = Steps()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.5)
    net(torch.ones(2, 4)).sum().backward()
    before = copy_of(net)
    train_from(net, "second")
    optimizer.step()
    assert moved(before, copy_of(net)) == {"second.weight", "second.bias", "head.weight", "head.bias"}


def test_layers_that_a_word_would_match_stay_frozen() -> None:
    """Squeeze and excitation, `fc1` and `fc2` in torchvision: with the head they are the 637,821 of the notebooks."""
    net = Backbone2d("efficientnet_b0")
    train_from(net, "head")
    squeezing = [p for name, p in net.named_parameters() if ".se." in name]
    assert sum(p.numel() for p in squeezing) + HEADS["efficientnet_b0"] == 637_821
    assert not any(p.requires_grad for p in squeezing)


def test_from_a_stage_on_is_that_stage_and_what_follows() -> None:
    net = Backbone2d("efficientnet_b0")
    train_from(net, "backbone.blocks.6")
    parts = ("backbone.blocks.6.", "backbone.conv_head.", "backbone.bn2.", "head.")
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad == name.startswith(parts), name
    assert not net.backbone.blocks[5][0].bn1.training
    assert net.backbone.blocks[6][0].bn1.training


def test_nothing_frozen_moves_and_everything_else_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net, watch = small_net(), Watch()
    before = copy_of(net)
    freezing = HeadFirst(head_epochs=2, then_from=STAGE)
    with caplog.at_level(logging.INFO):
        trainer_in(tmp_path, freezing, watch).fit(Task(net), images())
    assert moved(before, watch.states[1]) == {"head.1.weight", "head.1.bias"}
    after = tuple(f"{name}." for name in net.stages_from(STAGE))
    assert moved(watch.states[1], watch.states[2]) == {name for name in before if name.startswith(after)}
    assert moved(before, watch.states[3]) == {name for name in before if name.startswith(after)}
    assert "epoch 1: 257 parameters train (head)" in caplog.text
    assert f"epoch 3: {sum(p.numel() for p in net.parameters() if p.requires_grad):,} parameters train" in caplog.text


def test_everything_trains_after_the_head(tmp_path: Path) -> None:
    net, watch = small_net(), Watch()
    trainer_in(tmp_path, HeadFirst(head_epochs=1), watch, max_epochs=2).fit(Task(net), images())
    assert watch.trained[0] == {"head.1.weight", "head.1.bias"}
    constants = {"input.mean", "input.std"}
    assert moved(watch.states[0], watch.states[1]) == set(watch.states[0]) - constants


def test_validation_within_an_epoch_leaves_frozen_statistics_alone(tmp_path: Path) -> None:
    net = small_net()
    before = copy_of(net)
    trainer = trainer_in(tmp_path, HeadFirst(head_epochs=9), limit_val_batches=1, val_check_interval=0.5)
    trainer.fit(ValidatedTask(net), images(), images())
    assert moved(before, copy_of(net)) == {"head.1.weight", "head.1.bias"}


@pytest.mark.parametrize("head_epochs", [1, 2, 3])
def test_resuming_is_exact(tmp_path: Path, head_epochs: int) -> None:
    def freezing() -> HeadFirst:
        return HeadFirst(head_epochs=head_epochs, then_from=STAGE)

    whole, half, rest = small_net(), small_net(), small_net()
    trainer_in(tmp_path, freezing()).fit(Task(whole), images())
    first = trainer_in(tmp_path, freezing(), max_epochs=2)
    first.fit(Task(half), images())
    first.save_checkpoint(tmp_path / "last.ckpt")
    second = trainer_in(tmp_path, freezing())
    second.fit(Task(rest), images(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert moved(copy_of(half), copy_of(rest))
    assert not moved(copy_of(whole), copy_of(rest))


def test_resuming_within_an_epoch_freezes_at_once(tmp_path: Path) -> None:
    class Interrupted(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 3:  # the first of two steps in the second epoch
                trainer.save_checkpoint(tmp_path / "step3.ckpt")

    def freezing() -> HeadFirst:
        return HeadFirst(head_epochs=2, then_from=STAGE)

    rest, watch = small_net(), Watch()
    trainer_in(tmp_path, freezing(), Interrupted(), max_epochs=3).fit(Task(small_net()), images())
    trainer = trainer_in(tmp_path, freezing(), watch, max_epochs=3)
    with pytest.warns(UserWarning, match="ended before the epoch ended"):  # Lightning, of the loader
        trainer.fit(Task(rest), images(), ckpt_path=tmp_path / "step3.ckpt", weights_only=True)
    head = {"head.1.weight", "head.1.bias"}
    assert watch.trained[0] == head
    assert [trained > head for trained in watch.trained] == [False, True, True]
    frozen = {name for name in rest.state_dict() if name.split(".")[1] in ("conv_stem", "bn1")}
    assert frozen
    assert not moved(copy_of(small_net()), copy_of(rest)) & frozen


def test_a_second_training_starts_with_the_head_again(tmp_path: Path) -> None:
    net = Steps()
    trainer_in(tmp_path, HeadFirst(head_epochs=1), max_epochs=2).fit(Task(net), numbers())
    assert net.first.weight.grad is not None
    before = copy_of(net)
    trainer_in(tmp_path, HeadFirst(head_epochs=9), max_epochs=2).fit(Task(net), numbers())
    assert moved(before, copy_of(net)) == {"head.weight", "head.bias"}
    trainer_in(tmp_path, HeadFirst(head_epochs=0), max_epochs=1).fit(Task(net), numbers())  # all in the optimiser
    assert moved(before, copy_of(net)) == set(before)


def test_what_cannot_be_frozen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"head_epochs: must be 0 or more, got -1"):
        HeadFirst(head_epochs=-1)
    with pytest.raises(ConfigError, match=r"no stage 'backbone\.blocks\.9'; did you mean"):
        trainer_in(tmp_path, HeadFirst(then_from="backbone.blocks.9")).fit(Task(small_net()), images())
    with pytest.raises(ConfigError, match=r"Linear has no stages to freeze; .*callbacks\.freezing=null"):
        trainer_in(tmp_path, HeadFirst()).fit(Task(nn.Linear(4, 1)), numbers())


def run(folder: Path, devices: int) -> None:
    net = Steps()
    strategy = "ddp" if devices > 1 else "auto"
    freezing = HeadFirst(head_epochs=1, then_from="second")
    trainer = trainer_in(folder, freezing, max_epochs=6, devices=devices, strategy=strategy)
    trainer.fit(Task(net), numbers(devices))
    torch.save(copy_of(net), folder / f"{devices}_{trainer.global_rank}.pth")


@pytest.mark.slow
def test_two_processes_share_the_gradients_of_what_is_freed(tmp_path: Path) -> None:
    for devices in (1, 2):
        command = [sys.executable, __file__, str(tmp_path), str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
        assert done.returncode == 0, done.stderr
    alone, rank0, rank1 = (torch.load(tmp_path / f"{name}.pth") for name in ("1_0", "2_0", "2_1"))
    start = Steps().state_dict()
    assert moved(start, alone) == {"second.weight", "second.bias", "head.weight", "head.bias"}
    assert not moved(rank0, rank1)
    torch.testing.assert_close(rank0, alone)


if __name__ == "__main__":  # the processes that the test starts
    run(Path(sys.argv[1]), int(sys.argv[2]))


def test_statistics_of_batch_norms_can_be_held_while_their_weights_train(tmp_path: Path) -> None:
    net, watch = small_net(), Watch()
    callbacks = (HeadFirst(head_epochs=0, hold_batch_norm=True), watch)
    trainer_in(tmp_path, *callbacks, max_epochs=2).fit(Task(net), images())
    changed = moved(watch.states[0], watch.states[1])
    running = {name for name in net.state_dict() if "running" in name or "num_batches" in name}
    assert running
    assert not changed & running
    assert changed == set(net.state_dict()) - running - {"input.mean", "input.std"}
