from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from lungdet.errors import ConfigError, ShapeError
from lungdet.losses.classification import BinaryCrossEntropy, CrossEntropy, Focal, binary_logit


@pytest.fixture
def pair() -> Tensor:
    return torch.randn(64, 2, generator=torch.Generator().manual_seed(0)) * 4


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, 2, (64,), generator=torch.Generator().manual_seed(1))


def test_softmax_pair_and_its_logit_are_the_same_loss(pair: Tensor, labels: Tensor) -> None:
    by_hand = -torch.log_softmax(pair.double(), 1)[torch.arange(64), labels]
    single = binary_logit(pair)[:, None]
    for loss in (
        CrossEntropy()(pair, labels),
        BinaryCrossEntropy()(pair, labels),
        BinaryCrossEntropy()(single, labels),
    ):
        assert loss.shape == (64,)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), by_hand, atol=1e-5, rtol=1e-5)


def test_cross_entropy_weight_and_smoothing_by_hand() -> None:
    outputs, labels = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), torch.tensor([0, 1])
    loss = CrossEntropy(weight=[1.0, 5.0])(outputs, labels)  # probabilities 1/4 and 3/4
    assert loss.tolist() == pytest.approx([math.log(4), 5 * math.log(4 / 3)])
    smooth = CrossEntropy(label_smoothing=0.2)(outputs, labels)  # targets (.9, .1) and (.1, .9)
    low, high = math.log(4), math.log(4 / 3)
    assert smooth.tolist() == pytest.approx([0.9 * low + 0.1 * high, 0.1 * low + 0.9 * high])


def test_pos_weight_scales_only_the_positives(pair: Tensor, labels: Tensor) -> None:
    plain, weighted = BinaryCrossEntropy()(pair, labels), BinaryCrossEntropy(pos_weight=7)(pair, labels)
    torch.testing.assert_close(weighted, torch.where(labels == 1, 7 * plain, plain))


def test_pos_weight_of_the_training_fold_is_carried_by_the_checkpoint(pair: Tensor, labels: Tensor) -> None:
    loss = BinaryCrossEntropy(pos_weight="train")
    assert loss(pair, labels)[labels == 1].isnan().all()  # loud until it is known
    loss.fit_class_counts((300, 20))
    assert loss.pos_weight.item() == 15
    restored = BinaryCrossEntropy(pos_weight="train")
    restored.load_state_dict(loss.state_dict())
    assert torch.equal(restored(pair, labels), BinaryCrossEntropy(pos_weight=15)(pair, labels))


def test_class_counts_do_not_touch_a_given_pos_weight() -> None:
    loss = BinaryCrossEntropy(pos_weight=2.5)
    loss.fit_class_counts((300, 20))
    assert loss.pos_weight.item() == 2.5


@pytest.mark.parametrize("counts", [(10, 0), (0, 10), (10,), (1, 2, 3)])
def test_a_fold_without_one_class_is_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"pos_weight=train needs negatives and positives .* another fold"):
        BinaryCrossEntropy(pos_weight="train").fit_class_counts(counts)


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_equals_torchvision(pair: Tensor, labels: Tensor, gamma: float, alpha: float | None) -> None:
    expected = sigmoid_focal_loss(
        binary_logit(pair).double(), labels.double(), alpha=-1 if alpha is None else alpha, gamma=gamma
    )
    for outputs in (pair, binary_logit(pair)[:, None]):
        torch.testing.assert_close(Focal(gamma, alpha)(outputs, labels).double(), expected, atol=1e-6, rtol=1e-4)


def test_focal_without_focus_is_cross_entropy(pair: Tensor, labels: Tensor) -> None:
    torch.testing.assert_close(Focal(gamma=0)(pair, labels), CrossEntropy()(pair, labels))


@pytest.mark.parametrize("loss", [CrossEntropy(), BinaryCrossEntropy(), Focal(0.5)], ids=lambda m: type(m).__name__)
def test_extreme_logits_give_finite_losses_and_gradients(loss: nn.Module) -> None:
    outputs = torch.tensor([[-200.0, 200.0], [200.0, -200.0], [0.0, 0.0]], requires_grad=True)
    values = loss(outputs, torch.tensor([1, 1, 0]))
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert values[0].item() == pytest.approx(0, abs=1e-6)
    assert values[1].item() == pytest.approx(400, rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(), BinaryCrossEntropy(), Focal()], ids=lambda m: type(m).__name__)
def test_half_precision_outputs_are_computed_in_float32(loss: nn.Module, pair: Tensor, labels: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        values = loss(pair.bfloat16(), labels)
    assert torch.equal(values, loss(pair.bfloat16().float(), labels))
    assert values.dtype == torch.float32


def test_one_output_needs_another_loss_or_head(labels: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"K >= 2, the network gave \(64, 1\): set the network's n_classes=2, or use"):
        CrossEntropy()(torch.zeros(64, 1), labels)
    with pytest.raises(ShapeError, match="2 numbers for 3 classes"):
        CrossEntropy(weight=[1, 1])(torch.zeros(64, 3), labels)


@pytest.mark.parametrize("outputs", [torch.zeros(4), torch.zeros(4, 3), torch.zeros(4, 2, 1)])
def test_binary_logit_refuses_other_shapes(outputs: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"outputs \[B, 1\] or \[B, 2\], the network gave"):
        binary_logit(outputs)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: CrossEntropy(weight=[1.0, -1.0]),
            r"loss\.weight must be one .* per class, got \[1\.0, -1\.0\]",
        ),
        (lambda: CrossEntropy(weight=[1.0]), r"loss\.weight must be one"),
        (lambda: CrossEntropy(label_smoothing=1.0), r"loss\.label_smoothing must be in \[0, 1\), got 1\.0"),
        (lambda: BinaryCrossEntropy(pos_weight=0), r"loss\.pos_weight must be a number > 0, 'train' or null, got 0"),
        (lambda: BinaryCrossEntropy(pos_weight=math.nan), "got nan"),
        (lambda: BinaryCrossEntropy(pos_weight=cast(Any, "trian")), "got 'trian'"),
        (lambda: Focal(gamma=-1), r"loss\.gamma must be >= 0, got -1"),
        (lambda: Focal(alpha=1.5), r"loss\.alpha must be in \[0, 1\] or null, got 1\.5"),
    ],
)
def test_settings_out_of_range_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match=message):
        build()
