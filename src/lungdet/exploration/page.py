"""An exploration as one HTML page that refers to nothing outside itself."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from lungdet.evaluation.page import count_text, flat_lines, number_text, page_environment
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.evaluation.pictures import shown_picture
from lungdet.evaluation.remarks import warnings_first
from lungdet.evaluation.shown import WholeImage
from lungdet.evaluation.style import figure_style
from lungdet.evaluation.views import View
from lungdet.exploration.contact_sheet import short
from lungdet.exploration.content import Drawing, Exploration, Grid, Sample

_CROSSHAIR_GAP = 0.2
# Wider pictures are shrunk on the page: a film of 2,000 pixels weighs 3 MB and is shown 200 wide.
_MOST_PIXELS = 224
_DPI = 144


def render_page(exploration: Exploration) -> str:
    """The page: what to read first, then the sections, then where it comes from."""
    environment = page_environment("lungdet.exploration")
    environment.filters["cell"] = cell_text
    sections = [
        {
            "name": section.name,
            "title": section.title,
            "text": section.text,
            "tables": section.tables,
            "drawings": [_drawing(drawing) for drawing in section.drawings],
            "grids": [_grid(grid) for grid in section.grids],
            "lists": section.lists,
        }
        for section in exploration.sections
    ]
    findings = warnings_first(finding for section in exploration.sections for finding in section.findings)
    return environment.get_template("explore.html.j2").render(
        title=exploration.title,
        lead=exploration.lead,
        tiles=exploration.tiles,
        findings=findings,
        sections=sections,
        links=[*((section["name"], section["title"]) for section in sections), ("provenance", "Provenance")],
        facts=list(flat_lines(exploration.provenance, none="none")),
    )


def cell_text(value: str | int | float) -> str:
    """A cell of a table: whole numbers with thousands separated, others with three or four digits that matter.

    >>> cell_text(1341), cell_text(0.74361), cell_text(1234.56), cell_text("train"), cell_text(224.0)
    ('1,341', '0.744', '1,235', 'train', '224')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer):
        return count_text(int(value)) if value >= 0 else number_text(value, 0)
    if math.isfinite(value) and value == round(value):
        return number_text(value, 0)
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return number_text(value, digits)


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG of its own, on white; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _drawing(drawing: Drawing) -> dict[str, Any]:
    if not drawing.has_pictures:
        return {**embedded_figure(drawing.name, drawing.figure, drawing.caption), "wide": _is_wide(drawing.figure)}
    width, height = drawing.figure.get_size_inches()
    address = "data:image/png;base64," + base64.b64encode(png_bytes(drawing.figure)).decode("ascii")
    svg = Markup(
        '<svg viewBox="0 0 {0:g} {1:g}" role="img"><image href="{2}" width="{0:g}" height="{1:g}"/></svg>'
    ).format(float(width) * 72, float(height) * 72, address)  # fmt: skip
    return {"name": drawing.name, "svg": svg, "caption": drawing.caption, "wide": True}


def _is_wide(figure: Figure) -> bool:
    return bool(figure.get_size_inches()[0] > 7)


def _grid(grid: Grid) -> dict[str, Any]:
    return {"name": grid.name, "title": grid.title, "cards": [_card(sample) for sample in grid.samples]}


def _card(sample: Sample) -> dict[str, Any]:
    shown = sample.picture if isinstance(sample.picture, View) else WholeImage(shrunk(sample.picture))
    picture = shown_picture(shown, gap=_CROSSHAIR_GAP)
    return {"words": short(sample.name), "name": sample.name, "note": sample.note, "picture": picture}


def shrunk(image: npt.NDArray[np.uint8], most: int = _MOST_PIXELS) -> npt.NDArray[np.uint8]:
    """The image itself, or one of at most `most` pixels a side, averaged over areas."""
    height, width = image.shape[:2]
    factor = most / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.uint8)
