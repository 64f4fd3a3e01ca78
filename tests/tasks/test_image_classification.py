"""Whole images: where weights come from, two learning rates, what predictions average over."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from lungdet.data.sample import SampleSpec
from lungdet.errors import ConfigError, MissingFileError
from lungdet.losses.classification import BinaryCrossEntropy, binary_logit
from lungdet.nets.backbone2d import Backbone2d
from lungdet.nets.luna import LunaModel
from lungdet.nets.patch_cnn import PatchCnn
from lungdet.tasks.image_classification import ImageClassification

SPEC = SampleSpec("image", 3, (32, 32), "class", ("negative", "positive"), "grey values")
ADAMW = partial(torch.optim.AdamW, lr=3e-4, weight_decay=1e-4)


def task(net: nn.Module | None = None, **arguments: Any) -> ImageClassification:
    torch.manual_seed(0)
    made = PatchCnn() if net is None else net
    return ImageClassification(net=made, loss=BinaryCrossEntropy(), optim=ADAMW, **arguments)


class Images(pl.LightningDataModule):
    """One batch of eight, and moments that a collection might have."""

    input_moments = SimpleNamespace(mean=(0.6, 0.5, 0.4), std=(0.2, 0.1, 0.3))
    train_class_counts = (4, 4)

    def train_dataloader(self) -> DataLoader[Any]:
        torch.manual_seed(1)
        batch = {"image": torch.rand(8, 3, 32, 32), "label": torch.arange(8) % 2, "index": torch.arange(8)}
        return DataLoader([batch], batch_size=None, collate_fn=lambda item: item)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


def fit(subject: ImageClassification, folder: Path, **arguments: Any) -> pl.Trainer:
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(subject, datamodule=Images(), **arguments)
    return trainer


def test_the_data_fits_or_says_why_not() -> None:
    assert task().check_sample(SPEC) == []
    volume = SampleSpec("volume", 1, (32, 48, 48), "class", ("non_nodule", "nodule"), "HU")
    assert task().check_sample(volume) == [
        "the model takes images, the data gives samples of layout 'volume'; type a model of volumes, such as "
        "model=luna_cls"
    ]
    small = SampleSpec("image", 1, (16, 16), "class", ("a", "b"), "grey values")
    (problem,) = task().check_sample(small)
    assert "type model.net.in_channels=1" in problem
    assert {"val/auroc", "train/loss_positive"} <= set(task().logged_names)


def test_predictions_average_over_the_views_and_training_looks_once() -> None:
    subject = task(views="dihedral").eval()
    batch: Any = {"image": torch.rand(2, 3, 32, 32), "label": torch.tensor([0, 1]), "index": torch.tensor([5, 3])}
    with torch.no_grad():
        plain = binary_logit(subject.outputs_of(batch))
        answers = subject.predict_step(batch, 0)
        on_its_side: Any = {**batch, "image": batch["image"].rot90(1, (2, 3))}
        turned = subject.predict_step(on_its_side, 0)
        torch.testing.assert_close(task(views="one").eval().predict_step(batch, 0)["logit"], plain)
    assert answers["index"].tolist() == [5, 3]
    torch.testing.assert_close(turned["logit"], answers["logit"])
    assert not torch.allclose(answers["logit"], plain)
    assert set(subject.state_dict()) == set(task().state_dict())  # no weight is saved twice


def mean_of(subject: ImageClassification) -> list[float]:
    net: Any = subject.net
    mean: list[float] = net.input.mean.flatten().tolist()
    return mean


def test_a_fresh_network_is_told_the_collections_moments_and_a_resumed_one_keeps_its_own(tmp_path: Path) -> None:
    subject = task()
    trainer = fit(subject, tmp_path)
    assert mean_of(subject) == pytest.approx([0.6, 0.5, 0.4])
    net: Any = subject.net
    with torch.no_grad():
        net.input.mean.fill_(0.9)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = task()
    fit(resumed, tmp_path, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert mean_of(resumed) == pytest.approx([0.9] * 3)


def test_pretrained_weights_are_read_when_training_starts_and_never_again(tmp_path: Path) -> None:
    torch.manual_seed(7)
    donor = Backbone2d("test_efficientnet")
    torch.save(donor.backbone.state_dict(), tmp_path / "donor.pth")
    subject = task(Backbone2d("test_efficientnet", dropout=0.0), weights=str(tmp_path / "donor.pth"), body_lr=0.0)
    trainer = fit(subject, tmp_path)
    net: Any = subject.net
    for (name, theirs), ours in zip(donor.backbone.named_parameters(), net.backbone.parameters(), strict=True):
        assert torch.equal(theirs, ours), name  # a learning rate of 0: as they were read
    assert trainer.optimizers[0].param_groups[0]["lr"] == 3e-4
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "donor.pth").unlink()
    resumed = task(Backbone2d("test_efficientnet"), weights=str(tmp_path / "donor.pth"), body_lr=0.0)
    fit(resumed, tmp_path, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    with pytest.raises(MissingFileError, match=r"model\.weights: no weights at .*donor\.pth"):
        fit(task(Backbone2d("test_efficientnet"), weights=str(tmp_path / "donor.pth")), tmp_path)


def test_head_and_body_have_learning_rates_of_their_own() -> None:
    net = Backbone2d("test_efficientnet")
    optimiser: Any = task(net, head_lr=1e-4, body_lr=1e-5).configure_optimizers()
    rates = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimiser.param_groups}
    assert rates == {"head": (1e-4, 1e-4), "body": (1e-5, 1e-4)}
    held = sum(p.numel() for group in optimiser.param_groups for p in group["params"])
    assert held == sum(p.numel() for p in net.parameters())
    one: Any = task(Backbone2d("test_efficientnet"), head_lr=1e-3).configure_optimizers()
    assert [group["lr"] for group in one.param_groups] == [1e-3, 3e-4]
    plain: Any = task(Backbone2d("test_efficientnet")).configure_optimizers()
    assert [group["lr"] for group in plain.param_groups] == [3e-4]


def test_what_a_network_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.weights=imagenet: PatchCnn has no pretrained weights"):
        task(weights="imagenet")
    with pytest.raises(ConfigError, match=r"model\.head_lr, model\.body_lr: LunaModel has no head"):
        task(LunaModel(), head_lr=1e-4)
    with pytest.raises(ConfigError, match=r"model\.views='both'"):
        task(views="both")
