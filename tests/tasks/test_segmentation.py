from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler

from lungdet.data.sample import SampleSpec
from lungdet.losses.segmentation import DiceCrossEntropy, DiceRecall, FocalTversky
from lungdet.metrics.overlap import average_precision_from_histogram, overlap_from_counts
from lungdet.nets.unet import SliceUNet
from lungdet.nets.unet3d import BasicUNet3d, DynUNet3d
from lungdet.tasks.optimisation import SchedulerSpec
from lungdet.tasks.segmentation import PREDICTED_BINS, Segmentation

SLICES = SampleSpec("image", 3, (32, 32), "mask", ("background", "nodule"), "HU scaled to [0, 1]")
PATCHES = SampleSpec("volume", 1, (16, 32, 32), "mask", ("background", "nodule"), "HU scaled to [0, 1]")


class Balls(Dataset[dict[str, Any]]):
    """Noise with one bright ball in each sample; the last two are repeats of the first two, said so when asked."""

    def __init__(self, n: int, *, seed: int, spec: SampleSpec = SLICES, repeats: int = 0) -> None:
        generator = np.random.default_rng(seed)
        centers = generator.uniform(8, min(spec.shape) - 8, (n, *[1] * len(spec.shape), len(spec.shape)))
        grid = np.stack(np.meshgrid(*map(np.arange, spec.shape), indexing="ij"), axis=-1)
        distance = np.sqrt(((grid - centers) ** 2).sum(-1))
        image = generator.normal(0, 0.5, (n, spec.channels, *spec.shape)) + 2 * (distance < 5)[:, None]
        order = [*range(n), *range(repeats)]
        self.image = torch.tensor(image, dtype=torch.float32)[order]
        self.mask = torch.tensor(distance < 5)[order, None]
        self.near = torch.tensor(distance < 8)[order, None]
        self.valid = torch.ones_like(self.mask)
        self.valid[..., :3] = False
        self.index = torch.tensor(order)
        self.is_repeat = torch.arange(len(order)) >= n

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {name: getattr(self, name)[i] for name in ("image", "mask", "valid", "near", "index", "is_repeat")}


class EpochSampler(Sampler[int]):
    """Order depends on (seed, epoch) only, as our samplers promise; Lightning calls `set_epoch`."""

    def __init__(self, n: int) -> None:
        self.n, self.epoch = n, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([0, self.epoch]).permutation(self.n).tolist())

    def __len__(self) -> int:
        return self.n


class BallData(pl.LightningDataModule):
    def __init__(self, spec: SampleSpec = SLICES, n: int = 16) -> None:
        super().__init__()
        self.n, self.train, self.val = n, Balls(n, seed=1, spec=spec), Balls(7, seed=2, spec=spec, repeats=2)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(self.train, batch_size=4, sampler=EpochSampler(self.n))

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(self.val, batch_size=4)

    predict_dataloader = val_dataloader


class DropoutNet(nn.Module):
    """Small, with random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


SmallUNet = partial(SliceUNet, in_channels=3, depth=2, first_width=4)


def make_task(seed: int = 0, *, net: Callable[[], nn.Module] = SmallUNet, **given: Any) -> Segmentation:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"net": net(), "loss": DiceRecall(), "optim": partial(AdamW, lr=1e-2)}
    return Segmentation(**arguments | given)


def make_trainer(folder: Path, **given: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return pl.Trainer(**defaults | given)


@pytest.fixture(autouse=True)
def advice_that_a_small_test_ignores() -> Iterator[None]:
    """Four batches an epoch, a resumed run in another folder: all on purpose here."""
    with warnings.catch_warnings():
        for message in (".*number of training batches.*", ".*dirpath has changed.*"):
            warnings.filterwarnings("ignore", message=message)
        yield


class Records(pl.Callback):
    """What a callback sees when the training epoch ends, before the module's own hook."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def batch_of(balls: Balls) -> Any:
    return torch.utils.data.default_collate([balls[i] for i in range(len(balls))])


def test_every_promised_name_is_logged_once_an_epoch_and_nothing_else(tmp_path: Path) -> None:
    task, seen = make_task(), Records()
    make_trainer(tmp_path, max_epochs=2, callbacks=[seen]).fit(task, datamodule=BallData())
    assert [set(epoch) for epoch in seen.epochs] == [set(task.logged_names)] * 2
    assert [epoch["samples_seen"] for epoch in seen.epochs] == [16, 32]
    assert {"train/average_precision", "val/dice", "val/f1", "val/crop_recall"} < set(task.logged_names)
    assert not any(name.startswith("train/crop") for name in task.logged_names)


@pytest.mark.parametrize(
    ("net", "loss", "spec", "lr"),
    [
        (SmallUNet, DiceRecall(), SLICES, 0.02),
        (SmallUNet, FocalTversky(), SLICES, 0.02),
        (partial(DynUNet3d, first_width=4, depth=3), DiceCrossEntropy(), PATCHES, 0.1),
        (partial(BasicUNet3d, first_width=4, n_classes=2), DiceCrossEntropy(), PATCHES, 0.05),
    ],
    ids=["unet", "unet-focal-tversky", "dynunet", "basicunet"],
)
def test_it_learns(tmp_path: Path, net: Callable[[], nn.Module], loss: nn.Module, spec: SampleSpec, lr: float) -> None:
    task, seen = make_task(net=net, loss=loss, optim=partial(AdamW, lr=lr)), Records()
    data = BallData(spec, n=16 if spec is SLICES else 8)
    assert task.check_sample(spec) == []
    trainer = make_trainer(tmp_path, max_epochs=10, callbacks=[seen])
    (untrained,) = trainer.validate(task, datamodule=data, verbose=False)
    trainer.fit(task, datamodule=data)
    first, last = seen.epochs[0], seen.epochs[-1]
    assert last["train/loss"] < 0.6 * first["train/loss"]
    assert last["train/dice"] > 0.75
    assert last["val/dice"] > max(0.75, untrained["val/dice"] + 0.4)
    assert last["val/crop_dice"] > 0.75
    assert last["val/average_precision"] > max(0.9, untrained["val/average_precision"])


def test_logged_validation_equals_scikit_learn_and_predictions_add_up_to_it(tmp_path: Path) -> None:
    task, seen, data = make_task(), Records(), BallData()
    trainer = make_trainer(tmp_path, max_epochs=3, callbacks=[seen])
    trainer.fit(task, datamodule=data)
    balls = data.val
    once = slice(0, 7)  # without the repeats
    task.eval()
    with torch.no_grad():
        logit = task(balls.image)
    for scope, chosen in (("", balls.valid), ("crop_", balls.valid & balls.near)):
        label, score = balls.mask[once][chosen[once]].numpy(), logit[once][chosen[once]].numpy()
        expected = {
            "dice": sk.f1_score(label, score >= 0),
            "precision": sk.precision_score(label, score >= 0),
            "recall": sk.recall_score(label, score >= 0),
            "average_precision": sk.average_precision_score(label, score),
        }
        logged = {name: seen.epochs[-1][f"val/{scope}{name}"] for name in expected}
        assert logged == pytest.approx(expected, abs=2e-3)
    loss = task.loss(logit, balls.mask, balls.valid)[once].mean().item()
    assert seen.epochs[-1]["val/loss"] == pytest.approx(loss, rel=1e-5)

    batches = trainer.predict(task, datamodule=data)
    assert batches is not None
    rows = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    assert rows["index"].tolist() == [*range(7), 0, 1]
    for scope in ("", "crop_"):
        sums = {name: rows[f"{scope}{name}"][once].sum(0) for name in ("tp", "fp", "fn", "positives", "negatives")}
        overlap = overlap_from_counts(*(int(sums[name]) for name in ("tp", "fp", "fn")))
        area = average_precision_from_histogram(sums["positives"].numpy(), sums["negatives"].numpy())
        for name, value in overlap.items():
            assert value == pytest.approx(seen.epochs[-1][f"val/{scope}{name}"], rel=1e-6)
        assert area == pytest.approx(seen.epochs[-1][f"val/{scope}average_precision"], abs=0.02)


def test_predicted_rows_by_hand() -> None:
    """One row of four voxels, logits -1, 2, 3, NaN and a fifth that is not valid; the last two valid ones are near."""

    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    batch: Any = {
        "image": torch.tensor([-1.0, 2.0, 3.0, math.nan, 5.0]).view(1, 1, 1, 5),
        "mask": torch.tensor([True, False, True, True, True]).view(1, 1, 1, 5),
        "valid": torch.tensor([True, True, True, True, False]).view(1, 1, 1, 5),
        "near": torch.tensor([False, False, True, True, True]).view(1, 1, 1, 5),
        "index": torch.tensor([42]),
        "is_repeat": torch.tensor([False]),
    }
    rows = make_task(net=Given).predict_step(batch, 0)
    counts = {name: value.tolist() for name, value in rows.items() if value.ndim == 1}
    assert counts == {
        "index": [42],
        **{"tp": [1], "fp": [1], "fn": [1], "tn": [0], "not_a_number": [1]},
        **{"crop_tp": [1], "crop_fp": [0], "crop_fn": [0], "crop_tn": [0], "crop_not_a_number": [1]},
    }
    # x / (8 + |x|) of -1, 2 and 3, in steps of 1/32 from the middle.
    assert rows["positives"].nonzero().tolist() == [[0, 32 - 4], [0, 32 + 8]]
    assert rows["negatives"].nonzero().tolist() == [[0, 32 + 6]]
    assert rows["crop_positives"].nonzero().tolist() == [[0, 32 + 8]]
    assert rows["crop_negatives"].shape == (1, PREDICTED_BINS)
    assert {value.dtype for value in rows.values()} == {torch.int64}


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        SchedulerSpec(
            scheduler=partial(ReduceLROnPlateau, mode="max", patience=0, factor=0.5, threshold=0.5), monitor="val/dice"
        ),
    ],
    ids=["constant", "plateau"],
)
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, scheduler: SchedulerSpec | None) -> None:
    def run(folder: Path, epochs: int, ckpt_path: Path | None = None) -> tuple[dict[str, Tensor], dict[str, float]]:
        checkpoint = pl.callbacks.ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=True)
        seen = Records()
        trainer = make_trainer(folder, max_epochs=epochs, enable_checkpointing=True, callbacks=[checkpoint, seen])
        task = make_task(net=DropoutNet, loss=DiceCrossEntropy(), scheduler=scheduler)
        trainer.fit(task, datamodule=BallData(), ckpt_path=ckpt_path)
        state = dict(task.state_dict())
        state["lr"] = torch.tensor(trainer.optimizers[0].param_groups[0]["lr"], dtype=torch.float64)
        return state, seen.epochs[-1]

    whole, whole_metrics = run(tmp_path / "whole", 4)
    run(tmp_path / "part", 2)
    torch.load(tmp_path / "part" / "last.ckpt", weights_only=True)  # a checkpoint holds data, no code
    torch.manual_seed(99)  # a resumed run does not find the random numbers where the first one left them
    resumed, resumed_metrics = run(tmp_path / "resumed", 4, ckpt_path=tmp_path / "part" / "last.ckpt")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert resumed_metrics == pytest.approx(whole_metrics, rel=0, abs=0, nan_ok=True)
    assert whole["samples_seen"].item() == 64


def test_repeats_and_voxels_outside_do_not_move_the_weights(tmp_path: Path) -> None:
    task = make_task(net=DropoutNet).eval()  # no dropout
    task.trainer = make_trainer(tmp_path)
    batch = batch_of(Balls(4, seed=3, repeats=2))

    def gradient(batch: Any) -> Tensor:
        task.zero_grad()
        torch.autograd.backward(task.training_step(batch, 0))
        found = task.net.get_parameter("layers.3.weight").grad
        assert found is not None
        return found

    plain = gradient({name: values[:4] for name, values in batch.items()})
    torch.testing.assert_close(gradient(batch), plain)
    batch["mask"] = batch["mask"] | ~batch["valid"]
    torch.testing.assert_close(gradient(batch), plain)
    assert torch.equal(gradient(batch | {"is_repeat": torch.ones(6, dtype=torch.bool)}), torch.zeros_like(plain))


def test_bfloat16_gives_finite_numbers(tmp_path: Path) -> None:
    task, seen = make_task(net=partial(DynUNet3d, first_width=4)), Records()
    trainer = make_trainer(tmp_path, max_epochs=1, precision="bf16-mixed", callbacks=[seen])
    trainer.fit(task, datamodule=BallData(PATCHES, n=4))
    assert math.isfinite(seen.epochs[0]["val/loss"])
    assert all(torch.isfinite(tensor).all() for tensor in task.state_dict().values())
    assert task(batch_of(Balls(2, seed=4, spec=PATCHES))["image"]).dtype == torch.float32


def test_memory_format_follows_the_net() -> None:
    weight = make_task().net.get_parameter("unet.down_path.1.block.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    plain = make_task(channels_last=False)
    assert plain.net.get_parameter("unet.down_path.1.block.0.weight").is_contiguous()
    assert make_task(net=partial(DynUNet3d, first_width=2)).memory_format == torch.contiguous_format


@pytest.mark.parametrize(
    ("net", "spec", "change", "problem"),
    [
        (SmallUNet, SLICES, {}, None),
        (SmallUNet, SLICES, {"target": "class"}, "the model segments, the data has targets 'class'"),
        (SmallUNet, SLICES, {"classes": ("a", "b", "c")}, "tells two classes apart, the data has ['a', 'b', 'c']"),
        (SmallUNet, SLICES, {"channels": 7}, "built for 3 slices, the data has 7: type model.net.in_channels=7"),
        (SmallUNet, SLICES, {"shape": (33, 32)}, "multiple of 2 pixels along y"),
        (SmallUNet, PATCHES, {}, "SliceUNet takes slices (data/samples=slices), the data gives 'volume' samples"),
        (DynUNet3d, SLICES, {}, "DynUNet3d takes patches (data/samples=patches), the data gives 'image' samples"),
        (DynUNet3d, PATCHES, {"shape": (16, 32, 40)}, "multiple of 16 voxels along x"),
        (DropoutNet, SLICES, {}, None),
    ],
)
def test_check_sample_says_what_does_not_fit(
    net: Callable[[], nn.Module], spec: SampleSpec, change: dict[str, Any], problem: str | None
) -> None:
    problems = make_task(net=net).check_sample(SampleSpec(**{**spec.__dict__, **change}))
    if problem is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert problem in problems[0]


def test_check_sample_notices_a_head_of_another_size() -> None:
    net = DynUNet3d(first_width=2)
    net.n_classes = 3
    (problem,) = make_task(net=lambda: net).check_sample(PATCHES)
    assert "the network gave (1, 3, 1): set n_classes to 1 or 2" in problem
