"""Counted moments and quantiles against numpy on the whole."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.errors import ShapeError
from lungdet.store.value_counts import ValueCounts

RNG = np.random.default_rng(0)


def test_grey_values_of_images_of_any_size() -> None:
    images = [RNG.integers(0, 256, (7 + n, 5, 3), dtype=np.uint8) for n in range(9)]
    counts = ValueCounts(n_channels=3)
    for image in images:
        counts.add(image)
    whole = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    np.testing.assert_allclose(counts.mean, whole.mean(axis=0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(counts.std, whole.std(axis=0), rtol=0, atol=1e-9)
    assert counts.n_values == len(whole)
    shares = [0.0, 0.05, 0.37, 0.5, 0.95, 1.0]
    np.testing.assert_array_equal(counts.quantiles(shares), np.quantile(whole, shares, axis=0, method="inverted_cdf").T)


def test_nothing_cancels_where_all_values_are_nearly_the_same() -> None:
    hu = np.full((200, 200, 200), 3000, np.int16)
    hu[0, 0, 0] = 3001
    counts = ValueCounts((-1024, 3071))
    counts.add(hu)
    n = hu.size
    assert counts.std[0] == pytest.approx(np.sqrt(1 / n * (1 - 1 / n)), rel=1e-12)


def test_hu_beyond_the_ends_count_there_and_do_not_wrap() -> None:
    counts = ValueCounts((-1024, 3071))
    counts.add(np.array([[-32768, -3024], [3071, 32767]], np.int16))
    assert (counts.counts[0, 0], counts.counts[0, -1]) == (2, 2)
    assert counts.mean == ((-1024 + 3071) / 2,)


def test_parts_add_up_to_the_whole() -> None:
    first, second, whole = ValueCounts(), ValueCounts(), ValueCounts()
    for counts, seed in ((first, 1), (second, 2)):
        image = np.random.default_rng(seed).integers(0, 256, (11, 13), dtype=np.uint8)
        counts.add(image)
        whole.add(image)
    np.testing.assert_array_equal((first + second).counts, whole.counts)
    with pytest.raises(ShapeError, match="counts of 1 channels from 0 to 255 do not add up with 3 from 0 to 255"):
        first + ValueCounts(n_channels=3)


def test_a_grey_image_counts_in_all_channels() -> None:
    counts, grey = ValueCounts(n_channels=3), RNG.integers(0, 256, (4, 4), dtype=np.uint8)
    counts.add(grey)
    assert counts.mean == (float(grey.mean()),) * 3
    with pytest.raises(ShapeError, match=r"shape \[4, 4, 2\]; counted are 3 channels"):
        counts.add(np.zeros((4, 4, 2), np.uint8))


def test_without_values_there_is_no_number() -> None:
    empty = ValueCounts()
    assert np.isnan([*empty.mean, *empty.std, *empty.quantiles([0.5])[0]]).all()
