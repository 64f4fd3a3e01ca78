from __future__ import annotations

import dataclasses
import logging

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.exports.calibrated import SigmoidOfLine, WithProbability
from lungdet.exports.card import NetworkCard
from lungdet.exports.frozen import FrozenNetwork
from lungdet.exports.parity import (
    check_parity,
    check_probability,
    ct_like_image,
    parity_images,
    random_image,
    windowed,
)

Net = tuple[nn.Module, NetworkCard]


class Shifted(nn.Module):
    """A network that answers something else by a constant, or in another shape."""

    def __init__(self, net: nn.Module, by: float, *, extra: int = 0) -> None:
        super().__init__()
        self.net, self.by, self.extra = net, by, extra

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.net(x) + self.by
        return torch.cat([outputs] + [outputs] * self.extra, dim=1)


def test_the_difference_is_measured_and_logged(classifier: Net, caplog: pytest.LogCaptureFixture) -> None:
    net, card = classifier
    with caplog.at_level(logging.INFO):
        found = check_parity(net, Shifted(net, 5e-5), card.input, name="onnx (net.onnx)")
    assert found["max_abs_difference"] == pytest.approx(5e-5, rel=0.02)
    assert found["n_inputs"] == 2 * (1 + 2 + 5)
    assert found["tolerance"] == 1e-4
    assert "onnx (net.onnx): parity 5e-05, allowed 0.0001 (16 inputs" in caplog.text


@pytest.mark.parametrize("by", [2e-4, -2e-4, float("nan"), float("inf")])
def test_more_is_an_error(by: float, classifier: Net) -> None:
    net, card = classifier
    with pytest.raises(RunError, match=r"differs from the trained network by .*nothing was kept"):
        check_parity(net, Shifted(net, by), card.input, name="x")


def test_outputs_beyond_fifty_are_compared_to_their_size(classifier: Net) -> None:
    """Outputs of about 1000: 2e-6 of them are 2e-3."""
    net, card = classifier
    big = Shifted(net, 1000.0)
    assert check_parity(big, Shifted(big, 1e-3), card.input, name="x")["tolerance"] == pytest.approx(2e-3, rel=0.01)
    with pytest.raises(RunError, match=r"allowed 0.002"):
        check_parity(big, Shifted(big, 4e-3), card.input, name="x")


def test_another_shape_is_an_error(classifier: Net) -> None:
    net, card = classifier
    with pytest.raises(RunError, match=r"answers \(1, 4\) where the network answers \(1, 2\)"):
        check_parity(net, Shifted(net, 0.0, extra=1), card.input, name="x")


def sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = scipy.special.expit(logit)
    return result


class Off(nn.Module):
    """A probability that is off by a constant, or in another type or shape."""

    def __init__(self, by: float, *, dtype: torch.dtype = torch.float32, n_axes: int = 1) -> None:
        super().__init__()
        self.by, self.dtype, self.n_axes = by, dtype, n_axes

    def forward(self, logit: Tensor) -> Tensor:
        p = (torch.sigmoid(logit) + self.by).to(self.dtype)
        return p if self.n_axes == 1 else p[:, None]


def loaded_with(second: nn.Module, classifier: Net) -> FrozenNetwork:
    card = dataclasses.replace(classifier[1], second_output={"name": "probability"})
    return FrozenNetwork(card, WithProbability(classifier[0], second))


def test_the_second_output_is_compared_too(classifier: Net) -> None:
    net, card = classifier
    loaded = loaded_with(Off(5e-6), classifier)
    second = check_parity(net, loaded, card.input, name="x", probability=sigmoid)["probability"]
    assert second["max_abs_difference"] == pytest.approx(5e-6, rel=0.05)
    assert second["tolerance"] == 1e-5
    assert "probability" not in check_parity(net, net, card.input, name="x")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Off(2e-5), r"the probability of x differs from its formula in float64 by 2\.?\d*e-05 .allowed 1e-05."),
        (Off(float("nan")), r"the probability of x differs .* by inf"),
        (Off(0, dtype=torch.float64), r"a probability torch.float64 \(1,\), not float32 \[B\]"),
        (Off(0, n_axes=2), r"a probability torch.float32 \(1, 1\), not float32 \[B\]"),
    ],
)
def test_a_wrong_probability_is_an_error(second: nn.Module, message: str, classifier: Net) -> None:
    net, card = classifier
    with pytest.raises(RunError, match=message):
        check_parity(net, loaded_with(second, classifier), card.input, name="x", probability=sigmoid)


def test_a_missing_probability_is_an_error(classifier: Net) -> None:
    net, card = classifier
    with pytest.raises(RunError, match=r"x gives 1 tensor.s., not outputs and probability"):
        check_parity(net, net, card.input, name="x", probability=sigmoid)


def test_the_calibration_alone_is_checked_where_no_image_has_its_logit() -> None:
    """Logits of 30 come from no random image; there only a rise of 3e-5 is left out."""

    class Short(nn.Module):
        def forward(self, logit: Tensor) -> Tensor:
            return torch.sigmoid(logit.clamp(max=10.0))

    assert check_probability(SigmoidOfLine(), sigmoid) < 2e-7
    with pytest.raises(RunError, match=r"the calibration in float32 differs from its formula .* by 4.54e-05"):
        check_probability(Short(), sigmoid)


def test_inputs_fill_the_window_and_look_like_lung(classifier: Net, slices: Net) -> None:
    spec = classifier[1].ct_input
    image = random_image(spec, batch_size=2, seed=0)
    assert image.shape == (2, 1, 24, 32, 32)
    assert 0 <= image.min() < 0.01
    assert 0.99 < image.max() <= 1
    piece = ct_like_image(spec, batch_size=2, seed=0)
    # Lung of -850 HU is 0.107 of the window, soft tissue of 40 HU 0.743; the ball lies in the middle.
    assert piece[0, 0, 12, 16, 16] == pytest.approx(0.743, abs=0.08)
    assert piece[0, 0, 1, 8, 2] == pytest.approx(0.107, abs=0.08)
    shapes = [tuple(image.shape) for image in parity_images(slices[1].input)]
    assert shapes[-1] == (1, 3, 18, 24)
    assert {shape[0] for shape in shapes} == {1, 2, 5}


def test_windowing(classifier: Net, slices: Net) -> None:
    assert windowed(torch.tensor([-2000.0, -300.0, 3000.0]), classifier[1].ct_input).tolist() == [0.0, 0.5, 1.0]
