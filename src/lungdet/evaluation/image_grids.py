"""Wrongly called images as PNG files of their own: the worst false positives and false negatives, side by side."""

from __future__ import annotations

import io
import math
import textwrap

from matplotlib.figure import Figure

from lungdet.evaluation.gallery import Gallery, GalleryItem
from lungdet.evaluation.page import probability_text
from lungdet.evaluation.results import ClassificationReport
from lungdet.evaluation.shown import WholeImage
from lungdet.evaluation.style import COLORS, figure_style

GRIDS = ("false_positives", "false_negatives")

_COLUMNS = 4
_CELL_INCHES = 2.5
_CAPTION_INCHES = 0.62
_CHARACTERS = 40
_DPI = 110


def image_grids(report: ClassificationReport) -> dict[str, bytes]:
    """Gallery name -> PNG of what the quoted threshold calls wrongly, worst first.

    Args:
        report: of whole images; the pictures are those of its galleries.

    Returns:
        Empty without pictures or threshold; a gallery without a mistake has no grid.
    """
    if not report.wording.are_images:
        return {}
    found = {gallery.name: gallery for gallery in report.galleries if gallery.name in GRIDS}
    figures = {name: draw_grid(report, gallery) for name, gallery in found.items()}
    return {name: _png(figure) for name, figure in figures.items() if figure is not None}


def draw_grid(report: ClassificationReport, gallery: Gallery) -> Figure | None:
    """The wrongly called images of one gallery; None where there are none, or none with a picture.

    Args:
        report: of whole images.
        gallery: its false positives, or its positives with the lowest scores.
    """
    wrong_call = gallery.name == "false_positives"
    wrong = [item for item in gallery.items if item.called is wrong_call and item.views]
    if not wrong:
        return None
    rows = math.ceil(len(wrong) / _COLUMNS)
    with figure_style():
        width, height = _COLUMNS * _CELL_INCHES, rows * (_CELL_INCHES + _CAPTION_INCHES) + 0.6
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.suptitle(_title(report, gallery, n_shown=len(wrong)), fontsize=11, parse_math=False)
        cells = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for cell in cells:
            cell.set_axis_off()
        for cell, item in zip(cells, wrong, strict=False):
            shown = item.views[0]
            assert isinstance(shown, WholeImage), "rows of this report are whole images"
            cell.imshow(shown.pixels, cmap="gray", vmin=0, vmax=255)
            cell.set_title(_caption(item), fontsize=7.5, color=COLORS["ink"], parse_math=False)
    return figure


def _title(report: ClassificationReport, gallery: Gallery, *, n_shown: int) -> str:
    words, point = report.wording, report.operating_points[report.headline]
    counted = point.on[report.partition].confusion
    n, of, what = (
        (counted.fp, counted.fp + counted.tn, f"{words.negative_label} {words.items} are called {words.positive_label}")
        if gallery.name == "false_positives"
        else (counted.fn, counted.fn + counted.tp, f"{words.positives} are not called")
    )
    shown = f"; the {n_shown} worst" if n_shown < n else ""
    return f"{n:,} of {of:,} {what} at probability {probability_text(point.threshold.probability)}{shown}"


def _caption(item: GalleryItem) -> str:
    row = item.row
    of = "" if row["patient_id"] == row["series_uid"] else f"patient {row['patient_id']}\n"
    return f"{probability_text(row['probability'])}\n{of}" + "\n".join(textwrap.wrap(row["series_uid"], _CHARACTERS))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        # No software version inside: the same report gives the same bytes.
        figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
