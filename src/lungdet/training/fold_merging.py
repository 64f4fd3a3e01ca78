"""The folds of a cross-validation as one run: predictions merged by id, and what is known of all of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lungdet.errors import RunError
from lungdet.evaluation.audit import merge_audits
from lungdet.evaluation.mask_predictions import holds_masks, read_mask_predictions, write_mask_predictions
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.training.run_directory import RunDirectory

# Of one fold only, and said of all together by the merged tables.
_OF_ONE_FOLD = ("fold", "best_score", "checkpoint", "epochs_trained", "split_hash", "seen_by_initial_weights")


def merge_folds(runs: Sequence[RunDirectory], together: RunDirectory) -> None:
    """Write predictions, baseline and provenance of all folds into one directory.

    Rows of test patients come from the one fold that held them out. Rows of validation patients stay with their fold:
    thresholds and calibration are fitted on them, and no test row is ever judged by its own training patients.

    Args:
        runs: finished folds, in order.
        together: where the merged run goes.

    Raises:
        RunError: folds of different kinds or stores, or a sample that two folds test.
    """
    records = [run.read_provenance() for run in runs]
    for key in ("store_fingerprint", "classes", "label_rule", "baseline"):
        values = {str(record.get(key)) for record in records}
        if len(values) > 1:
            raise RunError(f"the folds differ in {key}: {', '.join(sorted(values))}; they cannot be merged")
    together.path.mkdir(parents=True, exist_ok=True)
    if holds_masks(runs[0].predictions):
        # Validation slices of several folds overlap; a segmentation report needs no threshold from them.
        tables = [read_mask_predictions(run.predictions) for run in runs]
        tested = pd.concat([table[table["partition"] == "test"] for table in tables], ignore_index=True)
        write_mask_predictions(_once(tested), together.predictions)
    else:
        tables = [read_predictions(run.predictions) for run in runs]
        merged = pd.concat(tables, ignore_index=True)
        _once(merged[merged["partition"] == "test"])
        write_predictions(merged, together.predictions)
        _merge_baselines(runs, together)
    if all(run.audit.is_file() for run in runs):
        together.write_json(together.audit, merge_audits([json.loads(run.audit.read_text()) for run in runs]))
    shutil.copyfile(runs[0].config, together.config)
    together.write_json(together.provenance, _provenance(runs, records))


def _merge_baselines(runs: Sequence[RunDirectory], together: RunDirectory) -> None:
    """The tables of every baseline that all folds have."""
    for name in ("baseline", "image_branch", "clinical_baseline", "frozen_features"):
        paths = [getattr(run, name) for run in runs]
        if all(path.is_file() for path in paths):
            merged = pd.concat([read_predictions(path) for path in paths], ignore_index=True)
            write_predictions(merged, getattr(together, name))


def _once(tested: pd.DataFrame) -> pd.DataFrame:
    key = ["series_uid", "candidate_id"]
    twice = tested[tested.duplicated(key)]
    if len(twice):
        first = twice.iloc[0]
        raise RunError(
            f"{len(twice)} samples are tested by two folds, the first is {first['candidate_id']} of series "
            f"{first['series_uid']}: the folds come from different splits; train them again with one split"
        )
    return tested


def _provenance(runs: Sequence[RunDirectory], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    shared = {key: value for key, value in records[0].items() if key not in _OF_ONE_FOLD}
    notes = dict.fromkeys(note for record in records for note in record.get("split_notes", []))
    each = [
        {"name": run.path.name, **{key: record[key] for key in _OF_ONE_FOLD if key in record}}
        for run, record in zip(runs, records, strict=True)
    ]
    return shared | {"folds": each, "split_notes": list(notes)}
