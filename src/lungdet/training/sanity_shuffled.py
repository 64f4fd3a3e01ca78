"""`lungdet sanity what=shuffled_labels`: what a run's scores are worth against labels that were dealt out anew."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.sanity_checks import (
    SanityCheck,
    SanityNumber,
    auroc_with_interval,
    not_judged,
    patient_draws,
)
from lungdet.metrics.ranking import auroc

NAME = "shuffled_labels"
QUESTION = "Is the AUROC of the run's scores 0.5 once the labels are shuffled, and far from that with the true ones?"

# The mean of the shuffled AUROCs may be this many standard errors off before the metric itself is doubted: by chance
# that happens once in 16,000 times.
_STANDARD_ERRORS = 4.0
_TAILS = (0.025, 0.975)

FloatVector = npt.NDArray[np.float64]


def check_shuffled_labels(test: pd.DataFrame, *, n_permutations: int, n_resamples: int, seed: int) -> SanityCheck:
    """Permute the test labels many times, among rows and among patients.

    Rows of a patient resemble each other, so a permutation among rows makes chance look narrower than it is; the one
    among patients keeps the labels of a patient together (see `permuted_by_patient`). The p-value of the true AUROC is
    the share of permutations that reach it, the true one counted among them.

    Args:
        test: predictions of the test partition: patient_id, series_uid, candidate_id, label, logit.
        n_permutations: of each kind.
        n_resamples: of the patient bootstrap for the true AUROC.
        seed: of both.

    Reference:
        Phipson, Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39, doi:10.2202/1544-6115.1585 (p-values never 0).
    """
    reason = why_no_area(test)
    if reason:
        return not_judged(NAME, QUESTION, f"The test partition has {reason}.")
    ordered = test.sort_values(["patient_id", "series_uid", "candidate_id"], kind="stable")
    label, logit = ordered["label"].to_numpy(), ordered["logit"].to_numpy(np.float64)
    patient = pd.factorize(ordered["patient_id"])[0]
    rng = np.random.default_rng(seed)
    by_row = np.array([auroc(rng.permutation(label), logit) for _ in range(n_permutations)])
    by_patient = np.array([auroc(permuted_by_patient(label, patient, rng=rng), logit) for _ in range(n_permutations)])
    true = auroc_with_interval(label, logit, patient_draws(ordered, n_resamples=n_resamples, seed=seed))
    p_row, p_patient = permutation_p_value(true.value, by_row), permutation_p_value(true.value, by_patient)
    rows, patients = _spread(by_row), _spread(by_patient)
    tolerance = _STANDARD_ERRORS * float(by_row.std(ddof=1)) / math.sqrt(n_permutations)
    is_fair = abs(rows.value - 0.5) <= tolerance and rows.low <= 0.5 <= rows.high
    says = (
        f"Shuffled labels give an AUROC of {rows.value:.3f} on average, the true ones {true.value:.3f}."
        if is_fair
        else f"Shuffled labels give an AUROC of {rows.value:.3f} on average, not 0.5: the number itself is wrong."
    )
    cautions = []
    if p_patient > 0.05:
        cautions.append(
            f"The true AUROC cannot be told from chance on these {patient.max() + 1} patients (p = {p_patient:.3f})."
        )
    p_note = f"{n_permutations} permutations, the true labels counted as one more"
    return SanityCheck(
        NAME,
        QUESTION,
        "passed" if is_fair else "failed",
        says,
        (
            SanityNumber("AUROC, labels shuffled among rows", rows, "mean and central 95 % of the permutations"),
            SanityNumber(
                "AUROC, labels shuffled among patients", patients, "mean and central 95 % of the permutations"
            ),
            SanityNumber("AUROC, true labels", true, "95 % interval over patients"),
            SanityNumber("p-value, rows", Estimate(p_row), p_note),
            SanityNumber("p-value, patients", Estimate(p_patient), p_note),
        ),
        tuple(cautions),
        curve={"rows": by_row.tolist(), "patients": by_patient.tolist()},
        marks={"true labels": true.value},
    )


def permuted_by_patient(
    label: npt.NDArray[np.integer], patient: npt.NDArray[np.integer], *, rng: np.random.Generator
) -> npt.NDArray[np.integer]:
    """Labels moved to other patients with their neighbours: patients have different numbers of rows, so the blocks are
    laid end to end in a new order, and the start of that chain is drawn too.

    Args:
        label: [N].
        patient: [N], sorted: rows of a patient stand together.
        rng: source of the order.

    Returns:
        [N], the same labels.
    """
    starts = np.flatnonzero(np.diff(patient, prepend=patient[0] - 1))
    blocks = np.split(label, starts[1:])
    chain = np.concatenate([blocks[n] for n in rng.permutation(len(blocks))])
    return np.roll(chain, int(rng.integers(len(chain))))


def permutation_p_value(value: float, permuted: FloatVector) -> float:
    """Share of the permutations that reach the value, which counts as one of them.

    Example:
        >>> permutation_p_value(0.9, np.array([0.4, 0.5, 0.6]))
        0.25
    """
    return float((1 + np.count_nonzero(permuted >= value)) / (1 + len(permuted)))


def _spread(values: FloatVector) -> Estimate:
    low, high = np.quantile(values, _TAILS)
    return Estimate(float(values.mean()), float(low), float(high))
