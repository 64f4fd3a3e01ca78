"""What steps do with maps, against the layers that they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.explain.networks import with_statistics
from torch import nn

from lungdet.explain.recorded_calls import Call, record_calls
from lungdet.explain.window_functions import AveragePool, Convolution, MaxPool, Padding, Then, in_place_of


def calls(*layers: nn.Module, n_axes: int = 2) -> tuple[Call, ...]:
    """What layers in a row do."""
    return record_calls(nn.Sequential(*layers).eval(), torch.rand(1, 2, *(6,) * n_axes)).calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_batch_norm_in_a_convolution(n_axes: int, bias: bool) -> None:
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[n_axes](2, 4, 3, stride=2, groups=2, bias=bias)
    norm = with_statistics({2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[n_axes](4))
    first, second = calls(convolution, norm, n_axes=n_axes)
    folded = Convolution(first)
    images = torch.rand(3, 2, *(7,) * n_axes)
    with torch.no_grad():
        torch.testing.assert_close(folded(images, [0] * n_axes), convolution(images))
        folded.fold(second)
        torch.testing.assert_close(folded(images, [0] * n_axes), norm(convolution(images)), rtol=1e-5, atol=1e-6)
        around = F.pad(images, [1, 1] * n_axes)
        torch.testing.assert_close(folded(images, [1] * n_axes), norm(convolution(around)), rtol=1e-5, atol=1e-6)


def test_pooling_and_padding() -> None:
    images = torch.randn(2, 2, 6, 7)
    assert torch.equal(MaxPool((3, 2), (2, 1), (1, 1))(images, [1, 0]), F.max_pool2d(images, (3, 2), (2, 1), (1, 0)))
    assert torch.equal(AveragePool((2, 2), (2, 2))(images, [1, 1]), F.avg_pool2d(images, 2, 2, 1))
    assert torch.equal(Padding(0.5)(images, [1, 2]), F.pad(images, (2, 2, 1, 1), value=0.5))


def test_operations_in_place() -> None:
    (call,) = calls(nn.Hardtanh(-0.5, 0.5))
    in_place = in_place_of(call)
    assert in_place is not None
    images = torch.randn(2, 2, 4, 4)
    expected = (images * 3).clamp(-0.5, 0.5)
    assert torch.equal(Then(lambda cells: cells * 3, in_place)(images), expected)
    assert in_place_of(calls(nn.AvgPool2d(2))[0]) is None
