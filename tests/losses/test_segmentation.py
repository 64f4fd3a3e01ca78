from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.losses.dice import DiceCELoss, DiceLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.losses.segmentation import DiceCrossEntropy, DiceRecall, FocalTversky, mask_logit

LOSSES = [DiceRecall(), DiceCrossEntropy(pos_weight=3.0), FocalTversky()]
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
Row = npt.NDArray[np.float64]


@pytest.fixture(params=[(3, 1, 8, 10), (2, 1, 4, 6, 5)], ids=["image", "volume"])
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    given: tuple[int, ...] = request.param
    return given


@pytest.fixture
def outputs(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3


@pytest.fixture
def mask(shape: tuple[int, ...]) -> Tensor:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3
    mask[-1] = False  # one sample without a nodule
    return mask


@pytest.fixture
def valid(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.7


def everywhere(mask: Tensor) -> Tensor:
    return torch.ones_like(mask, dtype=torch.bool)


def dice(prediction: Row, label: Row, epsilon: float) -> float:
    return 1 - float((2 * (prediction * label).sum() + epsilon) / (prediction.sum() + label.sum() + epsilon))


def by_hand(loss: nn.Module, z: Row, m: Row) -> float:
    """The formulas once more, on the valid voxels of one sample."""
    p = 1 / (1 + np.exp(-z))
    if isinstance(loss, DiceRecall):
        return dice(p, m, 1) + 8 * dice(p * m, m, 1)
    if isinstance(loss, DiceCrossEntropy):
        return dice(p, m, 1) - float(np.where(m == 1, 3 * np.log(p), np.log(1 - p)).mean())
    tp, fn, fp = (p * m).sum(), ((1 - p) * m).sum(), (p * (1 - m)).sum()
    return float((1 - (tp + 1) / (tp + 0.7 * fn + 0.3 * fp + 1)) ** 0.75)


@each_loss
def test_is_the_formula_on_the_valid_voxels(loss: nn.Module, outputs: Tensor, mask: Tensor, valid: Tensor) -> None:
    expected = [
        by_hand(loss, z[v].double().numpy(), m[v].double().numpy())
        for z, m, v in zip(outputs, mask, valid, strict=True)
    ]
    for target in (mask, mask.float()):
        values = loss(outputs, target, valid)
        assert values.shape == (len(mask),)
        assert values.dtype == torch.float32
        assert values.tolist() == pytest.approx(expected, rel=1e-5)


@each_loss
def test_voxels_outside_count_for_nothing(loss: nn.Module, outputs: Tensor, mask: Tensor, valid: Tensor) -> None:
    def run(outside: float, label: bool) -> tuple[Tensor, Tensor]:
        logit = torch.where(valid, outputs, outside).requires_grad_()
        values: Tensor = loss(logit, torch.where(valid, mask, label), valid)
        torch.autograd.backward(values.sum())
        assert logit.grad is not None
        return values.detach(), logit.grad

    values, gradient = run(0.0, False)
    assert (gradient[~valid] == 0).all()
    for outside in (50.0, math.inf, math.nan):
        other_values, other_gradient = run(outside, True)
        assert torch.equal(values, other_values)
        assert torch.equal(gradient, other_gradient)


@each_loss
def test_a_softmax_pair_is_its_logit(loss: nn.Module, outputs: Tensor, mask: Tensor, valid: Tensor) -> None:
    pair = torch.cat([torch.full_like(outputs, -1.5), outputs - 1.5], dim=1)
    torch.testing.assert_close(loss(pair, mask, valid), loss(outputs, mask, valid))


@each_loss
def test_half_precision_outputs_are_computed_in_float32(loss: nn.Module, outputs: Tensor, mask: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        values = loss(outputs.bfloat16(), mask, everywhere(mask))
    assert values.dtype == torch.float32
    assert torch.equal(values, loss(outputs.bfloat16().float(), mask, everywhere(mask)))


def test_monai_agrees_where_it_means_the_same(outputs: Tensor, mask: Tensor) -> None:
    valid, label = everywhere(mask), mask.float()
    settings: dict[str, Any] = {"sigmoid": True, "smooth_nr": 1.0, "smooth_dr": 1.0}
    monai_dice = DiceLoss(**settings, reduction="none")(outputs, label).flatten(1).mean(1)
    torch.testing.assert_close(DiceRecall(false_negative_weight=0)(outputs, mask, valid), monai_dice)
    torch.testing.assert_close(DiceCrossEntropy(cross_entropy_weight=0)(outputs, mask, valid), monai_dice)
    both = DiceCELoss(**settings, lambda_dice=0.5, lambda_ce=2.0)(outputs, label)
    torch.testing.assert_close(DiceCrossEntropy(0.5, 2.0)(outputs, mask, valid).mean(), both)
    tversky = TverskyLoss(**settings, alpha=0.3, beta=0.7, reduction="none")(outputs, label).flatten(1).mean(1)
    torch.testing.assert_close(FocalTversky(gamma=1)(outputs, mask, valid), tversky)
    torch.testing.assert_close(FocalTversky()(outputs, mask, valid), tversky**0.75)


def test_the_books_loss_by_hand() -> None:
    """Four voxels, two of them nodule. p = 1/2 everywhere, so correct = 1: dice is 1 - (2 + 1) / (2 + 2 + 1) = 2/5.

    Of the nodule's voxels alone: 1 - (2 + 1) / (1 + 2 + 1) = 1/4, eight times, together 2.4.
    """
    mask = torch.tensor([[[[True, True], [False, False]]]])
    loss = DiceRecall()(torch.zeros(1, 1, 2, 2), mask, everywhere(mask))
    assert loss.tolist() == pytest.approx([2.4])


def test_missing_a_nodule_costs_more_than_seeing_one_too_much() -> None:
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    outputs = torch.where(mask, 20.0, -20.0)
    outputs[0, 0, :2] = -20.0  # half of it missed
    outputs[1, 0, 4:6] = 20.0  # as many voxels too much
    for loss in (DiceRecall(), FocalTversky()):
        missed, too_much = loss(outputs, mask, everywhere(mask)).tolist()
        assert missed > 1.2 * too_much


@each_loss
def test_extreme_logits_give_finite_losses_and_gradients(loss: nn.Module) -> None:
    mask = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    mask[:2, :, 0] = True
    right = torch.where(mask, 200.0, -200.0)
    outputs = (right * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)).requires_grad_()
    values = loss(outputs, mask, everywhere(mask))
    values.sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(values).all()
    assert torch.isfinite(outputs.grad).all()
    assert values[[0, 2]].tolist() == pytest.approx([0, 0], abs=1e-5)
    assert (values[[1, 3]] > 0.3).all()


@each_loss
def test_a_sample_without_valid_voxels_costs_nothing(loss: nn.Module) -> None:
    outputs = torch.ones(1, 1, 2, 2, requires_grad=True)
    nothing = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    values = loss(outputs, ~nothing, nothing)
    values.sum().backward()
    assert values.tolist() == pytest.approx([0], abs=1e-5)
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


@pytest.mark.parametrize("outputs", [torch.zeros(4, 1), torch.zeros(4, 3, 2, 2), torch.zeros(4)])
def test_other_outputs_are_refused(outputs: Tensor) -> None:
    with pytest.raises(
        ShapeError, match=r"outputs \[B, 1, \.\.\.\] or \[B, 2, \.\.\.\], the network gave .* n_classes"
    ):
        mask_logit(outputs)


def test_masks_of_another_shape_are_refused() -> None:
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"logits \(2, 1, 4, 8\), mask \(2, 1, 4, 4\) and valid .* one shape"):
        DiceRecall()(torch.zeros(2, 1, 4, 8), mask, mask)
    with pytest.raises(ShapeError, match=r"mask \(2, 4, 4\)"):
        DiceRecall()(torch.zeros(2, 1, 4, 4), mask[:, 0], mask)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DiceRecall(false_negative_weight=-1), r"loss\.false_negative_weight must be >= 0, got -1"),
        (lambda: DiceRecall(epsilon=0), r"loss\.epsilon must be > 0, got 0"),
        (lambda: DiceCrossEntropy(pos_weight=math.nan), r"loss\.pos_weight must be > 0, got nan"),
        (lambda: DiceCrossEntropy(dice_weight=math.inf), r"loss\.dice_weight must be >= 0, got inf"),
        (lambda: FocalTversky(alpha=-0.1), r"loss\.alpha must be >= 0"),
        (lambda: FocalTversky(gamma=0), r"loss\.gamma must be > 0, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()
