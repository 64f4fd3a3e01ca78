"""The keys of `lungdet sanity`: which checks are asked for, and values that none can have."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from lungdet.cli.sanity import chosen_checks
from lungdet.cli.sanity_checks import CHECKS
from lungdet.config import conf_folder
from lungdet.errors import ConfigError
from lungdet.evaluation.sanity_page import TITLES


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("sanity", overrides=list(overrides))


@pytest.mark.parametrize(
    ("what", "chosen"),
    [
        ("all", list(CHECKS)),
        ("shortcut", ["shortcut"]),
        ("[permuted_training,shuffled_labels]", ["shuffled_labels", "permuted_training"]),
        ("[all,shortcut]", list(CHECKS)),
    ],
)
def test_checks_come_in_their_own_order(what: str, chosen: list[str]) -> None:
    assert chosen_checks(composed(f"what={what}")) == chosen


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("what=shortcuts", "there is no check shortcuts"),
        ("what=[]", "there is no check given"),
        ("shuffled.n_permutations=5", "shuffled.n_permutations=5 must be at least 20"),
        ("permuted.epochs=0", "permuted.epochs=0 must be at least 1"),
        ("overfit.loss=0", "overfit.loss=0 must be > 0"),
        ("overfit.dice=1.5", r"overfit.dice=1.5 must be in \(0, 1\]"),
    ],
)
def test_values_that_no_check_can_have(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen_checks(composed(override))


def test_every_override_of_a_training_composes() -> None:
    cfg = composed("model=unet_seg", "split=holdout", "sweep=lr_weight_decay")
    assert cfg.model._target_.endswith("Segmentation")
    assert cfg.what == "all"


def test_every_check_has_a_title() -> None:
    known: Any = set(CHECKS)
    assert known == set(TITLES)
