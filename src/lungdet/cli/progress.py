"""The progress bar of long work over scans or images: how many, the rate, the time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class RateColumn(ProgressColumn):
    """Items a minute, over the whole run so far.

    Args:
        items: what they are called.
    """

    def __init__(self, items: str = "scans") -> None:
        super().__init__()
        self.items = items

    def render(self, task: Task) -> Text:
        """E.g. `96 scans/min`."""
        if not task.elapsed or not task.completed:
            return Text("")
        return Text(f"{60 * task.completed / task.elapsed:.0f} {self.items}/min")


@contextmanager
def scan_progress(title: str, *, total: int, items: str = "scans") -> Iterator[Callable[..., None]]:
    """A bar on stderr while the block runs; yields `advance(done, total, series_uid="")`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(items),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)

        def advance(done: int, total: int, series_uid: str = "") -> None:
            progress.update(task, completed=done, total=total)

        yield advance
