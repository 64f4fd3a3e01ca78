"""The files of an exploration: all there, valid JSON, the same twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from lungdet.exploration.content import Exploration
from lungdet.exploration.files import exploration_record, write_exploration
from lungdet.exploration.page import png_bytes, render_page


def test_page_numbers_and_a_png_of_each_figure(exploration: Exploration, tmp_path: Path) -> None:
    page = write_exploration(exploration, tmp_path / "new" / "folder")
    names = sorted(path.name for path in page.parent.iterdir())
    assert names == ["class-balance.png", "explore.html", "explore.json", "preprocessing.png", "samples-normal.png"]
    picture = np.asarray(Image.open(page.parent / "class-balance.png").convert("L"))
    assert picture[0, 0] == 255, "on white"
    assert picture.std() > 10


def test_the_same_exploration_gives_the_same_bytes(exploration: Exploration) -> None:
    assert render_page(exploration) == render_page(exploration)
    (drawing,) = exploration.sections[0].drawings
    assert png_bytes(drawing.figure) == png_bytes(drawing.figure)


def test_the_record_is_plain(exploration: Exploration) -> None:
    record = json.loads(json.dumps(exploration_record(exploration), allow_nan=False))
    assert record["classes"]["all"]["rows"] == {"normal": 3, "pneu<monia>": 3}
    assert record["nothing"] == {"missing": None, "n": 3}
    assert record["findings"][0]["kind"] == "warning"
    assert record["provenance"] == {"source": "/data", "store": None}
