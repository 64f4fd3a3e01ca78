"""One quiet look for all figures, and figures as inline SVG whose colours follow the page's light or dark theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Each colour is drawn as its light value and becomes the CSS variable of its name in the page (see report.css), so a
# figure opened alone looks right too. Blue and orange stay apart for all common colour-vision deficiencies.
COLORS = {
    "ink": "#1c2430",
    "muted": "#6b7684",
    "grid": "#e3e7ec",
    "accent": "#1f6fb2",
    "second": "#d9822b",
    "third": "#2a9d8f",
    "fourth": "#8e6bb0",
    "fifth": "#b3495b",
}
SERIES_COLORS = tuple(COLORS[name] for name in ("second", "third", "fourth", "fifth"))

_STYLE: Any = {  # a dict; newer matplotlib stubs list every key as a Literal, older ones do not
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": COLORS["ink"],
    "axes.labelcolor": COLORS["ink"],
    "axes.edgecolor": COLORS["muted"],
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "lungdet",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The rc settings of every figure of a report; nothing leaks out."""
    with mpl.rc_context(_STYLE):
        yield


def inline_svg(figure: Figure, name: str) -> str:
    """A figure as an `<svg>` element to paste into HTML.

    Args:
        figure: drawn inside `figure_style`.
        name: letters and dashes; it prefixes every id, so that several figures may share a page.

    Returns:
        The element without XML header, metadata and fixed size: it takes the width of its container. Text stays text
        in the page's font; colours of `COLORS` are CSS variables. The same figure gives the same characters.
    """
    buffer = io.StringIO()
    with figure_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    text = re.sub(r' (?:height|width)="[^"]*"', "", head) + ' role="img">' + rest
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    # Matplotlib 3.9 writes "font: 10px 'DejaVu Sans', ...", later ones "font-size: 10px; font-family: ...".
    text = re.sub(r"font: ((?:[a-z]+ |\d+ )*)([\d.]+px) [^;\"]*", r"font-size: \2", text)
    text = re.sub(r"font-family: [^;\"]*; ?", "", text)
    for color, value in COLORS.items():
        text = re.sub(value, f"var(--{color}, {value})", text, flags=re.IGNORECASE)
    return text.strip()
