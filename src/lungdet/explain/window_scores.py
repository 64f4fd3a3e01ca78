"""Score images under their masks by what the masks change: windows go through the network, not whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.explain.incremental import Incremental
from lungdet.explain.masked_scores import MaskSource, check_batch, check_sources, masked_scores
from lungdet.explain.regions import BoxRegions
from lungdet.explain.scores import ToLogit, check_classes, class_logit, logit_of_class
from lungdet.explain.windows import GRID, IntArray, Windowed, bounds, boxes_in_steps, empty_map

_MASKS_AT_ONCE = 32
_LARGEST_DIFFERENCE = 1e-5
# Of logits, as a part of the largest one, or of 1: a probability near 0 or 1 hides what a logit shows.
_LARGEST_LOGIT_DIFFERENCE = 1e-4
# Of the multiplications. Windows that end in the first layer cost more than they save: a ConvNeXt-Atto (.012) took 1.2
# to 1.9 times as long as by whole pictures. An EfficientNet-B0 (.034), whose first maps are large, took 0.6 times.
_SMALLEST_SHARE = 0.02


@dataclass(frozen=True)
class WindowProbability:
    """The probability of the class asked for, of images under masks.

    Batches follow one another, each on all of PyTorch's threads. Whole images go through a network best one batch a
    thread; windows are smaller, and two batches at once push each other out of the cache: on two cores 168 against 202
    images a second (EfficientNet-Lite0), 209 against 285 (LunaModel).

    Args:
        network: what is asked.
        to_logit: the convention of its outputs.
    """

    network: Incremental
    to_logit: ToLogit

    def __call__(
        self,
        images: Tensor,
        *,
        classes: Tensor,
        sources: Sequence[MaskSource],
        fill_images: Tensor,
        batch_size: int,
    ) -> list[Tensor]:
        """Score every image under each of its masks; arguments, result and errors as `masked_scores`.

        A batch takes masks of one image that are of similar size.
        """
        logits = self.logits(images, classes=classes, sources=sources, fill_images=fill_images, batch_size=batch_size)
        return [torch.sigmoid(some) for some in logits]

    def logits(
        self,
        images: Tensor,
        *,
        classes: Tensor,
        sources: Sequence[MaskSource],
        fill_images: Tensor,
        batch_size: int,
    ) -> list[Tensor]:
        """The logits that these probabilities are of: float32 [masks] an image; arguments and errors as for them."""
        check_batch(images, classes, batch_size=batch_size)
        check_classes(len(images), classes)
        check_sources(images, sources)
        scores = [torch.empty(len(source), dtype=torch.float32) for source in sources]
        for index, source in enumerate(sources):
            image, fill, of_class = images[index], fill_images[index], classes[index].cpu()
            original = self.network.original(image[None])
            changed = changed_by(source)
            for members in batches_by_size(changed, batch_size):
                versions = masked_versions(image, fill, source, members=members, changed=changed[:, members])
                outputs = self.network.outputs(original, versions)
                logit = logit_of_class(outputs, of_class.expand(len(members)), self.to_logit)
                scores[index][torch.from_numpy(members)] = logit.float()
        return scores


def window_probability(network: nn.Module, to_logit: ToLogit, image: Tensor, *, batch_size: int) -> WindowProbability:
    """Take a network apart, and check that windows give its answers: for boxes in two corners and in the middle.

    The network is asked about one image at a time, so one whose answer depends on the rest of a batch is found out.

    Args:
        network: in evaluation mode, on the CPU; it is not changed.
        to_logit: the convention of its outputs.
        image: float32 [1, C, *space], one such as those to come.
        batch_size: of the check.

    Raises:
        ConfigError: a network in training mode, or not on the CPU.
        RunError: a network that cannot be taken apart, of which windows go through next to nothing, or whose
            probabilities differ by more than 1e-5 or logits by more than 1e-4 of the largest.
    """
    if network.training or any(weights.device.type != "cpu" for weights in network.parameters()):
        raise ConfigError(
            [f"{type(network).__name__} must be in evaluation mode and on the CPU to go through windows: .eval().cpu()"]
        )
    shape = tuple(image.shape[2:])
    sides = tuple(max(1, whole // 5) for whole in shape)
    last = tuple(whole - side for whole, side in zip(shape, sides, strict=True))
    corners = ((0,) * len(shape), tuple(at // 2 for at in last), last)
    asked: dict[str, Any] = {
        "classes": torch.ones(1, dtype=torch.int64),
        "sources": [BoxRegions(shape=shape, size=sides, corners=corners)],
        # Mirrored, so that it differs like an image; a quarter more, so that an even image differs, too.
        "fill_images": image.flip(tuple(range(2, image.ndim))) + 0.25,
    }
    name = type(network).__name__
    try:
        found = WindowProbability(Incremental(network, image), to_logit)
        logits = found.logits(image, **asked, batch_size=batch_size)[0]
    except RuntimeError as error:
        raise RunError(f"{name} cannot go through windows: {error}") from error
    if found.network.share < _SMALLEST_SHARE:
        raise RunError(
            f"windows of {name} would end before {100 * _SMALLEST_SHARE:.0f} % of its multiplications: a layer that "
            "looks at all of its map comes first"
        )
    expected = masked_scores(class_logit(network, to_logit), image, **asked, batch_size=1)[0]
    difference = float((torch.sigmoid(logits) - torch.sigmoid(expected)).abs().max())
    if not difference <= _LARGEST_DIFFERENCE:
        raise RunError(f"windows of {name} give probabilities that differ by up to {difference:.2g} from its own")
    difference = float((logits - expected).abs().max())
    if not difference <= _LARGEST_LOGIT_DIFFERENCE * max(1.0, float(expected.abs().max())):
        raise RunError(f"windows of {name} give logits that differ by up to {difference:.2g} from its own")
    return found


def changed_by(source: MaskSource) -> IntArray:
    """First and last pixel along each axis inside each mask: int64 [2, K, n_axes]."""
    starts = range(0, len(source), _MASKS_AT_ONCE)
    return np.concatenate(
        [bounds(source.masks(first, min(first + _MASKS_AT_ONCE, len(source)))) for first in starts], axis=1
    )


def batches_by_size(changed: IntArray, batch_size: int) -> list[IntArray]:
    """Numbers of masks of similar size, `batch_size` in each batch.

    Args:
        changed: int64 [2, K, n_axes], see `changed_by`.
        batch_size: where there are more masks, the last batch is filled up with one that it has, so that all are of one
            size.
    """
    sizes = -(-(changed[1] - changed[0] + 1) // GRID)
    order = np.lexsort((*sizes.T, sizes.prod(axis=1)))
    if len(order) > batch_size:
        order = np.pad(order, (0, -len(order) % batch_size), mode="edge")
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


def masked_versions(
    image: Tensor, fill: Tensor, source: MaskSource, *, members: IntArray, changed: IntArray
) -> Windowed:
    """What some masks make of an image.

    Args:
        image: float32 [C, *space].
        fill: float32 [C, *space], what a pixel is under a mask.
        source: all masks.
        members: int64 [B], the numbers of some.
        changed: int64 [2, B, n_axes], where they are.
    """
    boxes = boxes_in_steps(changed, image.shape[1:])
    patch = empty_map((len(members), len(image), *boxes.size), image)
    for version, number, start in zip(patch, members.tolist(), boxes.starts.tolist(), strict=True):
        inside = tuple(slice(at, at + side) for at, side in zip(start, boxes.size, strict=True))
        mask = source.masks(number, number + 1)[(slice(None), *inside)].to(image.device)
        version.copy_(torch.where(mask, fill[(slice(None), *inside)], image[(slice(None), *inside)]))
    return Windowed(patch, boxes)
