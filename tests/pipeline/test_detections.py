from __future__ import annotations

import numpy as np
import pytest

from lungdet.pipeline.detections import COLUMNS, detection_table, sigmoid


def test_table_has_every_column_and_derives_the_probability() -> None:
    table = detection_table("uid", np.array([[1.0, 2.0, 3.0]]), {"logit": np.array([0.0], np.float32), "mean_hu": [-3]})
    assert list(table.columns) == list(COLUMNS)
    assert {name: str(dtype) for name, dtype in table.dtypes.items() if name != "series_uid"} == {
        name: dtype for name, dtype in COLUMNS.items() if name != "series_uid"
    }
    (row,) = table.to_dict("records")
    assert row["series_uid"] == "uid"
    assert (row["center_x_mm"], row["center_y_mm"], row["center_z_mm"]) == (1, 2, 3)
    assert row["probability"] == 0.5
    assert row["mean_hu"] == -3
    assert np.isnan(row["malignancy_probability"])
    assert row["candidate_id"] == 0


def test_no_detection_is_a_table_with_the_same_columns() -> None:
    table = detection_table("uid", np.empty((0, 3)), {"logit": np.empty(0)})
    assert len(table) == 0
    assert list(table.columns) == list(COLUMNS)
    assert str(table["candidate_id"].dtype) == "int64"


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0.0, 0.5, 1.0]
    assert sigmoid(np.array([2.0])) == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert sigmoid(np.array([-50.0])) == pytest.approx(np.exp(-50.0), rel=1e-12)
