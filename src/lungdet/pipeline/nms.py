"""Non-maximum suppression of points in millimetres: of marks on one finding, the most probable stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lungdet.errors import ConfigError


def suppress_neighbours(
    center_xyz_mm: npt.NDArray[np.float64], score: npt.NDArray[np.floating], *, radius_mm: float
) -> npt.NDArray[np.int64]:
    """Walk from the highest score down; keep a point unless a kept one is nearer than `radius_mm`.

    Args:
        center_xyz_mm: float64 [N, 3].
        score: float [N], NaN not allowed; among equal scores the earlier point wins.
        radius_mm: two points at exactly this distance both stay; 0 keeps all.

    Returns:
        int64 [K], rows that stay, by falling score.

    Raises:
        ConfigError: a radius that is negative or not finite, or a NaN score.
    """
    if not (np.isfinite(radius_mm) and radius_mm >= 0):
        raise ConfigError([f"suppression radius_mm={radius_mm} must be a finite number >= 0"])
    if np.isnan(score).any():
        raise ConfigError([f"suppression: {int(np.isnan(score).sum())} of {len(score)} scores are NaN"])
    order = np.argsort(-score, kind="stable")
    if len(order) == 0 or radius_mm == 0:
        return order.astype(np.int64)
    # The tree finds distances <= r, the rule is < r.
    tree = cKDTree(center_xyz_mm)
    neighbours = tree.query_ball_point(center_xyz_mm, np.nextafter(radius_mm, 0.0))
    suppressed = np.zeros(len(order), dtype=bool)
    kept = []
    for row in order:
        if not suppressed[row]:
            kept.append(row)
            suppressed[neighbours[row]] = True
    return np.asarray(kept, dtype=np.int64)
