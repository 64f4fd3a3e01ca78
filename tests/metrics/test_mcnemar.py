"""McNemar's test against statsmodels, and what happens where the two never differ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from lungdet.errors import ShapeError
from lungdet.metrics.mcnemar import mcnemar


def rights(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(
    "counts",
    [(50, 3, 12, 7), (0, 1, 0, 0), (10, 6, 6, 0), (900, 40, 75, 30), (5, 0, 9, 5), (1000, 812, 790, 3), (2, 1, 2, 0)],
)
def test_agrees_with_statsmodels(counts: tuple[int, int, int, int]) -> None:
    result = mcnemar(*rights(*counts))
    table = np.reshape(counts, (2, 2))
    assert (result.both_right, result.only_first, result.only_second, result.both_wrong) == counts
    assert result.p_exact == pytest.approx(reference(table, exact=True).pvalue, abs=1e-9)
    corrected = reference(table, exact=False, correction=True)
    assert result.chi_square == pytest.approx(corrected.statistic, abs=1e-9)
    assert result.p_chi_square == pytest.approx(corrected.pvalue, abs=1e-9)


def test_by_hand() -> None:
    # Agresti (1990), approval of the prime minister in two surveys: 794, 150, 86, 570. (|150 - 86| - 1)^2 / 236.
    assert mcnemar(*rights(794, 150, 86, 570)).chi_square == pytest.approx(3969 / 236, abs=1e-12)
    # Three rows differ, all one way: 2 / 2^3.
    assert mcnemar(*rights(4, 3, 0, 1)).p_exact == pytest.approx(0.25, abs=1e-15)


def test_two_that_never_differ() -> None:
    result = mcnemar(*rights(3, 0, 0, 2))
    assert result.p_exact == 1
    assert math.isnan(result.chi_square)
    assert math.isnan(result.p_chi_square)


def test_refuses_other_rows() -> None:
    with pytest.raises(ShapeError, match="same rows"):
        mcnemar([True], [True, False])
