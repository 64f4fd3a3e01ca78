"""2-D images on their way into the store: dark frame off, resized, scaled; every stage is kept for the eye to check."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError, StoreError
from lungdet.store.dark_frame import DarkFrame, SideScan, frame_box
from lungdet.store.stain import MacenkoNormalise

Pixels = npt.NDArray[np.uint8]
_Scalar = TypeVar("_Scalar", bound=np.generic)

#: Raised whenever the same spec gives other pixels; part of the fingerprint.
ALGORITHM_VERSION = 1
FITS = ("cover", "pad")
PADS = ("reflect", "edge", "black")


@dataclass(frozen=True)
class ImageSpec:
    """Everything that decides the pixels of a stored image.

    Attributes:
        size_hw: height and width of the stored image, pixels.
        fit: `cover`: the image fills the size and what hangs over is cut off on both sides alike; `pad`: all of it is
            inside and the rest is filled. Neither changes the aspect.
        pad: what fills the rest: `reflect` (mirrored, the edge pixel not doubled), `edge` or `black`.
        dark_frame: how a dark frame is looked for; None leaves it on.
        stain: the stain that histopathology patches are brought to; None leaves theirs.

    Raises:
        StoreError: a value out of range.
    """

    size_hw: Sequence[int] = (224, 224)
    fit: Literal["cover", "pad"] = "cover"
    pad: Literal["reflect", "edge", "black"] = "reflect"
    dark_frame: DarkFrame | None = dataclasses.field(default_factory=DarkFrame)
    stain: MacenkoNormalise | None = None

    def __post_init__(self) -> None:
        size = tuple(int(n) for n in self.size_hw)
        if len(size) != 2 or not all(1 <= n <= 8192 for n in size):
            raise StoreError(f"store.size_hw={list(self.size_hw)} must be a height and a width from 1 to 8192 pixels")
        object.__setattr__(self, "size_hw", size)
        if self.fit not in FITS:
            raise StoreError(f"store.fit={self.fit} must be one of {', '.join(FITS)}")
        if self.pad not in PADS:
            raise StoreError(f"store.pad={self.pad} must be one of {', '.join(PADS)}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `ImageSpec.from_dict` gives an equal spec back."""
        record: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ImageSpec:
        """Inverse of `to_dict`."""
        frame, stain = record["dark_frame"], record["stain"]
        parts = {
            "dark_frame": None if frame is None else DarkFrame(**frame),
            "stain": None if stain is None else MacenkoNormalise(**stain),
        }
        return cls(**{**record, **parts})

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that changes the pixels; how padding looks counts only where there is some."""
        content = self.to_dict()
        if self.fit == "cover":
            del content["pad"]
        text = json.dumps({"algorithm": ALGORITHM_VERSION, **content}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ImageStages:
    """One image at every step.

    Attributes:
        original: uint8 [H, W] or [H, W, 3], as given.
        sides: what the scan for a dark frame saw, by side; empty where none was looked for.
        kept_box: top, left, bottom, right (exclusive) of the crop in the original.
        cropped: that part of the original, in the stain that was asked for.
        resized: of the same aspect (to a pixel), before cutting or padding.
        stored: uint8 of `size_hw`, what goes into the store.
        shown_box: top, left, bottom, right (exclusive) in `resized` of what `stored` shows.
        pad_mask: bool of `size_hw`, True where `stored` is filling.
    """

    original: Pixels
    sides: Mapping[str, SideScan]
    kept_box: tuple[int, int, int, int]
    cropped: Pixels
    resized: Pixels
    stored: Pixels
    shown_box: tuple[int, int, int, int]
    pad_mask: npt.NDArray[np.bool_]


def preprocess_image(image: Pixels, spec: ImageSpec) -> ImageStages:
    """Crop the dark frame, resize, cut or pad.

    Shrinking averages over areas, enlarging interpolates bilinearly (OpenCV).

    Args:
        image: uint8 [H, W] or [H, W, 3].
        spec: each step's parameters.

    Raises:
        ScanError: another dtype or shape.
        StoreError: a stain for a grey image.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ScanError(f"an image of {image.dtype} {list(image.shape)}; allowed is uint8 [H, W] or [H, W, 3]")
    if min(image.shape) < 1:
        raise ScanError(f"an image of {list(image.shape)} holds no pixels")
    height, width = image.shape[:2]
    box, sides = (0, 0, height, width), dict[str, SideScan]()
    if spec.dark_frame is not None:
        box, sides = frame_box(image, spec.dark_frame)
    cropped = image[box[0] : box[2], box[1] : box[3]]
    if spec.stain is not None:
        cropped = spec.stain(cropped)
    resized = _resized(cropped, spec)
    stored, shown, pad_mask = _fitted(resized, spec)
    return ImageStages(image, sides, box, cropped, resized, stored, shown, pad_mask)


def scale_to_unit(stored: Pixels) -> npt.NDArray[np.float32]:
    """Grey values 0..255 as float32 in [0, 1], same shape: what a network is given, before any normalisation."""
    return stored.astype(np.float32) / np.float32(255)


def _resized(image: Pixels, spec: ImageSpec) -> Pixels:
    """Scaled by one factor so that it covers the size, or fits into it."""
    height, width = image.shape[:2]
    ratios = spec.size_hw[0] / height, spec.size_hw[1] / width
    scale = max(ratios) if spec.fit == "cover" else min(ratios)
    limit = max if spec.fit == "cover" else min  # rounding must not leave a gap, nor an overhang
    new_h, new_w = (
        max(1, limit(target, round(n * scale))) for target, n in zip(spec.size_hw, (height, width), strict=True)
    )
    if (new_h, new_w) == (height, width):
        return image
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (new_w, new_h), interpolation=method), np.uint8)


def _fitted(image: Pixels, spec: ImageSpec) -> tuple[Pixels, tuple[int, int, int, int], npt.NDArray[np.bool_]]:
    """Cut or padded to the size, centred; an odd pixel goes to the bottom or right. Also what is shown and the mask."""
    starts, stops, befores, afters = [], [], [], []
    for n, target in zip(image.shape[:2], spec.size_hw, strict=True):
        start = max(0, n - target) // 2
        starts.append(start)
        stops.append(start + min(n, target))
        befores.append(max(0, target - n) // 2)
        afters.append(max(0, target - n) - befores[-1])
    shown = image[starts[0] : stops[0], starts[1] : stops[1]]
    margins = [(befores[0], afters[0]), (befores[1], afters[1])]
    pad_mask = np.pad(np.zeros(shown.shape[:2], bool), margins, constant_values=True)
    stored = np.ascontiguousarray(_padded(shown, [*margins, *[(0, 0)] * (image.ndim - 2)], spec.pad))
    return stored, (starts[0], starts[1], stops[0], stops[1]), pad_mask


def _padded(image: npt.NDArray[_Scalar], margins: list[tuple[int, int]], pad: str) -> npt.NDArray[_Scalar]:
    if pad == "black":
        return np.pad(image, margins)
    return np.pad(image, margins, mode="reflect" if pad == "reflect" else "edge")
