"""`data.crop_cache=<folder>` changes no digit of a training, the first time and when the crops are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]


def test_trainings_with_and_without_kept_crops_are_the_same(workplace: Path, train: Callable[..., Path]) -> None:
    cache = workplace / "kept_crops"
    wanted = read_predictions(train("crops_cut", "trainer.max_epochs=2") / "predictions.parquet")
    for n in range(2):
        run = train(f"crops_kept_{n}", "trainer.max_epochs=2", f"data.crop_cache={cache}", "data.crop_cache_gb=0.1")
        found = read_predictions(run / "predictions.parquet")
        pd.testing.assert_frame_equal(found, wanted, check_exact=True)
    (keys,) = cache.glob("*-16x24x24/keys")
    assert 0 < keys.stat().st_size // 16 <= 2 * 32, "each training crop of two epochs once"
