"""Features of the border see nothing of the middle; those of metadata are the hand-computed places."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.data.sample import SampleSpec
from lungdet.geometry import Geometry
from lungdet.store.schema import StoreSpec
from lungdet.training.sanity_features import (
    SHELL_NAMES,
    SHELL_VOX,
    border_features,
    metadata_features,
    place_in_scan,
    shell_statistics,
)

SHAPE = (8, 10, 12)


def crops(n: int = 5) -> npt.NDArray[np.int16]:
    return np.random.default_rng(0).integers(-1000, 400, (n, *SHAPE)).astype(np.int16)


def named(hu: npt.NDArray[np.int16]) -> pd.DataFrame:
    return pd.DataFrame(shell_statistics(hu), columns=list(SHELL_NAMES))


def test_the_middle_does_not_enter() -> None:
    hu = crops()
    changed = hu.copy()
    middle = tuple(slice(SHELL_VOX, n - SHELL_VOX) for n in SHAPE)
    changed[(slice(None), *middle)] = 3000
    assert np.array_equal(shell_statistics(hu), shell_statistics(changed))


@pytest.mark.parametrize("place", [(0, 5, 5), (7, 5, 5), (4, 1, 5), (4, 5, 10)])
def test_every_side_of_the_border_does(place: tuple[int, int, int]) -> None:
    hu = crops(1)
    changed = hu.copy()
    changed[(0, *place)] = 3000
    assert not np.array_equal(shell_statistics(hu), shell_statistics(changed))


def test_names_and_values_belong_together() -> None:
    hu = crops()
    hu[:, -SHELL_VOX:] = 77  # the last face along z
    table = named(hu)
    assert table["last z face mean"].tolist() == [77.0] * 5
    assert table["last z face sd"].tolist() == [0.0] * 5
    assert (table["first z face sd"] > 100).all()
    mask = np.ones(SHAPE, bool)
    mask[2:-2, 2:-2, 2:-2] = False
    shell = hu[3][mask].astype(float)
    row = table.iloc[3]
    assert row["shell mean"] == pytest.approx(shell.mean())
    assert row["shell sd"] == pytest.approx(shell.std())
    assert row["shell 75 %"] == pytest.approx(np.percentile(shell, 75))
    assert row["shell -950 to -700 HU"] == pytest.approx(((shell >= -950) & (shell < -700)).mean())
    assert row[[name for name in SHELL_NAMES if name.endswith(" HU")]].sum() == pytest.approx(1)


def test_place_in_scan_by_hand() -> None:
    geometry = Geometry((10, 20, 40), (0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    found = place_in_scan(geometry, np.array([[10.0, 20.0, 15.0], [0.0, 20.0, 15.0], [-9000.0, 0.0, 0.0]]), (4, 4, 4))
    assert [found[f"{axis} in scan"][0] for axis in "zyx"] == [0.5, 0.5, 0.25]
    assert found["distance to border, mm"][0] == 10.0, "10 voxels of 1 mm along x, 4 of 3 mm along z"
    assert found["distance to border, mm"][1] == 0.0
    assert found["padding share"].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(found["x in scan"][2]), "noise lies nowhere"


class TwoScans:
    """Scan `b` is finer, turned, and its lungs are a box of known ends; crops are planes of the row's own number."""

    spec = StoreSpec()

    def geometry(self, uid: str) -> Geometry:
        return Geometry((10, 20, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def source_geometry(self, uid: str) -> Geometry:
        turned = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
        if uid == "a":
            return Geometry((10, 20, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        return Geometry((20, 40, 80), (0.0, 0.0, 0.0), (0.5, 0.5, 0.5), turned)

    def lung_mask(self, uid: str) -> npt.NDArray[np.uint8]:
        mask = np.zeros((10, 20, 40), np.uint8)
        mask[2:7, 5:16, 10:31] = 3
        return mask

    def crops(self, uids: list[str], centers: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        return np.broadcast_to(centers[:, 0].astype(np.int16)[:, None, None, None], (len(uids), *shape)).copy()


class Data:
    def __init__(self) -> None:
        self.store = TwoScans()
        self.samples = CandidateSamples()
        self.spec = SampleSpec("volume", 1, SHAPE, "class", ("non_nodule", "nodule"), "")
        x = np.arange(600, dtype=float) % 40
        self.records = pd.DataFrame(
            {
                "series_uid": np.where(np.arange(600) % 2 == 0, "a", "b"),
                "center_x_mm": x,
                "center_y_mm": 10.0,
                "center_z_mm": 4.0,
                "label": (np.arange(600) % 3 == 0).astype(np.int8),
            }
        )


def test_rows_keep_their_order_through_scans_and_batches() -> None:
    data: Any = Data()
    rows = np.random.default_rng(0).permutation(600)[:550]
    assert border_features(data, rows)["shell mean"].tolist() == data.records["center_x_mm"].to_numpy()[rows].tolist()
    metadata = metadata_features(data, rows)
    assert metadata["x in scan"].tolist() == (data.records["center_x_mm"].to_numpy()[rows] / 40).tolist()
    is_b = data.records["series_uid"].to_numpy()[rows] == "b"
    assert np.array_equal(metadata["direction x"], np.where(is_b, -1.0, 1.0))
    assert np.array_equal(metadata["scan spacing z, mm"], np.where(is_b, 0.5, 1.0))
    assert np.array_equal(metadata["scan size x, voxels"], np.where(is_b, 80.0, 40.0))
    x = data.records["center_x_mm"].to_numpy()[rows]
    assert np.allclose(metadata["x in lungs"], (x - 10) / 20)
    assert np.array_equal(metadata["centre in lung mask"], ((x >= 10) & (x < 31)).astype(float))


def test_no_label_is_among_the_features() -> None:
    data: Any = Data()
    rows = np.arange(100)
    before = [border_features(data, rows), metadata_features(data, rows)]
    data.records["label"] = 1 - data.records["label"]
    for first, second in zip(before, [border_features(data, rows), metadata_features(data, rows)], strict=True):
        pd.testing.assert_frame_equal(first, second)
