"""Test-time augmentation: the mean logit over views of an image whose label does not depend on how it lies."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError

Views = Literal["one", "flip", "dihedral"]
#: Views of each kind: (quarter turns, mirrored left to right).
VIEWS: dict[str, tuple[tuple[int, bool], ...]] = {
    "one": ((0, False),),
    "flip": ((0, False), (0, True)),
    "dihedral": tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}


class ViewAverage(nn.Module):
    """A classifier asked several times: about the image, its mirror image, its quarter turns.

    Args:
        net: float [B, C, H, W] -> float32 [B, n].
        views: `one` asks once, `flip` also about the mirror image, `dihedral` about all eight symmetries of the square.
        center_crop: side of the middle part that is looked at, as a part of the image's; 1 is all of it.

    Raises:
        ConfigError: an unknown kind of views, or a part outside of (0, 1].
    """

    def __init__(self, net: nn.Module, *, views: Views = "dihedral", center_crop: float = 1.0) -> None:
        super().__init__()
        if views not in VIEWS:
            raise ConfigError([f"model.views={views!r} must be one of {', '.join(VIEWS)}"])
        if not 0 < center_crop <= 1:
            raise ConfigError([f"model.center_crop={center_crop} must be above 0 and at most 1 (all of the image)"])
        self.net, self.views, self.center_crop = net, views, float(center_crop)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] -> float32 [B, n], the mean over the views."""
        return torch.stack([self.net(seen) for seen in self.views_of(x)]).mean(dim=0)

    def views_of(self, x: Tensor) -> list[Tensor]:
        """Float [B, C, H, W] -> what the network is asked about, each [B, C, h, w] or [B, C, w, h]."""
        full_h, full_w = int(x.shape[2]), int(x.shape[3])  # tensors, while TorchScript traces
        height, width = (max(1, round(self.center_crop * size)) for size in (full_h, full_w))
        top, left = (full_h - height) // 2, (full_w - width) // 2
        x = x[:, :, top : top + height, left : left + width]
        return [view(x, turns, mirrored=mirrored) for turns, mirrored in VIEWS[self.views]]


def view(x: Tensor, turns: int, *, mirrored: bool) -> Tensor:
    """Float [B, C, H, W], mirrored left to right where asked, then turned `turns` times by 90 degrees."""
    mirror = x.flip(3) if mirrored else x
    return torch.rot90(mirror, turns, (2, 3))
