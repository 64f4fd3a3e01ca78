"""Normalisation and size are the network's own first step, saved with its weights."""

from __future__ import annotations

import pytest
import torch

from lungdet.errors import ConfigError
from lungdet.nets.image_input import ImageInput
from lungdet.nets.patch_cnn import PatchCnn


def test_channels_are_standardised_by_their_own_moments() -> None:
    step = ImageInput([0.5, 0.25, 0.0], [0.5, 0.25, 1.0])
    out = step(torch.full((1, 3, 2, 2), 0.75))
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.5, 2.0, 0.75])


def test_an_image_of_the_right_size_is_not_touched_and_others_are_resized() -> None:
    step = ImageInput([0.0], [1.0], resize_hw=[4, 4])
    image = torch.rand(1, 1, 4, 4)
    assert torch.equal(step(image), image)
    flat = step(torch.full((1, 1, 9, 3), 0.25))
    assert flat.shape == (1, 1, 4, 4)
    torch.testing.assert_close(flat, torch.full((1, 1, 4, 4), 0.25))
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    assert float(step(stripes).std()) < 0.1  # without anti-aliasing every fourth column would be left
    assert step.seen_hw((9, 3)) == (4, 4)


def test_moments_travel_with_the_weights() -> None:
    told = PatchCnn()
    told.fit_input_moments([0.7, 0.5, 0.6], [0.2, 0.0, 0.3])
    fresh = PatchCnn()
    fresh.load_state_dict(told.state_dict())
    assert fresh.input.mean.flatten().tolist() == pytest.approx([0.7, 0.5, 0.6])
    assert fresh.input.std.flatten().tolist() == pytest.approx([0.2, 1.0, 0.3])  # a channel of one value
    with pytest.raises(ConfigError, match=r"moments for 1 channel\(s\), the network takes 3"):
        told.fit_input_moments([0.5], [0.5])
