from __future__ import annotations

import pytest
import torch
from tests.explain.networks import WeightedSum, small_network

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.scores import class_logit, class_probability
from lungdet.losses.classification import binary_logit

IMAGES = torch.tensor([1.0, 2.0, -3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)


@pytest.mark.parametrize("n_classes", [1, 2])
def test_each_row_is_scored_for_its_own_class(n_classes: int) -> None:
    network = WeightedSum(torch.full((2, 2), 0.25), n_classes=n_classes).eval()
    classes = torch.tensor([1, 0, 0])
    assert class_logit(network, binary_logit)(IMAGES, classes).tolist() == pytest.approx([1, -2, 3])
    expected = [0.7310586, 0.1192029, 0.9525741]  # 1 / (1 + exp(-1)), 1 / (1 + exp(2)), 1 / (1 + exp(-3))
    assert class_probability(network, binary_logit)(IMAGES, classes).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_network_in_training_mode_has_no_fixed_answer() -> None:
    with pytest.raises(ConfigError, match=r"Sequential is in training mode.*type \.eval\(\)"):
        class_probability(small_network(2).train(), binary_logit)(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))


@pytest.mark.parametrize("classes", [torch.tensor([0, 1]), torch.tensor([0, 1, 2])])
def test_classes_that_do_not_fit_are_refused(classes: torch.Tensor) -> None:
    network = WeightedSum(torch.ones(2, 2)).eval()
    with pytest.raises(ShapeError, match=r"3 image\(s\) need 3 class\(es\) that are 0 or 1"):
        class_logit(network, binary_logit)(IMAGES, classes)
