from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom_images.smooth_noise import smooth_noise


@pytest.mark.parametrize("length", [0.0, 0.02, 0.1, 0.4])
def test_it_has_standard_deviation_one_whatever_the_length(length: float) -> None:
    noise = smooth_noise(np.random.default_rng(0), (90, 120), length)
    assert noise.shape == (90, 120)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(1, rel=0.02)


def test_neighbours_are_the_more_alike_the_longer_the_structures() -> None:
    def correlation(length: float) -> float:
        noise = smooth_noise(np.random.default_rng(1), (100, 100), length)
        return float(np.corrcoef(noise[:, :-2].ravel(), noise[:, 2:].ravel())[0, 1])

    white, short, long = (correlation(length) for length in (0.0, 0.03, 0.1))
    assert abs(white) < 0.05
    assert white + 0.2 < short < long - 0.2
    assert long > 0.9
