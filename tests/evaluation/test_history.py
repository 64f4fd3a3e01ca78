"""Histories of any logger become one row an epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import TableError
from lungdet.evaluation.history import by_epoch


def test_rows_of_an_epoch_are_merged() -> None:
    history = pd.DataFrame(
        {
            "epoch": [0, 0, 1],
            "train/loss": [0.5, np.nan, 0.4],
            "val/dice": [np.nan, 0.2, 0.3],
            "never": [np.nan] * 3,
            "note": ["a", "b", "c"],
        }
    )
    expected = pd.DataFrame({"epoch": [0, 1], "train/loss": [0.5, 0.4], "val/dice": [0.2, 0.3]})
    pd.testing.assert_frame_equal(by_epoch(history), expected)


def test_epochs_are_needed() -> None:
    with pytest.raises(TableError, match="needs a column epoch; it has step"):
        by_epoch(pd.DataFrame({"step": [1]}))
