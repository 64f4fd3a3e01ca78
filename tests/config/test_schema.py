"""Roots in conf/ hold just the keys of their schema, at every depth; its choices are those of the code."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from omegaconf import OmegaConf

from lungdet.config import conf_folder
from lungdet.config.schema import ROOTS, DetectConfig, MineConfig, MineKeep
from lungdet.pipeline.hardest import Quota
from lungdet.pipeline.inference import Precision

# Of Hydra itself, and groups whose files write into other places (`# @package _global_`).
NOT_OURS = {"hydra", "imbalance", "experiment", "sweep"}


def hints_of(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def differences(schema: type, value: Mapping[str, Any], path: str = "") -> Iterator[str]:
    hints = hints_of(schema)
    for name in sorted((hints.keys() ^ value.keys()) - NOT_OURS):
        yield f"{path}{name} is only in {'the schema' if name in hints else 'conf/'}"
    for name, hint in hints.items():
        if dataclasses.is_dataclass(hint) and value.get(name) is not None:
            assert isinstance(hint, type)
            yield from differences(hint, value[name], f"{path}{name}.")


def keys_of(root: str) -> dict[str, Any]:
    """A root's own keys, those of the root it starts from, and its groups (None here; `test_conf` composes them)."""
    content = OmegaConf.to_container(OmegaConf.load(conf_folder() / f"{root}.yaml"), resolve=False)
    assert isinstance(content, dict)
    found: dict[str, Any] = {}
    for entry in content.pop("defaults"):
        if isinstance(entry, str):
            found |= {} if entry == "_self_" else keys_of(entry)
        else:
            found |= {str(group): None for group in entry if not str(group).startswith("override ")}
    # What a root changes of a group is a part of it.
    return found | {str(key): None if key in found else value for key, value in content.items()}


@pytest.mark.parametrize("root", sorted(ROOTS))
def test_a_root_has_the_keys_of_its_schema(root: str) -> None:
    assert list(differences(ROOTS[root], keys_of(root))) == []


def test_a_missing_and_an_unknown_key_are_seen() -> None:
    """The test above can fail."""
    given: dict[str, Any] = {key: {} for key in hints_of(MineConfig)} | {"keep": {"per_scan": 1, "colour": "red"}}
    del given["seed"]
    found = list(differences(MineConfig, given))
    assert "seed is only in the schema" in found
    assert "keep.colour is only in conf/" in found
    assert "keep.suppression_mm is only in the schema" in found


def test_every_root_file_has_a_schema_and_no_schema_is_without_one() -> None:
    assert {path.stem for path in conf_folder().glob("*.yaml")} == set(ROOTS)
    assert len(set(ROOTS.values())) == len(ROOTS)


def test_what_is_kept_of_a_scan_is_built_from_its_keys() -> None:
    """`Quota(**cfg.keep)`."""
    assert hints_of(MineKeep) == hints_of(Quota)


def test_choices_are_those_of_the_code() -> None:
    assert hints_of(MineConfig)["precision"] == Precision
    assert hints_of(MineConfig)["device"] == hints_of(DetectConfig)["device"] == typing.Literal["auto", "cpu", "cuda"]
