"""All files or none."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lungdet.errors import ConfigError, RunError
from lungdet.exports.calibrated import WithProbability, probability_module
from lungdet.exports.card import NetworkCard
from lungdet.exports.card_file import read_card
from lungdet.exports.frozen import FrozenNetwork
from lungdet.exports.load import FORMATS
from lungdet.exports.rebuild import rebuild
from lungdet.exports.write import export_network

Net = tuple[nn.Module, NetworkCard]


def test_the_card_has_hashes_and_parity(classifier: Net, tmp_path: Path) -> None:
    weights, card_path = export_network(*classifier, tmp_path / "new" / "folder", formats=["safetensors"])
    card = read_card(card_path)
    entry = card.files["safetensors"]
    assert (entry.file, entry.n_bytes) == (weights.name, weights.stat().st_size)
    assert entry.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert entry.parity["max_abs_difference"] == 0
    assert dataclasses.replace(card, files={}) == classifier[1]


def test_the_trained_network_is_left_alone(classifier: Net, tmp_path: Path) -> None:
    net = copy.deepcopy(classifier[0]).to(memory_format=torch.channels_last_3d)
    weight = net.get_parameter("block2.conv1.weight")
    export_network(net, classifier[1], tmp_path, formats=["safetensors"])
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_failed_parity_check_leaves_nothing(classifier: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_wrong(content: bytes, card: NetworkCard, path: Path) -> nn.Module:
        net = rebuild(card.network)
        net.load_state_dict(classifier[0].state_dict())
        net.get_parameter("head_linear.bias").data.add_(1.0)
        return FrozenNetwork(card, WithProbability(net, probability_module(None)))

    monkeypatch.setitem(FORMATS, "torchscript", dataclasses.replace(FORMATS["torchscript"], load=load_wrong))
    with pytest.raises(RunError, match=r"torchscript .net.ts.pt. differs from the trained network by 1 "):
        export_network(*classifier, tmp_path / "out", formats=["safetensors", "torchscript"])
    assert not (tmp_path / "out").exists()


def test_an_export_is_not_overwritten(classifier: Net, tmp_path: Path) -> None:
    files = export_network(*classifier, tmp_path, formats=["safetensors"])
    before = [path.read_bytes() for path in files]
    with pytest.raises(RunError, match=r"net.json exists; choose another name="):
        export_network(*classifier, tmp_path, formats=["safetensors"])
    assert [path.read_bytes() for path in files] == before


def test_nan_weights(classifier: Net, tmp_path: Path) -> None:
    net = copy.deepcopy(classifier[0])
    net.get_parameter("head_linear.bias").data[0] = float("nan")
    with pytest.raises(RunError, match=r"head_linear.bias has NaN"):
        export_network(net, classifier[1], tmp_path / "out", formats=["safetensors"])
    assert not (tmp_path / "out").exists()


def test_a_calibration_needs_something_to_be_compared_with(classifier: Net, tmp_path: Path) -> None:
    calibration = {"parameters": {"method": "temperature", "temperature": 2.0}, "formula": "f"}
    card = dataclasses.replace(classifier[1], calibration=calibration)
    with pytest.raises(RunError, match=r"pass probability=calibrator.probability, or export formats=\['safetensors'\]"):
        export_network(classifier[0], card, tmp_path / "out", formats=["torchscript"])
    with pytest.raises(RunError, match=r"the calibration in float32 differs from its formula in float64 by 0\."):
        export_network(
            classifier[0], card, tmp_path / "out", formats=["torchscript"], probability=lambda x: 1 / (1 + np.exp(-x))
        )
    assert not (tmp_path / "out").exists()
    _, path = export_network(classifier[0], card, tmp_path / "out", formats=["safetensors"])
    assert read_card(path).second_output is None


@pytest.mark.parametrize("formats", [[], ["onxx"], ["safetensors", "safetensors"]])
def test_formats(formats: list[str], classifier: Net, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose one or several of safetensors, onnx, torch_export, torchscript"):
        export_network(*classifier, tmp_path, formats=formats)


@pytest.mark.parametrize("changes", [{"name": "../x"}, {"name": ""}, {"name": ".x"}])
def test_names(changes: dict[str, Any], classifier: Net, tmp_path: Path) -> None:
    card = dataclasses.replace(classifier[1], **changes)
    with pytest.raises(ConfigError, match="name="):
        export_network(classifier[0], card, tmp_path, formats=["safetensors"])
