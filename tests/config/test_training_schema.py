"""Commands that train many times have the keys of train and their own; those that they take out are all of these."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from lungdet.cli import cv, search
from lungdet.cli.sanity_checks import CHECKS
from lungdet.config.training_schema import CvConfig, Evaluation, SanityConfig, SearchConfig, TrainConfig
from lungdet.evaluation.thresholds import RECALLS
from lungdet.metrics.calibrators import CalibrationMethod


def own_keys(schema: type) -> list[str]:
    train = {field.name for field in dataclasses.fields(TrainConfig)}
    return [field.name for field in dataclasses.fields(schema) if field.name not in train]


@pytest.mark.parametrize(("schema", "known"), [(CvConfig, cv.OWN_KEYS), (SearchConfig, search.OWN_KEYS)])
def test_keys_that_train_does_not_know_are_kept_from_it(schema: type, known: tuple[str, ...]) -> None:
    """One that is forgotten would end each training with "there is no key ..."."""
    assert own_keys(schema) == list(known)


def test_settings_of_sanity_are_those_of_its_checks() -> None:
    """Checks with settings have a part of their own, checks without have none."""
    assert own_keys(SanityConfig) == ["what", "run", "out", "shuffled", "permuted", "overfit"]
    assert {"shuffled_labels", "permuted_training", "overfit_one_batch"} <= set(CHECKS)


def test_calibrations_are_those_that_can_be_fitted() -> None:
    methods = typing.get_args(typing.get_type_hints(Evaluation)["calibration"])
    assert set(methods) == {"none", *typing.get_args(CalibrationMethod)}


def test_recalls_in_conf_are_those_of_python() -> None:
    from omegaconf import OmegaConf

    from lungdet.config import conf_folder

    cfg = OmegaConf.load(conf_folder() / "evaluation" / "default.yaml")
    assert tuple(cfg.recalls) == RECALLS
    assert set(cfg) == {field.name for field in dataclasses.fields(Evaluation)}
