"""Deletion and insertion: parts are replaced, or put back, one after another, and the probability is followed.

Reference: Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018,
arXiv:1806.07421.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.fills import Fill
from lungdet.explain.masked_scores import masked_scores
from lungdet.explain.regions import Regions, along_first_axis
from lungdet.explain.scores import ClassScore

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Curve:
    """The probability of the true class while the image changes.

    Args:
        share: float64 [S + 1], from 0 to 1: which share of the pixels that the parts cover has changed.
        score: float64 [S + 1], p_true after each of the S steps, the first before any.
        n_parts: int64 [S + 1], how many parts have changed.
    """

    share: FloatArray
    score: FloatArray
    n_parts: IntArray

    @property
    def area(self) -> float:
        """Area under the curve, straight between its points: the mean probability on the way."""
        return float(np.trapezoid(self.score, self.share))


def removal_orders(importance: FloatArray, *, generator: np.random.Generator, n_random: int = 1) -> dict[str, IntArray]:
    """The orders that are compared: by importance from both ends, and at random as the control.

    Args:
        importance: float64 [K], such as the signed drop of each part.
        generator: of the random orders.
        n_random: how many there are.

    Returns:
        `least_first`, `most_first`, `random_1` to `random_<n_random>` -> int64 [K], numbers of the parts. Parts of the
        same importance come in the order of their numbers in both.
    """
    orders = {
        "least_first": np.argsort(importance, kind="stable"),
        "most_first": np.argsort(-importance, kind="stable"),
    }
    return orders | {f"random_{n}": generator.permutation(len(importance)) for n in range(1, n_random + 1)}


def deletion_curves(
    probability: ClassScore,
    images: Tensor,
    *,
    classes: Tensor,
    regions: Sequence[Regions],
    orders: Sequence[Mapping[str, IntArray]],
    fill: Fill,
    n_steps: int | None = None,
    batch_size: int = 16,
) -> list[dict[str, Curve]]:
    """Replace the parts of every image one after another, in each of its orders.

    An order is good when the important parts come first and the area is small: compare with the random ones.

    Args:
        probability: p of the class asked for (`scores.class_probability`).
        images: float32 [B, C, H, W] or [B, C, D, H, W], as the network takes them.
        classes: int64 [B], the true class of each.
        regions: the parts of each image.
        orders: of each image, name -> the numbers of all its parts, each once (`removal_orders`).
        fill: what replaces a part.
        n_steps: at how many places, evenly spread over the parts, the probability is asked for; None for after each.
        batch_size: changed images per forward pass, of one image and order or several.

    Returns:
        For each image, name of the order -> curve, from the whole image to its fill.

    Raises:
        ConfigError: no batch size, no steps, or a network in training mode.
        ShapeError: shapes or numbers that do not fit each other, or an order that is not a permutation of the parts.
    """
    return _curves(
        probability,
        images,
        fill(images),
        classes=classes,
        regions=regions,
        orders=orders,
        n_steps=n_steps,
        batch_size=batch_size,
    )


def insertion_curves(
    probability: ClassScore,
    images: Tensor,
    *,
    classes: Tensor,
    regions: Sequence[Regions],
    orders: Sequence[Mapping[str, IntArray]],
    fill: Fill,
    n_steps: int | None = None,
    batch_size: int = 16,
) -> list[dict[str, Curve]]:
    """Start from the fill and put the parts back one after another; all else as `deletion_curves`.

    An order is good when the important parts come first and the area is large.
    """
    return _curves(
        probability,
        fill(images),
        images,
        classes=classes,
        regions=regions,
        orders=orders,
        n_steps=n_steps,
        batch_size=batch_size,
    )


def curve_table(curves: Sequence[Mapping[str, Curve]]) -> pd.DataFrame:
    """All curves as one table: image (its place in the batch), order, step (parts changed), share, score."""
    frames = [
        pd.DataFrame({"step": curve.n_parts, "share": curve.share, "score": curve.score}).assign(
            image=image, order=name
        )
        for image, of_image in enumerate(curves)
        for name, curve in of_image.items()
    ]
    columns = ["image", "order", "step", "share", "score"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


class _Steps:
    """Masks of an image after 0, 1, ..., K parts have changed, or after some of these numbers, for `masked_scores`.

    Args:
        regions: the K parts.
        order: int64 [K].
        n_steps: how many of the K steps are asked for, the last always among them; None for all.
    """

    def __init__(self, regions: Regions, order: IntArray, *, n_steps: int | None) -> None:
        if n_steps is not None and n_steps < 1:
            raise ConfigError([f"curves.n_steps={n_steps}: a curve needs at least one step; 20 draw it well"])
        if not np.array_equal(np.sort(order), np.arange(len(regions))):
            raise ShapeError(
                f"an order must hold each of the numbers 0 to {len(regions) - 1} once, got {order.tolist()[:8]}"
            )
        # When each pixel changes; parts may overlap, so the first one counts. Pixels in no part never change.
        self._changes_at = torch.full(regions.shape, len(regions))
        for step in reversed(range(len(order))):
            part = int(order[step])
            self._changes_at[regions.masks(part, part + 1)[0].cpu()] = step
        changed = torch.bincount(self._changes_at.flatten(), minlength=len(regions) + 1)[:-1].double().cumsum(0)
        steps = len(regions) if n_steps is None else min(n_steps, len(regions))
        # How many parts have changed at each step.
        self.n_changed = np.unique(np.rint(np.linspace(0, len(regions), steps + 1)).astype(np.int64))
        self.share = np.append(0.0, (changed / changed[-1]).numpy())[self.n_changed]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._changes_at.shape)

    def __len__(self) -> int:
        return len(self.share)

    def masks(self, first: int, last: int) -> Tensor:
        n_changed = torch.from_numpy(self.n_changed[first:last])
        masks: Tensor = self._changes_at < along_first_axis(n_changed, self._changes_at.ndim)
        return masks


def _curves(
    probability: ClassScore,
    before: Tensor,
    after: Tensor,
    *,
    classes: Tensor,
    regions: Sequence[Regions],
    orders: Sequence[Mapping[str, IntArray]],
    n_steps: int | None,
    batch_size: int,
) -> list[dict[str, Curve]]:
    if not len(before) == len(regions) == len(orders):
        raise ShapeError(f"{len(before)} image(s) came with parts of {len(regions)} and orders of {len(orders)}")
    walks = [
        (image, name, _Steps(regions[image], order, n_steps=n_steps))
        for image, of_image in enumerate(orders)
        for name, order in of_image.items()
    ]
    which = torch.tensor([image for image, _, _ in walks], dtype=torch.int64)
    scores = masked_scores(
        probability,
        before[which.to(before.device)],
        classes=classes.cpu()[which],
        sources=[steps for _, _, steps in walks],
        fill_images=after[which.to(after.device)],
        batch_size=batch_size,
    )
    curves: list[dict[str, Curve]] = [{} for _ in orders]
    for (image, name, steps), score in zip(walks, scores, strict=True):
        curves[image][name] = Curve(share=steps.share, score=score.double().numpy(), n_parts=steps.n_changed)
    return curves
