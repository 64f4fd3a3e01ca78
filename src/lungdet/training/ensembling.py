"""Several trainings as one run: the mean of their logits, and which checkpoints made them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungdet.errors import RunError
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.training.environment import describe_environment
from lungdet.training.run_directory import RunDirectory

# What all members have to share, whatever rows they scored.
_SHARED = ("classes", "label_rule", "item", "items", "store_fingerprint")
# What an ensemble takes over where all members say the same.
_TAKEN_OVER = (*_SHARED, "baseline", "checkpoint_chosen_by", "checkpoint_chosen_on")
# The same, of members that scored the same rows.
_OF_THE_ROWS = ("split_hash", "split_rule", "fold", "split_notes")
_OF_A_MEMBER = ("seed", "checkpoint", "epochs_trained", "best_score", "split_hash", "fold", "git_commit")


@dataclass(frozen=True)
class Member:
    """One of the trainings.

    Attributes:
        name: of its run directory.
        run: the directory.
        checkpoint: that scored, relative to the run.
        sha256: of the checkpoint when the ensemble was made.
    """

    name: str
    run: Path
    checkpoint: str
    sha256: str

    @property
    def path(self) -> Path:
        """Of the checkpoint."""
        return self.run / self.checkpoint


def member_of(run: RunDirectory) -> Member:
    """A finished training as a member.

    Raises:
        RunError: an ensemble, or a run without the checkpoint that made its predictions.
    """
    if run.members.is_file():
        raise RunError(f"{run.path.name} is an ensemble itself; give its members: {', '.join(_names(run))}")
    checkpoint = run.read_provenance().get("checkpoint")
    path = None if checkpoint is None else run.path / str(checkpoint)
    if path is None or not path.is_file():
        raise RunError(f"{run.path.name} has no checkpoint that scored its rows; an ensemble takes finished trainings")
    return Member(run.path.name, run.path.resolve(), str(checkpoint), _sha256(path))


def merge_members(members: Sequence[Member], together: RunDirectory, *, rows_are_shared: bool) -> None:
    """Write ensemble.json, provenance.json and, of shared rows, predictions, baselines, split and audit.

    Args:
        members: at least two.
        together: where the ensemble goes.
        rows_are_shared: that they scored the same rows has been checked; otherwise there is nothing to evaluate.

    Raises:
        RunError: members of other classes or stores, or of several folds.
    """
    runs = [RunDirectory(member.run) for member in members]
    records = [run.read_provenance() for run in runs]
    for key in _SHARED:
        values = {str(record.get(key)) for record in records}
        if len(values) > 1:
            raise RunError(f"the members differ in {key}: {', '.join(sorted(values))}; an ensemble needs one")
    predictions = mean_predictions([read_predictions(run.predictions) for run in runs]) if rows_are_shared else None
    together.path.mkdir(parents=True, exist_ok=True)
    if predictions is not None:
        write_predictions(predictions, together.predictions)
        for name in ("baseline", "frozen_features", "split", "audit"):
            source: Path = getattr(runs[0], name)
            if source.is_file():
                shutil.copyfile(source, getattr(together, name))
    together.write_json(together.members, [{**dataclasses.asdict(m), "run": str(m.run)} for m in members])
    together.write_json(together.provenance, _provenance(members, records, rows_are_shared=rows_are_shared))


def mean_predictions(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The table of the mean logits, in float64 before they are rounded.

    Args:
        tables: canonical, of the same rows.

    Raises:
        RunError: a table of several folds, whose rows were scored by several networks each.
    """
    if any(len(table["fold"].unique()) > 1 for table in tables):
        raise RunError("an ensemble takes single trainings; a cross-validation has one network a fold: give the folds")
    logit = np.mean([table["logit"].to_numpy(np.float64) for table in tables], axis=0)
    return tables[0].drop(columns="probability").assign(logit=logit.astype(np.float32))


def read_members(run: RunDirectory) -> tuple[Member, ...] | None:
    """The members of an ensemble, their checkpoints as they were; None of any other run.

    Raises:
        RunError: ensemble.json is damaged, or a member is gone or was trained again.
    """
    if not run.members.is_file():
        return None
    try:
        members = tuple(Member(**{**entry, "run": Path(entry["run"])}) for entry in json.loads(run.members.read_text()))
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{run.members} is damaged ({error}); make it again: lungdet ensemble") from error
    for member in members:
        if not member.path.is_file():
            raise RunError(f"{run.path.name}: the checkpoint {member.path} of a member is gone; put it back")
        if _sha256(member.path) != member.sha256:
            raise RunError(
                f"{run.path.name}: {member.path} is not the checkpoint that the ensemble was made of; make it again: "
                "lungdet ensemble"
            )
    return members


def _provenance(
    members: Sequence[Member], records: Sequence[dict[str, Any]], *, rows_are_shared: bool
) -> dict[str, Any]:
    keys = (*_TAKEN_OVER, *_OF_THE_ROWS) if rows_are_shared else _TAKEN_OVER
    first = records[0]
    same = {key: first[key] for key in keys if key in first and all(r.get(key) == first[key] for r in records)}
    each = [
        {"name": member.name, **{key: record[key] for key in _OF_A_MEMBER if key in record}}
        for member, record in zip(members, records, strict=True)
    ]
    # The checkpoint of an ensemble is the list of its members: what calibration and report are told to be of.
    return {**describe_environment(), **same, "checkpoint": "ensemble.json", "average_of": "logits", "members": each}


def _names(run: RunDirectory) -> list[str]:
    return [str(entry["name"]) for entry in json.loads(run.members.read_text())]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
