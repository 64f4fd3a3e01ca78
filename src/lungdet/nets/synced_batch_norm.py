"""Batch norm over the samples of all training processes, so that one and two of them with the same global batch agree.

Without it each process normalises with the statistics of its own share. PyTorch's SyncBatchNorm does this on GPUs only;
this one works wherever torch.distributed does, gloo on CPUs included.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger(__name__)


class SyncedBatchNorm(_BatchNorm):
    """Batch norm of any number of spatial axes; in training its statistics are those of all processes together.

    In evaluation, and with one process, it is PyTorch's own, to the last bit. `synchronise_batch_norm` makes it.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm needs [B, C, ...], got {input.ndim} axes")

    def forward(self, input: Tensor) -> Tensor:
        """Float [B, C, ...] -> the same shape and dtype."""
        shared = self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not shared:
            normalised: Tensor = super().forward(input)
            return normalised
        self._check_input_dim(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        values = input.float()
        count = torch.full((1,), values.numel() / values.shape[1], device=values.device)
        sums = _sum_over_processes(torch.cat([count, values.sum(axes)]))
        n = sums[:1]
        mean = sums[1:] / n
        shape = [1, -1] + [1] * (input.ndim - 2)
        centred = values - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(axes)) / n
        self._track(mean.detach(), variance.detach() * (n / (n - 1)))
        out: Tensor = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), share)


class SyncedBatchNormAct(SyncedBatchNorm):
    """The same for timm's batch norm, which applies an activation (and a dropping layer) in the same module."""

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Float [B, C, H, W] -> the same shape and dtype."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def synchronise_batch_norm(net: nn.Module) -> None:
    """Let every batch norm of a network be synchronised, in place; names, parameters and buffers stay as they are.

    PyTorch's own and timm's are; another kind, whose `forward` may do more than that, is left alone with a warning.
    """
    for name, module in net.named_modules():
        # The layer stays the same object: whoever holds it (a list of frozen layers) goes on holding it.
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SyncedBatchNorm
        elif isinstance(module, _BatchNorm) and {"act", "drop"} <= set(module._modules):
            module.__class__ = SyncedBatchNormAct
        elif isinstance(module, _BatchNorm) and not isinstance(module, SyncedBatchNorm):
            log.warning("%s: each process keeps its own statistics of a %s", name, type(module).__name__)


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(values)
    return total


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
