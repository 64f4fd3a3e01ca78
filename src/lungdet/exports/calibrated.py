"""The second output of a classifier's graph: the probability of the positive class, calibrated where the run was.

Arithmetic in float32 of operators that ONNX, torch.export and TorchScript all have, so that a program which knows
nothing of lungdet gets the number that `lungdet detect` computes in float64 from the card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.exports.card import PROBABILITY_OUTPUT, NetworkCard


class SigmoidOfLine(nn.Module):
    """p = sigmoid(slope * logit + intercept): Platt, temperature (slope 1 / T), and (1, 0) the network's own answer."""

    slope: Tensor
    intercept: Tensor

    def __init__(self, slope: float = 1.0, intercept: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("slope", torch.tensor(slope))
        self.register_buffer("intercept", torch.tensor(intercept))

    def forward(self, logit: Tensor) -> Tensor:
        """Float32 [B] -> float32 [B] in [0, 1]."""
        return torch.sigmoid(self.slope * logit + self.intercept)


class KnotInterpolation(nn.Module):
    """Straight lines between knots, constant outside of them: `numpy.interp` by counting the knots that are reached.

    There is no `searchsorted` in ONNX. Adding up the rise of every piece would also add up its rounding; looking up
    the one piece that counts does not, so a knot gives its probability to the last bit of float32.

    Args:
        knot_logit: K rising values; float32 ones (the logits of predictions tables are) are met exactly.
        knot_probability: K values.
    """

    knots: Tensor
    start_logit: Tensor
    start_probability: Tensor
    width: Tensor
    rise: Tensor

    def __init__(self, knot_logit: Sequence[float], knot_probability: Sequence[float]) -> None:
        super().__init__()
        knots = torch.tensor(knot_logit, dtype=torch.float32)
        probability = torch.tensor(knot_probability, dtype=torch.float64)
        if not len(knots) or len(knots) != len(probability):
            raise ValueError("as many knot_logit as knot_probability, at least one")
        # Piece k starts at knot k - 1. Below the first knot and from the last one on the rise is 0, the width any.
        one, zero = torch.ones(1), torch.zeros(1)
        self.register_buffer("knots", knots)
        self.register_buffer("start_logit", torch.cat([knots[:1], knots]))
        self.register_buffer("start_probability", torch.cat([probability[:1], probability]).float())
        self.register_buffer("width", torch.cat([one, knots.diff(), one]))
        self.register_buffer("rise", torch.cat([zero, probability.diff().float(), zero]))

    def forward(self, logit: Tensor) -> Tensor:
        """Float32 [B] -> float32 [B] in [0, 1]."""
        piece = (logit.unsqueeze(1) >= self.knots).sum(dim=1)
        way = (logit - self.start_logit.index_select(0, piece)) / self.width.index_select(0, piece)
        # Beyond the last knot the way has no bound, and the product would be 0 times infinity.
        added = self.rise.index_select(0, piece) * way.clamp(0.0, 1.0)
        # Rounding can carry the sum over 1 by its last bit.
        return (self.start_probability.index_select(0, piece) + added).clamp(0.0, 1.0)


class WithProbability(nn.Module):
    """A classifier that also gives the probability.

    Args:
        net: float32 [B, C, D, H, W] -> [B, 2] (softmax pair) or [B, 1] (one logit).
        probability: of logits.
    """

    def __init__(self, net: nn.Module, probability: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.probability = probability

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of `net`, unchanged, and float32 [B], the probability of the positive class."""
        outputs = self.net(image)
        return outputs, self.probability(positive_logit(outputs))


def positive_logit(outputs: Tensor) -> Tensor:
    """Outputs [B, 1] or [B, 2] of a classifier -> the logit of its positive class [B]."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]


def probability_module(calibration: Mapping[str, Any] | None) -> nn.Module:
    """From the logit to the probability.

    Args:
        calibration: of a card; None for the sigmoid alone.

    Raises:
        RunError: an unknown method or missing parameters.
    """
    if calibration is None:
        return SigmoidOfLine()
    try:
        parameters = calibration["parameters"]
        method = parameters["method"]
        if method == "temperature":
            return SigmoidOfLine(1 / float(parameters["temperature"]))
        if method == "platt":
            return SigmoidOfLine(float(parameters["slope"]), float(parameters["intercept"]))
        if method == "isotonic":
            return KnotInterpolation(parameters["knot_logit"], parameters["knot_probability"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(f"the card's calibration is damaged ({error}); fit it again: lungdet eval") from error
    raise RunError(
        f"the card's calibration has the method {method!r}; known are temperature, platt, isotonic: "
        "fit one of them (lungdet eval evaluation.calibration=platt), or export with the lungdet that fitted it"
    )


def describe_second_output(card: NetworkCard) -> dict[str, Any]:
    """What the card of a classifier says of the second output of its graphs."""
    calibrated = card.calibration is not None
    meaning = f"of '{card.output.class_names[1]}' ({card.output.logit} is the logit)"
    return {
        "name": PROBABILITY_OUTPUT,
        "type": "float32 [B]",
        "calibrated": calibrated,
        "meaning": f"{'calibrated probability' if calibrated else 'sigmoid of the logit, not calibrated:'} {meaning}",
        "formula": (card.calibration or {}).get("formula", "probability = sigmoid(logit)"),
    }
