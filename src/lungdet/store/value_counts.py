"""How often each whole number occurs, channel by channel: one pass, a few kB, and every moment and quantile exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ShapeError


class ValueCounts:
    """Counts of grey values or HU over any number of images.

    A running mean rounds at every step; counts of whole numbers do not, and their sums stay below 2^63 for 10^10
    voxels of CT. Two objects over parts of a collection add up to the one over all of it.

    Args:
        range_ends: the smallest and the largest value with a count of its own; what lies beyond is counted at the ends.
        n_channels: counted apart.
    """

    def __init__(self, range_ends: tuple[int, int] = (0, 255), *, n_channels: int = 1) -> None:
        self.low, self.high = range_ends
        self.counts: npt.NDArray[np.int64] = np.zeros((n_channels, self.high - self.low + 1), np.int64)

    @property
    def n_channels(self) -> int:
        """Channels that are counted apart."""
        return len(self.counts)

    @property
    def n_values(self) -> int:
        """Values of one channel."""
        return int(self.counts[0].sum())

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count one image.

        Args:
            values: integers [H, W] or of any other shape, or [..., C] with one value a channel; where several channels
                are counted, an image without a channel axis counts in all of them.

        Raises:
            ShapeError: several channels that are not as many as are counted.
        """
        channels = self._channels(values)
        for place, channel in enumerate(channels):
            self.counts[place] += self._counted(channel)

    def __add__(self, other: ValueCounts) -> ValueCounts:
        """Both together; ranges and channels must be the same."""
        if (self.low, self.high, self.n_channels) != (other.low, other.high, other.n_channels):
            raise ShapeError(
                f"counts of {self.n_channels} channels from {self.low} to {self.high} do not add up with "
                f"{other.n_channels} from {other.low} to {other.high}"
            )
        both = ValueCounts((self.low, self.high), n_channels=self.n_channels)
        both.counts = self.counts + other.counts
        return both

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """The values that the columns of `counts` stand for: int64 [n]."""
        return np.arange(self.low, self.high + 1)

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel; NaN without values."""
        return tuple(first / n if n else float("nan") for n, first, _ in self._sums())

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation over all values of each channel (divided by n); NaN without values."""
        # Python's integers: n * second - first^2 is exact, and nothing cancels.
        return tuple(
            math.sqrt((n * second - first * first) / (n * n)) if n else float("nan")
            for n, first, second in self._sums()
        )

    def quantiles(self, shares: Sequence[float]) -> npt.NDArray[np.float64]:
        """The smallest values below or at which at least these shares of the values lie: [C, len(shares)].

        NaN for channels without values.
        """
        found = np.full((self.n_channels, len(shares)), np.nan)
        for row, counts in zip(found, self.counts, strict=True):
            cumulative = counts.cumsum()
            if cumulative[-1]:
                wanted = np.maximum(1, np.ceil(np.asarray(shares) * cumulative[-1]))
                row[:] = self.low + np.searchsorted(cumulative, wanted)
        return found

    def _sums(self) -> list[tuple[int, int, int]]:
        """n, sum and sum of squares of each channel."""
        values = self.values
        return [(int(row.sum()), int(row @ values), int(row @ (values * values))) for row in self.counts]

    def _channels(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        if values.ndim == 3 and values.shape[2] == self.n_channels > 1:
            return [values[..., channel] for channel in range(self.n_channels)]
        if self.n_channels == 1 or values.ndim == 2:
            return [values] * self.n_channels
        raise ShapeError(
            f"an image of shape {list(values.shape)}; counted are {self.n_channels} channels, the last axis"
        )

    def _counted(self, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        flat = np.ascontiguousarray(values).ravel()
        if self.low == 0 and self.high == 255 and flat.dtype == np.uint8:
            return np.bincount(flat, minlength=256)
        # Clipped before the shift: int16 would wrap.
        shifted = np.clip(flat, self.low, self.high).astype(np.int64) - self.low
        return np.bincount(shifted, minlength=self.counts.shape[1])
