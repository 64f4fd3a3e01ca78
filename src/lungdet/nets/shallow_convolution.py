"""A way around wrong bfloat16 gradients of 3-D convolutions on CPUs, where the volume is shallower than the kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fp32WhereShallow(nn.Conv3d):
    """`nn.Conv3d` that computes in float32 on a CPU when its input is shallower (z) than its kernel.

    Measured with torch 2.15 on an AVX-512-bf16 processor: with 3^3 kernels, padding 1, depth 2 and a batch of two or
    more, the bfloat16 weight gradient holds uninitialised memory (up to 1e38, or NaN); the same for 5^3 at depths 2 to
    4. Outputs and the other gradients are right, and so is float32. Such feature maps are small, so the detour is
    free. LunaModel meets depth 2 at crops of 16 slices, ResNet3d18 at 32, R3d18 at 16.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Like `nn.Conv3d`; float32 under autocast where the detour is taken."""
        lowered = torch.is_autocast_enabled("cpu") or input.dtype == torch.bfloat16
        if input.device.type != "cpu" or input.shape[-3] >= self.kernel_size[0] or not lowered:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.float()
            output: Tensor = self._conv_forward(input.float(), self.weight.float(), bias)
            return output.to(self.weight.dtype)


def guard_shallow_convolutions(net: nn.Module) -> None:
    """Make every `nn.Conv3d` below `net` take the detour, in place; parameters and their names stay as they are."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            module.__class__ = Fp32WhereShallow
