"""What a comparison takes of each run, and what the runs are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lungdet.errors import ConfigError


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: its column in every table.
        predictions: canonical table of `check_predictions` or `check_mask_predictions`.
        provenance: content of provenance.json; empty when there is none.
        settings: the resolved configuration as nested dicts; empty when there is none.
        history: per-epoch metrics of the training, or None.
    """

    name: str
    predictions: pd.DataFrame = field(repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    history: pd.DataFrame | None = field(default=None, repr=False)


def run_names(folders: Sequence[Path], names: Sequence[str] | None = None) -> tuple[str, ...]:
    """What the runs are called: as told, else as their folders, with as many parents as it takes to tell them apart.

    Args:
        folders: the run directories, absolute.
        names: one a run, or None.

    Raises:
        ConfigError: fewer than two runs, one given twice, or names that do not fit.

    Example:
        >>> run_names([Path("/sweep/lr_1/0"), Path("/sweep/lr_2/0")])
        ('lr_1/0', 'lr_2/0')
    """
    problems = []
    if len(folders) < 2:
        problems.append(f"runs: a comparison takes at least two, got {len(folders)}; type runs=[first,second]")
    problems += [
        f"runs: {folder} is given {n} times; a run does not differ from itself"
        for folder, n in Counter(folders).items()
        if n > 1
    ]
    if names is not None:
        if len(names) != len(folders):
            problems.append(f"names: {len(names)} for {len(folders)} runs; give one a run, in their order")
        problems += [f"names: '{name}' is given {n} times" for name, n in Counter(names).items() if n > 1]
    if problems:
        raise ConfigError(problems)
    if names is not None:
        return tuple(str(name) for name in names)
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        short = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(short)) == len(short):
            break
    return tuple(short)
