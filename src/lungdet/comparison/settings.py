"""What differs between the configurations of runs, and between what they were made from; nothing that is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lungdet.comparison.runs import ComparedRun

ABSENT = "\u2013"

# Where files lie, how progress is shown and how results are drawn makes no other model.
_NOISE = (
    "paths", "hydra", "logger", "evaluation", "data.root", "data.store_path", "trainer.default_root_dir",
    "trainer.enable_progress_bar", "trainer.log_every_n_steps", "callbacks.progress",
)  # fmt: skip
_ORIGINS = (
    "split_rule", "split_hash", "fold", "store_fingerprint", "seed", "epochs_trained", "checkpoint_chosen_by",
    "initial_weights", "lungdet", "git_commit", "git_changes_hash", "python", "packages",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One key that is not the same everywhere, with the value of each run in their order."""

    key: str
    values: tuple[str, ...]


def differing_settings(runs: Sequence[ComparedRun]) -> tuple[Setting, ...]:
    """Keys of the configurations that differ, in the order of the first run's file; a dash where a run lacks one."""
    return differing_records([run.settings for run in runs], ignored=_NOISE)


def differing_origins(runs: Sequence[ComparedRun]) -> tuple[Setting, ...]:
    """The same of provenance: split, store, code, packages."""
    chosen = [{key: run.provenance[key] for key in _ORIGINS if key in run.provenance} for run in runs]
    return differing_records(chosen)


def differing_records(records: Sequence[Mapping[str, Any]], *, ignored: Sequence[str] = ()) -> tuple[Setting, ...]:
    """Keys of nested records that differ.

    Args:
        records: one a run.
        ignored: keys that do not count, with all below them.
    """
    lines = [flat(record) for record in records]
    rows = {key: tuple(record.get(key, ABSENT) for record in lines) for record in lines for key in record}
    return tuple(
        Setting(key, values)
        for key, values in rows.items()
        if len(set(values)) > 1 and not any(key == name or key.startswith(f"{name}.") for name in ignored)
    )


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `optim.lr` -> `0.001`, values as one types them.

    Example:
        >>> flat({"optim": {"lr": 1e-3, "betas": [0.9, 0.99]}, "sweep": None})
        {'optim.lr': '0.001', 'optim.betas': '[0.9, 0.99]', 'sweep': 'null'}
    """
    lines: dict[str, str] = {}
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            lines |= flat(value, f"{prefix}{key}.")
        else:
            lines[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return lines
