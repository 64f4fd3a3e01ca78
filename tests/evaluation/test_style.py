"""Figures as inline SVG: stable bytes, unique ids, theme colours, no leaking settings."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS, figure_style, inline_svg


def drawing() -> Figure:
    with figure_style():
        figure = Figure(figsize=(4, 3))
        axes = figure.add_subplot()
        axes.plot([0, 1, 2], [0, 1, 0], color=COLORS["accent"], marker="o", label="a < b")
        axes.set_xlabel("x in mm")
        axes.legend()
    return figure


def test_same_figure_same_characters() -> None:
    assert inline_svg(drawing(), "one") == inline_svg(drawing(), "one")


def test_it_is_well_formed_and_takes_the_width_of_its_container() -> None:
    root = ElementTree.fromstring(inline_svg(drawing(), "one"))
    assert root.tag.endswith("svg")
    assert root.get("viewBox") == "0 0 288 216"
    assert root.get("width") is None
    assert root.get("height") is None
    texts = ["".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")]
    assert "x in mm" in texts  # text, not outlines
    assert "a < b" in texts


def test_ids_carry_the_name_and_every_reference_is_met() -> None:
    text = inline_svg(drawing(), "one")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert ids
    assert len(ids) == len(set(ids))
    assert all(name.startswith("one-") for name in ids)
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text)
    assert references
    assert {a or b for a, b in references} <= set(ids)


def test_colours_follow_the_page_and_fonts_are_the_page_s() -> None:
    text = inline_svg(drawing(), "one")
    assert f"var(--accent, {COLORS['accent']})" in text
    assert not re.search(r"(?<!, )#1f6fb2", text)
    assert "font-family" not in text
    assert "font-size" in text
    assert "<metadata" not in text
    assert "<style" not in text


def test_settings_do_not_leak() -> None:
    before = dict(mpl.rcParams)
    inline_svg(drawing(), "one")
    assert dict(mpl.rcParams) == before
