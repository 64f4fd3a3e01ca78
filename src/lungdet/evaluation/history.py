"""The history of a training, one row an epoch."""

from __future__ import annotations

import pandas as pd

from lungdet.errors import TableError


def by_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of each epoch and drop what was never logged.

    Args:
        history: column epoch and metrics; several rows an epoch, each with some of the metrics, as CSV loggers write.

    Raises:
        TableError: no column epoch.
    """
    if "epoch" not in history:
        raise TableError(f"training history needs a column epoch; it has {', '.join(map(str, history.columns))}")
    merged = history.select_dtypes("number").groupby("epoch").last()
    return merged.dropna(axis="columns", how="all").reset_index()
