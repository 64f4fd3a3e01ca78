"""Score many masked versions of several images: as many as fit into a batch go through the network at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.scores import ClassScore
from lungdet.pipeline.threads import map_in_threads


class MaskSource(Protocol):
    """Masks of one image, made when they are needed; every `Regions` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of the image, in pixels."""

    def __len__(self) -> int:
        """How many masks there are."""

    def masks(self, first: int, last: int) -> Tensor:
        """Bool [last - first, *shape]."""


def masked_scores(
    score: ClassScore,
    images: Tensor,
    *,
    classes: Tensor,
    sources: Sequence[MaskSource],
    fill_images: Tensor,
    batch_size: int,
) -> list[Tensor]:
    """Score every image under each of its masks.

    A batch takes masked versions of several images, so that only the last of all is smaller than `batch_size`. On the
    CPU as many batches are scored at once as PyTorch may use threads, each on one of them: the convolutions of a batch
    that threads share wait for each other.

    Args:
        score: of the class asked for.
        images: float32 [B, C, *space].
        classes: int64 [B].
        sources: the masks of each image; their numbers may differ.
        fill_images: as `images`, what a pixel is under the mask.
        batch_size: masked versions per forward pass.

    Returns:
        For each image float32 [number of its masks], on the CPU.

    Raises:
        ConfigError: no batch size.
        ShapeError: not one source per image, or masks of another shape.
    """
    check_batch(images, classes, batch_size=batch_size)
    check_sources(images, sources)
    scores = [torch.empty(len(source), dtype=torch.float32) for source in sources]
    batches = list(_batches([len(source) for source in sources], batch_size))

    def masked(batch: list[tuple[int, int, int]]) -> tuple[Tensor, Tensor]:
        counts = torch.tensor([last - first for _, first, last in batch])
        ends = counts.cumsum(0).tolist()
        changed = _empty_batch(images, ends[-1])
        for (index, first, last), end in zip(batch, ends, strict=True):
            masks = sources[index].masks(first, last).to(images.device)[:, None]
            changed[end - (last - first) : end] = torch.where(masks, fill_images[index], images[index])
        of_class = classes.cpu()[[index for index, _, _ in batch]].repeat_interleave(counts)
        return changed, of_class.to(images.device)

    def scored(changed: tuple[Tensor, Tensor]) -> Tensor:
        with torch.no_grad():  # a setting of the thread
            return score(*changed).float().cpu()

    answers = map_in_threads(scored, map(masked, batches), device=images.device)
    for batch, found in zip(batches, answers, strict=True):
        start = 0
        for index, first, last in batch:
            scores[index][first:last] = found[start : start + last - first]
            start += last - first
    return scores


def plain_scores(score: ClassScore, images: Tensor, *, classes: Tensor, batch_size: int) -> Tensor:
    """Score the images as they are: float32 [B], on the CPU.

    Raises:
        ConfigError: no batch size.
        ShapeError: not one class per image.
    """
    check_batch(images, classes, batch_size=batch_size)
    with torch.no_grad():
        batches = in_batches(images, classes, batch_size=batch_size)
        return torch.cat([score(some, of_class).float().cpu() for some, of_class in batches])


def in_batches(images: Tensor, classes: Tensor, *, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images with their classes, `batch_size` at a time."""
    for first in range(0, len(images), batch_size):
        yield images[first : first + batch_size], classes[first : first + batch_size]


def check_batch(images: Tensor, classes: Tensor, *, batch_size: int) -> None:
    """Refuse what no explanation can be made of.

    Raises:
        ConfigError: a batch size below 1.
        ShapeError: images that are not [B, C, H, W] or [B, C, D, H, W], or not one class per image.
    """
    if batch_size < 1:
        raise ConfigError([f"batch_size={batch_size} must be at least 1"])
    if images.ndim not in (4, 5) or not len(images) or classes.shape != images.shape[:1]:
        raise ShapeError(
            "an explanation needs images [B, C, H, W] or [B, C, D, H, W] and a class each, got "
            f"{tuple(images.shape)} with classes {tuple(classes.shape)}"
        )


def check_sources(images: Tensor, sources: Sequence[MaskSource]) -> None:
    """Refuse masks that do not belong to the images.

    Raises:
        ShapeError: not one source per image, or masks of another shape.
    """
    if len(sources) != len(images) or any(source.shape != tuple(images.shape[2:]) for source in sources):
        raise ShapeError(
            f"{len(images)} image(s) of {tuple(images.shape[2:])} pixels need one set of masks each, of this shape; "
            f"got {[source.shape for source in sources][:4]}"
        )


def _empty_batch(images: Tensor, size: int) -> Tensor:
    """Room for `size` images; of pictures, with the channels of a pixel side by side.

    Every layer keeps the layout of its input. In the default one a batch of 32 took an EfficientNet-Lite0 on one CPU
    core 65 ms per image, longer than one by one (36 ms); in this one, its weights too, a batch of 8 took 20 ms.
    """
    layout = torch.channels_last if images.ndim == 4 else torch.contiguous_format
    return torch.empty((size, *images.shape[1:]), dtype=images.dtype, device=images.device, memory_format=layout)


def _batches(counts: Sequence[int], batch_size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut masks of several images into batches of (image, first mask, last mask + 1)."""
    batch: list[tuple[int, int, int]] = []
    room = batch_size
    for index, count in enumerate(counts):
        first = 0
        while first < count:
            last = min(count, first + room)
            batch.append((index, first, last))
            room -= last - first
            first = last
            if not room:
                yield batch
                batch, room = [], batch_size
    if batch:
        yield batch
