"""Picture files (jpg, png, bmp, tif) as uint8 arrays, grey or RGB; what cannot be read is refused by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from lungdet.errors import MissingFileError, ScanError

Pixels = npt.NDArray[np.uint8]

#: In lower case; files are recognised in any case.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")

# Depths that detectors deliver: a file of 16 bits per pixel seldom uses them all, and 12 bits read as 16 are black.
_DEPTHS = (8, 10, 12, 14, 16)
_TO_RGB = frozenset({"CMYK", "YCbCr"})
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def is_image_file(path: Path) -> bool:
    """A file with one of `IMAGE_SUFFIXES`, in any case; hidden ones (`.DS_Store`, `._name.jpg`) are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_image(path: Path | str, *, channels: Literal[1, 3] | None = None) -> Pixels:
    """The pixels of a picture, the way up that its EXIF tag says.

    16-bit files are shifted to 8 bits from the smallest of 8, 10, 12, 14, 16 bits that holds their brightest pixel;
    16-bit colour files from 16. Palettes are resolved; an alpha channel is dropped where it hides nothing.

    Args:
        path: the file.
        channels: 1 for grey (of colours the luma of ITU-R 601, as Pillow computes it; exact where the three channels
            are equal), 3 for RGB, None for what the file holds.

    Returns:
        uint8 [H, W] for grey, [H, W, 3] for RGB; C-contiguous and writable.

    Raises:
        MissingFileError: no such file.
        ScanError: damaged, no picture, several pages in one file, transparent pixels, or numbers that are no grey
            values (float, negative, above 65535).
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such image file")
    pages, image = _load(path)
    if pages > 1:
        raise ScanError(f"{path}: {pages} pages in one file, allowed is one; save each page as an image of its own")
    pixels = _as_uint8(image, path)
    if channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    elif channels == 3 and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return np.require(pixels, np.uint8, ["C", "W"])


def _load(path: Path) -> tuple[int, Image.Image]:
    """Number of pages and the first of them, decoded and upright."""
    try:
        with Image.open(path) as image:
            pages = int(getattr(image, "n_frames", 1))
            image.load()
            return pages, ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise ScanError(
            f"{path}: not a readable image ({error}); allowed are {', '.join(IMAGE_SUFFIXES)}. "
            "Copy the file again, or take it out of the collection"
        ) from error


def _as_uint8(image: Image.Image, path: Path) -> Pixels:
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        return _without_equal_channels(_opaque(image, path) if image.mode == "RGBA" else np.array(image))
    elif image.mode in _TO_RGB:
        image = image.convert("RGB")
    if image.mode in _WITH_ALPHA:
        return _opaque(image, path)
    if image.mode in ("L", "RGB"):
        return np.array(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(image), path)
    raise ScanError(
        f"{path}: pixels of mode {image.mode}; allowed are 8-bit grey or RGB and 16-bit grey; save it as one of them"
    )


def _opaque(image: Image.Image, path: Path) -> Pixels:
    *colours, alpha = image.convert("RGBA").split()
    if alpha.getextrema()[0] != 255:
        raise ScanError(f"{path}: some pixels are transparent; save it without an alpha channel")
    pixels = np.array(Image.merge("RGB", colours))
    return np.ascontiguousarray(pixels[..., 0]) if image.mode in ("LA", "La") else pixels


def _without_equal_channels(pixels: Pixels) -> Pixels:
    """A palette does not say whether its colours are greys; the pixels do."""
    grey = pixels[..., :1]
    return np.ascontiguousarray(grey[..., 0]) if (pixels == grey).all() else pixels


def _from_16_bits(values: npt.NDArray[Any], path: Path) -> Pixels:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 2 ** _DEPTHS[-1]:
        raise ScanError(f"{path}: grey values from {low} to {high}, allowed are 0 to 65535; save it with 16 bits")
    depth = next(bits for bits in _DEPTHS if high < 2**bits)
    return (values.astype(np.uint16) >> (depth - 8)).astype(np.uint8)
