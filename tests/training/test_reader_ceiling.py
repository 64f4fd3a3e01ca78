"""Reader agreement of the evaluated scans, from a real mask store: counted by hand, scans of a rule left out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.data.mask_samples import MaskSamples
from lungdet.errors import ConfigError, StoreError
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.mask_ceiling import ceilings
from lungdet.geometry import Geometry
from lungdet.store.mask_store import BY_RULE, MaskStore
from lungdet.training.reader_ceiling import reader_ceiling

SHAPE = (6, 10, 12)


class Grids:
    """Stands for a CtStore where only its place and its grids are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def geometry(self, series_uid: str) -> Geometry:
        return Geometry(SHAPE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def volume(**boxes: Any) -> np.ndarray:
    """Counts: name -> (readers, box) painted in order."""
    counts = np.zeros(SHAPE, np.uint8)
    for readers, box in boxes.values():
        counts[box] = readers
    return counts


@pytest.fixture
def datamodule(tmp_path: Path) -> Any:
    """Validation: A, by readers. Test: B by readers, C by a rule, D by readers who saw nothing. Training: E."""
    store: Any = Grids(tmp_path / "luna16.zarr")
    samples = MaskSamples(whole_slices=True)
    masks: MaskStore = samples.targets.store_of(store)
    two = volume(outer=(1, np.s_[1, 2, 2:6]), inner=(2, np.s_[1, 2, 3:5]), alone=(1, np.s_[4, 8, 8]))
    four = volume(outer=(2, np.s_[1, 2, 2:4]), inner=(4, np.s_[1, 2, 4:6]))
    written = {"A": two, "B": four, "C": volume(all=(BY_RULE, np.s_[1, 2, 2:6])), "D": volume(), "E": two}
    for uid, counts in written.items():
        masks.write(uid, counts, key="k", made_by="rule" if uid == "C" else "readers")
    tiles = [(p, uid, f"P{uid}") for p, uids in (("train", "E"), ("test", "DBC"), ("val", "A")) for uid in uids] * 3
    records = pd.DataFrame(tiles, columns=["partition", "series_uid", "patient_id"])
    return SimpleNamespace(samples=samples, store=store, records=records)


def test_agreement_by_hand(datamodule: Any) -> None:
    """A: two readers share 2 of 4 voxels: sums of c (c - 1) = 4 and of c = 6, and one nodule of a single reader.
    B: four readers, counts 2 2 4 4: sums of c (c - 1) = 2 + 2 + 12 + 12 = 28 and of 3 c = 36.
    """
    measured = reader_ceiling(datamodule)
    assert set(measured) == {"val", "test"}
    val, test = measured["val"], measured["test"]
    assert (val["n_scans"], val["n_scans_by_rule"], val["n_single_reader"]) == (1, 0, 1)
    assert val["nodules"] == {
        "series_uid": ["A"],
        "patient_id": ["PA"],
        "n_readers": [2],
        "shared": [4],
        "marked": [6],
    }
    assert val["pooled_dice"] == val["mean_dice"] == pytest.approx(4 / 6)
    assert (test["n_scans"], test["n_scans_by_rule"], test["n_single_reader"]) == (2, 1, 0)
    assert test["nodules"]["series_uid"] == ["B"]
    assert test["nodules"]["n_readers"] == [4]
    assert test["pooled_dice"] == pytest.approx(28 / 36)


def test_it_survives_a_file_and_feeds_the_report(datamodule: Any) -> None:
    measured = json.loads(json.dumps(reader_ceiling(datamodule), allow_nan=False))
    parts = {name: rows for name, rows in datamodule.records.groupby("partition") if name != "train"}
    draws = {name: PatientDraws(rows["patient_id"], n_resamples=9, seed=0) for name, rows in parts.items()}
    result = ceilings(measured, parts=parts, draws=draws)["test"]
    assert result.pooled_dice.value == pytest.approx(28 / 36)
    assert (result.n_nodules, result.n_scans, result.n_scans_by_rule) == (1, 2, 1)


def test_a_partition_without_scans_or_readers(datamodule: Any) -> None:
    datamodule.records = datamodule.records[datamodule.records["series_uid"] == "C"]
    measured = reader_ceiling(datamodule)
    assert (measured["val"]["n_scans"], measured["val"]["n_scans_by_rule"]) == (0, 0)
    assert (measured["test"]["n_scans"], measured["test"]["n_scans_by_rule"]) == (0, 1)
    assert measured["test"]["pooled_dice"] is None
    assert measured["test"]["nodules"]["patient_id"] == []


def test_refusals(datamodule: Any) -> None:
    datamodule.records.loc[datamodule.records["series_uid"] == "A", "series_uid"] = "Z"
    with pytest.raises(StoreError, match="no nodule masks of series Z"):
        reader_ceiling(datamodule)
    datamodule.samples = CandidateSamples()
    with pytest.raises(ConfigError, match="readers agree on masks, not on CandidateSamples"):
        reader_ceiling(datamodule)
