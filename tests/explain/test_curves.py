from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.curves import curve_table, deletion_curves, insertion_curves, removal_orders
from lungdet.explain.fills import ConstantFill
from lungdet.explain.masks import quadrants
from lungdet.explain.occlusion import occlude
from lungdet.explain.regions import MaskRegions, SegmentRegions
from lungdet.explain.scores import class_probability
from lungdet.losses.classification import binary_logit

WEIGHTS = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).repeat_interleave(2, 0).repeat_interleave(2, 1) / 4
BLACK = ConstantFill((0.0,))


def additive(images: Tensor, classes: Tensor) -> Tensor:
    """A "probability" of which each quadrant of an all-ones image gives its tenths: .1, .2, .3, .4."""
    return (images[:, 0] * WEIGHTS).flatten(1).sum(1)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_both_curves_by_hand(batch_size: int) -> None:
    images, classes, regions = torch.ones(1, 1, 4, 4), torch.tensor([1]), [quadrants((4, 4))]
    drops = occlude(additive, images, classes=classes, regions=regions, fill=BLACK)[0]
    assert drops.drop.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)
    orders = [removal_orders(drops.drop, generator=np.random.default_rng(0))]
    deletion, insertion = (
        make(additive, images, classes=classes, regions=regions, orders=orders, fill=BLACK, batch_size=batch_size)[0]
        for make in (deletion_curves, insertion_curves)
    )
    assert deletion["most_first"].share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert deletion["most_first"].score.tolist() == pytest.approx([1, 0.6, 0.3, 0.1, 0], abs=1e-6)
    assert deletion["least_first"].score.tolist() == pytest.approx([1, 0.9, 0.7, 0.4, 0], abs=1e-6)
    assert insertion["most_first"].score.tolist() == pytest.approx([0, 0.4, 0.7, 0.9, 1], abs=1e-6)
    assert deletion["most_first"].area == pytest.approx(0.25 * (0.5 + 0.6 + 0.3 + 0.1))
    assert deletion["least_first"].area == pytest.approx(0.25 * (0.5 + 0.9 + 0.7 + 0.4))
    assert insertion["most_first"].area == pytest.approx(1 - deletion["most_first"].area)
    assert deletion["most_first"].area <= deletion["random_1"].area <= deletion["least_first"].area


def test_overlapping_parts_and_pixels_in_no_part() -> None:
    """Parts of two pixels that share one, and a pixel outside both, which never changes."""
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], dtype=torch.bool)
    values = torch.tensor([[[[1.0, 2.0, 4.0, 8.0]]]])
    curve = deletion_curves(
        lambda images, classes: images.flatten(1).sum(1),
        values,
        classes=torch.tensor([1]),
        regions=[MaskRegions(("a", "b"), masks)],
        orders=[{"b then a": np.array([1, 0])}],
        fill=BLACK,
    )[0]["b then a"]
    assert curve.score.tolist() == [15, 9, 8]
    assert curve.share.tolist() == pytest.approx([0, 2 / 3, 1])


@pytest.mark.parametrize("shape", [(8, 8), (6, 8, 8)], ids=["2-D", "3-D"])
def test_several_images_and_orders_equal_each_alone(shape: tuple[int, ...]) -> None:
    probability = class_probability(small_network(len(shape)), binary_logit)
    images = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([1, 0])
    regions = [SegmentRegions((torch.arange(images[0].numel()) % n).reshape(shape)) for n in (5, 3)]
    generator = np.random.default_rng(4)
    orders = [{"a": generator.permutation(5), "b": generator.permutation(5)}, {"a": generator.permutation(3)}]
    together = deletion_curves(
        probability, images, classes=classes, regions=regions, orders=orders, fill=BLACK, batch_size=4
    )
    for image, label, region, of_image, curves in zip(images, classes, regions, orders, together, strict=True):
        assert list(curves) == list(of_image)
        for name, order in of_image.items():
            left = image.clone()
            expected = [float(probability(left[None], label[None]).detach())]
            for part in order:
                left[:, region.labels == int(part)] = 0
                expected.append(float(probability(left[None], label[None]).detach()))
            assert curves[name].score.tolist() == pytest.approx(expected, abs=1e-5)


def test_orders_by_importance_and_seeded_chance() -> None:
    importance = np.array([0.1, -0.4, 0.4, 0.1])
    orders = removal_orders(importance, generator=np.random.default_rng(7), n_random=3)
    assert list(orders) == ["least_first", "most_first", "random_1", "random_2", "random_3"]
    assert orders["least_first"].tolist() == [1, 0, 3, 2]
    assert orders["most_first"].tolist() == [2, 0, 3, 1]
    again = removal_orders(importance, generator=np.random.default_rng(7), n_random=3)
    assert all(np.array_equal(orders[name], again[name]) for name in orders)
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders.values())


def test_fewer_steps_are_points_of_the_whole_curve() -> None:
    images, classes = torch.ones(1, 1, 4, 4), torch.tensor([1])
    order = {"by number": np.arange(16)}
    regions = [SegmentRegions(torch.arange(16).reshape(4, 4))]
    whole, thin = (
        deletion_curves(
            additive, images, classes=classes, regions=regions, orders=[order], fill=BLACK, n_steps=n_steps
        )[0]["by number"]
        for n_steps in (None, 3)
    )
    assert thin.n_parts.tolist() == [0, 5, 11, 16]
    assert thin.share.tolist() == [n / 16 for n in (0, 5, 11, 16)]
    assert thin.score.tolist() == whole.score[thin.n_parts].tolist()
    with pytest.raises(ConfigError, match=r"curves\.n_steps=0"):
        deletion_curves(additive, images, classes=classes, regions=regions, orders=[order], fill=BLACK, n_steps=0)


def test_the_table_of_curves() -> None:
    table = curve_table(
        deletion_curves(
            additive,
            torch.ones(2, 1, 4, 4),
            classes=torch.tensor([1, 0]),
            regions=[quadrants((4, 4))] * 2,
            orders=[{"most_first": np.array([3, 2, 1, 0])}] * 2,
            fill=BLACK,
        )
    )
    assert table.columns.tolist() == ["image", "order", "step", "share", "score"]
    assert table["image"].tolist() == [0] * 5 + [1] * 5
    assert table["score"].tolist() == pytest.approx([1, 0.6, 0.3, 0.1, 0] * 2, abs=1e-6)
    assert curve_table([]).columns.tolist() == table.columns.tolist()


@pytest.mark.parametrize("order", [[0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4]])
def test_an_order_holds_every_part_once(order: list[int]) -> None:
    with pytest.raises(ShapeError, match="0 to 3 once"):
        deletion_curves(
            additive,
            torch.ones(1, 1, 4, 4),
            classes=torch.tensor([1]),
            regions=[quadrants((4, 4))],
            orders=[{"x": np.array(order)}],
            fill=BLACK,
        )
