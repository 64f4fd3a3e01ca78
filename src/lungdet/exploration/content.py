"""What a page of an exploration is made of: sections with sentences, tables, figures, pictures, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from lungdet.evaluation.results import Finding
from lungdet.evaluation.views import View


@dataclass(frozen=True)
class Words:
    """How the rows of a collection are called.

    Attributes:
        classes: class names in label order, the negative one first.
        item, items: one row, several: candidate, candidates; patch, patches.
        part, parts: what the collection ships its rows in: subset, subsets; shipped part, shipped parts.
    """

    classes: tuple[str, ...]
    item: str
    items: str
    part: str = "shipped part"
    parts: str = "shipped parts"

    @property
    def title(self) -> str:
        """`items` at the beginning of a sentence: `Chest X-rays`."""
        return first_capital(self.items)


def first_capital(words: str) -> str:
    """The same words at the beginning of a sentence; capitals inside stay.

    >>> first_capital("chest X-rays")
    'Chest X-rays'
    """
    return words[:1].upper() + words[1:]


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers.

    Attributes:
        caption: what the rows are.
        columns: their heads; the first names the row.
        rows: texts, whole numbers and floats.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A figure of the page, also written as <name>.png.

    Attributes:
        name: letters and dashes.
        figure: drawn inside `figure_style`.
        caption: below it.
        has_pictures: drawn from pixels: it stands on the page as a picture, over its whole width.
    """

    name: str
    figure: Figure = field(repr=False)
    caption: str
    has_pictures: bool = False


@dataclass(frozen=True)
class Sample:
    """One picture of a grid.

    Attributes:
        picture: uint8 [H, W] or [H, W, 3], or a view of a CT, whose cross-hair is the middle.
        name: what it shows.
        note: a second line.
    """

    picture: npt.NDArray[np.uint8] | View = field(repr=False)
    name: str
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """Pictures side by side, also written as <name>.png.

    Attributes:
        name: letters, digits, dashes.
        title: above them.
        samples: in the order shown.
    """

    name: str
    title: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Section:
    """One heading of the page.

    Attributes:
        name: its id, letters and dashes, and its key in explore.json.
        title: the heading.
        text: one paragraph; empty for none.
        tables, drawings, grids: below it, in this order.
        lists: title -> lines, for names that are many.
        findings: what a careful colleague would point out; they stand at the top of the page.
        record: the numbers, JSON-ready.
    """

    name: str
    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    grids: tuple[Grid, ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exploration:
    """Everything that was found.

    Attributes:
        title: of the page: the collection.
        lead: one sentence below it.
        tiles: large numbers: name, value, note.
        sections: in the order of the page.
        provenance: what was looked at, and how; plain values.
    """

    title: str
    lead: str
    tiles: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    provenance: Mapping[str, Any]
