"""A network whose answers are calibrated before anything is averaged or compared with a threshold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lungdet.metrics.calibrators import Calibrator, Isotonic


class CalibratedNetwork(nn.Module):
    """A network of crops and the calibrator that was fitted to its logits: members of an ensemble keep their own.

    Args:
        net: float32 [B, C, D, H, W] -> [B, 2] (softmax pair) or [B, 1] (one logit).
        calibrator: of logits of one view of one network; with flips each view is calibrated, then averaged.
    """

    n_classes = 1

    def __init__(self, net: nn.Module, calibrator: Calibrator) -> None:
        super().__init__()
        self.net = net
        self.calibrator = calibrator
        self.memory_format: torch.memory_format = getattr(net, "memory_format", torch.contiguous_format)

    def forward(self, x: Tensor) -> Tensor:
        """Calibrated logits, float32 [B, 1]; the sigmoid is the probability."""
        outputs = self.net(x).float()
        logit = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        return torch.from_numpy(self.calibrator.logit(logit.cpu().numpy())).to(logit)[:, None]

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """What the network itself says about a shape."""
        check = getattr(self.net, "check_input", None)
        if check is not None:
            check(channels, shape)


def kind_of(net: nn.Module) -> str:
    """Name of a network's class, seen through its calibration."""
    return type(net.net if isinstance(net, CalibratedNetwork) else net).__name__


def describe_calibrator(calibrator: Calibrator) -> dict[str, Any]:
    """For the record of a result: the parameters, or of the many knots of an isotonic one their number and hash."""
    record = calibrator.to_dict()
    if not isinstance(calibrator, Isotonic):
        return record
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
    return {"method": calibrator.method, "n_knots": len(calibrator.knot_logit), "sha256": digest}
