"""Parquet files of predictions: they appear whole or not at all, and say what is wrong when they cannot be read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lungdet.errors import MissingFileError, TableError


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table; missing parent folders are made, an earlier file is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a predictions table; a context manager that closes it.

    Raises:
        MissingFileError: there is no such file.
        TableError: it is not parquet.
    """
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no predictions table there. A finished run writes one (predictions.parquet in its folder); "
            "train again, or score its checkpoint: lungdet predict run=<folder>"
        )
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise TableError(f"{path}: not a readable parquet file ({error}); have a run write it again") from error
