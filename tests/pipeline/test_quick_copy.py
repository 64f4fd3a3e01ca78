"""Quick copies answer as the networks do, and only what is known to be equal is replaced."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lungdet.nets.luna import LunaModel
from lungdet.pipeline.quick_copy import PairedConvolution, PairwiseMaxPool, quick_copy

LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def wide_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests are about numbers, so they run on any processor."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


@pytest.mark.parametrize("shape", [(2, 8, 4, 5, 6), (1, 1, 3, 4, 2), (3, 1, 5, 5, 8), (2, 8, 4, 6, 7), (1, 8, 3, 3, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_two_voxels_at_once_give_the_same_numbers(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(shape[1], 8, 3, padding=1, bias=bias).double().to(memory_format=LAST)
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=LAST)
    with torch.inference_mode():
        expected, found = plain(x), PairedConvolution(plain)(x)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_output_keeps_its_memory_format() -> None:
    paired = PairedConvolution(nn.Conv3d(1, 8, 3, padding=1))
    found = paired(torch.randn(2, 1, 4, 4, 6))
    assert found.is_contiguous(memory_format=LAST)
    other = torch.randn(2, 8, 4, 4, 6)
    assert not PairedConvolution(nn.Conv3d(8, 8, 3, padding=1))(other).is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 8), (1, 2, 2, 2, 2), (1, 2, 5, 6, 8), (1, 2, 4, 6, 3)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pooling_axis_by_axis_gives_the_same_numbers(shape: tuple[int, ...], ceil_mode: bool) -> None:
    x = torch.randn(shape).contiguous(memory_format=LAST)
    x[0, 0, 0, 0, 0] = float("nan")
    plain = nn.MaxPool3d(2, 2, ceil_mode=ceil_mode)
    found = PairwiseMaxPool(plain)(x)
    torch.testing.assert_close(found, plain(x), rtol=0, atol=0, equal_nan=True)
    assert found.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("size", [(32, 48, 48), (17, 20, 23)])
def test_lunamodel_answers_the_same(classifier: LunaModel, size: tuple[int, int, int], bf16: bool) -> None:
    """Its first block has 2 channels, its third 8: convolutions 1 to 6 are narrow."""
    classifier.to(memory_format=LAST)
    quick = quick_copy(classifier)
    assert sum(isinstance(module, PairedConvolution) for module in quick.modules()) == 6
    assert sum(isinstance(module, PairwiseMaxPool) for module in quick.modules()) == 4
    assert not any(isinstance(module, PairedConvolution | PairwiseMaxPool) for module in classifier.modules())
    crops = torch.randn(3, 1, *size) * 400 - 400
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        torch.testing.assert_close(quick(crops), classifier(crops), rtol=0, atol=1e-2 if bf16 else 1e-5)


@pytest.mark.parametrize(
    "change",
    [{"stride": 2}, {"dilation": 2}, {"padding": 0}, {"padding_mode": "replicate"}, {"kernel_size": 5}, {"groups": 2}],
)
def test_other_convolutions_stay_as_they_are(change: dict[str, object]) -> None:
    settings = {"kernel_size": 3, "padding": 1} | change
    net = nn.Sequential(nn.Conv3d(2, 8, **settings))  # type: ignore[arg-type]
    assert quick_copy(net) is net


@pytest.mark.parametrize(
    "plain",
    [
        nn.MaxPool3d(3),
        nn.MaxPool3d(2, 1),
        nn.MaxPool3d(2, padding=1),
        nn.MaxPool3d((1, 2, 2)),
        nn.MaxPool3d(2, dilation=2),
    ],
)
def test_other_poolings_stay_as_they_are(plain: nn.MaxPool3d) -> None:
    net = nn.Sequential(plain)
    assert quick_copy(net) is net


def test_narrow_vectors_and_many_channels_gain_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    many = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1))
    assert quick_copy(many) is many
    few = nn.Sequential(nn.Conv3d(1, 8, 3, padding=1))
    assert quick_copy(few) is not few
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert quick_copy(few) is few
