"""Weights to start from are read once, at a fresh start; frozen modules stay as they are, running statistics too."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import DataLoader

from lungdet.data.sample import SampleSpec
from lungdet.errors import ConfigError, MissingFileError, RunError
from lungdet.losses.classification import CrossEntropy
from lungdet.nets.late_fusion import LateFusion
from lungdet.nets.luna import LunaModel
from lungdet.tasks.malignancy import MalignancyClassification

SPEC = SampleSpec("volume", 1, (16, 16, 16), "class", ("benign", "malignant"), "HU scaled to [0, 1]")
FROZEN = ("tail_batchnorm", "block1", "block2", "block3")


@pytest.fixture(autouse=True)
def advice_that_a_small_test_ignores() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in (".*number of training batches.*", ".*have no `val_dataloader`.*", ".*many workers.*"):
            warnings.filterwarnings("ignore", message=message)
        yield


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint of another task with the same network, whose input batch norm has seen something."""
    net = small_luna(seed=7)
    net.tail_batchnorm.running_mean = torch.tensor([0.25])
    path = tmp_path / "trained.ckpt"
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()}}, path)
    return path


def small_luna(seed: int, channels: int = 2) -> LunaModel:
    torch.manual_seed(seed)
    return LunaModel(conv_channels=channels)


def make_task(**given: Any) -> MalignancyClassification:
    arguments: dict[str, Any] = {"net": small_luna(seed=1), "loss": CrossEntropy(), "optim": partial(SGD, lr=0.05)}
    return MalignancyClassification(**arguments | given)


def batches() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    rows = [
        {"image": torch.randn(1, 16, 16, 16, generator=generator) + 2, "label": n % 2, "index": n} for n in range(8)
    ]
    data: Any = rows
    return DataLoader(data, batch_size=4)


def make_trainer(folder: Path, **given: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **{"max_epochs": 1, "enable_checkpointing": False, **given},
    )  # fmt: skip


def state_of(task: MalignancyClassification) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.net.state_dict().items()}


def of_file(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("net."): tensor for name, tensor in state.items() if name.startswith("net.")}


def test_frozen_blocks_equal_the_file_bit_for_bit_after_training_and_the_others_do_not(
    trained: Path, tmp_path: Path
) -> None:
    task = make_task(init_from=str(trained), frozen=FROZEN)
    fresh_head = state_of(task)["head_linear.weight"]
    make_trainer(tmp_path, max_epochs=2).fit(task, batches())
    given = of_file(trained)
    for name, tensor in state_of(task).items():
        assert torch.equal(tensor, given[name]) == (name.split(".")[0] in FROZEN), name
    head = state_of(task)["head_linear.weight"]
    assert (head - fresh_head).abs().max() < (head - given["head_linear.weight"]).abs().max(), "it starts anew"


def test_batch_norm_that_is_not_frozen_adapts(trained: Path, tmp_path: Path) -> None:
    task = make_task(init_from=str(trained), frozen=FROZEN[1:])
    make_trainer(tmp_path).fit(task, batches())
    assert not torch.equal(
        state_of(task)["tail_batchnorm.running_mean"], of_file(trained)["tail_batchnorm.running_mean"]
    )


def test_validation_in_between_leaves_frozen_modules_in_evaluation_mode(trained: Path, tmp_path: Path) -> None:
    task = make_task(init_from=str(trained), frozen=FROZEN)
    make_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1).fit(task, batches(), batches())
    given = of_file(trained)
    assert torch.equal(state_of(task)["tail_batchnorm.running_mean"], given["tail_batchnorm.running_mean"])
    task.train()
    modes = {name: module.training for name, module in task.net.named_children()}
    assert {name for name, training in modes.items() if not training} == set(FROZEN)


def test_only_what_is_trained_reaches_the_optimiser() -> None:
    task = make_task(init_from="a.ckpt", frozen=FROZEN)
    optimizer: Any = task.configure_optimizers()
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p) for name in ("block4", "head_linear") for p in task.net.get_submodule(name).parameters()}


def test_resuming_and_predicting_do_without_the_file(trained: Path, tmp_path: Path) -> None:
    """Three epochs at once, against two, the file deleted, and one more: the same bits."""
    whole = make_task(init_from=str(trained), frozen=FROZEN)
    make_trainer(tmp_path, max_epochs=3).fit(whole, batches())

    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(make_task(init_from=str(trained), frozen=FROZEN), batches())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trained.unlink()
    resumed = make_task(init_from=str(trained), frozen=FROZEN)
    assert resumed.check_sample(SPEC) == []
    make_trainer(tmp_path, max_epochs=3).fit(resumed, batches(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    expected = state_of(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state_of(resumed).items())

    scored = make_task(init_from=str(trained), frozen=FROZEN, optim=None)
    (first, _) = (
        make_trainer(tmp_path).predict(scored, batches(), ckpt_path=tmp_path / "last.ckpt", weights_only=True) or []
    )
    assert torch.isfinite(torch.as_tensor(first["logit"])).all()  # type: ignore[call-overload]


def test_a_fresh_start_without_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no weights at .*none\.ckpt"):
        make_trainer(tmp_path).fit(make_task(init_from=str(tmp_path / "none.ckpt")), batches())


def test_from_scratch_nothing_is_read(tmp_path: Path) -> None:
    task = make_task()
    assert task.check_sample(SPEC) == []
    make_trainer(tmp_path).fit(task, batches())
    assert all(parameter.requires_grad for parameter in task.parameters())
    assert {"train/loss_malignant", "val/percent_correct_benign", "val/auroc"} < set(task.logged_names)


def test_weights_of_another_width_are_found_before_training(trained: Path) -> None:
    task = make_task(net=small_luna(seed=0, channels=4), init_from=str(trained))
    (problem,) = task.check_sample(SPEC)
    assert problem.startswith(f"model.init_from: {trained}: ")
    assert problem.endswith("train both with the same model.net")


def test_candidates_do_not_fit() -> None:
    candidates = SampleSpec("volume", 1, (16, 16, 16), "class", ("non_nodule", "nodule"), "HU")
    assert "classes" in make_task().check_sample(candidates)[0]


def test_what_would_freeze_random_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.frozen: \['block1'\] would stay random"):
        make_task(frozen=["block1"])
    with pytest.raises(ConfigError, match="no module 'blok1'; did you mean 'block1'"):
        make_task(init_from="a.ckpt", frozen=["blok1"])


# -- clinical features -------------------------------------------------------------------------------------------------


class ClinicalData(pl.LightningDataModule):
    """The eight crops with an age (unknown for the last) and a sex; the first six train."""

    def __init__(self, names: tuple[str, ...] = ("age", "sex=male")) -> None:
        super().__init__()
        values = np.array([[50 + 3 * n + 8 * (n % 2), n // 2 % 2] for n in range(8)], np.float32)[:, : len(names)]
        values[7] = np.nan
        is_training = np.arange(8) < 6
        self.clinical_features = SimpleNamespace(
            names=names, values=values, label=np.arange(8) % 2, is_training=is_training,
            row_weight=is_training.astype(np.float32),
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[Any]:
        return self.rows(range(6))

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.rows(range(8))

    def rows(self, numbers: range) -> DataLoader[Any]:
        images: Any = batches().dataset
        values = torch.from_numpy(self.clinical_features.values)
        data: Any = [{**images[n], "features": values[n]} for n in numbers]
        return DataLoader(data, batch_size=2)


def logits(task: MalignancyClassification, data: Any, folder: Path, checkpoint: Path) -> dict[str, Tensor]:
    answers: Any = make_trainer(folder).predict(task, data, ckpt_path=checkpoint, weights_only=True)
    return {name: torch.cat([part[name] for part in answers]) for name in answers[0]}


@pytest.fixture
def fused(tmp_path: Path) -> Path:
    """A checkpoint of a network with clinical features."""
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(make_task(fusion=LateFusion()), ClinicalData())
    trainer.save_checkpoint(tmp_path / "fused.ckpt")
    return tmp_path / "fused.ckpt"


def test_scale_comes_from_training_rows_and_travels_in_the_checkpoint(fused: Path) -> None:
    content = torch.load(fused, weights_only=True)
    assert content["clinical_features"] == ["age", "sex=male"]
    ages = np.array([50 + 3 * n + 8 * (n % 2) for n in range(6)])
    assert content["state_dict"]["fusion.mean"][0].item() == pytest.approx(ages.mean())
    assert content["state_dict"]["fusion.deviation"][0].item() == pytest.approx(ages.std())


def test_predicting_needs_no_fit_and_a_patient_without_values_is_judged_by_the_image(
    fused: Path, tmp_path: Path
) -> None:
    task = make_task(fusion=LateFusion(), optim=None)
    answers = logits(task, ClinicalData(), tmp_path, fused)
    added = answers["logit"] - answers["image_logit"]
    assert added[7] == 0
    assert (added[:7] != 0).all()
    # Listed points have no features: the image branch alone.
    plain = logits(make_task(fusion=LateFusion(), optim=None), batches(), tmp_path, fused)
    assert "image_logit" not in plain
    torch.testing.assert_close(plain["logit"], answers["image_logit"])


def test_image_branch_of_the_checkpoint_is_a_network_like_any_other(fused: Path, tmp_path: Path) -> None:
    """Its names are those of a network without features, so others can start from it."""
    assert of_file(fused).keys() == state_of(make_task()).keys()
    task = make_task(init_from=str(fused), frozen=FROZEN)
    make_trainer(tmp_path).fit(task, batches())
    assert torch.equal(state_of(task)["block3.conv1.weight"], of_file(fused)["block3.conv1.weight"])


def test_fine_tuned_with_features_from_a_network_without(trained: Path, tmp_path: Path) -> None:
    task = make_task(fusion=LateFusion(), init_from=str(trained), frozen=FROZEN)
    make_trainer(tmp_path).fit(task, ClinicalData())
    given = of_file(trained)
    for name, tensor in state_of(task).items():
        assert torch.equal(tensor, given[name]) == (name.split(".")[0] in FROZEN), name


def test_resuming_with_features_is_exact(tmp_path: Path) -> None:
    whole = make_task(fusion=LateFusion(hidden=3))
    make_trainer(tmp_path, max_epochs=3).fit(whole, ClinicalData())
    trainer = make_trainer(tmp_path, max_epochs=2)
    torch.manual_seed(5)
    parts = make_task(fusion=LateFusion(hidden=3))
    trainer.fit(parts, ClinicalData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = make_task(fusion=LateFusion(hidden=3))
    make_trainer(tmp_path, max_epochs=3).fit(resumed, ClinicalData(), ckpt_path=tmp_path / "last.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.state_dict().items())


def test_another_table_is_refused_when_a_checkpoint_is_read(fused: Path, tmp_path: Path) -> None:
    task = make_task(fusion=LateFusion(), optim=None)
    with pytest.raises(RunError, match=r"trained on the clinical features age, sex=male; .*missing sex=male; new none"):
        make_trainer(tmp_path).predict(task, ClinicalData(("age",)), ckpt_path=fused, weights_only=True)


def test_features_have_to_be_on_both_sides() -> None:
    with_features = replace(SPEC, has_features=True)
    assert make_task(fusion=LateFusion()).check_sample(with_features) == []
    (problem,) = make_task().check_sample(with_features)
    assert problem.endswith("type data.clinical=null or model=malignancy_clinical")
    (problem,) = make_task(fusion=LateFusion()).check_sample(SPEC)
    assert problem.endswith("type data/clinical=table, or model=malignancy")
