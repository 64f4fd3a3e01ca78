"""`lungdet sanity what=shortcut`: can labels be told without looking at the middle of a crop or image?"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungdet.data.collection_data import CollectionData
from lungdet.data.images import ImageDataModule
from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.sanity_checks import (
    SanityCheck,
    SanityNumber,
    SanityTable,
    Verdict,
    auroc_with_interval,
    estimate_text,
    not_judged,
    patient_draws,
    worst,
)
from lungdet.metrics.ranking import auroc
from lungdet.training.baseline import MAX_TRAIN_NEGATIVES
from lungdet.training.sanity_features import border_features, metadata_features
from lungdet.training.sanity_image_features import file_features, image_border_features, size_and_frame_features

NAME = "shortcut"
QUESTION = "Can labels be told without looking at the middle?"

_NAMED_FEATURES = 5
# Beyond this, a shortcut deserves a caution even where the model is far better.
_HIGH_AUROC = 0.7

log = logging.getLogger(__name__)

IntVector = npt.NDArray[np.intp]
# Of a DataModule and rows of its records; which kind of data it takes is settled by `probes_of`.
Features = Callable[[Any, IntVector], pd.DataFrame]
CT_PROBES: Mapping[str, Features] = {"border voxels": border_features, "metadata": metadata_features}
IMAGE_PROBES: Mapping[str, Features] = {
    "border pixels": image_border_features,
    "size and frame": size_and_frame_features,
    "file properties": file_features,
}


@dataclass(frozen=True)
class Probe:
    """What one set of features tells.

    Attributes:
        name: of the features.
        auroc: on test rows, by fitted model name.
        chosen: the model that is better on the test rows: the choice leans towards raising an alarm.
        features: name -> (AUROC lost on the test rows when it is shuffled, AUROC of it alone), most useful first.
    """

    name: str
    auroc: Mapping[str, Estimate]
    chosen: str
    features: Mapping[str, tuple[float, float]]


def probes_of(datamodule: CollectionData) -> Mapping[str, Features]:
    """What is known without the middle, by the kind of data: name -> features."""
    return IMAGE_PROBES if isinstance(datamodule, ImageDataModule) else CT_PROBES


def check_shortcut(
    datamodule: CollectionData, run_test: pd.DataFrame | None, *, no_run_because: str, n_resamples: int, seed: int
) -> SanityCheck:
    """Fit logistic regression and gradient boosting to the training rows; compare their test AUROC with the run's.

    That something can be told from the border is no defect as such: vessels end where they end. It fails where the
    run is not shown to know more than the shortcut, whose AUROC then reaches the run's interval.

    Args:
        datamodule: after setup.
        run_test: the run's predictions of the same test rows, None without such a run.
        no_run_because: why not.
        n_resamples: of the patient bootstrap.
        seed: of it, of the rows that are left out of a large training partition, and of the boosting.
    """
    records = datamodule.records
    test = records[records["partition"] == "test"]
    reason = why_no_area(test) or why_no_area(records[records["partition"] == "train"])
    if reason:
        return not_judged(NAME, QUESTION, f"The training or test partition has {reason}.")
    draws = patient_draws(test, n_resamples=n_resamples, seed=seed)
    run = _run_on(test, run_test, draws, no_run_because=no_run_because)
    probes = [
        probe(name, features, datamodule, draws=draws, seed=seed) for name, features in probes_of(datamodule).items()
    ]
    answers = [_judge(one, run) for one in probes]
    numbers = [
        SanityNumber(f"AUROC from {one.name}, {model}", estimate, "the better one" if model == one.chosen else "")
        for one in probes
        for model, estimate in one.auroc.items()
    ]
    numbers.append(SanityNumber("AUROC of the run", run, "the same test rows"))
    return SanityCheck(
        NAME,
        QUESTION,
        worst([verdict for verdict, _, _ in answers]),
        " ".join(says for _, says, _ in answers),
        tuple(numbers),
        tuple(caution for _, _, caution in answers if caution),
        tuple(_table(one) for one in probes),
    )


def probe(name: str, features: Features, datamodule: CollectionData, *, draws: PatientDraws, seed: int) -> Probe:
    """Fit both models to these features of the training rows, and score the test rows.

    Args:
        name: of the features.
        features: makes them.
        datamodule: after setup.
        draws: of the patients of the test rows.
        seed: of rows and boosting.
    """
    records = datamodule.records
    label = records["label"].to_numpy(np.int64)
    train, test = (_rows(records, partition, seed=seed) for partition in ("train", "test"))
    seen, tested = features(datamodule, train), features(datamodule, test)
    varying = [str(name) for name in seen.columns[(seen.max() > seen.min()).to_numpy()]]
    if not varying:
        return Probe(name, {"constant": Estimate(0.5, reason="all features are constant")}, "constant", {})
    fitted = {model: made.fit(seen[varying].to_numpy(), label[train]) for model, made in _models(seed).items()}
    found = {
        model: auroc_with_interval(label[test], made.decision_function(tested[varying].to_numpy()), draws)
        for model, made in fitted.items()
    }
    chosen = max(found, key=lambda model: found[model].value)
    log.info("shortcut (%s): fitted on %d rows, %d features", name, len(train), len(varying))
    return Probe(name, found, chosen, useful_features(fitted[chosen], tested[varying], label[test], seed=seed))


def useful_features(
    model: Any, table: pd.DataFrame, label: npt.NDArray[np.int64], *, seed: int
) -> dict[str, tuple[float, float]]:
    """The features that tell most, alone or together with others.

    Where several features say the same, shuffling one of them costs nothing, so what each tells alone counts too.

    Args:
        model: fitted.
        table: features of the test rows.
        label: {0, 1} [N], of the same rows.
        seed: of the shuffling.

    Returns:
        Name -> AUROC lost when the feature is shuffled, AUROC of it alone (0.5 or more: its direction is free).
    """
    shuffled = permutation_importance(model, table.to_numpy(), label, scoring="roc_auc", n_repeats=3, random_state=seed)
    filled = table.fillna(table.median())
    alone = np.array([auroc(label, filled[name].to_numpy()) for name in filled])
    alone = np.maximum(alone, 1 - alone)
    lost = shuffled.importances_mean
    best = np.argsort(-np.maximum(lost, alone - 0.5), kind="stable")[:_NAMED_FEATURES]
    return {str(table.columns[k]): (float(lost[k]), float(alone[k])) for k in best}


def _models(seed: int) -> dict[str, Any]:
    linear = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1000))
    # Few leaves and a penalty: there may be a few hundred rows of a few dozen patients.
    boosted = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.05,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        l2_regularization=1.0,
        random_state=seed,
    )
    return {"logistic regression": linear, "gradient boosting": boosted}


def _rows(records: pd.DataFrame, partition: str, *, seed: int) -> IntVector:
    """Rows of the partition; of training negatives no more than the baseline takes."""
    rows = np.flatnonzero(records["partition"] == partition)
    label = records["label"].to_numpy()[rows]
    negatives = rows[label == 0]
    if partition == "train" and len(negatives) > MAX_TRAIN_NEGATIVES:
        kept = np.random.default_rng(seed).choice(negatives, MAX_TRAIN_NEGATIVES, replace=False)
        rows = np.sort(np.concatenate([rows[label != 0], kept]))
    return rows


def _run_on(test: pd.DataFrame, run_test: pd.DataFrame | None, draws: PatientDraws, *, no_run_because: str) -> Estimate:
    """The run's AUROC on the same rows, or NaN and why there is none."""
    if run_test is None:
        return Estimate(math.nan, reason=no_run_because)
    key = ["series_uid", "candidate_id"]
    joined = test[[*key, "label"]].merge(run_test[[*key, "label", "logit"]], on=key, how="left", suffixes=("", "_run"))
    if len(run_test) != len(test) or joined["logit"].isna().any() or (joined["label"] != joined["label_run"]).any():
        reason = "the run was tested on other rows; compose the same data and split, or name another run="
        return Estimate(math.nan, reason=reason)
    return auroc_with_interval(joined["label"], joined["logit"].to_numpy(np.float64), draws)


def _judge(one: Probe, run: Estimate) -> tuple[Verdict, str, str]:
    """Verdict, reason, caution."""
    found = one.auroc[one.chosen]
    named = ", ".join(one.features)
    if not found.low > 0.5:
        return "passed", f"From {one.name} alone labels cannot be told ({estimate_text(found)}).", ""
    if math.isnan(run.low):
        text = f"From {one.name} alone the AUROC is {estimate_text(found)}, and there is no run to compare it with."
        return "cannot be judged", text, f"Most useful of the {one.name}: {named}."
    if found.value >= run.low:
        text = (
            f"From {one.name} alone the AUROC is {estimate_text(found)}, within reach of the run's "
            f"{estimate_text(run)}: the run need not have looked at the middle."
        )
        return "failed", text, f"Most useful of the {one.name}: {named}."
    caution = f"High for a shortcut; most useful of the {one.name}: {named}." if found.value >= _HIGH_AUROC else ""
    return (
        "passed",
        f"From {one.name} alone the AUROC is {estimate_text(found)}, the run's is {estimate_text(run)}.",
        caution,
    )


def _table(one: Probe) -> SanityTable:
    return SanityTable(
        f"The most useful of the {one.name} ({one.chosen}).",
        ("Feature", "AUROC lost without it", "AUROC alone"),
        tuple((name, lost, alone) for name, (lost, alone) in one.features.items()),
    )
