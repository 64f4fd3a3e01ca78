"""Either half alone, on the rows of the model: fitted on training patients, read back by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lungdet.data.clinical import ClinicalFeatures
from lungdet.metrics.ranking import auroc
from lungdet.training.clinical_baselines import (
    CLINICAL_ALONE,
    IMAGE_BRANCH_ALONE,
    clinical_logits,
    read_clinical_baselines,
    write_clinical_baselines,
)
from lungdet.training.run_directory import RunDirectory

N = 120


def features(seed: int = 0) -> ClinicalFeatures:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, N)
    values = np.column_stack([rng.normal(60 + 12 * label, 6), rng.normal(size=N), np.full(N, np.nan)])
    values[rng.uniform(size=N) < 0.15, 0] = np.nan
    is_training = np.arange(N) < 80
    weight = np.where(is_training, 1.0, 0.0).astype(np.float32)
    return ClinicalFeatures(("age", "noise", "none"), values.astype(np.float32), label, is_training, weight, {})


def records(given: ClinicalFeatures) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "candidate_id": np.arange(N),
            "series_uid": [f"1.2.{n:03d}" for n in range(N)],
            "patient_id": [f"P{n:03d}" for n in range(N)],
            **{f"center_{axis}_mm": 0.0 for axis in "xyz"},
            "label": given.label.astype(np.int8),
            "diameter_mm": 5.0,
            "partition": np.where(given.is_training, "train", np.where(np.arange(N) < 100, "val", "test")),
        }
    )


def test_it_ranks_patients_it_has_not_seen() -> None:
    given = features()
    logit = clinical_logits(given)
    assert logit.dtype == np.float32
    held_out = ~given.is_training
    assert auroc(given.label[held_out], logit[held_out]) > 0.8


def test_labels_outside_training_do_not_matter_and_one_class_is_no_crash() -> None:
    given = features()
    before = clinical_logits(given)
    given.label[~given.is_training] = 1 - given.label[~given.is_training]
    np.testing.assert_array_equal(clinical_logits(given), before)
    given.label[:] = 0
    assert (clinical_logits(given) == 0).all()


def test_both_tables_are_written_and_read(tmp_path: Path) -> None:
    given = features()
    table, run = records(given), RunDirectory(tmp_path)
    scored = table[table["partition"] != "train"]
    image_logit = np.linspace(-1, 1, len(scored)).astype(np.float32)
    predictions = scored.assign(logit=image_logit + 1, image_logit=image_logit, fold=2)
    write_clinical_baselines(predictions, given, records=table, run=run)
    read = read_clinical_baselines(run)
    assert list(read) == [IMAGE_BRANCH_ALONE, CLINICAL_ALONE]
    assert all(len(found) == len(scored) and set(found["fold"]) == {2} for found in read.values())
    by_id = read[IMAGE_BRANCH_ALONE].set_index("candidate_id")["logit"]
    assert by_id.loc[scored["candidate_id"]].tolist() == image_logit.tolist()
    expected = clinical_logits(given)[scored["candidate_id"]]
    np.testing.assert_array_equal(
        read[CLINICAL_ALONE].set_index("candidate_id")["logit"].loc[scored["candidate_id"]], expected
    )


def test_a_run_without_clinical_features_has_none(tmp_path: Path) -> None:
    assert read_clinical_baselines(RunDirectory(tmp_path)) == {}
