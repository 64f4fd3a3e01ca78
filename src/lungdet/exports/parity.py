"""Whether an exported file gives the trained network's outputs: random and CT-like inputs, several batch sizes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.exports.calibrated import KnotInterpolation, positive_logit
from lungdet.exports.card import ImageInputSpec, InputSpec
from lungdet.exports.frozen import FrozenNetwork

TOLERANCE = 1e-4
"""Largest absolute difference of an output to the network in this process, float32 on the CPU."""

RELATIVE_TOLERANCE = 2e-6
"""The same as a share of the largest output, where that is more: 16 units in its last place.

It counts for outputs beyond 50. Those of the seed book's segmenter reach 170; it differs from itself by 2.3e-4 between
PyTorch's two memory formats, and by 1.3e-4 from its own float64 arithmetic.
"""

PROBABILITY_TOLERANCE = 1e-5
"""Largest absolute difference of the second output to float64 arithmetic on the file's own logit.

float32 rounds slope * logit before the intercept is added, so the difference grows with both: it is 1e-7 where they are
of the usual size, and 3e-6 for an intercept of 300.
"""

LOGIT_TOLERANCE = 1e-4
"""Largest difference to the run's logits as a share of the largest: other batches and memory formats, float32."""

HALF_PRECISION_TOLERANCE = 0.1
"""The same of runs that computed in bfloat16, which has three digits in every layer."""

Probability = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Logits [N] -> probabilities [N], in float64: what the second output is compared with."""

_BATCH_SIZES = (1, 2, 5)
_GRID_REACH = 40.0
_AIR_HU, _LUNG_HU, _SOFT_TISSUE_HU, _BONE_HU = -1000.0, -850.0, 40.0, 700.0

log = logging.getLogger(__name__)


def check_parity(
    net: nn.Module,
    loaded: nn.Module,
    spec: InputSpec | ImageInputSpec,
    *,
    name: str,
    probability: Probability | None = None,
) -> dict[str, Any]:
    """Compare a loaded file with the network it was exported from, and log the result.

    Args:
        net: the trained network, in evaluation mode, on the CPU.
        loaded: what `load_exported` gives.
        spec: of the input.
        name: format and file, for the log line.
        probability: what the second output is; None for files that have none. It is compared on the logit of the
            file's own first output: a step of an isotonic calibration may be steeper than any tolerance, and would
            make the last bit of a logit a large difference of probabilities.

    Returns:
        For the card: the largest absolute difference, the largest output, inputs compared and the tolerance; difference
        and tolerance of the second output under `probability`.

    Raises:
        RunError: outputs that differ by more than `TOLERANCE` (or `RELATIVE_TOLERANCE`), probabilities that differ by
            more than `PROBABILITY_TOLERANCE`, another shape, or not finite.
    """
    largest, reach, n_images, second = 0.0, 0.0, 0, 0.0
    with torch.inference_mode():
        for image in parity_images(spec):
            answers = loaded.answers(image) if isinstance(loaded, FrozenNetwork) else (loaded(image),)
            expected, given = net(image).float(), answers[0].float()
            if expected.shape != given.shape:
                raise RunError(f"{name} answers {tuple(given.shape)} where the network answers {tuple(expected.shape)}")
            difference = float((expected - given).abs().max())
            # A NaN would win no comparison.
            largest = float("inf") if math.isnan(difference) else max(largest, difference)
            reach = max(reach, float(expected.abs().max()))
            n_images += len(image)
            if probability is not None:
                second = max(second, _probability_difference(answers, probability, name=name))
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * reach)
    if not largest <= allowed or not reach < float("inf"):
        raise RunError(
            f"{name} differs from the trained network by {largest:.3g} (allowed {allowed:.3g}; outputs reach "
            f"{reach:.3g}), so nothing was kept; leave this format out of formats=[...]"
        )
    log.info("%s: parity %.2g, allowed %.2g (%d inputs, outputs up to %.3g)", name, largest, allowed, n_images, reach)
    record: dict[str, Any] = {
        "max_abs_difference": largest,
        "largest_output": reach,
        "n_inputs": n_images,
        "tolerance": allowed,
        "batch_sizes": list(_BATCH_SIZES),
    }
    if probability is not None:
        _require_close(second, name=f"the probability of {name}")
        record["probability"] = {
            "max_abs_difference": second,
            "tolerance": PROBABILITY_TOLERANCE,
            "compared_with": "the formula in float64, on the logit of the file's own first output",
        }
    return record


def difference_to_logits(
    net: nn.Module, image: Tensor, logit: npt.NDArray[np.float32], *, precision: str
) -> dict[str, Any]:
    """Compare a network with the logits that its run has written.

    Args:
        net: in evaluation mode, on the CPU, in float32.
        image: float32 [N, C, ...].
        logit: float32 [N] of the run.
        precision: that the run computed in, as Lightning calls it; half precision explains larger differences.

    Returns:
        Ready for JSON: rows, largest absolute difference, tolerance, precision of the run.

    Raises:
        RunError: a larger difference.
    """
    with torch.inference_mode():
        given = positive_logit(net(image).float()).double().numpy()
    difference = float(np.abs(given - logit).max(initial=0.0))
    share = LOGIT_TOLERANCE if precision.startswith("32") else HALF_PRECISION_TOLERANCE
    allowed = share * max(1.0, float(np.abs(logit).max(initial=0.0)))
    if not difference <= allowed:
        raise RunError(
            f"the network differs from the run's own predictions by {difference:.3g} (allowed {allowed:.3g}, computed "
            f"in {precision}), so nothing was kept: were the images, the store or the checkpoint changed since? Score "
            "the run again: lungdet predict run=..."
        )
    log.info("%d rows of the run scored again: %.2g apart (computed in %s)", len(logit), difference, precision)
    return {"n_rows": len(logit), "max_abs_difference": difference, "tolerance": allowed, "precision": precision}


def check_probability(module: nn.Module, probability: Probability) -> float:
    """Compare what the graphs will compute in float32 with float64, over all logits that a network may give.

    The images of `check_parity` have the logits that they have; here every knot of an isotonic calibration is met.

    Args:
        module: of `lungdet.exports.calibrated.probability_module`.
        probability: the same in float64.

    Returns:
        The largest absolute difference from -40 to 40, in steps of 0.01, and at the knots.

    Raises:
        RunError: more than `PROBABILITY_TOLERANCE`.
    """
    logit = torch.linspace(-_GRID_REACH, _GRID_REACH, 8001)
    if isinstance(module, KnotInterpolation):
        logit = torch.cat([logit, module.knots])
    with torch.inference_mode():
        given = module(logit).double().numpy()
    difference = float(np.abs(given - probability(logit.double().numpy())).max())
    _require_close(difference, name="the calibration in float32")
    return difference


def _probability_difference(answers: tuple[Tensor, ...], probability: Probability, *, name: str) -> float:
    if len(answers) != 2:
        raise RunError(f"{name} gives {len(answers)} tensor(s), not outputs and probability")
    outputs, given = answers[0].float(), answers[1]
    if given.dtype != torch.float32 or given.shape != outputs.shape[:1]:
        raise RunError(f"{name} gives a probability {given.dtype} {tuple(given.shape)}, not float32 [B]")
    expected = probability(positive_logit(outputs).double().numpy())
    difference = float(np.abs(given.double().numpy() - expected).max())
    return math.inf if math.isnan(difference) else difference


def _require_close(difference: float, *, name: str) -> None:
    if not difference <= PROBABILITY_TOLERANCE:
        raise RunError(
            f"{name} differs from its formula in float64 by {difference:.3g} (allowed {PROBABILITY_TOLERANCE:.0e}), so "
            "nothing was kept; fit another calibration (lungdet eval evaluation.calibration=platt), or "
            "export formats=[safetensors]"
        )


def parity_images(spec: InputSpec | ImageInputSpec) -> Iterator[Tensor]:
    """Inputs of several batch sizes: noise, and what looks like lung or like a picture; slices also of another size."""
    for seed, batch_size in enumerate(_BATCH_SIZES):
        yield random_image(spec, batch_size=batch_size, seed=seed)
        if isinstance(spec, ImageInputSpec):
            yield picture_like_image(spec, batch_size=batch_size, seed=seed)
            continue
        yield ct_like_image(spec, batch_size=batch_size, seed=seed)
    if isinstance(spec, InputSpec) and spec.layout == "slices" and spec.size_divisor is not None:
        other = tuple(size + (axis + 1) * spec.size_divisor for axis, size in enumerate(spec.shape))
        yield ct_like_image(spec, batch_size=1, seed=len(_BATCH_SIZES), shape=other)


def random_image(spec: InputSpec | ImageInputSpec, *, batch_size: int, seed: int) -> Tensor:
    """Float32 [batch_size, C, ...], uniform over what the window leaves, or over [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand((batch_size, spec.channels, *spec.shape), generator=generator)
    if isinstance(spec, ImageInputSpec):
        return uniform
    low, high = spec.window_hu
    return windowed(uniform * (high - low) + low, spec)


def picture_like_image(spec: ImageInputSpec, *, batch_size: int, seed: int) -> Tensor:
    """Large bright and dark shapes under some noise, in steps of 1/255: float32 [batch_size, C, H, W].

    Shapes are of another kind than noise to a network: every channel of its first layers answers to one of the two.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch_size, spec.channels, 5, 5), generator=generator)
    shapes = F.interpolate(coarse, spec.shape, mode="bilinear", align_corners=True)
    noisy = shapes + 0.05 * torch.randn(shapes.shape, generator=generator)
    return (noisy.clamp(0.0, 1.0) * 255).round() / 255


def ct_like_image(spec: InputSpec, *, batch_size: int, seed: int, shape: tuple[int, ...] | None = None) -> Tensor:
    """A ball of soft tissue in noisy lung, wall and bone at one side, air outside: float32 [batch_size, C, ...].

    Args:
        spec: of the input.
        batch_size: pieces; each has a ball of its own size.
        seed: of noise and sizes.
        shape: axes after the channels; None for those of the card.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = spec.shape if shape is None else shape
    axes = (shape if spec.layout == "volume" else (spec.channels, *shape))[-3:]
    grid = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in axes), indexing="ij")
    radius = 0.1 + 0.5 * torch.rand((batch_size, 1, 1, 1), generator=generator)
    distance = torch.stack(grid).square().sum(0).sqrt()
    hu = torch.where(distance < radius, _SOFT_TISSUE_HU, _LUNG_HU)
    hu = torch.where(grid[2] > 0.7, _SOFT_TISSUE_HU, hu)
    hu = torch.where(grid[2] > 0.85, _BONE_HU, hu)
    hu = torch.where(grid[1] > 0.9, _AIR_HU, hu)
    hu = F.avg_pool3d(hu.unsqueeze(1), 3, stride=1, padding=1, count_include_pad=False)
    hu = hu + 25.0 * torch.randn(hu.shape, generator=generator)
    return windowed(hu if spec.layout == "volume" else hu.squeeze(1), spec)


def windowed(hu: Tensor, spec: InputSpec) -> Tensor:
    """Clip HU to the window and scale, as in training."""
    low, high = spec.window_hu
    clipped = hu.clamp(low, high)
    return clipped if spec.scale == "hu" else (clipped - low) / (high - low)
