"""Problems between the parts: shapes, monitors, hardware. Each part is asked, none is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lungdet.config import conf_folder
from lungdet.config.experiment import experiment_problems, hardware_problems


def problems(folder: Path, *overrides: str, elsewhere: bool = False) -> list[str]:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", overrides=[f"paths.root={folder}", *overrides])
    return list(experiment_problems(cfg, elsewhere=elsewhere))


def test_the_default_fits_together(tmp_path: Path) -> None:
    assert problems(tmp_path) == []
    assert not list(tmp_path.iterdir()), "a check writes nothing"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.crop.vox=[8,48,48]", "data/model: "),
        ("callbacks.early_stopping.monitor=val/lss", "callbacks.early_stopping.monitor: 'val/lss' is never logged"),
        ("split.fold=9", "split: "),
        ("optim.lr=-1", "optim: Invalid learning rate"),
        ("data.batch_size=0", "data: "),
    ],
)
def test_a_part_that_does_not_fit_is_named(override: str, expected: str, tmp_path: Path) -> None:
    found = problems(tmp_path, override)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_plateau_is_looked_for_in_epochs_that_are_validated(tmp_path: Path) -> None:
    plateau = ("scheduler=plateau", "trainer.check_val_every_n_epoch=2")
    (found,) = problems(tmp_path, *plateau)
    assert found.startswith("scheduler.frequency=1: looks at val/auroc in epochs that are not validated")
    assert problems(tmp_path, *plateau, "+scheduler.frequency=2") == []
    assert problems(tmp_path, "scheduler=plateau") == []


def test_this_machine_says_nothing_about_a_training_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cluster = ("trainer.accelerator=gpu", "trainer.num_nodes=2", "trainer.strategy=ddp_spawn")
    assert [text.partition(":")[0] for text in problems(tmp_path, *cluster)] == [
        "trainer.accelerator",
        "trainer.num_nodes",
        "trainer.strategy",
    ]
    assert [text.partition(":")[0] for text in problems(tmp_path, *cluster, elsewhere=True)] == ["trainer.strategy"]


@pytest.mark.parametrize(
    ("trainer", "n_gpus", "expected"),
    [
        ({"accelerator": "cpu", "devices": 2, "max_epochs": 3}, 0, None),
        ({"accelerator": "auto", "devices": 2}, 2, None),
        ({"accelerator": "gpu"}, 0, "no CUDA device"),
        ({"accelerator": "gpu", "devices": 4}, 2, "this machine has 2 GPU(s); set trainer.devices=2"),
        ({"devices": 0}, 0, "must be at least 1, got 0"),
        ({"max_epochs": 0}, 0, "trainer.max_epochs: must be at least 1, got 0"),
        ({"max_epochs": -1}, 0, None),
    ],
)
def test_the_hardware_has_to_be_there(
    trainer: dict[str, object], n_gpus: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: n_gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    node = OmegaConf.create(trainer)
    assert isinstance(node, DictConfig)
    found = list(hardware_problems(node))
    assert [expected in text for text in found] == [True] if expected else found == []
