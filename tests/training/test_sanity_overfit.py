"""One batch by heart: a sound network passes, one that cannot learn, diverges or knows only its batch fails."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from lungdet.data.sample import SampleSpec
from lungdet.losses.segmentation import DiceCrossEntropy
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.tasks.segmentation import Segmentation
from lungdet.training.sanity_overfit import batch_to_learn, check_overfit_one_batch

SHAPE = (4, 6, 6)


class CrossEntropy(nn.Module):
    """Not reduced; asks for class counts, as losses with weights do."""

    def fit_class_counts(self, counts: tuple[int, ...]) -> None:
        assert sum(counts) > 0

    def forward(self, outputs: Tensor, label: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, label, reduction="none")


class Net(nn.Sequential):
    """Enough for eight crops of noise."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(144, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))


class Deaf(nn.Module):
    """Its answer does not depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 2))

    def forward(self, image: Tensor) -> Tensor:
        return self.bias.expand(len(image), 2)


class Order(Sampler[int]):
    """Stands for the sampler of epochs."""

    def __init__(self, n: int) -> None:
        self.n, self.epoch = n, 0

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Any:
        return iter(range(self.n))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class Data:
    """Batches of noise; in the first of them there is one class only, or no nodule."""

    train_class_counts = (10, 6)

    def __init__(self, target: Any) -> None:
        self.spec = SampleSpec("volume", 1, SHAPE, target, ("non_nodule", "nodule"), "")
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(16, 1, *SHAPE, generator=generator)
        self.rows: list[dict[str, Tensor]] = []
        for n in range(16):
            row = {"image": image[n], "index": torch.tensor(n)}
            if target == "class":
                row |= {"label": torch.tensor(int(n >= 8 and n % 2))}
            else:
                mask = (image[n] > 0.8) & (n >= 8)
                row |= {"mask": mask, "valid": torch.ones_like(mask), "near": mask, "is_repeat": torch.tensor(False)}
            self.rows.append(row)

    def train_dataloader(self) -> DataLoader[Any]:
        rows: Any = self.rows
        return DataLoader(rows, sampler=Order(16), batch_size=8)

    def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
        return batch

    def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
        return batch


def check(net: nn.Module, folder: Path, *, target: Any = "class", lr: float = 0.01, steps: int = 200) -> Any:
    def trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
        return pl.Trainer(
            accelerator="cpu", callbacks=callbacks, logger=False, enable_checkpointing=False, max_epochs=1,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, default_root_dir=folder,
        )  # fmt: skip

    torch.manual_seed(0)
    optim: Any = partial(torch.optim.Adam, lr=lr)
    data: Any = Data(target)
    task: pl.LightningModule = (
        CandidateClassification(net=net, loss=CrossEntropy(), optim=optim)
        if target == "class"
        else Segmentation(net=net, loss=DiceCrossEntropy(), optim=optim)
    )
    return check_overfit_one_batch(data, task, trainer, steps=steps, target_loss=0.05, target_dice=0.9)


def test_a_sound_network_learns_it_and_stops_early(tmp_path: Path) -> None:
    found = check(Net(), tmp_path)
    assert found.verdict == "passed"
    losses = found.curve["loss"]
    assert losses[0] > 0.5 > 0.05 > losses[-1]
    assert len(losses) < 200
    assert found.numbers[2].estimate.value == 1.0
    assert found.numbers[2].note == "8 rows"


def test_a_network_that_does_not_look_fails(tmp_path: Path) -> None:
    found = check(Deaf(), tmp_path, steps=60)
    assert found.verdict == "failed"
    assert found.numbers[2].estimate.value == 0.5
    assert len(found.curve["loss"]) == 60
    assert "overfit.steps=300" in found.cautions[0]


def test_a_network_that_only_knows_the_batch_in_training_mode_fails(tmp_path: Path) -> None:
    class Reversed(Net):
        def forward(self, image: Tensor) -> Tensor:
            outputs: Tensor = nn.Sequential.forward(self, image)  # type: ignore[no-untyped-call]
            return outputs * (1 if self.training else -1)

    found = check(Reversed(), tmp_path, steps=80)
    assert found.curve["loss"][-1] < 0.05
    assert found.numbers[2].estimate.value == 0.0
    assert found.verdict == "failed"


def test_a_loss_that_is_not_a_number_stops_at_once(tmp_path: Path) -> None:
    class Broken(Net):
        def forward(self, image: Tensor) -> Tensor:
            outputs: Tensor = nn.Sequential.forward(self, image)  # type: ignore[no-untyped-call]
            return outputs * float("nan")

    found = check(Broken(), tmp_path)
    assert found.verdict == "failed"
    assert "not a number" in found.says
    assert len(found.curve["loss"]) == 1


def test_a_segmentation_is_judged_by_its_dice(tmp_path: Path) -> None:
    found = check(nn.Sequential(nn.Conv3d(1, 8, 1), nn.ReLU(), nn.Conv3d(8, 1, 1)), tmp_path, target="mask", lr=0.1)
    assert found.verdict == "passed"
    assert found.numbers[2].name == "Dice of the batch"
    assert found.numbers[2].estimate.value >= 0.9
    assert found.marks == {}


def test_a_segmentation_that_cannot_see_fails(tmp_path: Path) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(1, 1, 1)

        def forward(self, image: Tensor) -> Tensor:
            outputs: Tensor = self.conv(torch.zeros_like(image))
            return outputs

    assert check(Blind(), tmp_path, target="mask", steps=30).verdict == "failed"


@pytest.mark.parametrize("target", ["class", "mask"])
def test_the_batch_holds_what_is_to_be_learned(target: str) -> None:
    data: Any = Data(target)
    batch = batch_to_learn(data)
    assert batch["index"].tolist() == list(range(8, 16))


def test_data_without_positives_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Data, "train_dataloader", lambda self: DataLoader(self.rows[:8], sampler=Order(8), batch_size=4)
    )
    found = check(Net(), tmp_path)
    assert found.verdict == "cannot be judged"
    assert "holds both classes" in found.says
