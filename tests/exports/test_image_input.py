"""Networks for pictures leave with resizing, normalisation and views inside, and refuse what was prepared otherwise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.exports.conftest import lively, make_image_card
from torch import Tensor, nn

from lungdet.errors import RunError, ShapeError
from lungdet.exports.card import NetworkCard
from lungdet.exports.card_file import read_card
from lungdet.exports.from_run import RunRecord, card_of_run
from lungdet.exports.image_input import image_input_of, predicting_network, steps_before, with_views
from lungdet.exports.load import FORMATS, load_exported
from lungdet.exports.rebuild import average_of, describe_network, rebuild
from lungdet.exports.write import export_network
from lungdet.nets.network_average import NetworkAverage
from lungdet.nets.patch_cnn import PatchCnn

Net = tuple[nn.Module, NetworkCard]
SPEC: dict[str, Any] = {"size_hw": [40, 36], "fit": "cover", "pad": "reflect", "dark_frame": None}


@pytest.fixture(scope="module")
def files(pictures: Net, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    net, card = pictures
    calibration = {"parameters": {"method": "platt", "slope": 0.5, "intercept": -1.0}, "formula": "f"}
    card = dataclasses.replace(card, calibration=calibration)
    written = export_network(
        net,
        card,
        tmp_path_factory.mktemp("pictures"),
        formats=list(FORMATS),
        probability=lambda logit: 1 / (1 + np.exp(-(0.5 * logit - 1))),
    )
    return dict(zip(FORMATS, written, strict=False))


def by_hand(net: nn.Module, image: Tensor) -> Tensor:
    """The mean over the middle 36 x 32 pixels and their mirror image, written out."""
    part = image[:, :, 2:38, 2:34]
    return torch.as_tensor(net(part) + net(part.flip(3))) / 2


def brighter_to_the_right(n: int, channels: int, height: int, width: int) -> Tensor:
    """Pictures whose mirror images and quarter turns are others; more so from one to the next."""
    slope = torch.linspace(-0.4, 0.4, width) * torch.arange(1, n + 1).view(n, 1, 1, 1) / n
    noise = torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))
    return 0.5 + slope + 0.1 * (noise - 0.5)


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_gives_what_predictions_were_made_with(name: str, files: dict[str, Path], pictures: Net) -> None:
    image = brighter_to_the_right(3, 1, 40, 36)
    loaded = load_exported(files[name])
    inner = pictures[0].get_submodule("net")
    with torch.inference_mode():
        expected = by_hand(inner, image)
        torch.testing.assert_close(loaded.net(image), expected, rtol=1e-5, atol=1e-5)
        assert (expected - inner(image)).abs().min() > 1e-3, "the views must make a difference"
        if FORMATS[name].holds_graph:
            probability = loaded.net.answers(image)[1]  # type: ignore[operator]
            torch.testing.assert_close(probability, (0.5 * expected[:, 0] - 1).sigmoid(), rtol=0, atol=1e-5)
    assert loaded.card.second_output is not None
    assert loaded.card.second_output["calibrated"]


@pytest.mark.parametrize("name", ["onnx", "torch_export", "torchscript"])
def test_a_picture_that_was_prepared_otherwise_is_refused(name: str, files: dict[str, Path]) -> None:
    """A graph would answer it like any other."""
    loaded = load_exported(files[name]).net
    with pytest.raises(RunError, match=r"values from 0 to 255, the network takes 0 to 1 .* divide grey values"):
        loaded(torch.linspace(0, 255, 40 * 36).view(1, 1, 40, 36))
    with pytest.raises(RunError, match=r"values from -2 to 2"):
        loaded(torch.linspace(-2, 2, 40 * 36).view(1, 1, 40, 36))
    with pytest.raises(RunError, match="values from nan"):
        loaded(torch.full((1, 1, 40, 36), torch.nan))
    with pytest.raises(ShapeError, match=r"takes exactly \(40, 36\), .* 36 along y: prepare it as the card's input"):
        loaded(torch.zeros(1, 1, 36, 40))
    with pytest.raises(ShapeError, match=r"takes 1 channel.*the data has 3"):
        loaded(torch.zeros(1, 3, 40, 36))
    assert loaded(torch.zeros(7, 1, 40, 36)).shape == (7, 1)


def test_the_card_says_what_happens_to_a_file(files: dict[str, Path], pictures: Net) -> None:
    card = read_card(files["onnx"].with_suffix(".json"))
    assert dataclasses.replace(card, files={}, calibration=None, second_output=None) == pictures[1]
    spec = card.image_input
    assert (spec.channels, spec.colours, spec.size_hw, spec.value_range) == (1, "grey", (40, 36), (0, 1))
    assert spec.preparation == SPEC
    assert [step.split()[0] for step in spec.steps] == ["Decode", "Scale", "Divide"]
    assert "covers 40 x 36 pixels (height x width)" in spec.steps[1]
    assert spec.inside == (
        "It looks at the middle 90% of each side.",
        "It answers the mean logit over 2 views (flip) of the picture.",
        "It resizes to 48 x 28 pixels.",
        "It normalises by mean and deviation of each channel.",
    )
    assert card.output.per == "image"
    with pytest.raises(RunError, match="net takes grey images, not CT; score them with lungdet predict"):
        _ = card.ct_input


def test_a_card_of_ct_takes_no_pictures(classifier: Net) -> None:
    assert classifier[1].ct_input == classifier[1].input
    with pytest.raises(RunError, match="trained for candidate_classification on CT; it takes no image files"):
        _ = classifier[1].image_input


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("channels", 3, "out of range: channels=3"),
        ("size_hw", [36, 40], "out of range: size_hw"),
        ("value_range", [0, 255], "out of range: value_range"),
        ("steps", ["a", 3], "input.steps=.*expects tuple"),
        ("inside", "b", "input.inside='b': expects tuple"),
        ("layout", "volume", "input.: missing"),
    ],
)
def test_a_damaged_input_is_named(where: str, value: Any, message: str, pictures: Net, tmp_path: Path) -> None:
    record = json.loads(pictures[1].to_json())
    record["input"][where] = value
    (tmp_path / "net.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=message):
        read_card(tmp_path / "net.json")


def test_steps_in_words() -> None:
    frame = {"at_most": 0.12, "keep_px": 2}
    steps = steps_before({**SPEC, "fit": "pad", "dark_frame": frame}, "RGB")
    assert "to RGB of 8 bits; a grey one three times" in steps[0]
    assert steps[1].startswith("Cut off a dark frame, at most 12% a side")
    assert "lies within 40 x 36 pixels (height x width) and fill the rest on both sides alike (reflect)" in steps[2]
    stained = steps_before({**SPEC, "stain": {"percentile": 1.0}, "later": 3, "none": None}, "RGB")
    assert stained[1].startswith("Bring it to the reference stain (Macenko et al. 2009")
    assert stained[2].startswith("Apply preparation.later")
    assert len(stained) == 5
    with pytest.raises(RunError, match=r"takes 2 channels; of pictures 1 .grey. or 3 .RGB. are exported"):
        image_input_of(PatchCnn(in_channels=2), SPEC)


def test_the_card_of_a_run_of_pictures() -> None:
    model = {
        "_target_": "lungdet.tasks.image_classification.ImageClassification",
        "net": {"_target_": "lungdet.nets.patch_cnn.PatchCnn"},
        "weights": "/home/me/runs/first/checkpoints/best.ckpt",
        "views": "flip",
    }
    record = RunRecord(
        name="patches",
        config={"data": {"_target_": "lungdet.data.histopathology.HistopathologyDataModule"}, "model": model},
        checkpoint="best",
        preparation=SPEC,
        provenance={"classes": ["normal", "tumor"], "items": "patches"},
    )
    card = card_of_run(record, PatchCnn(), name="a")
    assert (card.task, card.output.class_names, card.output.per) == (
        "image_classification",
        ("normal", "tumor"),
        "image",
    )
    assert card.image_input.colours == "RGB"
    assert card.network.arguments["net"] == {"_target_": "lungdet.nets.patch_cnn.PatchCnn"}
    assert (card.training["started_from"], card.training["items"]) == ("first/checkpoints/best.ckpt", "patches")
    one_view = dataclasses.replace(record, config={**record.config, "model": {**model, "views": "one"}})
    assert card_of_run(one_view, PatchCnn(), name="a").network.target == "lungdet.nets.patch_cnn.PatchCnn"
    net = PatchCnn()
    assert with_views(net, {"views": "one", "center_crop": 1.0}) is net


def test_an_ensemble_is_one_file(pictures: Net, tmp_path: Path) -> None:
    """Members with their views, averaged; the card builds all of it again."""
    model = {"net": {"_target_": "lungdet.nets.patch_cnn.PatchCnn", "in_channels": 1}, "views": "flip"}
    other = with_views(lively(PatchCnn(in_channels=1), seed=5), model)
    net = NetworkAverage([pictures[0], other]).eval()
    member = pictures[1]
    card = dataclasses.replace(member, network=average_of([member.network, predicting_network(model)]))
    written = export_network(net, card, tmp_path, formats=["safetensors", "torchscript"])
    image = torch.rand(2, 1, 40, 36)
    with torch.inference_mode():
        expected = (pictures[0](image) + other(image)) / 2
        for path in written[:2]:
            torch.testing.assert_close(load_exported(path).net(image), expected, rtol=1e-5, atol=1e-5)


def test_a_network_of_timm_with_the_views_of_a_square(tmp_path: Path) -> None:
    """Eight views, which are one batch in ONNX."""
    node = {"_target_": "lungdet.nets.backbone2d.Backbone2d", "backbone": "test_efficientnet", "in_channels": 3}
    model = {"net": node, "views": "dihedral"}
    inner = lively(rebuild(describe_network(node)))
    net = with_views(inner, model)
    card = dataclasses.replace(
        make_image_card(inner, model), input=image_input_of(inner, {**SPEC, "size_hw": [32, 32]}, views="dihedral")
    )
    written = export_network(net, card, tmp_path, formats=["onnx", "torchscript"])
    image = brighter_to_the_right(3, 3, 32, 32)
    with torch.inference_mode():
        expected = net(image)
        assert (expected - inner(image)).abs().min() > 1e-3
        for path in written[:-1]:
            torch.testing.assert_close(load_exported(path).net(image), expected, rtol=1e-5, atol=1e-5)
