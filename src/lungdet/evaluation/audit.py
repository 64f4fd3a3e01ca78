"""Who is in validation and in test of the same fold, found in a table of predictions itself."""

from __future__ import annotations

import pandas as pd

from lungdet.evaluation.results import Audit


def audit_partitions(table: pd.DataFrame) -> Audit:
    """Patients and series that are in both partitions of a fold.

    Args:
        table: fold, partition, patient_id, series_uid.
    """
    shared = {}
    for column in ("patient_id", "series_uid"):
        seen = table[["fold", "partition", column]].drop_duplicates()
        shared[column] = tuple(sorted(seen.loc[seen.duplicated(["fold", column]), column].unique()))
    folds = tuple(int(fold) for fold in sorted(table["fold"].unique()))
    return Audit(folds, shared_patients=shared["patient_id"], shared_series=shared["series_uid"])
