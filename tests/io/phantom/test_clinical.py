"""The clinical table's effect is the one it is documented to have, and nothing else of the cohort depends on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from lungdet.io.clinical import read_clinical
from lungdet.io.phantom import PhantomSpec, plan_cohort
from lungdet.io.phantom.clinical import FEATURES, draw_answers, log_odds, mostly_malignant, write_clinical


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    """Answers of 8,000 patients, half of them with malignant nodules; no voxel is made."""
    rng = np.random.default_rng(20)
    answers = [{**draw_answers(rng, malignant=n % 2 == 1), "malignant": n % 2} for n in range(8000)]
    return pd.DataFrame(answers)


def test_a_logistic_regression_finds_the_documented_coefficients(many: pd.DataFrame) -> None:
    """On complete rows, which values missing completely at random leave unbiased; statsmodels gives standard errors."""
    complete = many.dropna()
    assert 0.4 < len(complete) / len(many) < 0.53, "0.88 ** 6 = 0.46"
    expected = log_odds()
    inputs = pd.DataFrame(
        {
            name: (complete[column] == category) if category else complete[column]
            for name in expected
            for column, _, category in [name.partition("=")]
        }
    ).astype(float)
    fit = sm.Logit(complete["malignant"].to_numpy(float), sm.add_constant(inputs)).fit(disp=False)
    z = [(fit.params[name] - value) / fit.bse[name] for name, value in expected.items()]
    assert np.abs(z).max() < 3, dict(zip(expected, z, strict=True))
    assert np.mean(np.square(z)) < 2.5
    assert all(abs(expected[name]) > 3 * fit.bse[name] for name in ("age_years", "pack_years", "emphysema=yes"))


def test_nothing_but_the_documented_terms_has_an_effect(many: pd.DataFrame) -> None:
    """A squared age, and the product of two features, add nothing to the exact logistic model."""
    complete = many.dropna()
    age, pack = complete["age_years"] - 60, complete["pack_years"]
    categories = pd.get_dummies(complete[["sex", "smoking_status", "family_history", "emphysema"]], drop_first=True)
    inputs = categories.assign(age=age, pack=pack, age_2=age**2 / 100, product=age * pack / 100).astype(float)
    fit = sm.Logit(complete["malignant"].to_numpy(float), sm.add_constant(inputs)).fit(disp=False)
    for name in ("age_2", "product"):
        assert abs(fit.params[name]) < 3 * fit.bse[name], name


def test_values_are_missing_completely_at_random(many: pd.DataFrame) -> None:
    for name in FEATURES:
        is_missing = many[name].isna()
        by_class = is_missing.groupby(many["malignant"]).mean()
        assert is_missing.mean() == pytest.approx(0.12, abs=0.012), name
        assert abs(by_class[1] - by_class[0]) < 3 * np.sqrt(2 * 0.12 * 0.88 / 4000), name
    never = many[many["smoking_status"] == "never"]
    assert (never["pack_years"].dropna() == 0).all()


def nodules(*malignant: bool) -> list[dict[str, bool]]:
    return [{"mal_bool": is_malignant} for is_malignant in malignant]


def test_half_of_the_nodules_decide() -> None:
    assert not mostly_malignant([])
    assert mostly_malignant(nodules(True))
    assert mostly_malignant(nodules(True, False))
    assert not mostly_malignant(nodules(True, False, False))


def test_one_row_per_patient_that_our_reader_reads(tmp_path: Path) -> None:
    spec = PhantomSpec(n_scans=40)
    plans = plan_cohort(spec)
    truths = [{"patient_id": p.patient_id, "annotations": nodules(p.patient_index % 2 == 0)} for p in plans]
    write_clinical(tmp_path, spec, plans, truths=truths)
    rows = read_clinical(tmp_path / "clinical.csv")
    assert rows.values.index.tolist() == sorted({plan.patient_id for plan in plans})
    assert len(rows.values) == 39, "one patient has two series"
    assert rows.columns == FEATURES
    assert [name for name in FEATURES if rows.is_number(name)] == ["age_years", "pack_years"]


def test_a_patient_answers_alike_in_a_larger_cohort_and_when_others_change(tmp_path: Path) -> None:
    """Each patient has random numbers of their own: the truth of one changes one row."""
    rows = {}
    for name, malignant in (("one", ()), ("two", ("PHANTOM-0003",))):
        spec = PhantomSpec(n_scans=12, patients_with_two_series=0)
        plans = plan_cohort(spec)
        truths = [{"patient_id": p.patient_id, "annotations": nodules(p.patient_id in malignant)} for p in plans]
        (tmp_path / name).mkdir()
        write_clinical(tmp_path / name, spec, plans, truths=truths)
        rows[name] = (tmp_path / name / "clinical.csv").read_text().splitlines()
    assert [line for line, other in zip(*rows.values(), strict=True) if line != other] == [rows["one"][3]]
