"""Split rules: disjoint, stratified, every patient tested once, and readable refusals."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungdet.data.splits import GroupedKFold, Holdout, Official, Split, SplitRule, patient_table
from lungdet.errors import SplitError


def patients_with(n_positive: list[int], **columns: object) -> pd.DataFrame:
    ids = [f"p{n:04d}" for n in range(len(n_positive))]
    return pd.DataFrame({"patient_id": ids, "n_positive": n_positive, "n_series": 1, **columns})


def luna_like(seed: int = 0) -> pd.DataFrame:
    """887 patients with as many nodules each as LUNA16 has: 287 series without any, 1,186 nodules."""
    generator = np.random.default_rng(seed)
    counts = np.where(np.arange(887) < 287, 0, 1 + generator.poisson(0.98, 887))
    subsets = [(int(s),) for s in generator.permutation(np.arange(887) % 10)]
    return patients_with(counts.tolist(), subsets=subsets)


def positives(table: pd.DataFrame, ids: tuple[str, ...]) -> int:
    return int(table.set_index("patient_id").loc[list(ids), "n_positive"].sum())


@given(st.lists(st.integers(0, 8), min_size=6, max_size=80), st.integers(2, 10), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_patient_is_tested_exactly_once_and_never_chosen_on(counts: list[int], n_folds: int, seed: int) -> None:
    table = patients_with(counts)
    if sum(c > 0 for c in counts) < max(n_folds, 4):
        return
    splits = [GroupedKFold(n_folds=n_folds, fold=fold, seed=seed)(table) for fold in range(n_folds)]
    tested = [patient for split in splits for patient in split.test]
    assert sorted(tested) == table["patient_id"].tolist()
    for split in splits:
        assert sorted(split.patients) == table["patient_id"].tolist()
        assert split.val
        assert not set(split.val) & set(split.test)


def test_folds_are_stratified_by_positives() -> None:
    table = luna_like()
    splits = [GroupedKFold(fold=fold)(table) for fold in range(5)]
    total = int(table["n_positive"].sum())
    shares = [positives(table, split.test) / total for split in splits]
    assert max(shares) - min(shares) < 0.02
    assert [len(split.test) for split in splits] == pytest.approx([887 / 5] * 5, abs=2)
    rest = 887 - len(splits[0].test)
    assert len(splits[0].val) == round(0.15 * rest)
    outside = positives(table, splits[0].train + splits[0].val)
    assert positives(table, splits[0].val) / outside == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize("rule", [GroupedKFold(), Holdout(), Official()])
def test_row_order_of_the_table_does_not_matter(rule: SplitRule) -> None:
    table = luna_like()
    assert rule(table) == rule(table.sample(frac=1, random_state=3))


@pytest.mark.parametrize("rule", [GroupedKFold, Holdout, Official])
def test_seed_decides(rule: type[Holdout]) -> None:
    table = luna_like()
    assert rule(seed=1)(table).hash == rule(seed=1)(table).hash
    assert rule(seed=1)(table).hash != rule(seed=2)(table).hash


def test_split_remembers_rule_fold_and_seed() -> None:
    split = GroupedKFold(n_folds=4, fold=3, seed=9)(luna_like())
    assert (split.fold, split.seed) == (3, 9)
    assert split.rule == "GroupedKFold(n_folds=4, fold=3, val_fraction=0.15, seed=9)"
    assert Holdout()(luna_like()).fold is None


def test_holdout_fractions_are_of_all_patients_and_stratified() -> None:
    table = luna_like()
    split = Holdout(val_fraction=0.1, test_fraction=0.3)(table)
    assert (len(split.val), len(split.test)) == (89, 266)
    total = int(table["n_positive"].sum())
    assert positives(table, split.test) / total == pytest.approx(0.3, abs=0.02)
    assert positives(table, split.val) / total == pytest.approx(0.1, abs=0.02)


# -- official --------------------------------------------------------------------------------------------------------


def official_table() -> pd.DataFrame:
    table = luna_like()
    table["subsets"] = [(2, 6) if n == 5 else subsets for n, subsets in enumerate(table["subsets"])]
    return table


def test_official_tests_one_subset_and_draws_validation_from_the_others() -> None:
    table = official_table()
    lowest = table["subsets"].map(min)
    tested: list[str] = []
    for fold in range(10):
        split = Official(fold=fold)(table)
        assert split.test == tuple(table["patient_id"][lowest == fold])
        assert len(split.val) == round(0.15 * (887 - len(split.test)))
        tested += split.test
    assert sorted(tested) == table["patient_id"].tolist()


def test_official_repairs_the_leaking_patient_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split = Official(fold=6)(official_table())
    assert "p0005" not in split.test
    assert "p0005" in Official(fold=2)(official_table()).test
    assert any("p0005 has series in subsets 2, 6: all of them count as subset 2" in note for note in split.notes)
    assert "p0005 has series in subsets 2, 6" in caplog.text


@pytest.mark.realdata
def test_official_on_the_real_series_table(realdata: Path) -> None:
    series = pd.read_csv(realdata / "luna16" / "series.csv").rename(columns={"seriesuid": "series_uid"})
    annotations = pd.read_csv(realdata / "luna16" / "annotations.csv")
    counts = annotations["seriesuid"].value_counts()
    table = patient_table(series, n_positive=counts, n_negative=counts + 1)
    assert len(table) == 887
    splits = [Official(fold=fold)(table) for fold in range(10)]
    assert sum(len(split.test) for split in splits) == 887
    for split in splits:
        assert [note for note in split.notes if "LIDC-IDRI-0332" in note]


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [-1, 5, 7])
def test_fold_out_of_range_says_what_to_type(fold: int) -> None:
    with pytest.raises(SplitError, match=rf"split\.fold={fold} does not exist: type split\.fold=0\.\.4"):
        GroupedKFold(fold=fold)


def test_official_fold_out_of_range() -> None:
    with pytest.raises(SplitError, match=r"type split\.fold=0\.\.9"):
        Official(fold=10)


def test_one_fold_is_no_fold() -> None:
    with pytest.raises(SplitError, match=r"split\.n_folds=1: at least 2"):
        GroupedKFold(n_folds=1)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("rule", [GroupedKFold, Holdout, Official])
def test_fractions_outside_0_to_1(rule: type[Holdout], fraction: float) -> None:
    with pytest.raises(SplitError, match=r"split\.val_fraction=.* must lie between 0 and 1"):
        rule(val_fraction=fraction)


def test_holdout_must_leave_something_to_train_on() -> None:
    with pytest.raises(SplitError, match="leave nothing to train on"):
        Holdout(val_fraction=0.5, test_fraction=0.5)


def test_too_few_positive_patients_for_the_folds() -> None:
    with pytest.raises(SplitError, match=r"of 12 patients 3 have positives.*type split\.n_folds=2\.\.3"):
        GroupedKFold(n_folds=5)(patients_with([0] * 9 + [1] * 3))
    with pytest.raises(SplitError, match=r"of 10 patients 1 have positives.*add scans"):
        GroupedKFold(n_folds=2)(patients_with([0] * 9 + [1]))


def test_a_partition_without_positives_is_refused() -> None:
    with pytest.raises(SplitError, match=r"would hold .* none with positives \(2 of 20 patients have some\)"):
        Holdout()(patients_with([0] * 18 + [1] * 2))


def test_a_partition_without_negatives_is_refused() -> None:
    with pytest.raises(SplitError, match="none with negatives"):
        Holdout()(patients_with([1] * 12, n_negative=[1] + [0] * 11))


def test_official_without_subsets() -> None:
    with pytest.raises(SplitError, match="needs the test part that a collection ships; this one ships none"):
        Official()(patients_with([0, 1] * 10))


def test_official_with_series_outside_subset_folders() -> None:
    table = luna_like()
    table["subsets"] = [(-1,) if n == 3 else subsets for n, subsets in enumerate(table["subsets"])]
    with pytest.raises(SplitError, match=r"p0003 lie\(s\) in no subset folder"):
        Official()(table)


def test_official_with_one_subset_on_disk() -> None:
    table = patients_with([0, 1] * 10, subsets=[(3,)] * 20)
    with pytest.raises(SplitError, match=r"series at hand are of subset\(s\) \[3\]"):
        Official(fold=3)(table)
    with pytest.raises(SplitError, match=r"split\.fold=0"):
        Official(fold=0)(table)


def test_tables_that_are_not_by_patient() -> None:
    with pytest.raises(SplitError, match=r"lacks \['n_positive'\]"):
        Holdout()(pd.DataFrame({"patient_id": ["a"]}))
    with pytest.raises(SplitError, match=r"lists 1 patient\(s\): p0000 more than once"):
        Holdout()(pd.concat([luna_like(), luna_like().head(1)]))


def test_rule_of_ones_own_is_any_callable() -> None:
    def every_third(patients: pd.DataFrame) -> Split:
        ids = patients["patient_id"].tolist()
        return Split(train=tuple(ids[::3]), val=tuple(ids[1::3]), test=tuple(ids[2::3]), rule="every third")

    rule: SplitRule = every_third
    assert len(rule(luna_like()).patients) == 887
