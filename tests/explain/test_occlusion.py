from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.explain.networks import small_network, top_left_mean

from lungdet.explain.fills import BlurFill, ConstantFill, ImageMeanFill
from lungdet.explain.masks import quadrants, sliding_boxes
from lungdet.explain.occlusion import occlude
from lungdet.explain.scores import class_probability
from lungdet.explain.segments import slic_segments
from lungdet.losses.classification import binary_logit


@pytest.mark.parametrize("shape", [(6, 8), (4, 6, 8)])
def test_only_the_part_that_counts_drops(shape: tuple[int, ...]) -> None:
    probability = class_probability(top_left_mean(shape).eval(), binary_logit)
    images = torch.ones(2, 1, *shape)
    regions = quadrants(shape)
    found = occlude(
        probability, images, classes=torch.tensor([1, 0]), regions=[regions] * 2, fill=ConstantFill((-1.0,))
    )
    # Logit 1, occluded -1: for class 1 the part speaks for it, for class 0 as much against it.
    change = 1 / (1 + math.exp(-1)) - 1 / (1 + math.exp(1))
    others = [0.0] * (len(regions) - 1)
    assert found[0].original == pytest.approx(1 / (1 + math.exp(-1)))
    assert found[0].drop.tolist() == pytest.approx([change, *others], abs=1e-6)
    assert found[1].drop.tolist() == pytest.approx([-change, *others], abs=1e-6)
    assert (found[0].drop[1:] == 0).all()


@pytest.mark.parametrize("shape", [(32, 32), (12, 16, 16)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("fill", [ConstantFill((0.1,)), ImageMeanFill(), BlurFill(3.0)], ids=lambda f: type(f).__name__)
def test_batched_equals_one_forward_per_segment(
    shape: tuple[int, ...], fill: ConstantFill | ImageMeanFill | BlurFill
) -> None:
    network = small_network(len(shape))
    images = torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(3))
    classes = torch.tensor([1, 0, 1])
    regions = [slic_segments(image, n_segments=n) for image, n in zip(images, (30, 12, 20), strict=True)]
    found = occlude(
        class_probability(network, binary_logit),
        images,
        classes=classes,
        regions=regions,
        fill=fill,
        batch_size=7,
    )
    largest = 0.0
    for image, label, region, drops in zip(images, classes, regions, found, strict=True):
        neutral = fill(image[None])[0]
        with torch.no_grad():
            original = network(image[None]).softmax(1)[0, label]
            for number, drop in enumerate(drops.drop):
                occluded = image.clone()
                where = region.labels == number
                occluded[:, where] = neutral[:, where]
                assert drop == pytest.approx(float(original - network(occluded[None]).softmax(1)[0, label]), abs=1e-5)
                largest = max(largest, abs(drop))
    assert largest > 0.001


def test_a_sliding_box_finds_the_one_bright_spot() -> None:
    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 9, 3] = 40.0
    probability = class_probability(small_network(2), binary_logit)
    regions = sliding_boxes((12, 12), size=4, stride=4)
    drops = occlude(probability, image, classes=torch.tensor([1]), regions=[regions], fill=ConstantFill((0.0,)))[0]
    assert np.flatnonzero(np.abs(drops.drop) > 1e-5).tolist() == [regions.corners.index((8, 0))]
