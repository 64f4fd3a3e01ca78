"""Reader against reader: how well the people who drew the masks agree, the ceiling for every network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class ReaderAgreement:
    """N nodules that at least two readers marked.

    A Dice of two readers is 2 |A and B| / (|A| + |B|). Pooled over all pairs of a nodule's readers, numerators and
    denominators are sums over its voxels: of c (c - 1) and of (n - 1) c, where c of n readers marked the voxel.

    Attributes:
        shared: int64 [N], the numerator: over pairs of readers, twice the voxels that both marked.
        marked: int64 [N], the denominator: over pairs of readers, the voxels of the one plus those of the other.
        n_readers: int64 [N], how many readers marked the nodule.
        n_single: nodules left out because one reader only marked them: there is nobody to agree with.
    """

    shared: npt.NDArray[np.int64]
    marked: npt.NDArray[np.int64]
    n_readers: npt.NDArray[np.int64]
    n_single: int

    def __len__(self) -> int:
        return len(self.shared)

    @property
    def dice(self) -> npt.NDArray[np.float64]:
        """Float64 [N], the pooled pairwise Dice of each nodule."""
        return self.shared / self.marked

    @property
    def mean_dice(self) -> float:
        """Mean over nodules, small ones counting as much as large ones; NaN without any."""
        return float(self.dice.mean()) if len(self) else math.nan

    @property
    def pooled_dice(self) -> float:
        """Pooled over all pairs of all nodules, so that every voxel counts alike; NaN without any."""
        return float(self.shared.sum() / self.marked.sum()) if len(self) else math.nan


def reader_agreement(counts: npt.NDArray[np.integer], connectivity: Literal[6, 26] = 26) -> ReaderAgreement:
    """Agreement of the readers of one scan, from how many of them marked each voxel.

    A nodule is a connected component of the marked voxels, and its readers are as many as its highest count: who drew
    what is not in the counts. Where the readers of a nodule share no voxel all together, they are therefore taken for
    fewer than they are, and the Dice comes out too high; so it does where two nodules touch and different readers drew
    them. Both are rare, and a ceiling should rather be too high.

    Args:
        counts: integer [D, H, W], readers that marked the voxel.
        connectivity: 26 joins voxels that touch at a corner, 6 those that share a face.

    Raises:
        ShapeError: not three axes, or negative counts.
        ConfigError: another connectivity.
    """
    if counts.ndim != 3 or counts.min(initial=0) < 0:
        raise ShapeError(f"reader counts must be [D, H, W] and >= 0, got shape {counts.shape}, dtype {counts.dtype}")
    if connectivity not in (6, 26):
        raise ConfigError([f"connectivity must be 6 (faces) or 26 (corners too), got {connectivity}"])
    drawn = counts > 0
    components = cc3d.connected_components(drawn, connectivity=connectivity)[drawn].astype(np.int64) - 1
    count = counts[drawn].astype(np.int64)
    n_components = int(components.max(initial=-1)) + 1
    n_readers = np.zeros(n_components, np.int64)
    np.maximum.at(n_readers, components, count)
    once, squared = (_sum_by(components, values, n_components) for values in (count, count**2))
    several = n_readers >= 2
    return ReaderAgreement(
        shared=(squared - once)[several],
        marked=((n_readers - 1) * once)[several],
        n_readers=n_readers[several],
        n_single=int(np.count_nonzero(~several)),
    )


def join_agreements(scans: Sequence[ReaderAgreement]) -> ReaderAgreement:
    """The nodules of several scans together."""
    empty = np.zeros(0, np.int64)
    return ReaderAgreement(
        shared=np.concatenate([empty, *(scan.shared for scan in scans)]),
        marked=np.concatenate([empty, *(scan.marked for scan in scans)]),
        n_readers=np.concatenate([empty, *(scan.n_readers for scan in scans)]),
        n_single=sum(scan.n_single for scan in scans),
    )


def _sum_by(group: npt.NDArray[np.integer], values: npt.NDArray[np.int64], n_groups: int) -> npt.NDArray[np.int64]:
    """Sums per group; exact, as a float64 holds every integer that voxels can add up to."""
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.int64)
