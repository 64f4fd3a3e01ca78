"""From files to probabilities against the steps one by one: decoding, preparation, logit, calibration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lungdet.errors import MissingFileError, RunError, ScanError, StoreError
from lungdet.exports.card import NetworkCard
from lungdet.exports.image_classifier import ImageClassifier, load_image_classifier
from lungdet.exports.write import export_network
from lungdet.store.image_preprocess import ImageSpec, preprocess_image

Net = tuple[nn.Module, NetworkCard]
SPEC = ImageSpec(size_hw=(40, 36), fit="cover", pad="reflect", dark_frame=None)
PLATT: dict[str, Any] = {"parameters": {"method": "platt", "slope": 2.0, "intercept": -1.0}, "formula": "f"}


class Mean(nn.Module):
    """One logit: the mean of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.batches.append(len(image))
        return image.mean(dim=(1, 2, 3))[:, None]


@pytest.fixture
def card(pictures: Net) -> NetworkCard:
    """Grey pictures of 40 x 36; with the stain that cards have had since there is one."""
    spec: Any = pictures[1].image_input
    preparation = {**spec.preparation, "stain": None}
    return dataclasses.replace(pictures[1], input=dataclasses.replace(spec, preparation=preparation))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Grey levels 0, 51, ..., 255 in pictures of other shapes; the last is coloured."""
    made = []
    for n in range(6):
        shape = (44 + n, 36 + 2 * n)
        image = np.full(shape if n < 5 else (*shape, 3), 51 * n, np.uint8)
        made.append(tmp_path / f"{n}.png")
        Image.fromarray(image).save(made[-1])
    return made


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize(("calibration", "slope", "intercept"), [(None, 1.0, 0.0), (PLATT, 2.0, -1.0)])
def test_probabilities_of_files_in_batches(
    calibration: dict[str, Any] | None, slope: float, intercept: float, card: NetworkCard, files: list[Path]
) -> None:
    net = Mean()
    classifier = ImageClassifier(net, dataclasses.replace(card, calibration=calibration))
    found = classifier.predict([*files[:-1], str(files[-1])], batch_size=4)
    assert net.batches == [4, 2]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, sigmoid(slope * np.arange(6) / 5 + intercept), atol=1e-6)


def test_no_files_have_no_probabilities(card: NetworkCard) -> None:
    found = ImageClassifier(Mean(), card).predict([])
    assert (found.shape, str(found.dtype)) == ((0,), "float64")


def test_preparation_is_that_of_the_store(card: NetworkCard) -> None:
    image = np.random.default_rng(0).integers(0, 255, (100, 80), np.uint8)
    classifier = ImageClassifier(Mean(), card)
    assert classifier.spec == SPEC
    prepared = classifier.prepare(image)
    assert (prepared.shape, str(prepared.dtype)) == ((1, 40, 36), "uint8")
    np.testing.assert_array_equal(prepared[0], preprocess_image(image, SPEC).stored)
    coloured = classifier.prepare(np.stack([image, 255 - image, image // 2], axis=-1))
    assert coloured.shape == (3, 40, 36)
    assert coloured.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(coloured[0], prepared[0])


def test_a_network_in_training_is_put_into_evaluation(card: NetworkCard) -> None:
    net = nn.Sequential(nn.Dropout(0.5), Mean()).train()
    classifier = ImageClassifier(net, card)
    ones = np.full((2, 1, 40, 36), 255, np.uint8)
    assert classifier.logits(ones).tolist() == [1.0, 1.0]
    assert not net.training


def test_files_that_cannot_be_read_are_refused(card: NetworkCard, tmp_path: Path) -> None:
    classifier = ImageClassifier(Mean(), card)
    with pytest.raises(MissingFileError, match=r"none\.png"):
        classifier.predict([tmp_path / "none.png"])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ScanError, match=r"bad\.png"):
        classifier.predict([tmp_path / "bad.png"])
    with pytest.raises(ScanError, match=r"an image of float64 \[4, 4\]; allowed is uint8"):
        classifier.prepare(np.zeros((4, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"later": 1}, {"stain": {"no such": 1}}])
def test_a_preparation_of_a_later_version_is_refused(change: dict[str, Any], card: NetworkCard) -> None:
    spec: Any = card.image_input
    later = dataclasses.replace(card, input=dataclasses.replace(spec, preparation={**spec.preparation, **change}))
    with pytest.raises(StoreError, match="the card of net has a preparation that is not known here"):
        ImageClassifier(Mean(), later)


def test_a_network_for_ct_is_refused(classifier: Net) -> None:
    with pytest.raises(RunError, match="trained for candidate_classification on CT; it takes no image files"):
        ImageClassifier(*classifier)


def test_an_exported_file_answers_like_its_network(pictures: Net, card: NetworkCard, tmp_path: Path) -> None:
    written = export_network(pictures[0], card, tmp_path, formats=["safetensors"])
    image = np.random.default_rng(1).integers(0, 255, (2, 1, 40, 36), np.uint8)
    loaded = load_image_classifier(written[0])
    with torch.inference_mode():
        expected = pictures[0](torch.from_numpy(image).float() / 255)[:, 0]
    np.testing.assert_allclose(loaded.logits(image), expected.double().numpy(), rtol=1e-5)
    assert loaded.channels == 1
