"""The table of an occluded image, one row per part from the least to the most important."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.occlusion import Drops
from lungdet.explain.regions import Regions

FloatArray = npt.NDArray[np.float64]
RankedBy = Literal["drop", "abs_drop", "drop_per_percent"]


def importance_of(regions: Regions, drops: Drops, *, by: RankedBy = "drop") -> FloatArray:
    """What each part is worth, by what occluding it did.

    Args:
        regions: the K parts.
        drops: what occluding them did.
        by: the signed drop, its size, or the signed drop per per cent of the image.

    Returns:
        float64 [K].

    Raises:
        ConfigError: another `by`.
        ShapeError: another number of drops than parts.
    """
    if by not in get_args(RankedBy):
        raise ConfigError([f"explain.rank_by={by!r}: parts are ranked by one of {', '.join(get_args(RankedBy))}"])
    check_drops(regions, drops)
    if by == "drop_per_percent":
        return drops.drop / _area_percent(regions)
    return np.abs(drops.drop) if by == "abs_drop" else drops.drop


def region_table(regions: Regions, drops: Drops, *, importance: FloatArray | None = None) -> pd.DataFrame:
    """One row per part, from the least to the most important; ties in the order of their numbers.

    Args:
        regions: the K parts.
        drops: what occluding them did.
        importance: float64 [K], what they are ranked by; None for the signed drop.

    Returns:
        Columns rank (1 is the least important), region (number of the part), name, importance, drop (signed),
        abs_drop, drop_per_percent (signed drop divided by area_percent), area_percent (of the image).

    Raises:
        ShapeError: another number of drops or importances than parts.
    """
    check_drops(regions, drops)
    importance = drops.drop if importance is None else importance
    if importance.shape != drops.drop.shape:
        raise ShapeError(f"{len(regions)} part(s) need an importance each, got an array of shape {importance.shape}")
    area_percent = _area_percent(regions)
    table = pd.DataFrame(
        {
            "region": np.arange(len(regions)),
            "name": list(regions.names),
            "importance": importance,
            "drop": drops.drop,
            "abs_drop": np.abs(drops.drop),
            "drop_per_percent": drops.drop / area_percent,
            "area_percent": area_percent,
        }
    ).sort_values("importance", kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def check_drops(regions: Regions, drops: Drops) -> None:
    """Refuse drops that are not those of these parts.

    Raises:
        ShapeError: another number of drops than parts.
    """
    if drops.occluded.shape != (len(regions),):
        raise ShapeError(f"{len(regions)} part(s) need a drop each, got an array of shape {drops.occluded.shape}")


def _area_percent(regions: Regions) -> FloatArray:
    percent: FloatArray = 100 * regions.pixels().cpu().numpy() / math.prod(regions.shape)
    return percent
