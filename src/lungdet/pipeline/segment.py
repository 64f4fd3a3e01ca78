"""Segmentation networks over a scan, streamed: logits come in slabs, so that no float volume is ever held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.pipeline.box import Box
from lungdet.pipeline.crops import Scale, apply_window, check_spacing, check_window
from lungdet.pipeline.inference import (
    Mean,
    Precision,
    check_choice,
    device_of,
    mean_logit,
    parse_flips,
    prepare_network,
    resolve_precision,
)
from lungdet.pipeline.threads import map_in_threads

HuArray = npt.NDArray[np.int16]
Slabs = Iterator[tuple[int, npt.NDArray[np.float32]]]


class Segmenter(Protocol):
    """What a segmentation source needs: the grid it works on, the room it needs around a box, and logits of a box."""

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float] | None:
        """Grid the networks were trained on; None for the scan's own voxels."""

    @property
    def halo_zyx(self) -> tuple[int, int, int]:
        """Voxels around a box that influence the answer inside."""

    def logits(self, hu: HuArray, box: Box) -> Slabs:
        """First slice of a slab (counted in the box) and its logits float32 [n, h, w], slabs in order, gapless."""

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""


@dataclass(frozen=True, kw_only=True)
class SliceSegmenter:
    """2.5-D networks: some neighbouring slices in, the logits of the middle one out. The seed book's way.

    A box that was grown by `halo_zyx` gives the logits of the full slice in its inner part, because it is laid on the
    pooling grid and the halo covers the receptive field. Slices beyond the ends of the scan repeat the last one.

    Args:
        nets: float32 [B, S, H, W] -> [B, 1, H, W], S odd, in evaluation mode afterwards.
        window_hu: HU are clipped to this range.
        scale: "unit" maps the window to [0, 1], "hu" keeps HU, as the book's network expects.
        flips: views to average over; z mirrors the order of the neighbouring slices.
        mean: average logits or probabilities.
        batch_size: slices per forward pass; on a CPU single slices are fastest, their activations stay in the cache.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 where the processor has it.
        halo_px: receptive field around a pixel; 24 covers three levels of two 3x3 convolutions.
        alignment: the box starts at a multiple of this, so that pooling pairs the same pixels as in the full slice.

    Raises:
        ConfigError: no network, a batch size below 1, an unknown word.
        RunError: weights that are NaN or infinite.
    """

    nets: tuple[nn.Module, ...]
    window_hu: tuple[float, float] = (-1000.0, 1000.0)
    scale: Scale = "hu"
    flips: tuple[str, ...] = ("",)
    mean: Mean = "logit"
    batch_size: int = 1
    precision: Precision = "auto"
    halo_px: int = 24
    alignment: int = 8
    spacing_zyx_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        _check(self.nets, self.batch_size, self.precision, self.mean, self.flips)
        check_choice("scale", self.scale, Scale)
        check_window(self.window_hu)
        check_spacing(self.spacing_zyx_mm)
        for net in self.nets:
            prepare_network(net, "segmentation")

    @property
    def halo_zyx(self) -> tuple[int, int, int]:
        """Neighbouring slices are read from the scan, so z needs none."""
        return (0, self.halo_px, self.halo_px)

    @property
    def context_slices(self) -> int:
        """Neighbours on each side."""
        return int(getattr(self.nets[0], "in_channels", 7)) // 2

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "kind": "slices",
            "nets": [type(net).__name__ for net in self.nets],
            "context_slices": self.context_slices,
            "window_hu": list(self.window_hu),
            "scale": self.scale,
            "flips": list(self.flips),
            "mean": self.mean,
            "precision": resolve_precision(self.precision, device_of(self.nets[0])),
        }

    def logits(self, hu: HuArray, box: Box) -> Slabs:
        """Segment a box of a scan.

        Args:
            hu: int16 [D, H, W], the whole scan.
            box: where logits are wanted.

        Yields:
            First slice of the slab, counted in the box, and float32 [n, h, w], n <= batch_size.

        Raises:
            RunError: the network answers NaN or infinity.
        """
        depth, height, width = hu.shape
        (z0, y0, x0), (z1, y1, x1) = box.low_zyx, box.high_zyx
        low_y, low_x = y0 - y0 % self.alignment, x0 - x0 % self.alignment
        high_y, high_x = min(height, y1 + -y1 % self.alignment), min(width, x1 + -x1 % self.alignment)
        wanted = (slice(None), slice(y0 - low_y, y1 - low_y), slice(x0 - low_x, x1 - low_x))
        context, flips = self.context_slices, parse_flips(self.flips)
        divisor = int(getattr(self.nets[0], "divisor", self.alignment))
        padding = (0, -(high_x - low_x) % divisor, 0, -(high_y - low_y) % divisor)
        device = device_of(self.nets[0])

        def segment_from(z: int) -> tuple[int, npt.NDArray[np.float32]]:
            rows = np.arange(z - context, min(z + self.batch_size, z1) + context).clip(0, depth - 1)
            with torch.inference_mode():
                slab = torch.from_numpy(hu[rows, low_y:high_y, low_x:high_x]).to(device)
                image = apply_window(slab, self.window_hu, self.scale)
                if any(padding):
                    image = F.pad(image.unsqueeze(0), padding, mode="replicate").squeeze(0)
                # A view [n, S, h, w] of overlapping slices; the one copy is into the network's memory format.
                neighbours = image.unfold(0, 2 * context + 1, 1).permute(0, 3, 1, 2)
                logit = mean_logit(
                    self.nets, neighbours, flips=flips, mean=self.mean, precision=self.precision, flips_back=True
                )
                return z - z0, _finite(logit)[wanted].cpu().numpy()

        yield from map_in_threads(segment_from, range(z0, z1, self.batch_size), device=device)


@dataclass(frozen=True, kw_only=True)
class PatchSegmenter:
    """3-D networks on overlapping patches, blended by MONAI's sliding-window inference.

    Args:
        nets: float32 [B, 1, D, H, W] -> [B, 1, D, H, W] or [B, 2, D, H, W].
        patch_zyx: patch size in voxels.
        overlap: share of a patch that the next one covers again, in [0, 1).
        spacing_zyx_mm: grid the networks were trained on; None for the scan's own voxels.
        window_hu: HU are clipped to this range.
        scale: "unit" maps the window to [0, 1], "hu" keeps HU.
        flips: views to average over.
        mean: average logits or probabilities.
        batch_size: patches per forward pass.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 where the processor has it.

    Raises:
        ConfigError: no network, a batch size below 1, an overlap outside [0, 1), an unknown word.
        RunError: weights that are NaN or infinite.
    """

    nets: tuple[nn.Module, ...]
    patch_zyx: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.25
    spacing_zyx_mm: tuple[float, float, float] | None = None
    window_hu: tuple[float, float] = (-1000.0, 400.0)
    scale: Scale = "unit"
    flips: tuple[str, ...] = ("",)
    mean: Mean = "logit"
    batch_size: int = 1
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        _check(self.nets, self.batch_size, self.precision, self.mean, self.flips)
        check_choice("scale", self.scale, Scale)
        check_window(self.window_hu)
        check_spacing(self.spacing_zyx_mm)
        if not 0 <= self.overlap < 1:
            raise ConfigError([f"overlap={self.overlap} must lie in [0, 1)"])
        if len(self.patch_zyx) != 3 or min(self.patch_zyx) < 1:
            raise ConfigError([f"patch_zyx={self.patch_zyx}: needs three sizes >= 1, such as (96, 96, 96)"])
        for net in self.nets:
            prepare_network(net, "segmentation")

    @property
    def halo_zyx(self) -> tuple[int, int, int]:
        """An eighth of a patch, where blended answers are least certain."""
        z, y, x = (size // 8 for size in self.patch_zyx)
        return z, y, x

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "kind": "patches",
            "nets": [type(net).__name__ for net in self.nets],
            "patch_zyx": list(self.patch_zyx),
            "overlap": self.overlap,
            "spacing_zyx_mm": None if self.spacing_zyx_mm is None else list(self.spacing_zyx_mm),
            "window_hu": list(self.window_hu),
            "scale": self.scale,
            "flips": list(self.flips),
            "mean": self.mean,
            "precision": resolve_precision(self.precision, device_of(self.nets[0])),
        }

    def logits(self, hu: HuArray, box: Box) -> Slabs:
        """Segment a box of a scan; one slab, the whole box. Arguments and errors as `SliceSegmenter.logits`."""
        from monai.inferers.utils import sliding_window_inference

        flips = parse_flips(self.flips)

        def one_batch(patches: Tensor) -> Tensor:
            return mean_logit(
                self.nets, patches, flips=flips, mean=self.mean, precision=self.precision, flips_back=True
            ).unsqueeze(1)

        inside = torch.from_numpy(np.ascontiguousarray(hu[box.slices]))
        image = apply_window(inside, self.window_hu, self.scale)[None, None]
        with torch.inference_mode():
            # Patches go to the network's device one batch at a time; image and answer stay in main memory.
            logit = sliding_window_inference(
                image,
                self.patch_zyx,
                self.batch_size,
                one_batch,
                overlap=self.overlap,
                mode="gaussian",
                sw_device=device_of(self.nets[0]),
                device=torch.device("cpu"),
            )
        assert isinstance(logit, Tensor)
        yield 0, _finite(logit)[0, 0].numpy()


def _finite(logit: Tensor) -> Tensor:
    # One pass without a boolean volume: a NaN or an infinity survives the sum, or turns it into NaN.
    if not bool(torch.isfinite(logit.sum(dtype=torch.float64))):
        raise RunError("the segmentation network answers NaN or infinity: check its weights and its input window")
    return logit


def _check(nets: tuple[nn.Module, ...], batch_size: int, precision: str, mean: str, flips: tuple[str, ...]) -> None:
    if not nets:
        raise ConfigError(["the segmentation needs at least one network"])
    if batch_size < 1:
        raise ConfigError([f"batch_size={batch_size} of the segmentation: must be at least 1"])
    check_choice("precision", precision, Precision)
    check_choice("mean", mean, Mean)
    parse_flips(flips)
