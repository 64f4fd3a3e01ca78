"""McNemar's test: do two classifiers with fixed thresholds go wrong equally often on the same rows?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, chdtrc

from lungdet.errors import ShapeError


@dataclass(frozen=True)
class McNemar:
    """The two counts that matter, and both forms of the test.

    Attributes:
        both_right, only_first, only_second, both_wrong: rows by who is right.
        p_exact: two-sided binomial test of `only_first` against `only_second`; 1 when they never differ.
        chi_square: (|only_first - only_second| - 1)^2 / their sum, Edwards' continuity correction; NaN when they never
            differ.
        p_chi_square: of one degree of freedom; an approximation that is fine from about 25 differing rows on.
    """

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_exact: float
    chi_square: float
    p_chi_square: float


def mcnemar(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> McNemar:
    """Compare two classifiers row by row.

    Rows have to be independent: of candidates that share a patient, they are not, and p comes out too small.

    Args:
        first_right: bool [N], where the first is right.
        second_right: bool [N], where the second is.

    Raises:
        ShapeError: vectors of different lengths.

    Example:
        >>> mcnemar([True, True, False], [True, False, False]).p_exact
        1.0

    References:
        McNemar (1947), Psychometrika 12:153-157, doi:10.1007/BF02295996.
        Edwards (1948), Psychometrika 13:185-187, doi:10.1007/BF02289261.
    """
    a, b = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape:
        raise ShapeError(f"two vectors of the same rows, got shapes {a.shape} and {b.shape}")
    only_first, only_second = int(np.count_nonzero(a & ~b)), int(np.count_nonzero(~a & b))
    differing = only_first + only_second
    chi_square = (abs(only_first - only_second) - 1) ** 2 / differing if differing else math.nan
    return McNemar(
        both_right=int(np.count_nonzero(a & b)),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int(np.count_nonzero(~a & ~b)),
        p_exact=min(1.0, 2 * float(bdtr(min(only_first, only_second), differing, 0.5))) if differing else 1.0,
        chi_square=chi_square,
        p_chi_square=float(chdtrc(1, chi_square)) if differing else math.nan,
    )
