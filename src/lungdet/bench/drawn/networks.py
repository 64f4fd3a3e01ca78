"""Networks of the seed book's sizes that find something in drawn scans without training.

What a convolution costs does not depend on its weights, but how much there is to group and to classify does. So all
weights are random as before a training, except for one channel of the segmenter, which is set by hand to compare a
pixel with its surroundings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lungdet.nets.luna import LunaModel
from lungdet.nets.unet import ConvBlock, SliceUNet, UpBlock

_HU_PER_UNIT = 400.0
_HU_PER_LOGIT = 20.0


def contrast_segmenter(threshold_hu: float, *, seed: int = 0) -> SliceUNet:
    """The book's 2.5-D UNet (7 slices, three levels, 16 channels), marking what is brighter than its surroundings.

    Channel 0 carries the middle slice down to the coarsest level, where two means of 3 x 3 cells of 4 x 4 pixels blur
    it; on the way up it is subtracted from the mean of 3 x 3 pixels of the skip connection, and what is above zero is
    averaged over 3 x 3 pixels again. The other channels compute what random weights give; the last layer leaves them
    out.

    Args:
        threshold_hu: contrast at which the logit is 0; 20 HU make one unit of logit. A straight border between lung and
            soft tissue stays below 450 HU, a vessel in the lung reaches more.
        seed: of the random weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SliceUNet()
    with torch.no_grad():
        nn.init.constant_(net.input_batchnorm.running_mean, -1000.0)  # type: ignore[arg-type]
        nn.init.constant_(net.input_batchnorm.running_var, _HU_PER_UNIT**2)  # type: ignore[arg-type]
        top, middle, bottom = (_convolutions(block) for block in net.unet.down_path)
        _set_channel(top[0], {net.in_channels // 2: _point()})
        for convolution in (top[1], *middle):
            _set_channel(convolution, {0: _point()})
        for convolution in bottom:
            _set_channel(convolution, {0: _mean()})
        for block in net.unet.up_path:
            assert isinstance(block, UpBlock)
            block.up.weight[:, 0] = 0
            block.up.weight[0, 0] = 1
            block.up.bias[0] = 0  # type: ignore[index]
            for convolution in _convolutions(block.conv_block):
                _set_channel(convolution, {0: _point()})
        difference, smoothing = _convolutions(net.unet.up_path[-1].conv_block)  # type: ignore[arg-type]
        # The channels of the skip follow those from below.
        _set_channel(difference, {0: -_point(), net.unet.last.in_channels: _mean()})
        _set_channel(smoothing, {0: _mean()})
        nn.init.zeros_(net.unet.last.weight)
        net.unet.last.weight[0, 0] = _HU_PER_UNIT / _HU_PER_LOGIT
        nn.init.constant_(net.unet.last.bias, -threshold_hu / _HU_PER_LOGIT)  # type: ignore[arg-type]
    return net.eval()


def random_classifier(*, seed: int) -> LunaModel:
    """The book's LunaModel for HU in [-1000, 1000], with random weights whose probabilities spread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = LunaModel()
        nn.init.normal_(net.head_linear.weight, std=0.1)
    nn.init.constant_(net.tail_batchnorm.running_mean, -500.0)  # type: ignore[arg-type]
    nn.init.constant_(net.tail_batchnorm.running_var, 400.0**2)  # type: ignore[arg-type]
    return net.eval()


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    assert isinstance(block, ConvBlock)
    return [module for module in block.block if isinstance(module, nn.Conv2d)]


def _set_channel(convolution: nn.Conv2d, kernels: dict[int, Tensor]) -> None:
    """Make output channel 0 the sum of some input channels through 3 x 3 kernels, without bias."""
    convolution.weight[0] = 0
    for channel, kernel in kernels.items():
        convolution.weight[0, channel] = kernel
    assert convolution.bias is not None
    convolution.bias[0] = 0


def _point() -> Tensor:
    kernel = torch.zeros(3, 3)
    kernel[1, 1] = 1
    return kernel


def _mean() -> Tensor:
    return torch.full((3, 3), 1 / 9)
