"""From Hounsfield units to the numbers a network sees; applied on the device, so one store serves every window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lungdet.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Window:
    """Clip HU to a range, then scale to [0, 1] or leave HU.

    Args:
        range_hu: lower and upper end; -1000 is air, 400 lies above soft tissue and below most bone.
        scale: "unit" maps the range to [0, 1], "hu" keeps Hounsfield units (as the seed book's networks expect).

    Raises:
        ConfigError: an empty or infinite range, or another scale.

    Example:
        >>> Window(range_hu=(-1000, 400))(torch.tensor([-2000, -300, 3000], dtype=torch.int16)).tolist()
        [0.0, 0.5, 1.0]
    """

    range_hu: tuple[float, float] = (-1000.0, 400.0)
    scale: Literal["unit", "hu"] = "unit"

    def __post_init__(self) -> None:
        ends = tuple(float(end) for end in self.range_hu)
        if len(ends) != 2 or not float("-inf") < ends[0] < ends[1] < float("inf"):
            raise ConfigError(
                [f"data.window.range_hu={list(ends)} must be a lower and a higher end in HU; type [-1000,400]"]
            )
        object.__setattr__(self, "range_hu", ends)
        if self.scale not in ("unit", "hu"):
            raise ConfigError([f"data.window.scale={self.scale!r} must be 'unit' or 'hu'"])

    def __call__(self, hu: Tensor) -> Tensor:
        """Window a batch.

        Args:
            hu: any shape, int16 or float32, HU.

        Returns:
            float32 of the same shape; never the same memory as `hu`.
        """
        low, high = self.range_hu
        clipped = hu.to(torch.float32, copy=True).clamp_(low, high)
        if self.scale == "hu":
            return clipped
        # Two exact operations in a fixed order, so that low maps to 0 and high to 1 on every device.
        return clipped.sub_(low).div_(high - low)

    @property
    def description(self) -> str:
        """For `SampleSpec.intensity` and cards."""
        low, high = self.range_hu
        return f"HU clipped to [{low:g}, {high:g}]" + (", scaled to [0, 1]" if self.scale == "unit" else "")
