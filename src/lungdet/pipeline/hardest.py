"""Which scored negatives of a scan are worth training on: probable, in different places, no more than a quota."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError
from lungdet.pipeline.nms import suppress_neighbours


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What is kept of each scan.

    Attributes:
        per_scan: at most so many.
        minimum_probability: of the finding, as the network sees it.
        suppression_mm: of places nearer to each other than this, only the most probable is kept.

    Raises:
        ConfigError: a value out of range.
    """

    per_scan: int
    minimum_probability: float
    suppression_mm: float

    def __post_init__(self) -> None:
        problems = []
        if self.per_scan < 1:
            problems.append(f"keep.per_scan={self.per_scan} must be at least 1")
        if not 0 <= self.minimum_probability < 1:
            problems.append(f"keep.minimum_probability={self.minimum_probability} must be >= 0 and < 1")
        if not 0 <= self.suppression_mm < float("inf"):
            problems.append(f"keep.suppression_mm={self.suppression_mm} must be a distance >= 0 in mm")
        if problems:
            raise ConfigError(problems)

    def hardest(
        self, center_xyz_mm: npt.NDArray[np.float64], probability: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.int64]:
        """The rows to keep, by falling probability.

        Args:
            center_xyz_mm: float64 [N, 3], places of one scan.
            probability: float [N].

        Returns:
            int64 [K], K <= per_scan.

        Raises:
            ConfigError: a NaN probability.
        """
        likely = np.flatnonzero(~(probability < self.minimum_probability))
        kept = suppress_neighbours(center_xyz_mm[likely], probability[likely], radius_mm=self.suppression_mm)
        return likely[kept[: self.per_scan]]
