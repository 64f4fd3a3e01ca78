"""Who is in both partitions."""

from __future__ import annotations

import pandas as pd

from lungdet.evaluation.audit import audit_partitions


def test_shared_within_a_fold_only() -> None:
    """A is in both partitions of fold 0; B validates in fold 0 and is tested in fold 1, as folds do."""
    rows = [
        ("A", "1", 0, "val"),
        ("A", "2", 0, "test"),
        ("B", "3", 0, "val"),
        ("B", "3", 1, "test"),
        ("B", "3", 1, "test"),
    ]
    table = pd.DataFrame(rows, columns=["patient_id", "series_uid", "fold", "partition"])
    found = audit_partitions(table)
    assert (found.folds, found.shared_patients, found.shared_series) == ((0, 1), ("A",), ())
    assert not found.disjoint
    assert audit_partitions(table.iloc[2:]).disjoint
