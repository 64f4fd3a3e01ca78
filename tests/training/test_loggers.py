"""TensorBoard files read back: the x-axis counts samples or steps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from lungdet.training.loggers import TensorBoard


@pytest.mark.parametrize(("x_axis", "expected"), [("samples", [64, 128]), ("steps", [1, 2])])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_x_axis(x_axis: Literal["samples", "steps"], expected: list[int], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoard(save_dir=str(tmp_path), x_axis=x_axis)
    for step, samples in ((1, 64), (2, 128)):
        logger.log_metrics({"val/auroc": 0.5, "samples_seen": samples}, step)
    logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("val/auroc")] == expected
