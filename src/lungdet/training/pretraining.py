"""What a network that training starts from has seen: patients that this run holds out must not be among them."""

from __future__ import annotations

import logging
from pathlib import Path

from lungdet.data.partitions import Split
from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


def held_out_but_seen(weights: Path, split: Split) -> list[str] | None:
    """Patients that validate or test here and trained the network whose weights are taken over.

    Features that were fitted to a patient's scan flatter every later result on that patient, whatever the labels were.

    Args:
        weights: checkpoint in the directory of the run that trained it.
        split: of this run.

    Returns:
        Patient ids, sorted; None where that run left no split (imported weights, a lone file).
    """
    record = RunDirectory(weights.resolve().parents[1]).split
    if not record.is_file():
        return None
    trained_on = set(Split.from_json(record.read_text()).train)
    seen = sorted(trained_on & {*split.val, *split.test})
    if seen:
        log.warning("%s was trained on %d patients that validate or test here: %s", weights, len(seen), ", ".join(seen))
    return seen
