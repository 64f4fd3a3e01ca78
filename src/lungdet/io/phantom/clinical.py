"""The cohort's clinical table: what a questionnaire would say, with an effect on malignancy that is known exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lungdet.io.phantom.plan import ScanPlan
from lungdet.io.phantom.spec import PhantomSpec, random_stream
from lungdet.io.phantom.tables import write_csv

CLINICAL_FILE = "clinical.csv"
FEATURES = ("age_years", "sex", "smoking_status", "pack_years", "family_history", "emphysema")

# Each pair is (others, patients whose nodules are mostly malignant). Everything is independent given that, and every
# family is one whose likelihood ratio is log-linear, so that Bayes' rule gives a logistic model without any remainder:
# Gaussians of equal variance, Gammas of equal shape, categories. Chosen, not fitted; directions as in the Brock model
# (McWilliams et al. 2013, doi:10.1056/NEJMoa1214726) and PLCOm2012 (Tammemägi et al. 2013, doi:10.1056/NEJMoa1211776).
_AGE_MEAN = (58.0, 64.0)
_AGE_SD = 7.0
_FEMALE = (0.40, 0.55)
_SMOKING = {"never": (0.36, 0.08), "former": (0.42, 0.46), "current": (0.22, 0.46)}
_PACK_SHAPE = 3.0
_PACK_SCALE = (8.0, 13.0)
_FAMILY_HISTORY = (0.10, 0.22)
_EMPHYSEMA = (0.22, 0.45)
# Of every answer, whatever it would have been and whoever did not give it: missing completely at random.
_MISSING = 0.12

_STREAM = 3  # 0 to 2 are the plan, patients and scans


def log_odds() -> dict[str, float]:
    """What each feature adds to the log-odds that a patient's nodules are mostly malignant.

    Returns:
        Coefficients of the exact logistic model: per year, per pack-year, and of a category against the one that is
        left out (`sex=female` against male, `smoking_status=former` and `=current` against never).
    """
    smoker = _PACK_SHAPE * float(np.log(_PACK_SCALE[0] / _PACK_SCALE[1]))  # the Gamma's factor that holds no pack-years
    return {
        "age_years": (_AGE_MEAN[1] - _AGE_MEAN[0]) / _AGE_SD**2,
        "sex=female": _logit(_FEMALE[1]) - _logit(_FEMALE[0]),
        **{
            f"smoking_status={status}": _log_ratio(_SMOKING[status]) - _log_ratio(_SMOKING["never"]) + smoker
            for status in ("former", "current")
        },
        "pack_years": 1 / _PACK_SCALE[0] - 1 / _PACK_SCALE[1],
        "family_history=yes": _logit(_FAMILY_HISTORY[1]) - _logit(_FAMILY_HISTORY[0]),
        "emphysema=yes": _logit(_EMPHYSEMA[1]) - _logit(_EMPHYSEMA[0]),
    }


def mostly_malignant(nodules: Sequence[Mapping[str, Any]]) -> bool:
    """Whether at least half of a patient's nodules are malignant to the readers (`mal_bool`); False without nodules.

    That is the label a network learns by default; one in seven differs from the truth, so of an effect on the truth
    half would be lost. With one or two nodules, as most patients of LUNA16 have, the question is whether any is
    malignant; with the six of the default cohort nearly every patient has one, and a table that knew it would say
    nothing.
    """
    return bool(nodules) and 2 * sum(bool(nodule["mal_bool"]) for nodule in nodules) >= len(nodules)


def draw_answers(rng: np.random.Generator, *, malignant: bool) -> dict[str, float | str | None]:
    """One patient's answers by feature, None where missing.

    Args:
        rng: of this patient.
        malignant: what the answers depend on, see `mostly_malignant`.
    """
    state = int(malignant)
    smoking = str(rng.choice(list(_SMOKING), p=[pair[state] for pair in _SMOKING.values()]))
    pack_years = rng.gamma(_PACK_SHAPE, _PACK_SCALE[state])
    answers: dict[str, float | str | None] = {
        "age_years": round(float(rng.normal(_AGE_MEAN[state], _AGE_SD)), 1),
        "sex": "female" if rng.uniform() < _FEMALE[state] else "male",
        "smoking_status": smoking,
        "pack_years": 0.0 if smoking == "never" else round(float(pack_years), 1),
        "family_history": "yes" if rng.uniform() < _FAMILY_HISTORY[state] else "no",
        "emphysema": "yes" if rng.uniform() < _EMPHYSEMA[state] else "no",
    }
    is_missing = rng.uniform(size=len(FEATURES)) < _MISSING
    return {name: None if gone else answers[name] for name, gone in zip(FEATURES, is_missing, strict=True)}


def write_clinical(
    root: Path, spec: PhantomSpec, plans: Sequence[ScanPlan], *, truths: Iterable[Mapping[str, Any]]
) -> None:
    """Writes clinical.csv, one row per patient in the order of their ids.

    It is drawn from random numbers of its own, so no other file of the cohort depends on it.

    Args:
        root: of the cohort.
        spec: of the cohort.
        plans: of its scans, which name the patients.
        truths: a `scan_truth` per scan.
    """
    nodules: dict[str, list[Mapping[str, Any]]] = {}
    for truth in truths:
        nodules.setdefault(truth["patient_id"], []).extend(truth["annotations"])
    rows = []
    for patient_id, index in sorted({(plan.patient_id, plan.patient_index) for plan in plans}):
        rng = random_stream(spec, _STREAM, index)
        answers = draw_answers(rng, malignant=mostly_malignant(nodules.get(patient_id, [])))
        rows.append([patient_id, *("" if answers[name] is None else answers[name] for name in FEATURES)])
    write_csv(root / CLINICAL_FILE, ("patient_id", *FEATURES), rows)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def _log_ratio(pair: tuple[float, float]) -> float:
    return float(np.log(pair[1] / pair[0]))
