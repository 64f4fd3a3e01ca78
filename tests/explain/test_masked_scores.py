from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.masked_scores import masked_scores, plain_scores
from lungdet.explain.regions import SegmentRegions
from lungdet.explain.scores import class_probability
from lungdet.losses.classification import binary_logit

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([1, 0, 1])
# 5, 1 and 3 parts.
SOURCES = [SegmentRegions((torch.arange(64) * n // 64).reshape(8, 8)) for n in (5, 1, 3)]


@pytest.fixture
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("n_threads", [3], indirect=True)
def test_batches_on_several_threads_come_back_in_their_places(n_threads: int) -> None:
    seen: set[str] = set()

    def score(images: Tensor, classes: Tensor) -> Tensor:
        assert torch.get_num_threads() == 1
        assert not torch.is_grad_enabled()
        seen.add(threading.current_thread().name)
        time.sleep(0.001 * float(images.sum() % 7))
        return images.flatten(1).sum(1) * classes

    fill = torch.full_like(IMAGES, -1.0)
    scores = masked_scores(score, IMAGES, classes=CLASSES, sources=SOURCES, fill_images=fill, batch_size=2)
    for image, label, source, got in zip(IMAGES, CLASSES, SOURCES, scores, strict=True):
        expected = [float((image[0][~mask].sum() - mask.sum()) * label) for mask in source.masks(0, len(source))]
        assert got.tolist() == pytest.approx(expected, abs=1e-4)
    assert len(seen) > 1
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 9), (4, [4, 4, 1]), (8, [8, 1]), (100, [9])])
@pytest.mark.parametrize("n_threads", [1], indirect=True)
@pytest.mark.usefixtures("n_threads")
def test_batches_are_full_and_cross_images(batch_size: int, sizes: list[int]) -> None:
    seen: list[int] = []
    given: list[int] = []

    def score(images: Tensor, classes: Tensor) -> Tensor:
        seen.append(len(images))
        given.extend(classes.tolist())
        return images.flatten(1).sum(1)

    fill = torch.full_like(IMAGES, -1.0)
    scores = masked_scores(score, IMAGES, classes=CLASSES, sources=SOURCES, fill_images=fill, batch_size=batch_size)
    assert seen == sizes
    assert given == [1] * 5 + [0] + [1] * 3
    for image, source, got in zip(IMAGES, SOURCES, scores, strict=True):
        masks = source.masks(0, len(source))
        expected = [float(image[0][~mask].sum() - mask.sum()) for mask in masks]
        assert got.tolist() == pytest.approx(expected, abs=1e-4)


def test_plain_scores_do_not_depend_on_the_batch_size() -> None:
    score = class_probability(small_network(2), binary_logit)
    one, all_ = (plain_scores(score, IMAGES, classes=CLASSES, batch_size=size) for size in (1, 3))
    torch.testing.assert_close(one, all_, atol=1e-6, rtol=0)


def test_what_does_not_fit_is_refused() -> None:
    score = class_probability(small_network(2), binary_logit)

    def run(images: Tensor = IMAGES, classes: Tensor = CLASSES, n: int = 3, batch_size: int = 2) -> None:
        masked_scores(score, images, classes=classes, sources=SOURCES[:n], fill_images=images, batch_size=batch_size)

    with pytest.raises(ConfigError, match="batch_size=0"):
        run(batch_size=0)
    with pytest.raises(ShapeError, match="one set of masks each"):
        run(n=2)
    with pytest.raises(ShapeError, match="of this shape"):
        run(images=IMAGES[..., :7])
    with pytest.raises(ShapeError, match="and a class each"):
        run(classes=CLASSES[:2])
    with pytest.raises(ShapeError, match=r"needs images \[B, C, H, W\]"):
        run(images=IMAGES[0])
