"""Galleries as the page shows them: pictures as SVG measured in mm, with cross-hair, scale bar and sides."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup

from lungdet.evaluation.gallery import Gallery, GalleryItem, png_data_uri
from lungdet.evaluation.views import View

_MINUS = "\u2212"
_SCALE_BAR_MM = 10


def gallery_cards(gallery: Gallery) -> dict[str, Any]:
    """What the template shows of a gallery: name, title, explanation, and one row per candidate."""
    return {
        "name": gallery.name,
        "title": gallery.title,
        "explanation": gallery.explanation,
        "rows": [_card(item) for item in gallery.items],
    }


def probability_text(value: float) -> str:
    """Three decimals, or enough digits that a probability near 0 or 1 is not shown as 0 or 1.

    Example:
        >>> probability_text(0.25), probability_text(3e-6)
        ('0.250', '3.0e-06')
    """
    if 0 < value < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if value <= 0.999 or value == 1 else f"1 {_MINUS} {1 - value:.1e}"


def _card(item: GalleryItem) -> dict[str, Any]:
    row = item.row
    nodule = row["label"] == 1
    tags = {
        (True, True): ("found", "fine"),
        (True, False): ("missed", "bad"),
        (False, True): ("false call", "bad"),
        (False, False): ("rightly not called", "fine"),
    }
    tag, tag_class = ("", "") if item.called is None else tags[nodule, item.called]
    diameter = row["diameter_mm"]
    return {
        "views": [_picture(view) for view in item.views],
        "problem": item.problem,
        "probability": row["probability"],
        "size": f"{diameter:.1f} mm" if not math.isnan(diameter) else "",
        "tag": tag,
        "tag_class": tag_class,
        "patient_id": row["patient_id"],
        "series_uid": row["series_uid"],
        "candidate_id": row["candidate_id"],
        "center": ", ".join(f"{row[f'center_{axis}_mm']:.1f}" for axis in "xyz"),
    }


def _picture(view: View) -> dict[str, Any]:
    """Everything in mm, so that pixels are square and the scale bar is true."""
    height, width = (n * view.pixel_mm for n in view.hu.shape)
    x, y, gap, arm = width / 2, height / 2, 0.11 * min(width, height), 0.26 * min(width, height)
    top, bottom, left, right = view.edges
    font = 0.075 * min(width, height)
    return {
        "plane": view.plane,
        "png": Markup(png_data_uri(view.gray())),
        "width_mm": f"{width:g}",
        "height_mm": f"{height:g}",
        "line_mm": round(0.009 * width, 3),
        "font_mm": f"{font:.3g}",
        # Arms outside a gap: the thing itself stays visible.
        "crosshair": [
            f"M{x + dx * gap:.2f} {y + dy * gap:.2f}L{x + dx * arm:.2f} {y + dy * arm:.2f}"
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ],
        "scale_bar": f"M{0.05 * width:.2f} {0.95 * height:.2f}h{_SCALE_BAR_MM}",
        "letters": [
            {"text": text, "x": f"{at_x:.2f}", "y": f"{at_y:.2f}"}
            for text, at_x, at_y in (
                (top, x, 1.05 * font),
                (bottom, x, height - 0.35 * font),
                (left, 0.6 * font, y + 0.35 * font),
                (right, width - 0.6 * font, y + 0.35 * font),
            )
        ],
    }
