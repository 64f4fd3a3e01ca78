"""The predictions table of a segmentation run: one row a tile (a slice or a box) with its counted voxels, no mask."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lungdet.errors import TableError
from lungdet.evaluation.parquet_file import open_parquet, write_parquet
from lungdet.evaluation.predictions import SCHEMA as CANDIDATES_SCHEMA
from lungdet.evaluation.predictions import check_predictions

logger = logging.getLogger(__name__)

# Prefixes of the counts: all valid voxels of the tile, and those where a training crop around a nodule may lie.
SCOPES = {"whole_volume": "", "crop_level": "crop_"}

# Those of `lungdet.tasks.segmentation`, which counts them; a test holds the two together.
N_BINS = 64
HALF = N_BINS // 2

COUNTS = ("tp", "fp", "fn", "tn", "not_a_number")
HISTOGRAMS = ("positives", "negatives")

_RECORD = [
    "series_uid",
    "patient_id",
    "candidate_id",
    "center_x_mm",
    "center_y_mm",
    "center_z_mm",
    "label",
]

SCHEMA = pa.schema(
    [CANDIDATES_SCHEMA.field(name) for name in _RECORD]
    + [(f"{scope}{name}", pa.int64()) for scope in SCOPES.values() for name in COUNTS]
    + [(f"{scope}{name}", pa.list_(pa.int64(), N_BINS)) for scope in SCOPES.values() for name in HISTOGRAMS]
    + [CANDIDATES_SCHEMA.field(name) for name in ("fold", "partition")]
)
_IDENTITY = [*_RECORD, "fold", "partition"]
_KEY = ["partition", "series_uid", "candidate_id"]


def check_mask_predictions(table: pd.DataFrame, *, source: str = "mask predictions") -> pd.DataFrame:
    """Validate a table of counted voxels and bring it into its one canonical form.

    Args:
        table: columns of `SCHEMA` (others are dropped). A histogram column holds one vector of 64 counts a row.
        source: what to call the table in errors, e.g. its path.

    Returns:
        A new table: columns of `SCHEMA`, the histograms as int64 arrays [64], RangeIndex, sorted by (partition,
        series_uid, candidate_id).

    Raises:
        TableError: a missing column; a count that is negative or not whole; a histogram of another length; counts that
            are not those of their histogram; more voxels near nodules than there are; or what `check_predictions`
            refuses in the columns that the two tables share.
    """
    missing = [name for name in SCHEMA.names if name not in table.columns]
    if missing:
        raise TableError(
            f"{source}: no column {', '.join(missing)}; it has {', '.join(map(str, table.columns)) or 'none'}. "
            "A table of segmented tiles is made by a run with a segmentation model (python train.py model=unet_seg)"
        )
    table = table.reset_index(drop=True)
    # A tile obeys all rules of a candidate except that it has neither score nor diameter.
    identity = check_predictions(table[_IDENTITY].assign(logit=0.0, diameter_mm=np.nan), source=source)[_IDENTITY]
    for prefix in SCOPES.values():
        for name in COUNTS:
            table[f"{prefix}{name}"] = _whole(table[f"{prefix}{name}"].to_numpy(), f"{prefix}{name}", source)
        for name in HISTOGRAMS:
            table[f"{prefix}{name}"] = list(_vectors(table[f"{prefix}{name}"], f"{prefix}{name}", source))
    order = table[_KEY].sort_values(_KEY, kind="stable").index
    counted = table[[name for name in SCHEMA.names if name not in _IDENTITY]].loc[order].reset_index(drop=True)
    result: pd.DataFrame = pd.concat([identity, counted], axis=1)[SCHEMA.names]
    _check_counts(result, source)
    return result


def stacked(table: pd.DataFrame, name: str) -> npt.NDArray[np.int64]:
    """A histogram column of a checked table as one array: int64 [N, 64], low logits first."""
    return np.stack(table[name].tolist()) if len(table) else np.zeros((0, N_BINS), np.int64)


def write_mask_predictions(table: pd.DataFrame, path: Path | str) -> None:
    """Write the table as parquet; the same rows in any order give the same bytes.

    Args:
        table: see `check_mask_predictions`.
        path: the file to write; it appears complete or not at all. Missing parent folders are made.

    Raises:
        TableError: see `check_mask_predictions`.
    """
    path = Path(path)
    checked = check_mask_predictions(table, source=path.name)
    columns: list[pa.Array] = []
    for field in SCHEMA:
        if pa.types.is_fixed_size_list(field.type):
            counts = pa.array(stacked(checked, field.name).ravel())
            columns.append(pa.FixedSizeListArray.from_arrays(counts, N_BINS))
        else:
            columns.append(pa.array(checked[field.name], type=field.type, from_pandas=True))
    write_parquet(pa.Table.from_arrays(columns, schema=SCHEMA), path)
    logger.info("wrote the counted voxels of %d tiles to %s", len(checked), path)


def read_mask_predictions(path: Path | str) -> pd.DataFrame:
    """Read and validate a table of counted voxels.

    Args:
        path: a parquet file as `write_mask_predictions` leaves it.

    Returns:
        The canonical table of `check_mask_predictions`.

    Raises:
        MissingFileError: there is no such file.
        TableError: it is not parquet, or see `check_mask_predictions`.
    """
    with open_parquet(Path(path)) as file:
        table = file.read().to_pandas()
    return check_mask_predictions(table, source=str(path))


def holds_masks(path: Path | str) -> bool:
    """Whether a predictions table is of a segmentation run (tiles with counted voxels), and not of a classifier.

    Raises:
        MissingFileError: there is no such file.
        TableError: it is not parquet.
    """
    with open_parquet(Path(path)) as file:
        return {*COUNTS, *HISTOGRAMS} <= set(file.schema_arrow.names)


def _whole(values: npt.NDArray[Any], name: str, source: str) -> npt.NDArray[np.int64]:
    """Counts as int64; rows are the first axis."""
    if values.dtype.kind not in "iuf":
        raise TableError(f"{source}: column {name} must hold counts of voxels, got {values.dtype}")
    # Up to 2^53, beyond which sums in float64 are no longer exact; no scan comes near.
    good = (values >= 0) & (values <= 2**53)
    good &= np.where(good, values, 0) % 1 == 0
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise TableError(f"{source}: row {at[0]}: {name} is {values[at]}; it must be a whole number >= 0")
    return values.astype(np.int64)


def _vectors(column: pd.Series[Any], name: str, source: str) -> npt.NDArray[np.int64]:
    rows = [np.asarray(row) for row in column]
    for at, row in enumerate(rows):
        if row.shape != (N_BINS,):
            raise TableError(
                f"{source}: row {at}: {name} has shape {row.shape}; a histogram of logits has {N_BINS} counts"
            )
    return _whole(np.stack(rows) if rows else np.zeros((0, N_BINS), np.int64), name, source)


def _check_counts(table: pd.DataFrame, source: str) -> None:
    """That each count is that of its histogram, and that no voxel is near without being there."""

    def refuse(bad: Any, text: str) -> None:
        if bad.any():
            row = table.iloc[int(np.argmax(bad))]
            raise TableError(
                f"{source}: tile {row['candidate_id']} of series {row['series_uid']} ({row['partition']}): {text}"
            )

    for prefix in SCOPES.values():
        for histogram, names in (("positives", ("fn", "tp")), ("negatives", ("tn", "fp"))):
            halves = stacked(table, f"{prefix}{histogram}").reshape(-1, 2, HALF).sum(2)
            for half, name, counted in zip(("lower", "upper"), names, halves.T, strict=True):
                refuse(
                    counted != table[f"{prefix}{name}"].to_numpy(),
                    f"{prefix}{name} is not the sum of the {half} half of {prefix}{histogram}; take both from one "
                    "predict_step",
                )
    whole, near = (
        np.column_stack([table[f"{p}not_a_number"], *(stacked(table, f"{p}{name}") for name in HISTOGRAMS)])
        for p in SCOPES.values()
    )
    refuse(np.any(near > whole, axis=1), "more voxels are counted around nodules (crop_...) than in the whole tile")
