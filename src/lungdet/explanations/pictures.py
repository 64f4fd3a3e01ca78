"""An explained image as pictures: as it is and with its heat map over it; a volume as three views of the patient."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage

from lungdet.evaluation.pictures import Text, side_letters
from lungdet.evaluation.views import View, orthogonal_views
from lungdet.explain.heat_map import scaled_heat_map

Sign = Literal["positive", "signed"]
Pixels = npt.NDArray[np.uint8]

# Small crops are enlarged pixel by pixel, so that outlines of parts are thinner than what they enclose.
_LEAST_SIDE = 224
_POSITIVE = np.array([[255, 214, 74], [255, 120, 40], [230, 30, 60]], np.float64)  # from little to much
_NEGATIVE = np.array([[120, 200, 255], [50, 130, 255], [40, 60, 230]], np.float64)
_MOST_OPAQUE = 0.75
_FAINTEST_OUTLINE = 3  # parts whose outline is drawn


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: what it shows.
        png: address for an `href`.
        width, height: in the units of `texts`.
        texts: numbers of parts, and sides of the patient.
        font: height of letters.
    """

    name: str
    png: str = field(repr=False)
    width: float
    height: float
    texts: tuple[Text, ...]
    font: float


@dataclass(frozen=True)
class HeatMapChoice:
    """The keys of `heat_map`: see `lungdet.explain.heat_map.scaled_heat_map`."""

    sign: Sign = "positive"
    quantile: float = 0.99


def image_panels(
    image: npt.NDArray[np.float32],
    heat: npt.NDArray[np.float32],
    outlined: npt.NDArray[np.bool_],
    *,
    choice: HeatMapChoice,
) -> tuple[Panel, ...]:
    """The picture, and the picture under its heat map with the best parts outlined and numbered.

    Args:
        image: float32 [C, H, W], as the network takes it; anything but [0, 1] is stretched to its own range.
        heat: float32 [H, W].
        outlined: bool [K, H, W], the best part first.
        choice: how the map is drawn.
    """
    low, high = float(image.min()), float(image.max())
    if low >= -1e-6 and high <= 1 + 1e-6:
        low, high = 0.0, 1.0
    pixels = np.round(255 * (image - low) / max(high - low, 1e-12)).astype(np.uint8)
    rgb = np.moveaxis(pixels if len(pixels) == 3 else np.repeat(pixels[:1], 3, axis=0), 0, -1)
    scaled = scaled_map(heat, choice)
    over, numbers = _overlay(rgb, scaled, list(outlined))
    return _panel("image", _enlarged(rgb), ()), _panel("heat map", over, numbers)


def volume_panels(
    hu: npt.NDArray[np.int16],
    heat: npt.NDArray[np.float32],
    outlined: npt.NDArray[np.bool_],
    *,
    spacing_zyx_mm: Sequence[float],
    direction: Sequence[float],
    choice: HeatMapChoice,
) -> tuple[Panel, ...]:
    """Axial, coronal and sagittal views through the centre, first plain, then the same under the heat map.

    Args:
        hu: int16 [D, H, W].
        heat: float32 [D, H, W].
        outlined: bool [K, D, H, W], the best part first.
        spacing_zyx_mm: of the voxels.
        direction: nine direction cosines.
        choice: how the map is drawn.
    """

    def views(values: npt.NDArray[Any], outside: float) -> tuple[View, View, View]:
        return orthogonal_views(values, spacing_zyx_mm, direction, air_hu=outside)

    scaled = np.nan_to_num(scaled_map(heat, choice)).astype(np.float32)
    plain, hot = views(hu, -1024.0), views(scaled, 0.0)
    parts = [views(part.astype(np.float32), 0.0) for part in outlined]
    shown, over = [], []
    for n, view in enumerate(plain):
        rgb = np.repeat(view.gray()[..., None], 3, axis=-1)
        large = _enlarged(rgb)
        shown.append(_panel(view.plane, large, (), edges=view.edges))
        pixels, numbers = _overlay(rgb, hot[n].hu, [part[n].hu > 0.5 for part in parts])
        over.append(_panel(f"{view.plane}, heat map", pixels, numbers))
    return (*shown, *over)


def scaled_map(heat: npt.NDArray[np.float32], choice: HeatMapChoice) -> npt.NDArray[np.float32]:
    """The map on its colour scale, [0, 1] or [-1, 1], NaN where nothing is known."""
    scaled, _ = scaled_heat_map(torch.from_numpy(heat), sign=choice.sign, quantile=choice.quantile)
    values: npt.NDArray[np.float32] = scaled.numpy()
    return values


def blended(rgb: Pixels, scaled: npt.NDArray[np.float32]) -> Pixels:
    """A picture under its map: warm colours for positive values, cold ones for negative, nothing for 0 and NaN.

    Args:
        rgb: uint8 [H, W, 3].
        scaled: float32 [H, W], in [-1, 1].
    """
    values = np.nan_to_num(scaled).astype(np.float64)
    size = np.abs(values)
    stops = np.linspace(0, 1, len(_POSITIVE))
    warm, cold = (
        np.stack([np.interp(size, stops, colors[:, channel]) for channel in range(3)], axis=-1)
        for colors in (_POSITIVE, _NEGATIVE)
    )
    color = np.where((values > 0)[..., None], warm, cold)
    opacity = (_MOST_OPAQUE * np.sqrt(size))[..., None]
    mixed: Pixels = np.round((1 - opacity) * rgb + opacity * color).astype(np.uint8)
    return mixed


def _overlay(
    rgb: Pixels, scaled: npt.NDArray[np.float32], parts: list[npt.NDArray[np.bool_]]
) -> tuple[Pixels, tuple[Text, ...]]:
    pixels = _enlarged(blended(rgb, scaled))
    factor = len(pixels) // len(rgb)
    numbers = []
    for n, part in reversed(list(enumerate(parts, start=1))):
        if not part.any():
            continue
        large = _enlarged(part)
        if n <= _FAINTEST_OUTLINE:
            pixels[large & ~ndimage.binary_erosion(large, border_value=1)] = 255
        depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        numbers.append(Text(str(n), (x + 0.5) * factor, (y + 0.5) * factor))
    return pixels, tuple(numbers)


def _enlarged(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    factor = max(1, math.ceil(_LEAST_SIDE / max(pixels.shape[:2])))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _panel(
    name: str, pixels: Pixels, numbers: tuple[Text, ...], *, edges: tuple[str, str, str, str] | None = None
) -> Panel:
    height, width = pixels.shape[:2]
    font = 0.075 * min(height, width)
    numbers = tuple(Text(text.words, text.x, text.y + 0.35 * font) for text in numbers)
    sides = () if edges is None else side_letters(edges, width=width, height=height, font=font)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    png = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Panel(name, png, width, height, (*numbers, *sides), font)
