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
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler

from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.errors import ConfigError
from lungdet.losses.classification import BinaryCrossEntropy, CrossEntropy, Focal
from lungdet.nets.head import Fp32Linear
from lungdet.nets.luna import LunaModel
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.tasks.optimisation import SchedulerSpec

SPEC = SampleSpec("volume", 1, (16, 16, 16), "class", ("non_nodule", "nodule"), "HU scaled to [0, 1]")


class Blobs(Dataset[dict[str, Any]]):
    """Crops of noise; the positives have a bright middle."""

    def __init__(self, n: int, *, seed: int, shape: tuple[int, int, int] = (16, 16, 16)) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.label = torch.arange(n) % 3 == 0
        self.image = torch.randn(n, 1, *shape, generator=generator)
        self.image[self.label, :, 4:12, 4:12, 4:12] += 1.0

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.image[index], "label": int(self.label[index]), "index": index}


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


class BlobData(pl.LightningDataModule):
    train_class_counts = (16, 8)

    def __init__(self, n_val: int = 12) -> None:
        super().__init__()
        self.train, self.val = Blobs(24, seed=1), Blobs(n_val, seed=2)
        self.batch_size = 8

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(self.train, batch_size=self.batch_size, sampler=EpochSampler(24))

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(self.val, batch_size=self.batch_size)

    def predict_dataloader(self) -> list[DataLoader[dict[str, Any]]]:
        return [self.val_dataloader(), DataLoader(Blobs(5, seed=3), batch_size=4)]


class DropoutNet(nn.Module):
    """Small, one logit, with random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.5), Fp32Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


SmallLuna = partial(LunaModel, conv_channels=2)


def make_task(seed: int = 0, *, net: Callable[[], nn.Module] = SmallLuna, **given: Any) -> CandidateClassification:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"net": net(), "loss": CrossEntropy(), "optim": partial(AdamW, lr=3e-3)}
    return CandidateClassification(**arguments | given)


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
    """Three batches an epoch, a resumed run in another folder, training without validation: all on purpose here."""
    with warnings.catch_warnings():
        for message in (".*number of training batches.*", ".*dirpath has changed.*", ".*have no `val_dataloader`.*"):
            warnings.filterwarnings("ignore", message=message)
        yield


class Records(pl.Callback):
    """What a callback sees when the training epoch ends, before the module's own hook."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def test_every_promised_name_is_logged_once_an_epoch_and_nothing_else(tmp_path: Path) -> None:
    task, seen = make_task(), Records()
    make_trainer(tmp_path, max_epochs=2, callbacks=[seen]).fit(task, datamodule=BlobData())
    assert len(seen.epochs) == 2
    for epoch in seen.epochs:
        assert set(epoch) == set(task.logged_names)
        assert not any(math.isnan(value) for name, value in epoch.items() if "precision" not in name)
    assert [epoch["samples_seen"] for epoch in seen.epochs] == [24, 48]
    assert {"train/loss_non_nodule", "train/percent_correct_nodule", "val/auroc", "val/f1"} < set(task.logged_names)


def test_logged_validation_equals_scikit_learn_on_the_predictions(tmp_path: Path) -> None:
    task, seen, data = make_task(), Records(), BlobData()
    trainer = make_trainer(tmp_path, max_epochs=3, callbacks=[seen])
    trainer.fit(task, datamodule=data)
    batches = trainer.predict(task, datamodule=data)
    assert batches is not None
    val = batches[0]
    index = torch.cat([batch["index"] for batch in val])
    logit = torch.cat([batch["logit"] for batch in val])
    assert index.tolist() == list(range(12))
    assert logit.dtype == torch.float32
    label = data.val.label.numpy()
    assert seen.epochs[-1]["val/auroc"] == pytest.approx(roc_auc_score(label, logit), abs=1e-6)
    assert seen.epochs[-1]["val/average_precision"] == pytest.approx(average_precision_score(label, logit), abs=1e-6)
    assert seen.epochs[-1]["val/percent_correct"] == pytest.approx(100 * np.mean((logit.numpy() >= 0) == label))
    task.eval()
    with torch.no_grad():
        pair = task(data.val.image)
    torch.testing.assert_close(logit, pair[:, 1] - pair[:, 0], atol=1e-5, rtol=1e-5)


def test_it_learns(tmp_path: Path) -> None:
    seen = Records()
    task = make_task(net=partial(LunaModel, conv_channels=4), optim=partial(AdamW, lr=5e-3))
    make_trainer(tmp_path, max_epochs=10, callbacks=[seen]).fit(task, datamodule=BlobData())
    assert seen.epochs[-1]["train/loss"] < 0.5 * seen.epochs[0]["train/loss"]
    assert seen.epochs[-1]["val/auroc"] > 0.9


@pytest.mark.parametrize(
    ("net", "optim", "scheduler"),
    [
        (partial(LunaModel, conv_channels=2), partial(SGD, lr=0.01, momentum=0.99), None),
        (DropoutNet, partial(AdamW, lr=0.01), None),
        (DropoutNet, partial(AdamW, lr=0.01), SchedulerSpec(scheduler=partial(CosineAnnealingLR, T_max=4))),
        (
            DropoutNet,
            partial(AdamW, lr=0.01),
            SchedulerSpec(
                scheduler=partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.5), monitor="val/loss"
            ),
        ),
    ],
    ids=["sgd", "dropout", "cosine", "plateau"],
)
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    tmp_path: Path, net: Callable[[], nn.Module], optim: Any, scheduler: SchedulerSpec | None
) -> None:
    def run(folder: Path, epochs: int, ckpt_path: Path | None = None) -> tuple[dict[str, Tensor], dict[str, float]]:
        checkpoint = pl.callbacks.ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=True)
        seen = Records()
        trainer = make_trainer(folder, max_epochs=epochs, enable_checkpointing=True, callbacks=[checkpoint, seen])
        task = make_task(seed=0, net=net, loss=Focal(), optim=optim, scheduler=scheduler)
        trainer.fit(task, datamodule=BlobData(), ckpt_path=ckpt_path)
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
    assert whole["samples_seen"].item() == 96


def test_random_layers_follow_the_seed(tmp_path: Path) -> None:
    states = []
    for seed in (1, 1, 2):
        task = make_task(net=DropoutNet, loss=BinaryCrossEntropy())
        torch.manual_seed(seed)
        make_trainer(tmp_path, max_epochs=1).fit(task, datamodule=BlobData())
        states.append(task.net.state_dict()["head.1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_an_epoch_cut_short_is_logged_too(tmp_path: Path) -> None:
    task = make_task()
    trainer = make_trainer(tmp_path, max_steps=2, limit_val_batches=0)
    trainer.fit(task, datamodule=BlobData())
    assert task.samples_seen.item() == 16
    assert trainer.callback_metrics["train/loss"] > 0
    assert not task.train_metrics.has_rows


def test_the_loss_gets_the_counts_of_the_training_fold(tmp_path: Path) -> None:
    task = make_task(loss=BinaryCrossEntropy(pos_weight="train"))
    make_trainer(tmp_path, fast_dev_run=True).fit(task, datamodule=BlobData())
    assert task.state_dict()["loss.pos_weight"].item() == 2.0


def test_pos_weight_of_a_fold_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    task = make_task(loss=BinaryCrossEntropy(pos_weight="train"))
    with pytest.raises(ConfigError, match="pos_weight=train needs negatives and positives"):
        make_trainer(tmp_path, fast_dev_run=True).fit(task, BlobData().train_dataloader())


def test_a_task_for_prediction_needs_no_optimiser(tmp_path: Path) -> None:
    task = make_task(optim=None, loss=BinaryCrossEntropy(pos_weight="train"))
    batches = make_trainer(tmp_path).predict(task, datamodule=BlobData())
    assert batches is not None
    assert [sum(len(batch["index"]) for batch in loader) for loader in batches] == [12, 5]
    with pytest.raises(ConfigError, match="training needs an optimiser"):
        task.configure_optimizers()


def test_bfloat16_gives_float32_logits_and_losses(tmp_path: Path) -> None:
    seen = Records()
    task, data = make_task(), BlobData()
    trainer = make_trainer(tmp_path, max_epochs=1, precision="bf16-mixed", callbacks=[seen])
    trainer.fit(task, datamodule=data)
    batches = trainer.predict(task, datamodule=data)
    assert batches is not None
    logit = torch.cat([batch["logit"] for batch in batches[0]])
    assert logit.dtype == torch.float32
    assert not torch.equal(logit, logit.bfloat16().float())
    assert math.isfinite(seen.epochs[0]["val/loss"])
    assert all(torch.isfinite(tensor).all() for tensor in task.state_dict().values())


def test_memory_format_follows_the_net_and_can_be_refused() -> None:
    fast, plain, unaware = make_task(), make_task(channels_last=False), make_task(net=DropoutNet)
    weight = fast.net.get_parameter("block2.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not weight.is_contiguous()
    assert plain.net.get_parameter("block2.conv1.weight").is_contiguous()
    assert unaware.memory_format == torch.contiguous_format
    image = torch.randn(2, 1, 16, 16, 16)
    torch.testing.assert_close(fast.eval()(image), plain.eval()(image), atol=1e-4, rtol=1e-4)


def test_a_step_does_not_wait_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(loss=BinaryCrossEntropy())
    task.trainer = make_trainer(tmp_path)
    batch: ClassBatch = {
        "image": torch.randn(2, 1, 16, 16, 16),
        "label": torch.tensor([0, 1]),
        "index": torch.arange(2),
    }

    def waits(self: Tensor, *args: object) -> None:
        raise AssertionError("the step read a value from the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, waits)
    torch.autograd.backward(task.training_step(batch, 0))
    task.validation_step(batch, 0)
    task.predict_step(batch, 0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"target": "mask"}, "the model classifies, the data has targets 'mask'"),
        (
            {"classes": ("normal", "pneumonia")},
            "data has classes ['normal', 'pneumonia'], the model ['non_nodule',",
        ),
        ({"layout": "image", "shape": (96, 96)}, "the model takes volumes, the data gives samples of layout 'image'"),
        ({"channels": 3}, "built for 1 input channel(s), the data has 3"),
        ({"shape": (32, 48, 8)}, "needs at least 16 voxels along x"),
    ],
)
def test_check_sample_says_what_does_not_fit(change: dict[str, Any], problem: str | None) -> None:
    spec = SampleSpec(**{**SPEC.__dict__, **change})
    problems = make_task().check_sample(spec)
    if problem is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert problem in problems[0]


def test_check_sample_notices_a_loss_that_does_not_fit_the_net() -> None:
    (problem,) = make_task(net=partial(LunaModel, n_classes=1)).check_sample(SPEC)
    assert "the network gave (1, 1): set the network's n_classes=2" in problem
    assert make_task(net=DropoutNet, loss=BinaryCrossEntropy("train")).check_sample(SPEC) == []


@pytest.mark.parametrize("class_names", [("nodule",), ("a", "a"), ("a", "b", "c")])
def test_two_different_class_names(class_names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"model\.class_names: needs two different names, got"):
        make_task(class_names=class_names)


def test_class_names_name_the_metrics() -> None:
    task = make_task(class_names=["benign", "malignant"])
    assert "val/loss_malignant" in task.logged_names
    assert "val/loss_nodule" not in task.logged_names


def test_a_checkpoint_without_the_seed_still_loads(tmp_path: Path) -> None:
    task = make_task()
    task.on_load_checkpoint({})
    checkpoint: dict[str, Any] = {}
    task.on_save_checkpoint(checkpoint)
    assert checkpoint == {"random_layers_seed": 0, "unstepped_metric": None}


def test_compile_is_asked_of_the_network_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[nn.Module] = []

    def record(module: nn.Module) -> None:
        asked.append(module)

    monkeypatch.setattr(nn.Module, "compile", record)
    task = make_task(compile=True)
    names = set(task.state_dict())
    make_trainer(tmp_path, fast_dev_run=True).fit(task, datamodule=BlobData())
    assert asked == [task.net]
    assert set(task.state_dict()) == names


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_logits(tmp_path: Path) -> None:
    data, image = BlobData(), Blobs(4, seed=5).image
    task = make_task(compile=True)
    expected = make_task().eval()(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own deprecations
        make_trainer(tmp_path, limit_predict_batches=1).predict(task, datamodule=data)
        with torch.no_grad():
            logits = task.eval()(image)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
