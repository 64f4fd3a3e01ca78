"""What is kept of a scan's scored negatives, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.errors import ConfigError
from lungdet.pipeline.hardest import Quota

ALONG_X = np.array([[0.0, 0, 0], [4, 0, 0], [9, 0, 0], [30, 0, 0], [60, 0, 0]])
PROBABILITY = np.array([0.7, 0.9, 0.8, 0.3, 0.1])


@pytest.mark.parametrize(
    ("quota", "kept"),
    [
        # 0 and 2 lie 4 and 5 mm from the most probable, 1.
        (Quota(per_scan=9, minimum_probability=0.0, suppression_mm=6), [1, 3, 4]),
        # At exactly 5 mm both stay.
        (Quota(per_scan=9, minimum_probability=0.0, suppression_mm=5), [1, 2, 3, 4]),
        (Quota(per_scan=2, minimum_probability=0.0, suppression_mm=6), [1, 3]),
        (Quota(per_scan=9, minimum_probability=0.3, suppression_mm=6), [1, 3]),
        (Quota(per_scan=9, minimum_probability=0.0, suppression_mm=0), [1, 2, 0, 3, 4]),
        (Quota(per_scan=9, minimum_probability=0.95, suppression_mm=6), []),
    ],
)
def test_kept_rows(quota: Quota, kept: list[int]) -> None:
    assert quota.hardest(ALONG_X, PROBABILITY).tolist() == kept


def test_no_places() -> None:
    quota = Quota(per_scan=1, minimum_probability=0.5, suppression_mm=5)
    assert quota.hardest(np.empty((0, 3)), np.empty(0)).tolist() == []


def test_nan_is_not_passed_over() -> None:
    with pytest.raises(ConfigError, match="1 of 5 scores are NaN"):
        Quota(per_scan=1, minimum_probability=0.0, suppression_mm=5).hardest(
            ALONG_X, PROBABILITY * [1, 1, np.nan, 1, 1]
        )


def test_values_out_of_range_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"keep\.per_scan=0 .*\nkeep\.minimum_prob.*=1 .*\nkeep\.suppression_mm=-1"):
        Quota(per_scan=0, minimum_probability=1, suppression_mm=-1)
