"""Several networks of one task as one: the mean of their outputs. What `lungdet ensemble` makes and `export` writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lungdet.errors import ShapeError


class NetworkAverage(nn.Module):
    """The mean of the logits of networks that take the same input.

    Logits, not probabilities: so do the views of one network (`ViewAverage`), a predictions table holds the logit that
    the calibration is fitted to, and of a softmax pair the mean of the outputs has the mean of the logits.

    Args:
        members: float [B, C, ...] -> float32 [B, n], all with the same n.

    Raises:
        ShapeError: no member, or members with other numbers of outputs or input channels.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ShapeError("NetworkAverage: needs at least one member")
        for name in ("in_channels", "n_classes"):
            # An average over views does not say it itself.
            values = [getattr(member, name, getattr(getattr(member, "net", None), name, None)) for member in members]
            if len(set(values)) > 1:
                raise ShapeError(f"NetworkAverage: members must agree in {name}, got {', '.join(map(str, values))}")
            if values[0] is not None:
                setattr(self, name, int(values[0]))
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, ...] -> float32 [B, n]."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)
