"""Galleries as the page shows them: each row with its pictures and what became of it."""

from __future__ import annotations

import math
from typing import Any

from lungdet.evaluation.gallery import Gallery, GalleryItem
from lungdet.evaluation.pictures import shown_picture

_CROSSHAIR_GAP = 0.11


def gallery_cards(gallery: Gallery) -> dict[str, Any]:
    """What the template shows of a gallery: name, title, explanation, and one card a row."""
    return {
        "name": gallery.name,
        "title": gallery.title,
        "explanation": gallery.explanation,
        "rows": [_card(item) for item in gallery.items],
    }


def _card(item: GalleryItem) -> dict[str, Any]:
    row = item.row
    positive = row["label"] == 1
    tags = {
        (True, True): ("found", "fine"),
        (True, False): ("missed", "bad"),
        (False, True): ("false call", "bad"),
        (False, False): ("rightly not called", "fine"),
    }
    tag, tag_class = ("", "") if item.called is None else tags[positive, item.called]
    diameter = row["diameter_mm"]
    return {
        "views": [shown_picture(view, gap=_CROSSHAIR_GAP) for view in item.views],
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
