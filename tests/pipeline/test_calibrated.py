from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ShapeError
from lungdet.metrics.calibrators import Isotonic, Platt
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.calibrated import CalibratedNetwork, describe_calibrator, kind_of
from lungdet.pipeline.inference import mean_logit, prepare_network

PLATT = Platt(0.5, -2.0)


class Sum(nn.Module):
    """One logit: the sum of the crop; or a softmax pair with that difference."""

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__()
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        logit = x.flatten(1).sum(dim=1, keepdim=True)
        return logit if self.n_classes == 1 else torch.cat([-logit / 2, logit / 2], dim=1)


@pytest.mark.parametrize("n_classes", [1, 2])
@pytest.mark.parametrize("calibrator", [PLATT, Isotonic((-1.0, 1.0), (0.0, 0.5))])
def test_logits_are_those_of_the_calibrator(n_classes: int, calibrator: Platt | Isotonic) -> None:
    x = torch.linspace(-3, 3, 7)[:, None, None, None, None]
    answer = CalibratedNetwork(Sum(n_classes), calibrator)(x)
    assert answer.dtype == torch.float32
    assert answer.shape == (7, 1)
    expected = calibrator.logit(x.flatten().numpy())
    np.testing.assert_allclose(answer[:, 0].numpy(), expected, rtol=1e-6)


def test_members_of_an_ensemble_are_calibrated_one_by_one() -> None:
    x = torch.tensor([[[[[3.0]]]]])
    members = [CalibratedNetwork(Sum(), PLATT), CalibratedNetwork(Sum(2), Platt(2.0, 1.0)), Sum()]
    with torch.inference_mode():
        assert mean_logit(members, x).item() == pytest.approx((-0.5 + 7.0 + 3.0) / 3)


def test_the_network_beneath_speaks_for_itself() -> None:
    net = LunaModel(conv_channels=2)
    wrapped = CalibratedNetwork(net, PLATT)
    assert kind_of(wrapped) == kind_of(net) == "LunaModel"
    assert wrapped.memory_format is net.memory_format
    prepare_network(wrapped, "classifier")
    assert not net.training
    with pytest.raises(ShapeError):
        wrapped.check_input(1, (4, 4, 4))
    CalibratedNetwork(Sum(), PLATT).check_input(1, (4, 4, 4))


def test_a_record_holds_the_parameters_or_a_hash_of_the_knots() -> None:
    assert describe_calibrator(PLATT) == {"method": "platt", "slope": 0.5, "intercept": -2.0, "smoothed": False}
    one, other = (describe_calibrator(Isotonic((0.0, 1.0), (0.0, p))) for p in (0.5, 0.6))
    assert one["n_knots"] == 2
    assert one["sha256"] != other["sha256"]
    assert json.dumps(one)
