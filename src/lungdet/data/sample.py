"""The contract between data and task: what one batch holds. Both sides state it, `check_config` compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from torch import Tensor


@dataclass(frozen=True)
class SampleSpec:
    """What a DataModule hands to a task after `on_after_batch_transfer`.

    Attributes:
        layout: `volume` gives images [B, C, D, H, W], `image` gives [B, C, H, W]; neighbouring slices are channels.
        channels: C.
        shape: spatial shape, (D, H, W) or (H, W), in pixels.
        target: `class` gives int64 labels [B], `mask` gives masks of the spatial shape.
        classes: class names in label order; binary tasks name the negative class first.
        intensity: what the numbers mean, for people and cards: "HU clipped to [-1000, 400], scaled to [0, 1]".
        has_features: whether batches also hold clinical features; which ones is known when their table is read.
    """

    layout: Literal["volume", "image"]
    channels: int
    shape: tuple[int, ...]
    target: Literal["class", "mask"]
    classes: tuple[str, ...]
    intensity: str
    has_features: bool = False


class ClassBatch(TypedDict):
    """A batch for classification, on the device, windowed and (in training) augmented.

    image: float32 [B, C, D, H, W] or [B, C, H, W].
    label: int64 [B], index into `SampleSpec.classes`.
    index: int64 [B], row of the DataModule's `records`; repeated where a distributed sampler pads.
    features: float32 [B, F], clinical features, NaN where missing; only where the DataModule has a clinical table.
    """

    image: Tensor
    label: Tensor
    index: Tensor
    features: NotRequired[Tensor]


class MaskBatch(TypedDict):
    """A batch for segmentation, on the device, windowed and (in training) augmented.

    image: float32 [B, C, H, W] (C neighbouring slices, the wanted one in the middle) or [B, 1, D, H, W].
    mask: bool [B, 1, H, W] or [B, 1, D, H, W], True on nodules.
    valid: bool, shape of the mask; False outside the scan and on voxels that another row of the evaluation covers.
    near: bool, shape of the mask; True where a training crop around a nodule might lie. What is counted there is
        "crop-level", what is counted everywhere "whole-volume".
    index: int64 [B], row of the DataModule's `records`.
    is_repeat: bool [B], True for rows that a distributed sampler repeats; they count for nothing.
    """

    image: Tensor
    mask: Tensor
    valid: Tensor
    near: Tensor
    index: Tensor
    is_repeat: Tensor
