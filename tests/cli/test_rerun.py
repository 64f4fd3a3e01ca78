"""What makes two tables of predictions the same, and what of the circumstances is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from lungdet.cli.rerun import compare_tables, different_circumstances, recorded_configuration
from lungdet.errors import RunError
from lungdet.training.run_directory import RunDirectory


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "series_uid": ["a", "b"],
            "logit": np.array([0.5, np.nan], np.float32),
            "counts": [np.array([1, 2]), np.array([3, 4])],
        }
    )


def test_the_same_bits_nan_included() -> None:
    assert compare_tables(table(), table()) == {
        "identical": True, "n_rows": 2, "n_rows_again": 2, "n_different": 0, "largest": 0.0,
    }  # fmt: skip


def test_every_kind_of_column_counts() -> None:
    """One row differs in a number by 0.25, the other in its name and in a vector by 2."""
    other = table()
    other.loc[0, "logit"] = np.float32(0.75)
    other["series_uid"] = ["a", "c"]
    vectors: Any = [np.array([1, 2]), np.array([3, 6])]
    other = other.assign(counts=vectors)
    assert compare_tables(table(), other) == {
        "identical": False, "n_rows": 2, "n_rows_again": 2, "n_different": 2, "largest": 2.0,
    }  # fmt: skip


def test_another_number_of_rows_is_no_comparison() -> None:
    found = compare_tables(table(), table().iloc[:1])
    assert (found["identical"], found["n_rows_again"], found["n_different"]) == (False, 1, None)


def test_circumstances_are_named_one_by_one() -> None:
    then = {"git_commit": "a", "packages": {"torch": "1", "numpy": "2"}, "python": "3.11"}
    now = {"git_commit": "b", "packages": {"torch": "1", "numpy": "3"}, "python": "3.11"}
    assert different_circumstances(then, now) == [
        "git_commit: a then, b now",
        "packages.numpy: 2 then, 3 now",
    ]


@pytest.mark.parametrize(
    ("config", "provenance", "message"),
    [
        ({"model": {}}, {}, "was not trained here"),
        ({"trainer": {}}, {"folds": [{"name": "fold0"}]}, "merges folds; repeat one of them: run=.*/fold0"),
    ],
)
def test_what_was_not_trained_cannot_be_repeated(
    config: dict[str, object], provenance: dict[str, object], message: str, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    OmegaConf.save(OmegaConf.create(config), run.config)
    run.write_json(run.provenance, provenance)
    with pytest.raises(RunError, match=message):
        recorded_configuration(run)
