"""Clinical features beside each sample: categories of training patients only, NaN where nothing is known."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.data.clinical import ClinicalTable
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.mask_samples import MaskSamples
from lungdet.errors import ConfigError, MissingFileError, TableError
from lungdet.geometry import Geometry

Factory = Callable[..., Luna16DataModule]

# Two nodules of A; D is in no row of the table.
RECORDS = pd.DataFrame(
    {
        "series_uid": ["a1", "a1", "b1", "c1", "d1"],
        "patient_id": ["A", "A", "B", "C", "D"],
        "center_x_mm": 0.0,
        "center_y_mm": 0.0,
        "center_z_mm": [10.0, 20.0, 10.0, 10.0, 10.0],
        "diameter_mm": [4.0, 5.0, 6.0, 7.0, np.nan],
        "label": [1, 0, 1, 0, 1],
        "partition": ["train", "train", "train", "val", "test"],
    }
)
TABLE = """patient_id,age,sex,smoking
A,50,male,never
B,,female,former
C,70,female,current
E,80,male,never
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "clinical.csv").write_text(TABLE)
    return tmp_path


class FlippedStore:
    """Scans of 11 slices 4 mm apart from z = 0 to 40; the second points downwards."""

    def geometry(self, uid: str) -> Geometry:
        up = uid == "a1"
        direction = (1.0, 0, 0, 0, 1, 0, 0, 0, 1) if up else (1.0, 0, 0, 0, -1, 0, 0, 0, -1)
        return Geometry((11, 5, 5), (0.0, 0.0, 0.0 if up else 40.0), (1.0, 1.0, 4.0), direction)


def encode(root: Path, **settings: Any) -> Any:
    store: Any = FlippedStore()
    return ClinicalTable(**{"path": "clinical.csv", **settings}).encode(RECORDS, root=root, store=store)


def test_features_by_hand(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        given = encode(root)
    # Two categories need one column. "current" is no training patient's: missing, and said.
    assert given.names == ("age", "sex=male", "smoking=never")
    nan = np.nan
    expected = [[50, 1, 1], [50, 1, 1], [nan, 0, 0], [70, 0, nan], [nan, nan, nan]]
    np.testing.assert_array_equal(given.values, np.array(expected, np.float32))
    assert given.values.dtype == np.float32
    assert "no training patient has smoking = current; it counts as missing" in caplog.text
    np.testing.assert_array_equal(given.label, [1, 0, 1, 0, 1])
    np.testing.assert_array_equal(given.row_weight, [0.5, 0.5, 1, 0, 0])


def test_the_summary_counts_patients(root: Path) -> None:
    summary = encode(root).summary
    assert summary["features"] == ["age", "sex=male", "smoking=never"]
    assert (summary["file"], summary["key"]) == ("clinical.csv", "patient_id")
    assert summary["train"] == {
        "n_patients": 2, "without_a_row": 0, "missing": {"age": 0.5, "sex": 0.0, "smoking": 0.0},
    }  # fmt: skip
    assert summary["val"]["missing"] == {"age": 0.0, "sex": 0.0, "smoking": 1.0}
    assert summary["test"] == {"n_patients": 1, "without_a_row": 1, "missing": {"age": 1.0, "sex": 1.0, "smoking": 1.0}}


def test_three_categories_make_three_columns(root: Path) -> None:
    records = RECORDS.assign(partition="train")
    store: Any = FlippedStore()
    (root / "clinical.csv").write_text("series_uid,stage\na1,1\nb1,2\nc1,3\n")
    table = ClinicalTable(path="clinical.csv", categorical=["stage"])
    given = table.encode(records, root=root, store=store)
    assert given.names == ("stage=1", "stage=2", "stage=3")
    np.testing.assert_array_equal(given.values[:4], [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert np.isnan(given.values[4]).all()


def test_what_all_training_patients_share_is_nothing(root: Path) -> None:
    (root / "clinical.csv").write_text("patient_id,age,sex\nA,50,male\nB,60,male\nC,70,female\n")
    given = encode(root)
    assert given.names == ("age", "sex")
    assert np.isnan(given.values[:, 1]).all()
    assert given.summary["train"]["missing"]["sex"] == 1.0


def test_derived_features_know_up_from_down(root: Path) -> None:
    given = encode(root, features=["age"], derived=["diameter_mm", "height_in_scan"])
    assert given.names == ("age", "diameter_mm", "height_in_scan")
    np.testing.assert_allclose(given.values[:, 2], [0.25, 0.5, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(given.values[:, 1], np.array([4, 5, 6, 7, np.nan], np.float32))


def test_ids_that_fit_nobody_are_an_error(root: Path) -> None:
    (root / "clinical.csv").write_text("patient_id,age\nLIDC-1,50\n")
    with pytest.raises(TableError, match=r"no row for any of these patient_ids: it has LIDC-1, .* samples are of A"):
        encode(root)


def test_a_derived_feature_that_nobody_knows() -> None:
    with pytest.raises(ConfigError, match=r"data\.clinical\.derived: lobe cannot be derived; allowed: diameter_mm"):
        ClinicalTable(path="a.csv", derived=["lobe"])  # type: ignore[list-item]


# -- in the DataModule -------------------------------------------------------------------------------------------------


@pytest.fixture
def table(luna_root: Path, tmp_path: Path) -> Path:
    """Age by patient number, P03 left out, P04 unknown."""
    patients = sorted(set(pd.read_csv(luna_root / "series.csv")["patient_id"]) - {"P03"})
    ages = ["" if name == "P04" else str(40 + int(name[1:])) for name in patients]
    path = tmp_path / "clinical.csv"
    path.write_text("patient_id,age\n" + "".join(f"{p},{a}\n" for p, a in zip(patients, ages, strict=True)))
    return path


def test_every_batch_holds_the_features_of_its_rows(make_datamodule: Factory, table: Path) -> None:
    datamodule = make_datamodule(clinical=ClinicalTable(path=table))
    assert datamodule.spec.has_features
    datamodule.trainer = SimpleNamespace(  # type: ignore[assignment]
        training=True, current_epoch=0, world_size=1, global_rank=0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )  # fmt: skip
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    finished = datamodule.on_after_batch_transfer(datamodule.on_before_batch_transfer(batch, 0), 0)
    features = finished["features"]
    assert features.dtype == torch.float32
    assert features.shape == (8, 1)
    patients = datamodule.records["patient_id"].to_numpy()[finished["index"].numpy()]
    expected = [np.nan if name in ("P03", "P04") else 40 + int(name[1:]) for name in patients]
    np.testing.assert_array_equal(features[:, 0], np.array(expected, np.float32))


def test_images_and_order_do_not_depend_on_the_table(make_datamodule: Factory, table: Path) -> None:
    batches = []
    for clinical in (None, ClinicalTable(path=table)):
        datamodule = make_datamodule(clinical=clinical)
        datamodule.setup("fit")
        batches.append(next(iter(datamodule.train_dataloader())))
    for name in ("hu", "label", "index"):
        assert torch.equal(batches[0][name], batches[1][name])


def test_without_a_table_nothing_changes(make_datamodule: Factory) -> None:
    datamodule = make_datamodule()
    datamodule.setup()
    assert not datamodule.spec.has_features
    assert datamodule.clinical_features is None
    assert datamodule.description == {}
    batch = next(iter(datamodule.val_dataloader()))
    assert "features" not in datamodule.on_after_batch_transfer(datamodule.on_before_batch_transfer(batch, 0), 0)


def test_listed_points_have_none_and_that_is_said(
    make_datamodule: Factory, table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datamodule = make_datamodule(clinical=ClinicalTable(path=table))
    points = pd.DataFrame(
        {"series_uid": ["1.2.000"], "center_x_mm": [0.0], "center_y_mm": [20.0], "center_z_mm": [-80.0]}
    )
    with caplog.at_level(logging.WARNING):
        datamodule.score_points(points)
    datamodule.setup("predict")
    assert datamodule.clinical_features is None
    assert "the image branch alone scores them" in caplog.text


def test_a_table_that_is_not_there_is_found_before_training(make_datamodule: Factory) -> None:
    datamodule = make_datamodule(clinical=ClinicalTable(path="none.csv"))
    (problem,) = datamodule.store_problems()
    assert problem.endswith("none.csv; give data.clinical.path=... or type data.clinical=null")
    with pytest.raises(MissingFileError, match=r"none\.csv: no such clinical table"):
        datamodule.setup()


def test_masks_have_none(make_datamodule: Factory) -> None:
    with pytest.raises(ConfigError, match=r"data\.clinical is for candidates and nodules, not for MaskSamples"):
        make_datamodule(clinical=ClinicalTable(path="a.csv"), samples=MaskSamples(whole_slices=True))
