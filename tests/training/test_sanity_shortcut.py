"""A shortcut that is planted in the border or in the metadata is found and named; without one nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.data.sample import SampleSpec
from lungdet.evaluation.sanity_checks import patient_draws
from lungdet.geometry import Geometry
from lungdet.store.schema import StoreSpec
from lungdet.training import sanity_shortcut
from lungdet.training.sanity_shortcut import check_shortcut

DRAWS = {"n_resamples": 100, "seed": 0}
SHAPE = (8, 8, 8)
N = 720
LABEL = (np.random.default_rng(3).random(N) < 0.3).astype(np.int8)


class NoisyStore:
    """Noise, with a bright middle for label 1; `border` adds to the border of label 1, `spacing` to its scans."""

    def __init__(self, *, border: float, spacing: float) -> None:
        self.spec, self.border, self.spacing = StoreSpec(lung_mask=False), border, spacing

    def geometry(self, uid: str) -> Geometry:
        return Geometry((64, 64, 2000), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def source_geometry(self, uid: str) -> Geometry:
        size = 1.0 + self.spacing * (int(uid[1:]) % 2)
        return Geometry((64, 64, 64), (0.0, 0.0, 0.0), (size, size, size))

    def crops(self, uids: list[str], centers: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        row = centers[:, 0].round().astype(int)
        hu = np.stack([np.random.default_rng(r).normal(-800, 100, shape) for r in row])
        label = LABEL[row].astype(np.float64)
        hu[:, 3:5, 3:5, 3:5] += 800 * label[:, None, None, None]
        hu[:, 0] += self.border * label[:, None, None]
        return hu.astype(np.int16)


class Data:
    def __init__(self, *, border: float = 0.0, spacing: float = 0.0) -> None:
        rows = np.arange(N)
        self.store = NoisyStore(border=border, spacing=spacing)
        self.samples = CandidateSamples()
        self.spec = SampleSpec("volume", 1, SHAPE, "class", ("non_nodule", "nodule"), "")
        scan = rows // 10
        # With a spacing, every other scan holds the label.
        label = (scan % 2).astype(np.int8) if spacing else LABEL
        self.records = pd.DataFrame(
            {
                "series_uid": [f"S{s}" for s in scan],
                "patient_id": [f"P{s}" for s in scan],
                "candidate_id": rows,
                "center_x_mm": rows.astype(float),
                "center_y_mm": 30.0 + rows % 7,
                "center_z_mm": 30.0 + rows % 5,
                "label": label,
                "partition": np.where(scan < 36, "train", np.where(scan < 48, "val", "test")),
            }
        )

    def run(self, *, shift: float) -> pd.DataFrame:
        test = self.records[self.records["partition"] == "test"]
        noise = np.random.default_rng(9).normal(size=len(test))
        return test.assign(logit=noise + shift * test["label"])


def check(data: Any, run: pd.DataFrame | None, reason: str = "") -> Any:
    return check_shortcut(data, run, no_run_because=reason, **DRAWS)


def test_without_a_shortcut_it_passes_though_the_middle_tells_all() -> None:
    data = Data()
    found = check(data, data.run(shift=1.0))
    assert found.verdict == "passed"
    assert "From border voxels alone labels cannot be told" in found.says


def test_a_border_that_knows_the_label_is_named_and_fails_beside_a_model_that_is_no_better() -> None:
    data = Data(border=40.0)
    found = check(data, data.run(shift=1.5))
    assert found.verdict == "failed"
    assert "within reach of the run's" in found.says
    assert any("first z face mean" in text for text in found.cautions)
    assert found.tables[0].rows[0][0] == "first z face mean"
    lost, alone = found.tables[0].rows[0][1:]
    assert lost > 0.1
    assert alone > 0.9


def test_a_weak_border_beside_a_far_better_model_is_a_caution_at_most() -> None:
    data = Data(border=20.0)
    found = check(data, data.run(shift=5.0))
    assert found.verdict == "passed"
    assert "From border voxels alone the AUROC is 0." in found.says


def test_metadata_that_knows_the_label_fails() -> None:
    data = Data(spacing=0.3)
    found = check(data, data.run(shift=1.0))
    assert found.verdict == "failed"
    assert "From metadata alone the AUROC is 1.000" in found.says
    assert any("scan spacing" in text for text in found.cautions)


def test_without_a_run_a_shortcut_cannot_be_judged_but_is_named() -> None:
    found = check(Data(border=40.0), None, "there is no run")
    assert found.verdict == "cannot be judged"
    assert any("first z face mean" in text for text in found.cautions)
    assert found.numbers[-1].estimate.reason == "there is no run"


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.iloc[1:],
        lambda run: run.assign(candidate_id=run["candidate_id"] + 1),
        lambda run: run.assign(label=1 - run["label"]),
    ],
    ids=["fewer rows", "other candidates", "other labels"],
)
def test_a_run_on_other_rows_is_not_compared(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    data = Data()
    test = data.records[data.records["partition"] == "test"]
    draws = patient_draws(test, **DRAWS)
    same = sanity_shortcut._run_on(test, data.run(shift=3.0), draws, no_run_because="")
    assert same.low > 0.9
    other = sanity_shortcut._run_on(test, change(data.run(shift=3.0)), draws, no_run_because="")
    assert "the run was tested on other rows" in other.reason


def test_training_negatives_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity_shortcut, "MAX_TRAIN_NEGATIVES", 50)
    records: Any = Data().records
    rows = sanity_shortcut._rows(records, "train", seed=1)
    label = records["label"].to_numpy()[rows]
    assert int((label == 0).sum()) == 50
    assert int(label.sum()) == int(records.loc[records["partition"] == "train", "label"].sum())
    assert np.array_equal(rows, sanity_shortcut._rows(records, "train", seed=1))
    assert (np.diff(rows) > 0).all()


def test_a_partition_of_one_class_is_not_judged() -> None:
    data = Data()
    data.records["label"] = 0
    assert check(data, None).verdict == "cannot be judged"
