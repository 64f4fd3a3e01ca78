"""Each way to treat imbalance is one word, fits all samples and networks, and leaves nothing of another behind."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import OmegaConf

from lungdet.config import conf_folder
from lungdet.config.checks import PROVIDED
from lungdet.config.nodes import check_nodes

CONF = conf_folder()
SAMPLING = sorted(path.stem for path in (CONF / "data" / "sampling").glob("*.yaml"))
# One of each tree of defaults: the other kinds of sample start from these.
SAMPLES = ("candidates", "small_candidates", "slices", "patches")
IMBALANCE = sorted(path.stem for path in (CONF / "imbalance").glob("*.yaml"))


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)
    assert isinstance(cfg, dict)
    return {str(key): value for key, value in cfg.items()}


def problems(cfg: dict[str, Any]) -> list[str]:
    return list(check_nodes("", cfg, PROVIDED))


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("sampling", SAMPLING)
def test_any_rule_goes_with_any_kind_of_sample(sampling: str, samples: str) -> None:
    cfg = composed(f"data/samples={samples}", f"data/sampling={sampling}")
    assert problems(cfg) == []
    node = cfg["data"]["sampling"]
    known = inspect.signature(get_class(node["_target_"])).parameters
    assert set(node) == {"_target_", *known}, "a rule's file lists all that can be set, and nothing of another rule"
    assert node["epoch_size"] == (960 if samples == "small_candidates" else None)


@pytest.mark.parametrize("imbalance", IMBALANCE)
def test_every_way_changes_sampling_and_loss_only_and_shows_equally_many_samples(imbalance: str) -> None:
    cfg, default = composed(f"imbalance={imbalance}", "model=r3d18"), composed("model=r3d18")
    assert problems(cfg) == []
    assert cfg["data"]["sampling"]["epoch_size"] == 960
    assert {key for key in cfg if cfg[key] != default[key]} <= {"data", "model"}
    assert {key for key in cfg["data"] if cfg["data"][key] != default["data"][key]} <= {
        "sampling",
        "extra_negatives_share",
    }


def test_losses_that_repair_imbalance_are_not_combined_with_sampling_that_does() -> None:
    for imbalance, loss in (("pos_weight", "BinaryCrossEntropy"), ("focal", "Focal")):
        cfg = composed(f"imbalance={imbalance}")
        assert cfg["model"]["loss"]["_target_"].endswith(f".{loss}")
        assert cfg["data"]["sampling"]["_target_"].endswith(".NaturalSampling")
    assert composed("imbalance=pos_weight")["model"]["loss"]["pos_weight"] == "train"


@pytest.mark.parametrize("data", [[], ["data=luna16", "data.root=/data/luna16"]], ids=["phantom", "luna16"])
def test_the_seed_baselines_differ_in_what_they_say_and_share_the_split(data: list[str]) -> None:
    names = ("r3d18_synthetic_negatives", "r3d18_real_negatives", "luna_cls_book", "luna_cls_balanced")
    noise, background, book, balanced = (composed(f"experiment={name}", *data) for name in names)
    for cfg in (noise, background, book, balanced):
        assert problems(cfg) == []
        assert cfg["split"] == composed()["split"]
    assert noise["data"]["samples"]["_target_"].endswith(".NoiseNegatives")
    assert background["data"]["samples"]["_target_"].endswith(".BackgroundNegatives")
    assert [cfg["optim"]["weight_decay"] for cfg in (noise, background)] == [0.01, 0.0001]
    assert [cfg["trainer"]["max_epochs"] for cfg in (noise, background)] == [10, 8]
    for cfg in (noise, background):
        assert cfg["optim"]["_target_"] == "torch.optim.AdamW"
        assert cfg["optim"]["lr"] == 3e-4
        assert cfg["trainer"]["precision"] == "bf16-mixed"
    assert book["optim"] == composed("optim=sgd")["optim"]
    assert balanced["optim"] == composed("optim=adamw")["optim"]
    assert book["data"]["augment"] is None
    assert balanced["data"]["augment"] is not None
    assert {key for key in book if book[key] != balanced[key]} == {"data", "optim"}
    assert {key for key in book["data"] if book["data"][key] != balanced["data"][key]} == {"sampling", "augment"}


def test_an_experiment_has_the_last_word() -> None:
    assert composed("imbalance=focal", "experiment=luna_cls_book") == composed("experiment=luna_cls_book")
