from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from lungdet.pipeline.components import erode_once, label, label_eroded, measure

Mask = npt.NDArray[np.bool_]


def random_mask(seed: int, shape: tuple[int, int, int], level: float, sigma: float) -> Mask:
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    mask: Mask = noise > np.quantile(noise, level)
    return mask


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    level=st.floats(0, 1),
    sigma=st.sampled_from([0.0, 1.0]),
)
def test_erosion_is_scipys(seed: int, shape: tuple[int, int, int], level: float, sigma: float) -> None:
    mask = random_mask(seed, shape, level, sigma)
    before = mask.copy()
    np.testing.assert_array_equal(erode_once(mask), scipy.ndimage.binary_erosion(mask))
    np.testing.assert_array_equal(mask, before)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shape=st.tuples(*[st.integers(1, 10)] * 3), level=st.floats(0.2, 1))
def test_measurements_are_scipys_in_scipys_order(seed: int, shape: tuple[int, int, int], level: float) -> None:
    mask = random_mask(seed, shape, level, 0.7)
    generator = np.random.default_rng(seed)
    hu = generator.integers(-3024, 3000, shape).astype(np.int16)
    score = generator.integers(0, 256, shape).astype(np.uint8)
    found = measure(label(mask), hu, score=score)
    labels, n = scipy.ndimage.label(mask)
    assert len(found) == n
    if n == 0:
        return
    index = np.arange(1, n + 1)
    clipped = np.clip(hu, -1000, 1000).astype(np.float32)
    # Sums of whole numbers are exact, so equality is exact.
    np.testing.assert_array_equal(found.center_zyx, scipy.ndimage.center_of_mass(clipped + 1001, labels, index))
    np.testing.assert_array_equal(found.n_voxels, np.bincount(labels.ravel())[1:])
    np.testing.assert_allclose(found.mean_hu, scipy.ndimage.mean(clipped, labels, index), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found.score, scipy.ndimage.maximum(score, labels, index))
    boxes = scipy.ndimage.find_objects(labels)
    np.testing.assert_array_equal(found.low_zyx, [[s.start for s in box] for box in boxes])
    np.testing.assert_array_equal(found.high_zyx, [[s.stop - 1 for s in box] for box in boxes])


def test_no_component_measures_to_nothing() -> None:
    found = measure(np.zeros((2, 3, 4), np.uint32), np.zeros((2, 3, 4), np.int16))
    assert len(found) == 0
    assert found.center_zyx.shape == (0, 3)
    assert found.diameter_mm((1, 1, 1)).shape == (0,)


def test_score_is_nan_without_a_score_image_and_labels_need_not_be_consecutive() -> None:
    labels = np.zeros((1, 1, 5), np.uint32)
    labels[0, 0] = [9, 0, 4, 4, 0]
    found = measure(labels, np.full((1, 1, 5), -500, np.int16))
    assert np.isnan(found.score).all()
    np.testing.assert_array_equal(found.n_voxels, [1, 2])
    np.testing.assert_array_equal(found.center_zyx, [[0, 0, 0], [0, 0, 2.5]])


def test_diameter_is_that_of_the_ball_of_the_same_volume() -> None:
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    ball = (z * 1.5) ** 2 + (y * 0.5) ** 2 + (x * 0.5) ** 2 < 8.0**2
    found = measure(label(ball), np.zeros(ball.shape, np.int16))
    assert found.diameter_mm((1.5, 0.5, 0.5))[0] == pytest.approx(16.0, rel=0.01)


def test_touching_by_an_edge_is_not_connected() -> None:
    mask = np.zeros((1, 2, 2), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = True
    assert len(np.unique(label(mask))) == 3


class TestErodedLabels:
    """A dumbbell: two cubes of 5 voxels joined by a bridge one voxel thin, and a lone voxel that erosion deletes."""

    mask = np.zeros((9, 9, 20), bool)
    mask[2:7, 2:7, 1:6] = mask[2:7, 2:7, 10:15] = mask[4, 4, 6:10] = True
    mask[4, 4, 18] = True

    def test_the_bridge_is_cut_and_cubes_get_their_voxels_back_but_edges(self) -> None:
        labels = label_eroded(self.mask, keep_lost=True)
        sizes = np.bincount(labels.ravel())[1:]
        # Of a cube's 125 voxels erosion leaves the inner 27 and the one that the bridge covers. Growing by faces gives
        # back the other 53 of the 6 * 9 inner face voxels and the end of the bridge: 28 + 53 + 1.
        assert sorted(sizes[sizes > 0].tolist()) == [1, 82, 82]
        assert labels[4, 4, 18] > 0
        assert (labels[4, 4, 7:9] == 0).all()

    def test_without_keeping_the_lost_voxel_vanishes(self) -> None:
        labels = label_eroded(self.mask, keep_lost=False)
        assert labels[4, 4, 18] == 0
        assert len(np.unique(labels)) == 3

    def test_empty_and_full_masks(self) -> None:
        assert label_eroded(np.zeros((3, 3, 3), bool), keep_lost=True).max() == 0
        full = label_eroded(np.ones((3, 3, 3), bool), keep_lost=True)
        assert (full > 0).sum() == 7  # the centre and its six neighbours
        thin = label_eroded(np.ones((1, 3, 3), bool), keep_lost=True)
        assert (thin == thin[0, 0, 0]).all()
        assert thin[0, 0, 0] > 0

    def test_every_component_of_the_mask_keeps_a_label(self) -> None:
        mask = random_mask(3, (20, 20, 20), 0.8, 0.8)
        labels = label_eroded(mask, keep_lost=True)
        assert not labels[~mask].any()
        whole, n = scipy.ndimage.label(mask)
        assert n > 10
        assert (scipy.ndimage.maximum(labels, whole, np.arange(1, n + 1)) > 0).all()
        for number in np.unique(labels[labels > 0]):
            assert len(np.unique(whole[labels == number])) == 1  # no label spans two components
