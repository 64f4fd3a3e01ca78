from __future__ import annotations

import json

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lungdet.config.nodes import check_nodes
from lungdet.errors import ConfigError
from lungdet.io.phantom_images import ChestXrayPhantomSpec, HistopathologyPhantomSpec, ImagePhantomSpec


def test_a_yaml_node_makes_them() -> None:
    node = {"_target_": "lungdet.io.phantom_images.ChestXrayPhantomSpec", "n_images": 60, "size_hw": [64, 80]}
    assert list(check_nodes("data.cohort", node, {})) == []
    assert instantiate(OmegaConf.create(node)) == ChestXrayPhantomSpec(n_images=60, size_hw=(64, 80))


def test_everything_out_of_range_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        ChestXrayPhantomSpec(
            n_images=3, seed=-1, difficulty=5, size_hw=(8, 8), pneumonia_fraction=0.1, framed_fraction=2
        )
    names = [problem.split(":")[0] for problem in raised.value.problems]
    assert names == ["n_images", "seed", "difficulty", "size_hw", "pneumonia_fraction", "framed_fraction"]
    with pytest.raises(ConfigError) as raised:
        HistopathologyPhantomSpec(tumor_fraction=0.9, n_slides=1, n_unlabelled=-1, layout="dicom")  # type: ignore[arg-type]
    names = [problem.split(":")[0] for problem in raised.value.problems]
    assert names == ["tumor_fraction", "n_slides", "n_unlabelled", "layout"]


def test_pcam_needs_slides_for_three_partitions() -> None:
    with pytest.raises(ConfigError, match="n_slides: 5 is not between 6 and"):
        HistopathologyPhantomSpec(n_slides=5, layout="pcam")


@pytest.mark.parametrize("spec", [ImagePhantomSpec(), ChestXrayPhantomSpec(), HistopathologyPhantomSpec()])
def test_dict_survives_json(spec: ImagePhantomSpec) -> None:
    as_dict = spec.to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert as_dict["version"] >= 1
