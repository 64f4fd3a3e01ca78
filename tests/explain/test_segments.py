from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.segmentation import slic

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.segments import slic_segments


def disc(shape: tuple[int, ...], *, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """A grey picture or volume, [1, *shape]: a bright ball with noise, and where the ball is."""
    grids = np.meshgrid(*(np.arange(side) - 0.45 * side for side in shape), indexing="ij")
    inside = sum(grid**2 for grid in grids) < (0.3 * min(shape)) ** 2
    noise = np.random.default_rng(seed).normal(0, 0.03, shape)
    return torch.from_numpy((0.2 + 0.6 * inside + noise).astype(np.float32))[None], inside


def purity(labels: np.ndarray, inside: np.ndarray) -> float:
    """Share of the pixels that lie on the side where most of their segment lies."""
    ins, outs = np.bincount(labels[inside], minlength=labels.max() + 1), np.bincount(labels[~inside])
    outs = np.pad(outs, (0, len(ins) - len(outs)))
    return float(np.maximum(ins, outs).sum() / labels.size)


@pytest.mark.parametrize("shape", [(96, 96), (80, 120), (32, 32, 32), (16, 32, 40)])
def test_about_a_hundred_connected_parts_the_same_every_time(shape: tuple[int, ...]) -> None:
    image, _ = disc(shape)
    regions = slic_segments(image)
    assert regions.shape == shape
    assert 60 <= len(regions) <= 140
    for number in range(len(regions)):
        _, n_parts = ndimage.label(regions.labels.numpy() == number)
        assert n_parts == 1
    assert torch.equal(regions.labels, slic_segments(image).labels)
    first = [int((regions.labels.flatten() == number).nonzero()[0]) for number in range(len(regions))]
    assert first == sorted(first)


@pytest.mark.parametrize("shape", [(96, 96), (32, 32, 32)])
def test_parts_of_a_grey_image_follow_its_edges(shape: tuple[int, ...]) -> None:
    image, inside = disc(shape)
    ours = purity(slic_segments(image).labels.numpy(), inside)
    grid = purity(slic(image[0].double().numpy(), 100, 10, sigma=1, channel_axis=None, start_label=0), inside)
    assert ours > 0.97
    assert ours > grid + 0.01


def test_units_of_the_image_do_not_matter() -> None:
    image, _ = disc((64, 64))
    assert torch.equal(slic_segments(image).labels, slic_segments(image * 1024 - 1000).labels)


def test_a_colour_picture_is_cut_as_scikit_image_does() -> None:
    picture = torch.cat([disc((64, 64), seed=seed)[0].roll(5 * seed, 2) for seed in range(3)]).clamp(0, 1)
    reference = slic(picture.double().numpy(), 100, 10, sigma=1, channel_axis=0, start_label=0)
    ours = slic_segments(picture).labels.numpy()
    pairs = np.unique(np.stack([ours.ravel(), reference.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(ours)) == len(np.unique(reference))


def test_thick_slices_make_flat_parts() -> None:
    image, _ = disc((24, 24, 24))
    depths = []
    for spacing in ((1.0, 1.0, 1.0), (4.0, 1.0, 1.0)):
        regions = slic_segments(image, n_segments=27, compactness=1, spacing=spacing)
        spans = [np.ptp(np.nonzero(regions.labels.numpy() == n)[0]) + 1 for n in range(len(regions))]
        depths.append(float(np.mean(spans)))
    assert depths[1] < depths[0] - 1


def test_a_constant_image_has_parts_too() -> None:
    assert len(slic_segments(torch.full((1, 60, 60), 3.0), n_segments=9)) == 9


def test_what_cannot_be_segmented() -> None:
    with pytest.raises(ConfigError, match=r"n_segments=0.*type 100, 10 and 1"):
        slic_segments(torch.zeros(1, 8, 8), n_segments=0)
    with pytest.raises(ShapeError, match="not finite"):
        slic_segments(torch.full((1, 8, 8), float("nan")))
    with pytest.raises(ShapeError, match="axes"):
        slic_segments(torch.zeros(8, 8))
