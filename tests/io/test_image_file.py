"""Picture files: every format against the pixels that were saved, and every way of being unreadable by name."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lungdet.errors import MissingFileError, ScanError
from lungdet.io.image_file import IMAGE_SUFFIXES, is_image_file, read_image

GREY = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (7, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG", ".TIF"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_formats_give_the_pixels_saved(tmp_path: Path, suffix: str, pixels: npt.NDArray[np.uint8]) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    assert is_image_file(path)
    read = read_image(path)
    np.testing.assert_array_equal(read, pixels)
    assert read.dtype == np.uint8
    assert read.flags.c_contiguous
    assert read.flags.writeable


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_is_close_to_what_was_saved(tmp_path: Path, suffix: str) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(32) * 2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / f"a{suffix}", "JPEG", quality=95)
    read = read_image(tmp_path / f"a{suffix}")
    assert read.shape == (40, 32)
    assert np.abs(read.astype(int) - smooth).max() <= 4


def test_channels_asked_for(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    Image.fromarray(np.repeat(GREY[..., None], 3, 2)).save(tmp_path / "equal.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", channels=3), np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(tmp_path / "equal.png", channels=1), GREY)
    luma = RGB.astype(float) @ [0.299, 0.587, 0.114]  # ITU-R 601
    read = read_image(tmp_path / "rgb.png", channels=1)
    assert read.shape == (7, 5)
    assert np.abs(read - luma).max() <= 0.51


@pytest.mark.parametrize(
    ("brightest", "shift"), [(200, 0), (255, 0), (256, 2), (1023, 2), (4095, 4), (16383, 6), (40000, 8)]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_shifted_from_the_depth_in_use(tmp_path: Path, suffix: str, brightest: int, shift: int) -> None:
    values = np.linspace(0, brightest, 35).astype(np.uint16).reshape(7, 5)
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), values // 2**shift)


def test_big_endian_16_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 35).astype(np.uint16).reshape(7, 5)
    image = Image.frombytes("I;16B", (5, 7), values.astype(">u2").tobytes())
    image.save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), values // 16)


def test_other_modes(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), np.where(GREY > 100, 255, 0))
    palette = Image.fromarray(GREY % 4).convert("L")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), colours[GREY % 4])
    palette.putpalette([9, 9, 9, 50, 50, 50, 100, 100, 100, 200, 200, 200])
    palette.save(tmp_path / "greys.bmp")
    np.testing.assert_array_equal(read_image(tmp_path / "greys.bmp"), np.array([9, 50, 100, 200], np.uint8)[GREY % 4])
    Image.fromarray(np.full((7, 5), 255, np.uint8)).convert("CMYK").save(tmp_path / "cmyk.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "cmyk.tif"), np.full((7, 5, 3), 255))


def test_alpha_that_hides_nothing_is_dropped(tmp_path: Path) -> None:
    alpha = np.full((7, 5, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([RGB, alpha], 2)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([GREY[..., None], alpha], 2)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), GREY)
    alpha[3, 3] = 0
    Image.fromarray(np.concatenate([RGB, alpha], 2)).save(tmp_path / "rgba.png")
    with pytest.raises(ScanError, match=r"rgba\.png: some pixels are transparent"):
        read_image(tmp_path / "rgba.png")


def test_a_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    palette = Image.fromarray(GREY % 4).convert("L")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "a.png", transparency=2)
    with pytest.raises(ScanError, match=r"a\.png: some pixels are transparent"):
        read_image(tmp_path / "a.png")


def test_exif_says_which_way_is_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to show
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(GREY, -1))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.png: no such image file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(MissingFileError):
        read_image(tmp_path)
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ScanError, match=r"text\.jpg: not a readable image.*allowed are \.jpg"):
        read_image(tmp_path / "text.jpg")
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ScanError, match=r"pages\.tif: 2 pages in one file"):
        read_image(tmp_path / "pages.tif")
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ScanError, match=r"float\.tif: pixels of mode F"):
        read_image(tmp_path / "float.tif")
    Image.fromarray(GREY.astype(np.int32) - 300).save(tmp_path / "negative.tif")
    with pytest.raises(ScanError, match=r"negative\.tif: grey values from -\d+ to"):
        read_image(tmp_path / "negative.tif")


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_file_cut_short_anywhere_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    """Half the pixels with a grey rest would train a network silently."""
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 30, 3)).astype(np.uint8)).save(whole)
    content = whole.read_bytes()
    for n in np.linspace(0, len(content) - 64, 40).astype(int):
        cut.write_bytes(content[:n])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow comments on some of them before it gives up
            with pytest.raises(ScanError, match=rf"cut\{suffix}: not a readable image"):
                read_image(cut)


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "._a.jpg").write_bytes(b"")
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert not any(is_image_file(path) for path in tmp_path.iterdir())
