"""What the command checks before it reads anything."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from lungdet.cli.explore import check_options
from lungdet.errors import ConfigError

FINE = {"n_samples": 1, "n_scans": None, "n_preprocessing": 0}


def test_numbers_out_of_range_are_told_together() -> None:
    check_options(OmegaConf.create(FINE))
    with pytest.raises(ConfigError) as raised:
        check_options(OmegaConf.create(FINE | {"n_samples": 0, "n_scans": 0, "n_preprocessing": -1}))
    assert raised.value.problems == [
        "n_samples=0 must be at least 1", "n_scans=0 must be at least 1", "n_preprocessing=-1 must be at least 0",
    ]  # fmt: skip
