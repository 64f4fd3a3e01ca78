"""Rows of predictions in the records, images that fills ask for, and runs that cannot be explained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from lungdet.cli.explained_run import ExplainedRun, open_explained, with_rows
from lungdet.errors import RunError
from lungdet.training.run_directory import RunDirectory

RECORDS = pd.DataFrame(
    {
        "partition": ["train", "val", "test", "test", "train"],
        "series_uid": ["a", "b", "c", "c", "d"],
        "candidate_id": [0, 0, 0, 1, 0],
    }
)


def test_each_prediction_is_found_by_partition_series_and_candidate() -> None:
    predictions = RECORDS.iloc[[3, 1, 2]].assign(logit=[3.0, 1.0, 2.0]).reset_index(drop=True)
    found = with_rows(predictions, RECORDS)
    assert found["row"].tolist() == [3, 1, 2]
    assert found["row"].dtype == np.int64
    assert found["logit"].tolist() == [3.0, 1.0, 2.0], "in the order of the predictions"
    assert with_rows(predictions.iloc[:0], RECORDS)["row"].tolist() == []


def test_predictions_of_what_is_gone_are_counted() -> None:
    predictions = pd.concat([RECORDS.iloc[[2]], RECORDS.iloc[[1]].assign(partition="test")], ignore_index=True)
    with pytest.raises(
        RunError, match=r"has 1 rows that the run's data do not have now, the first is b \(test\); score"
    ):
        with_rows(predictions, RECORDS)


class Images:
    """Image n of the records is full of n."""

    def __init__(self, n: int) -> None:
        self.records = pd.DataFrame({"partition": ["train", "test"] * n})
        self.asked: list[list[int]] = []

    def evaluation_batch(self, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
        self.asked.append(rows.tolist())
        image = torch.from_numpy(rows).float()[:, None, None, None].expand(-1, 1, 2, 2)
        return {"image": image, "label": torch.tensor([1] * len(rows)), "index": torch.from_numpy(rows)}


def run_of(datamodule: Any) -> ExplainedRun:
    nothing: Any = None
    return ExplainedRun(nothing, datamodule, nothing, None, torch.device("cpu"), pd.DataFrame(), False, {})


def test_fills_see_training_images_in_batches_drawn_once() -> None:
    images = Images(50)
    batches = list(run_of(images).fill_data().training_batches(40, 3))
    assert [len(batch) for batch in batches] == [32, 8]
    rows = [row for asked in images.asked for row in asked]
    assert rows == sorted(set(rows)), "each once, in the order they are stored"
    assert all(row % 2 == 0 for row in rows), "training images are the even ones"
    again = Images(50)
    list(run_of(again).fill_data().training_batches(40, 3))
    assert again.asked == images.asked
    other = Images(50)
    list(run_of(other).fill_data().training_batches(40, 4))
    assert other.asked != images.asked
    few = Images(3)
    assert sum(len(batch) for batch in run_of(few).fill_data().training_batches(40, 3)) == 3


def test_a_case_of_an_image_has_no_target() -> None:
    case = run_of(Images(2)).case(3)
    assert (case.row, case.label, case.target) == (3, 1, None)
    assert bool((case.image == 3.0).all())
    assert case.image.shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("ensemble: {members: [runs/a, runs/b]}", r"averages several runs; explain one of them: runs/a, runs/b$"),
        ("data: {root: x}", r"has no images of its own to explain; give a run of lungdet train$"),
    ],
)
def test_runs_without_images_of_their_own(config: str, message: str, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.config.write_text(config)
    with pytest.raises(RunError, match=message):
        open_explained(directory, tmp_path / "best.ckpt", device="cpu")


def test_a_segmentation_is_a_picture_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path)
    directory.config.write_text("{data: {}, split: {}, seed: 0}")
    segments = SimpleNamespace(spec=SimpleNamespace(target="mask"))
    monkeypatch.setattr("lungdet.config.build.build", lambda node, **given: segments)
    with pytest.raises(RunError, match="segments: its output is a picture already"):
        open_explained(directory, tmp_path / "best.ckpt", device="cpu")
