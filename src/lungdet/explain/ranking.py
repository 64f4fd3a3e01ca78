"""The table of an occluded image, one row per part from the least to the most important."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import pandas as pd

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.occlusion import Drops
from lungdet.explain.regions import Regions

RankedBy = Literal["drop", "abs_drop", "drop_per_percent"]


def region_table(regions: Regions, drops: Drops, *, by: RankedBy = "drop") -> pd.DataFrame:
    """One row per part, from the least to the most important; ties in the order of their numbers.

    Args:
        regions: the K parts.
        drops: what occluding them did.
        by: what importance is: the signed drop, its size, or the signed drop per per cent of the image.

    Returns:
        Columns rank (1 is the least important), region (number of the part), name, drop (signed), abs_drop,
        drop_per_percent (signed drop divided by area_percent), area_percent (of the image).

    Raises:
        ConfigError: another `by`.
        ShapeError: another number of drops than parts.
    """
    if by not in get_args(RankedBy):
        raise ConfigError([f"by={by!r}: parts are ranked by one of {', '.join(get_args(RankedBy))}"])
    check_drops(regions, drops)
    area_percent = 100 * regions.pixels().cpu().numpy() / math.prod(regions.shape)
    table = pd.DataFrame(
        {
            "region": np.arange(len(regions)),
            "name": list(regions.names),
            "drop": drops.drop,
            "abs_drop": np.abs(drops.drop),
            "drop_per_percent": drops.drop / area_percent,
            "area_percent": area_percent,
        }
    ).sort_values(by, kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def check_drops(regions: Regions, drops: Drops) -> None:
    """Refuse drops that are not those of these parts.

    Raises:
        ShapeError: another number of drops than parts.
    """
    if drops.occluded.shape != (len(regions),):
        raise ShapeError(f"{len(regions)} part(s) need a drop each, got an array of shape {drops.occluded.shape}")
