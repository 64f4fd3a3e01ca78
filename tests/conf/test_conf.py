"""Every YAML file composes and every node in it fits its constructor. New files are found by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from lungdet.config import conf_folder
from lungdet.config.checks import PROVIDED
from lungdet.config.nodes import check_nodes
from lungdet.config.schema import ROOTS

CONF = conf_folder()
# Groups that `train`, `detect` or `explain` compose; each option of each is tried in turn.
OPTIONS = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in CONF.glob("*/**/*.yaml")
    if path.parent.name not in ("hydra", "paths")
)


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(root, overrides=list(overrides))


def node_problems(cfg: DictConfig) -> list[str]:
    return list(check_nodes("", OmegaConf.to_container(cfg, resolve=True), PROVIDED))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_fits(group: str, option: str) -> None:
    roots = {"pipeline": "detect", "explain": "explain", "executor": "mine"}
    root = roots.get(group.split("/", maxsplit=1)[0], "train")
    # Only collections of images have these groups.
    images = ["data=chest_xray"] if group in ("data/augment2d", "data/images") else []
    overrides = ["input=scan.mhd"] if root == "detect" else images
    assert node_problems(composed(root, f"{group}={option}", *overrides)) == []


@pytest.mark.parametrize("root", sorted(p.stem for p in CONF.glob("*.yaml")))
def test_every_root_composes_and_has_a_schema(root: str) -> None:
    assert root in ROOTS
    cfg = composed(root)
    missing = OmegaConf.missing_keys(cfg)
    if not missing:
        assert node_problems(cfg) == []
    assert missing <= {"source", "annotations", "seriesuids", "submission", "excluded", "out", "run", "input"}


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: str(p.relative_to(CONF)))
def test_every_file_says_what_it_is_for_and_stays_simple(path: Path) -> None:
    text = path.read_text()
    assert text.removeprefix("# @package data\n").startswith("#"), (
        "the first line is a comment that says what the file is for"
    )
    assert "${eval:" not in text, "YAML sets, Python computes"
    environment = [line for line in text.splitlines() if "oc.env" in line]
    assert all("LUNGDET_DATA" in line for line in environment)


def plain(path: Path) -> dict[str, Any]:
    """The content of one file, interpolations left as text."""
    container = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def test_a_variant_holds_only_its_difference() -> None:
    """A key that repeats the value of the file it starts from is noise."""
    for path in sorted(CONF.glob("*/**/*.yaml")):
        bases = [d for d in plain(path).get("defaults", []) if isinstance(d, str) and d != "_self_"]
        for base in bases:
            known, own = (plain(p) for p in (path.parent / f"{base}.yaml", path))
            for key, value in own.items():
                assert key == "defaults" or known.get(key) != value, f"{path}: {key} repeats {base}"
