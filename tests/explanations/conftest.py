"""A study of a network that looks at the first quarter of its image only, and what it says of two cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.explain.networks import top_left_mean
from torch import nn

from lungdet.explain.fills import ConstantFill
from lungdet.explain.methods import Occlusion
from lungdet.explain.region_rules import Quadrants
from lungdet.explain.scores import Classifier
from lungdet.explanations.study import Case, CurveChoice, Study
from lungdet.losses.classification import binary_logit

SHAPE = (8, 8)


def study_of(network: nn.Module) -> Study:
    return Study(
        method=Occlusion(name="quarters", regions=Quadrants(), fill=ConstantFill((0.0,)), batch_size=4),
        classifier=Classifier(network.eval(), binary_logit),
        fill=ConstantFill((0.0,)),
        curves=CurveChoice(n_steps=None, n_random=2, seed=0),
    )


@pytest.fixture
def study() -> Study:
    return study_of(top_left_mean(SHAPE))


@pytest.fixture
def cases() -> list[Case]:
    """A positive whose target is the left half, and a negative."""
    target = np.zeros(SHAPE, np.bool_)
    target[:, :4] = True
    image = torch.full((1, *SHAPE), 2.0)
    return [Case(0, image, 1, target), Case(7, image, 0)]
