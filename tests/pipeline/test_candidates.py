from __future__ import annotations

import numpy as np

from lungdet.pipeline.candidates import Candidates


def test_taking_rows_keeps_them_together() -> None:
    rows = np.arange(4.0)
    candidates = Candidates(rows[:, None].repeat(3, 1), rows * 2, rows * 3, rows * 4, rows.astype(object))
    by_index = candidates.take(np.array([3, 1]))
    assert by_index.center_xyz_mm[:, 0].tolist() == [3, 1]
    assert by_index.diameter_mm.tolist() == [6, 2]
    assert by_index.mean_hu.tolist() == [9, 3]
    assert by_index.logit.tolist() == [12, 4]
    assert by_index.regions.tolist() == [3, 1]
    assert len(candidates.take(rows > 1.5)) == 2
