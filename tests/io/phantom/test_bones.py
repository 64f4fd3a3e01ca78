from __future__ import annotations

import numpy as np

from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.bones import make_ribs


def test_ribs_lie_between_pleura_and_skin(thorax: Thorax) -> None:
    ribs = make_ribs(np.random.default_rng(0), thorax)
    middle = 0.5 * (ribs.cortex.start + ribs.cortex.end)
    within = np.abs(middle[:, 2]) < thorax.half_height
    x, y, z = middle[within].T
    assert np.mean(thorax.cavity_distance(x, y, z) > -0.3 * ribs.cortex.radius_start[within]) > 0.9
    assert (thorax.body_distance(x, y) < -0.5).all()
    assert (ribs.marrow.radius_start < ribs.cortex.radius_start).all()


def test_ribs_come_in_pairs_slope_forward_and_end_near_the_pleura(thorax: Thorax) -> None:
    ribs = make_ribs(np.random.default_rng(0), thorax)
    assert (ribs.ends[:, 0] < 0).sum() == (ribs.ends[:, 0] > 0).sum() >= 7
    assert (ribs.ends[:, 1] < 0).all()  # at the front
    for end in ribs.ends:
        back = ribs.cortex.start[np.argmin(np.linalg.norm(ribs.cortex.start - end, axis=1))]
        assert back[2] <= end[2] + 0.1 * thorax.half_height
    x, y, z = ribs.ends[np.abs(ribs.ends[:, 2]) < thorax.apex_z].T
    # They bulge towards the lung: not more than a rib's thickness away from it.
    assert np.median(np.abs(thorax.cavity_distance(x, y, z))) < 2 * ribs.cortex.radius_start.max()
