"""A view of a CT as a picture measured in mm, with what is drawn on it: cross-hair, scale bar, outline and sides; a
whole image as a picture measured in pixels, with nothing on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lungdet.evaluation.gallery import png_data_uri
from lungdet.evaluation.shown import WholeImage
from lungdet.evaluation.views import View

_SCALE_BAR_MM = 10


@dataclass(frozen=True)
class Text:
    """Words at a place of a picture, in mm from its upper left corner."""

    words: str
    x: float
    y: float


@dataclass(frozen=True)
class Picture:
    """One picture and what is drawn on it, everything in mm, so that any aspect ratio comes out true.

    Attributes:
        plane: `axial`, `coronal` or `sagittal`; empty for a whole image.
        png: address for an `href`.
        width: mm, or pixels of a whole image.
        height: mm, or pixels of a whole image.
        letters: sides of the patient.
        font: height of letters.
        line: width of thin lines.
        crosshair: SVG paths beside the middle; empty without.
        outline: SVG path around the segmented region; empty without.
        scale_bar: SVG path of 10 mm; empty without.
    """

    plane: str
    png: str = field(repr=False)
    width: float
    height: float
    letters: tuple[Text, ...]
    font: float
    line: float
    crosshair: tuple[str, ...] = ()
    outline: str = ""
    scale_bar: str = ""


def shown_picture(shown: View | WholeImage, *, gap: float) -> Picture:
    """What a row shows as a picture; `gap` is that of `view_picture`."""
    if isinstance(shown, View):
        return view_picture(shown, gap=gap)
    height, width = shown.pixels.shape[:2]
    return Picture("", png_data_uri(shown.pixels), float(width), float(height), letters=(), font=0.0, line=0.0)


def view_picture(view: View, *, gap: float, outline: str = "") -> Picture:
    """A view in the lung window, with cross-hair, scale bar and sides.

    Args:
        view: of a crop or of a place in a scan.
        gap: how far the arms of the cross-hair stay away from the middle, as a share of the shorter side.
        outline: SVG path, see `Picture`.
    """
    height, width = (n * view.pixel_mm for n in view.hu.shape)
    x, y, inner, outer = width / 2, height / 2, gap * min(width, height), 0.26 * min(width, height)
    font = 0.075 * min(width, height)
    return Picture(
        plane=view.plane,
        png=png_data_uri(view.gray()),
        width=width,
        height=height,
        letters=side_letters(view.edges, width=width, height=height, font=font),
        font=font,
        line=0.009 * width,
        # Arms outside a gap: the thing itself stays visible.
        crosshair=tuple(
            f"M{x + dx * inner:.2f} {y + dy * inner:.2f}L{x + dx * outer:.2f} {y + dy * outer:.2f}"
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ),
        outline=outline,
        scale_bar=f"M{0.05 * width:.2f} {0.95 * height:.2f}h{_SCALE_BAR_MM}",
    )


def side_letters(edges: tuple[str, str, str, str], *, width: float, height: float, font: float) -> tuple[Text, ...]:
    """The sides of the patient at the top, bottom, left and right of a picture; all sizes in mm."""
    top, bottom, left, right = edges
    sides = (
        Text(left, 0.6 * font, height / 2 + 0.35 * font),
        Text(right, width - 0.6 * font, height / 2 + 0.35 * font),
    )
    if height < 4 * font:  # a few slices only: no room above and below
        return sides
    return (Text(top, width / 2, 1.05 * font), Text(bottom, width / 2, height - 0.35 * font), *sides)
