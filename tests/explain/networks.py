"""Classifiers whose explanation is known before it is computed, and small ones that only have to be consistent."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Logit of class 1 = sum of weights times pixels, as one output or as a softmax pair with half of it each."""

    def __init__(self, weights: Tensor, *, n_classes: int = 1) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())
        self.n_classes = n_classes

    def forward(self, images: Tensor) -> Tensor:
        logit = (images * self.weights).flatten(1).sum(1, keepdim=True)
        return logit if self.n_classes == 1 else torch.cat([-logit / 2, logit / 2], dim=1)


def top_left_mean(shape: tuple[int, ...]) -> WeightedSum:
    """Logit = mean of the first quarter of a picture, or the first octant of a volume; axes of even length."""
    weights = torch.zeros(shape)
    corner = weights[tuple(slice(side // 2) for side in shape)]
    corner += 1 / corner.numel()
    return WeightedSum(weights)


def small_network(n_axes: int, *, seed: int = 0, in_channels: int = 1) -> nn.Sequential:
    """Two convolutions, batch norm with statistics of its own, in-place ReLU, dropout; evaluation mode."""
    convolution: type[nn.Module] = {2: nn.Conv2d, 3: nn.Conv3d}[n_axes]
    norm: type[nn.Module] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[n_axes]
    pool: type[nn.Module] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[n_axes]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            convolution(in_channels, 6, 3, padding=1, stride=2),
            norm(6),
            nn.ReLU(inplace=True),
            convolution(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            pool(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(8 * 2**n_axes, 2),
        )
        network.train()
        network(torch.randn(16, in_channels, *(8,) * n_axes))
        with torch.no_grad():  # so that probabilities spread over (0, 1)
            network[-1].weight.mul_(8)  # type: ignore[operator]
    return network.eval()


def with_statistics(network: nn.Module) -> nn.Module:
    """Draw the statistics of batch norms, which of random weights are 0 and 1; evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.7, 1.4),
                (module.bias.data, -0.3, 0.3),
            ):
                assert tensor is not None
                tensor.uniform_(low, high)
    return network.eval()
