"""`lungdet sanity what=permuted_training`: trained on permuted labels, a network must know nothing about true ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student_t

from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.sanity_checks import (
    SanityCheck,
    SanityNumber,
    SanityTable,
    auroc_with_interval,
    estimate_text,
    not_judged,
    patient_draws,
)
from lungdet.metrics.ranking import auroc, under_patient_weights

NAME = "permuted_training"
QUESTION = "Does a network that was trained on permuted labels know nothing about the true labels of the test patients?"

# How often chance alone may fail the validation rows of all trainings together; a label that leaks goes far beyond.
_FALSE_ALARMS = 0.01


def check_permuted_training(
    trainings: Sequence[pd.DataFrame], *, seeds: Sequence[int], epochs: int, n_resamples: int, seed: int
) -> SanityCheck:
    """Judge trainings on permuted labels by two AUROCs, neither of which may differ from 0.5.

    Validation rows with their permuted labels: chance by construction, so the null distribution of Mann and Whitney
    holds exactly (without ties; they narrow it), for a single training too. Only a label that reaches the samples by
    another way than their content can be told, the right way round or not. No checkpoint may have been chosen on them.

    Test rows with their true labels: one training is a draw from chance, because a network without knowledge still
    ranks by something, say brightness, and so by accident far from 0.5. The interval of the mean holds the scatter of
    the trainings (Student) and of the patients (bootstrap of the mean, same draws for all), added in quadrature. A
    single training has only the latter, and is judged too strictly; the check says so.

    Args:
        trainings: for each its predictions of validation (permuted labels) and test (true ones), the same rows.
        seeds: of the permutations, for the table.
        epochs: that each training had.
        n_resamples: of the patient bootstrap.
        seed: of it.
    """
    tests, vals = ([t[t["partition"] == name] for t in trainings] for name in ("test", "val"))
    for name, part in (("test", tests[0]), ("validation", vals[0])):
        if reason := why_no_area(part):
            return not_judged(NAME, QUESTION, f"The {name} partition has {reason}.")
    on_val = [auroc(val["label"], val["logit"]) for val in vals]
    permuted = farthest_from_chance(on_val, label=vals[0]["label"].to_numpy())
    draws = patient_draws(tests[0], n_resamples=n_resamples, seed=seed)
    on_test, true = _on_true_labels(tests, draws)
    if math.isnan(true.low):
        return not_judged(NAME, QUESTION, f"No interval: {on_test[0].reason}.")
    is_chance = {"validation": permuted.low <= 0.5 <= permuted.high, "test": true.low <= 0.5 <= true.high}
    if all(is_chance.values()):
        says = "Nothing was learned that holds for permuted validation labels or for true test labels: no label leaks."
    else:
        named = " and ".join(name for name, by_chance in is_chance.items() if not by_chance)
        says = f"The {named} AUROC differs from 0.5: the label reaches the samples by another way than what is in them."
    cautions = []
    if len(tests) == 1 and is_chance["validation"] and not is_chance["test"]:
        cautions.append(
            "A single training may rank by brightness, say, and land off 0.5 on the test by accident: repeat it, "
            "permuted.n_trainings=5."
        )
    note = f"{len(tests)} of {epochs} epochs each"
    return SanityCheck(
        NAME,
        QUESTION,
        "passed" if all(is_chance.values()) else "failed",
        says,
        (
            SanityNumber("Validation AUROC, permuted labels", permuted, f"farthest from 0.5 of the trainings, {note}"),
            SanityNumber("Test AUROC, true labels", true, f"mean of the trainings, {note}"),
        ),
        tuple(cautions),
        (
            SanityTable(
                "Each training, with its own permutation and initial weights; test with 95 % intervals over patients.",
                ("Seed", "Validation AUROC", "Test AUROC"),
                tuple((str(s), v, estimate_text(t)) for s, v, t in zip(seeds, on_val, on_test, strict=True)),
            ),
        ),
    )


def farthest_from_chance(values: Sequence[float], *, label: npt.NDArray[np.integer]) -> Estimate:
    """The AUROC farthest from 0.5 of several on independently permuted labels, with a 99 % interval for them together.

    Not their mean: a leak that one network learned the wrong way round would cancel that of another.

    Args:
        values: one for each permutation.
        label: {0, 1} [N], any of the permutations.

    Reference:
        Mann, Whitney (1947), Ann. Math. Stat. 18:50-60, doi:10.1214/aoms/1177730491; Bonferroni for several.
    """
    n_positive = int(label.sum())
    n_negative = len(label) - n_positive
    sd = math.sqrt((len(label) + 1) / (12 * n_positive * n_negative))
    reach = float(norm.ppf(1 - _FALSE_ALARMS / (2 * len(values)))) * sd
    found = max(values, key=lambda value: abs(value - 0.5))
    return Estimate(found, max(0.0, found - reach), min(1.0, found + reach))


def _on_true_labels(tests: Sequence[pd.DataFrame], draws: PatientDraws) -> tuple[list[Estimate], Estimate]:
    """AUROC of each training, and of their mean."""
    label = tests[0]["label"].to_numpy()
    each = [auroc_with_interval(label, test["logit"].to_numpy(np.float64), draws) for test in tests]
    resampled = [
        under_patient_weights(label, test["logit"], draws.patient, weights=draws.weights, metrics=["auroc"])
        for test in tests
    ]
    mean = mean_over_trainings(
        [estimate.value for estimate in each],
        np.mean([r.samples["auroc"] for r in resampled], axis=0),
        has_interval=not math.isnan(each[0].low),
    )
    return each, mean


def mean_over_trainings(values: Sequence[float], samples: npt.NDArray[np.float64], *, has_interval: bool) -> Estimate:
    """The mean AUROC of several trainings on the same patients, with the interval described above.

    Args:
        values: AUROC of each training.
        samples: float64 [R], the mean over trainings in every bootstrap resample.
        has_interval: False where patients cannot be resampled.
    """
    n, value = len(values), float(np.mean(values))
    finite = samples[np.isfinite(samples)]
    if not has_interval or not finite.size:
        return Estimate(value, reason="patients cannot be resampled")
    below, above = value - np.quantile(finite, 0.025), np.quantile(finite, 0.975) - value
    scatter = 0.0
    if n > 1:
        scatter = float(student_t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(
        value,
        max(0.0, value - math.hypot(max(0.0, below), scatter)),
        min(1.0, value + math.hypot(max(0.0, above), scatter)),
    )
