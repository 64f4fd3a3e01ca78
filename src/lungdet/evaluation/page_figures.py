"""Figures as they stand on a page, under their captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from lungdet.evaluation.figures import history_figure
from lungdet.evaluation.style import inline_svg


def embedded_figure(name: str, figure: Figure, caption: str) -> dict[str, Any]:
    """A figure for the `plot` macro; its name is the id on the page."""
    return {"name": name, "svg": Markup(inline_svg(figure, name)), "caption": caption}


def history_figures(history: pd.DataFrame | None, shown: Iterable[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    """How training went, one figure a quantity that was logged.

    Args:
        history: see `lungdet.evaluation.history.by_epoch`; None gives no figure.
        shown: quantity, whether its best is the `min` or the `max`, and the beginning of the caption.
    """
    columns = set() if history is None else set(history.columns)
    for quantity, best, caption in shown:
        if history is not None and {f"train/{quantity}", f"val/{quantity}"} & columns:
            yield embedded_figure(
                f"history-{quantity.replace('_', '-')}",
                history_figure(history, quantity, best=best),
                f"{caption}; the marked dot is the best validation epoch.",
            )
