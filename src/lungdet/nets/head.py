"""The last layer of every classifier, in float32 even under autocast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Fp32Linear(nn.Linear):
    """`nn.Linear` that computes and returns float32 whatever the precision around it.

    A bfloat16 logit has eight significant bits: thousands of candidates would share one score, and ties cost more than
    a point of the competition metric. The layer is a thousandth of the network's work, so float32 is free here.
    Parameter names are those of `nn.Linear`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Float [B, in_features] of any precision -> float32 [B, out_features]."""
        with torch.autocast(device_type=input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return F.linear(input.float(), self.weight.float(), bias)
