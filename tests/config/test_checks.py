"""check_config collects: missing values, interpolations, root keys and types, nodes; all of one stage together."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from lungdet.config import check_config, conf_folder
from lungdet.errors import ConfigError


def composed(root: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(root, overrides=list(overrides))


def problems(cfg: DictConfig, root: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check_config(cfg, root=root)
    return raised.value.problems


@pytest.mark.parametrize("root", ["eval", "predict", "preprocess", "phantom", "bench"])
def test_the_shipped_roots_pass(root: str) -> None:
    check_config(composed(root), root=root)


def test_a_missing_value_says_what_to_set() -> None:
    assert problems(composed("import_weights"), "import_weights") == ["source: no value; set source=..."]


def test_every_unresolved_interpolation_has_its_own_path() -> None:
    cfg = composed("eval")
    with open_dict(cfg):
        cfg.run = "${nowhere}"
        cfg.paths.runs = "${paths.rot}/x"
    assert [p.split(":")[0] for p in problems(cfg, "eval")] == ["paths.runs", "run"]


def test_root_keys_are_known_present_and_of_their_type() -> None:
    cfg = composed("eval", "+runn=x", "evaluation.n_resamples=many", "+evaluation.sed=1")
    with open_dict(cfg):
        del cfg["run"]
        cfg.paths = "here"
    assert problems(cfg, "eval") == [
        "runn: there is no key 'runn' here; did you mean 'run'?",
        "paths: expects keys root, data, runs, stores, got 'here'",
        "run: no value; set run=...",
        "evaluation.sed: there is no key 'sed' in evaluation; did you mean 'seed'?",
        "evaluation.n_resamples: expects a whole number, got 'many'",
    ]


def test_nodes_are_checked_where_they_stand() -> None:
    cfg = composed("preprocess", "+data.store.codek=zstd")
    assert problems(cfg, "preprocess") == ["data.store.codek: StoreSpec has no argument 'codek'; did you mean 'codec'?"]


def test_checking_changes_nothing() -> None:
    cfg = composed("preprocess")
    before = OmegaConf.to_yaml(cfg)
    check_config(cfg, root="preprocess")
    assert OmegaConf.to_yaml(cfg) == before
