"""What stands beside a network with clinical features in its report: each of its two halves alone, on the same rows."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungdet.data.clinical import ClinicalFeatures
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

CLINICAL_ALONE = "clinical features alone"
IMAGE_BRANCH_ALONE = "its image branch alone"


def write_clinical_baselines(
    predictions: pd.DataFrame, features: ClinicalFeatures, *, records: pd.DataFrame, run: RunDirectory
) -> None:
    """Write both tables.

    Args:
        predictions: the model's table with `image_logit`, what the network said before the features were added.
        features: of the records.
        records: of the DataModule; RangeIndex.
        run: where the tables go.
    """
    write_predictions(predictions.assign(logit=predictions["image_logit"]), run.image_branch)
    scored = records["partition"].isin(["val", "test"]).to_numpy()
    logit = clinical_logits(features)[scored]
    write_predictions(records[scored].assign(logit=logit, fold=predictions["fold"].iloc[0]), run.clinical_baseline)


def read_clinical_baselines(run: RunDirectory) -> dict[str, pd.DataFrame]:
    """Name -> predictions table; empty for a run without clinical features."""
    tables = {IMAGE_BRANCH_ALONE: run.image_branch, CLINICAL_ALONE: run.clinical_baseline}
    return {name: read_predictions(path) for name, path in tables.items() if path.is_file()}


def clinical_logits(features: ClinicalFeatures) -> np.ndarray:
    """Logits of a ridge regression on the clinical features, fitted on the training patients, each weighing the same.

    Missing values become the training mean, with an indicator beside them.

    Returns:
        float32 [N], one for every record; 0 for all where the training rows are of one class.
    """
    rows = features.is_training
    label = features.label[rows]
    if len(np.unique(label)) < 2:
        log.warning("%s: the training rows are of one class, nothing can be fitted", CLINICAL_ALONE)
        return np.zeros(len(features.values), np.float32)
    imputer = SimpleImputer(add_indicator=True, keep_empty_features=True)
    model = make_pipeline(imputer, StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features.values[rows], label, logisticregression__sample_weight=features.row_weight[rows])
    log.info("baseline (%s) fitted on %d rows", CLINICAL_ALONE, int(rows.sum()))
    return np.asarray(model.decision_function(features.values), dtype=np.float32)
