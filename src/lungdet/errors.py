"""Every error that lungdet raises on purpose.

Each leaf also inherits the builtin that a caller would catch, so `except FileNotFoundError` and `except LungdetError`
both work. A message says what was given, what is allowed and what to type next.
"""

from __future__ import annotations


class LungdetError(Exception):
    """Root of the family; the commands turn it into one message and exit code 2."""


class ConfigError(LungdetError, ValueError):
    """The composed configuration cannot run. `problems` lists every reason found, not only the first."""

    def __init__(self, problems: list[str] | str) -> None:
        # A loader's process hands over the message alone, and a string is a list of letters too.
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.problems,)


class MissingFileError(LungdetError, FileNotFoundError):
    """A file or folder that was asked for is not there."""


class ScanError(LungdetError, ValueError):
    """An image file that cannot be read as one CT volume."""


class TableError(LungdetError, ValueError):
    """A CSV, parquet or SQLite table with a wrong column, type or value; the message names the row."""


class StoreError(LungdetError, RuntimeError):
    """The preprocessed CT store is missing, unfinished, foreign or was made with other settings."""


class SplitError(LungdetError, ValueError):
    """Partitions that share patients, or a fold that does not exist."""


class ShapeError(LungdetError, ValueError):
    """A tensor or crop shape that a network or task cannot take; the message names the axis."""


class RunError(LungdetError, RuntimeError):
    """A run directory that is missing, unfinished or does not hold what was asked for."""


class ClusterError(LungdetError, ConnectionError):
    """A Dask cluster that cannot be reached, or whose workers cannot do the work."""
