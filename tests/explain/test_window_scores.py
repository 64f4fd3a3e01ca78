"""Probabilities by windows against those of whole images, and which masks share a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError, ShapeError
from lungdet.explain.fills import ImageMeanFill
from lungdet.explain.incremental import Incremental
from lungdet.explain.masked_scores import masked_scores
from lungdet.explain.masks import quadrants, sliding_boxes
from lungdet.explain.occlusion import occlude
from lungdet.explain.regions import Regions
from lungdet.explain.scores import class_probability
from lungdet.explain.segments import slic_segments
from lungdet.explain.window_scores import batches_by_size, changed_by, window_probability
from lungdet.losses.classification import binary_logit


@pytest.mark.parametrize("shape", [(30, 37), (12, 16, 13)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_occlusion_by_windows_finds_the_same_drops(shape: tuple[int, ...], batch_size: int) -> None:
    network = small_network(len(shape), in_channels=3)
    images = torch.rand(3, 3, *shape, generator=torch.Generator().manual_seed(0))
    boxes = sliding_boxes(shape, size=7, stride=6)
    regions: list[Regions] = [boxes, quadrants(shape), slic_segments(images[2], n_segments=20)]
    probability = class_probability(network, binary_logit)
    windows = window_probability(network, binary_logit, images[:1], batch_size=batch_size)
    plain, quick = (
        occlude(
            probability,
            images,
            classes=torch.tensor([0, 1, 1]),
            regions=regions,
            fill=ImageMeanFill(),
            batch_size=batch_size,
            windows=way,
        )
        for way in (None, windows)
    )
    for one, other in zip(plain, quick, strict=True):
        assert np.abs(one.drop).max() > 1e-3
        assert other.original == one.original
        np.testing.assert_allclose(other.drop, one.drop, rtol=0, atol=1e-6)


def test_several_threads_give_the_same_scores() -> None:
    network = small_network(2)
    images = torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    windows = window_probability(network, binary_logit, images[:1], batch_size=4)
    regions = [sliding_boxes((24, 24), size=6, stride=3)] * 2
    before = torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            found.append(
                windows(images, classes=torch.tensor([1, 0]), sources=regions, fill_images=images * 0, batch_size=4)
            )
    finally:
        torch.set_num_threads(before)
    expected = masked_scores(
        class_probability(network, binary_logit),
        images,
        classes=torch.tensor([1, 0]),
        sources=regions,
        fill_images=images * 0,
        batch_size=4,
    )
    for one, other, plain in zip(*found, expected, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, plain, atol=1e-6, rtol=0)


def test_masks_of_similar_size_share_full_batches() -> None:
    sides = np.array([3, 30, 9, 20, 1, 17, 31])
    changed = np.stack([np.zeros((7, 2), np.int64), np.stack([sides - 1] * 2, axis=1)])
    batches = batches_by_size(changed, 3)
    assert [sorted(batch.tolist()) for batch in batches] == [[0, 2, 4], [1, 3, 5], [6, 6, 6]]
    assert [len(batch) for batch in batches_by_size(changed, 8)] == [7]


def test_where_masks_are() -> None:
    regions = sliding_boxes((9, 70), size=5, stride=4)  # more than are looked at together
    found = changed_by(regions)
    assert found[0].tolist() == [list(corner) for corner in regions.corners]
    assert (found[1] - found[0] == 4).all()


class Squared(nn.Module):
    """Answers otherwise from the second time on that it is asked about a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        return images.flatten(1).mean(1, keepdim=True) * (1 if self.asked <= 2 else 3)


def test_a_network_that_windows_would_get_wrong_is_found_out() -> None:
    image = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RunError, match=r"windows of Squared give probabilities that differ by up to 0\.\d"):
        window_probability(Squared().eval(), binary_logit, image, batch_size=4)


class Mistaken(nn.Module):
    """As `Squared`, and all but sure of class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += 1
        return images.flatten(1).mean(1, keepdim=True) * (1 if self.asked <= 2 else 1.1) - 14


def test_a_mistake_shows_where_the_network_is_sure_or_the_image_even() -> None:
    image = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(RunError, match=r"windows of Mistaken give logits that differ by up to 0\.0"):
        window_probability(Mistaken().eval(), binary_logit, image, batch_size=4)

    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            first = float(images.numpy()[0, 0, 0, 0])  # which no recording sees
            return images.flatten(1).mean(1, keepdim=True) + first

    with pytest.raises(RunError, match=r"windows of Corner give probabilities that differ by up to 0\.0"):
        window_probability(Corner().eval(), binary_logit, torch.zeros(1, 1, 12, 12), batch_size=4)


def test_an_answer_that_depends_on_the_rest_of_a_batch_is_found_out() -> None:
    norm = nn.BatchNorm2d(1, track_running_stats=False)  # of the batch also in evaluation mode
    network = nn.Sequential(nn.Conv2d(1, 1, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(100, 1)).eval()
    with pytest.raises(RunError, match="windows of Sequential give probabilities that differ"):
        window_probability(network, binary_logit, torch.rand(1, 1, 12, 12), batch_size=4)


def test_windows_that_end_at_once_are_refused() -> None:
    class Reflected(nn.Sequential):
        pass

    layers = (nn.ReflectionPad2d(1), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 1))
    with pytest.raises(RunError, match="windows of Reflected would end before 2 % of its multiplications"):
        window_probability(Reflected(*layers).eval(), binary_logit, torch.rand(1, 1, 12, 12), batch_size=4)


def test_what_cannot_go_through_windows_is_refused() -> None:
    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1, keepdim=True) * (2.0 if bool(images.mean() > 0.5) else 1.0)

    image = torch.rand(1, 1, 12, 12)
    with pytest.raises(ConfigError, match=r"evaluation mode and on the CPU"):
        window_probability(small_network(2).train(), binary_logit, image, batch_size=4)
    with pytest.raises(RunError, match="Looks cannot go through windows"):
        window_probability(Looks().eval(), binary_logit, image, batch_size=4)
    windows = window_probability(small_network(2), binary_logit, image, batch_size=4)
    assert isinstance(windows.network, Incremental)
    regions = [quadrants((12, 12))]
    with pytest.raises(ConfigError, match="batch_size=0"):
        windows(image, classes=torch.tensor([1]), sources=regions, fill_images=image, batch_size=0)
    with pytest.raises(ShapeError, match="one set of masks each"):
        windows(image, classes=torch.tensor([1]), sources=regions * 2, fill_images=image, batch_size=2)
    with pytest.raises(ShapeError, match="0 or 1"):
        windows(image, classes=torch.tensor([2]), sources=regions, fill_images=image, batch_size=2)
