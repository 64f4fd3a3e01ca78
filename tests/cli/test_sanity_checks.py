"""What the checks are given: the training part of a configuration for one device, and a run or the reason for none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from lungdet.cli.sanity_checks import as_training, find_predictions
from lungdet.config import conf_folder
from lungdet.config.training_schema import TrainConfig
from lungdet.errors import RunError


def test_the_training_has_the_keys_of_train_and_one_device() -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("sanity", overrides=["trainer=ddp", "seed=7"])
        plain = compose("train", overrides=["trainer=ddp", "seed=7"])
    training = as_training(cfg)
    assert set(training) == {field.name for field in dataclasses.fields(TrainConfig)}
    assert (training.trainer.devices, training.trainer.strategy) == (1, "auto")
    same = ["data", "split", "model", "optim", "scheduler", "callbacks", "seed"]
    for key in same:
        assert OmegaConf.select(training, key) == OmegaConf.select(plain, key), key
    assert cfg.trainer.devices == 2, "the given configuration is left as it is"


def test_no_run_is_a_reason_and_a_wrong_name_a_mistake(tmp_path: Path) -> None:
    assert find_predictions(None, tmp_path).reason == "No run is looked at (run=null)."
    latest = find_predictions("latest", tmp_path)
    assert latest.predictions is None
    assert latest.reason.startswith("There is no run to look at: no run with predictions.parquet")
    with pytest.raises(RunError, match="no run 'mine'"):
        find_predictions("mine", tmp_path)
