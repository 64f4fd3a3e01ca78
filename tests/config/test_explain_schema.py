"""The parts of `lungdet explain` become classes: same keys and types, same defaults as conf/explain.yaml."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lungdet.config import conf_folder
from lungdet.config.explain_schema import (
    ExplainCases,
    ExplainCurves,
    ExplainFaithfulness,
    ExplainHeatMap,
    ExplainRandomWeights,
)
from lungdet.explain.randomised import Randomisation
from lungdet.explanations.cases import CaseChoice
from lungdet.explanations.faithfulness import FaithfulnessChoice
from lungdet.explanations.pictures import HeatMapChoice
from lungdet.explanations.study import CurveChoice

PARTS: dict[str, tuple[type, Any]] = {
    "cases": (ExplainCases, CaseChoice),
    "curves": (ExplainCurves, CurveChoice),
    "faithfulness": (ExplainFaithfulness, FaithfulnessChoice),
    "heat_map": (ExplainHeatMap, HeatMapChoice),
}


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("explain")


@pytest.mark.parametrize("part", list(PARTS))
def test_keys_are_arguments_of_the_class(part: str) -> None:
    schema, built = PARTS[part]
    asked, taken = typing.get_type_hints(schema), typing.get_type_hints(built)
    assert set(asked) == set(taken)
    differing = {name: (asked[name], taken[name]) for name in asked if asked[name] != taken[name]}
    # YAML gives a list, the class takes any sequence.
    assert set(differing) <= {"ids"}


@pytest.mark.parametrize("part", list(PARTS))
def test_defaults_in_conf_are_those_of_the_class(part: str, cfg: DictConfig) -> None:
    """Who calls from Python gets what the command line gets."""
    given = OmegaConf.to_container(cfg[part])
    default = dataclasses.asdict(PARTS[part][1]())
    assert given == {name: list(value) if isinstance(value, tuple) else value for name, value in default.items()}


def test_ways_to_redraw_weights_are_those_of_the_code(cfg: DictConfig) -> None:
    ways = typing.get_type_hints(ExplainRandomWeights)["randomisation"]
    assert set(typing.get_args(ways)) == set(typing.get_args(Randomisation))
    assert cfg.random_weights.randomisation in typing.get_args(ways)
