"""Columns of the figure follow the steps of a spec; boxes and profiles are those of real preprocessing."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

from lungdet.exploration.preprocessing_figure import StagedImage, preprocessing_figure
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec, preprocess_image


def staged(spec: ImageSpec, *, shape: tuple[int, int] = (60, 80), frame: int = 0) -> StagedImage:
    image = np.random.default_rng(0).integers(90, 200, shape, dtype=np.uint8)
    image[:, :frame] = 0
    return StagedImage("train/NORMAL/a-long-name-of-an-image.jpeg", "normal", preprocess_image(image, spec))


def drawn(spec: ImageSpec, *images: StagedImage) -> dict[str, Axes]:
    """Axes of the first row, by the head of their column."""
    figure = preprocessing_figure(images, spec)
    n_columns = len(figure.axes) // len(images)
    heads = [axes.texts[-1].get_text() for axes in figure.axes[:n_columns]]
    return dict(zip(heads, figure.axes, strict=False))


PLAIN = ["Original", "Resized", "Stored"]
FRAMED = ["Original", "Dark share, outside in", "Cropped", "Resized", "Stored"]


@pytest.mark.parametrize(
    ("spec", "columns"),
    [
        (ImageSpec((24, 24), "cover", dark_frame=None), PLAIN),
        (ImageSpec((24, 24), "pad", dark_frame=None), [*PLAIN, "Pad mask"]),
        (ImageSpec((24, 24), "cover", dark_frame=DarkFrame()), FRAMED),
        (ImageSpec((24, 24), "pad", dark_frame=DarkFrame()), [*FRAMED, "Pad mask"]),
    ],
)
def test_a_column_a_step(spec: ImageSpec, columns: list[str]) -> None:
    assert list(drawn(spec, staged(spec), staged(spec))) == columns


def test_what_is_cut_off_is_outlined() -> None:
    """60 x 80 covers 24 x 24 at 24 x 32: 4 columns go on each side."""
    spec = ImageSpec((24, 24), "cover", dark_frame=None)
    axes = drawn(spec, staged(spec))
    (box,) = axes["Resized"].patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (3.5, -0.5, 24, 24)  # type: ignore[attr-defined]
    assert not axes["Original"].patches
    assert axes["Original"].get_title(loc="left") == "normal: \u2026g-name-of-an-image.jpeg"
    assert [axes[name].get_title(loc="left") for name in ("Resized", "Stored")] == ["24 x 32", "24 x 24"]


def test_padding_is_shaded_and_counted() -> None:
    spec = ImageSpec((32, 32), "pad", dark_frame=None)
    axes = drawn(spec, staged(spec))
    assert axes["Pad mask"].get_title(loc="left") == "25.0% filled", "60 x 80 becomes 24 x 32"
    shade = np.asarray(axes["Pad mask"].images[0].get_array())
    assert np.unique(shade).tolist() == [40, 200]
    assert (shade == 200).sum() == 8 * 32


def test_a_frame_is_marked_where_it_was_seen_to_end() -> None:
    spec = ImageSpec((24, 24), "cover", dark_frame=DarkFrame(keep_px=0))
    axes = drawn(spec, staged(spec, frame=6))
    (box,) = axes["Original"].patches
    assert (box.get_x(), box.get_width()) == (5.5, 74)  # type: ignore[attr-defined]
    assert axes["Cropped"].get_title(loc="left") == "60 x 74"
    profile = axes["Dark share, outside in"]
    assert [line.get_xdata()[0] for line in profile.lines if line.get_marker() == "o"] == [5]  # type: ignore[index]
    assert [text.get_text() for text in profile.texts[:4]] == ["top 0", "bottom 0", "left 6", "right 0"]
