"""Objects from nodes; what the program passes reaches the constructor as it is."""

from __future__ import annotations

import pytest
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from lungdet.config.build import build
from lungdet.data.splits import Holdout


def test_a_node_alone() -> None:
    made = build(OmegaConf.create({"_target_": "lungdet.data.splits.Holdout", "val_fraction": 0.25}))
    assert made == Holdout(val_fraction=0.25)


def test_a_dataclass_that_is_passed_stays_one() -> None:
    """Hydra's own instantiate turns it into a DictConfig, and the split rule could not be called any more."""
    rule = Holdout()
    partial = build(OmegaConf.create({"_target_": "builtins.dict", "a": 1}), split=rule)
    assert partial["split"] is rule
    assert partial["a"] == 1


def test_a_refused_value_names_its_key() -> None:
    with pytest.raises(InstantiationException, match="val_fraction"):
        build(OmegaConf.create({"_target_": "lungdet.data.splits.Holdout", "val_fraction": 7}))
