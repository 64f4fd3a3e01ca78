from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom.anatomy import Thorax, draw_thorax
from lungdet.io.phantom.trees import Trees, Tubes, grow_tree, grow_trees, join_tubes, thicken


def test_a_tree_reaches_every_end_point_and_obeys_murray() -> None:
    rng = np.random.default_rng(0)
    ends = rng.uniform(-20, 20, (60, 3))
    tree = grow_tree(rng, np.array([0.0, 0.0, -30.0]), ends, end_radius_mm=0.4)
    assert (tree.parent[1:] < np.arange(1, len(tree.nodes))).all()
    leaves = tree.nodes[tree.leaves == 1]
    assert sorted(map(tuple, leaves)) == sorted(map(tuple, ends))
    assert len(tree.branchings) == len(ends) - 2  # binary; the root forks too, but is no branching of a vessel
    for node in tree.branchings:
        children = np.flatnonzero(tree.parent == node)
        assert len(children) == 2
        assert tree.leaves[children].sum() == tree.leaves[node]
        # The flow that a radius stands for is conserved.
        assert (tree.radius[children] ** 2.7).sum() == pytest.approx(tree.radius[node] ** 2.7)
    assert tree.radius[0] == pytest.approx(0.4 * 60 ** (1 / 2.7))


def test_a_single_end_point_is_one_branch() -> None:
    tree = grow_tree(np.random.default_rng(0), np.zeros(3), np.array([[1.0, 2.0, 3.0]]), end_radius_mm=0.5)
    assert tree.nodes.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert len(tree.branchings) == 0


def test_branches_are_continuous_and_taper() -> None:
    rng = np.random.default_rng(1)
    tree = grow_tree(rng, np.zeros(3), rng.uniform(5, 30, (40, 3)), end_radius_mm=0.4)
    tubes = tree.tubes()
    half = len(tubes) // 2
    np.testing.assert_array_equal(tubes.end[:half], tubes.start[half:])
    np.testing.assert_array_equal(tubes.start[:half], tree.nodes[tree.parent[1:]])
    np.testing.assert_array_equal(tubes.end[half:], tree.nodes[1:])
    assert (tubes.radius_end <= tubes.radius_start).all()


def test_distance_to_tubes_by_hand() -> None:
    tubes = Tubes(
        np.array([[0.0, 0, 0], [0, 50, 0]]),
        np.array([[10.0, 0, 0], [0, 50, 0]]),
        np.array([2.0, 1]),
        np.array([1.0, 1]),
    )
    points = np.array([[0.0, 0, 5], [5, 0, 5], [13, 4, 0], [5, 0, 0], [0, 47, 0]])
    np.testing.assert_allclose(tubes.distance(points), [3.0, 3.5, 4.0, -1.5, 2.0])


def test_distance_in_parts_is_the_distance_to_all() -> None:
    rng = np.random.default_rng(3)
    start = rng.uniform(0, 50, (600, 3))
    tubes = Tubes(start, start + rng.normal(size=(600, 3)), np.full(600, 0.5), np.full(600, 0.3))
    points = rng.uniform(0, 50, (20, 3))
    each = [
        Tubes(*(a[i : i + 1] for a in (tubes.start, tubes.end, tubes.radius_start, tubes.radius_end)))
        for i in range(600)
    ]
    np.testing.assert_allclose(tubes.distance(points), np.min([one.distance(points) for one in each], axis=0))
    assert len(join_tubes(each)) == 600


def test_trees_fill_both_lungs_and_stay_inside(thorax: Thorax, trees: Trees) -> None:
    assert len(trees.vessels) == 4
    for side in (-1, 1):
        ends = np.concatenate([t.nodes[t.leaves == 1] for t in trees.vessels])
        assert (ends[:, 0] * side > 0).sum() > 60
    ends = np.concatenate([t.nodes[t.leaves == 1] for t in trees.vessels])
    assert (thorax.lung_distance(*ends.T) < 0).all()
    tips = trees.vessel_tubes
    assert np.mean(thorax.lung_distance(*tips.end.T) < 0) > 0.95
    # Tapering towards the periphery: thin branches lie nearer to the pleura than thick ones.
    depth = -thorax.lung_distance(*tips.end.T)
    assert tips.radius_end.max() > 4 * tips.radius_end.min()
    assert np.median(depth[tips.radius_end < 0.5]) < np.median(depth[tips.radius_end > 1.2])


def test_bronchi_have_a_wall_and_run_beside_arteries(trees: Trees) -> None:
    lumen, wall = trees.airway_lumen, trees.airway_wall
    assert len(lumen) == len(wall) > 10
    assert ((wall.radius_end - lumen.radius_end) >= 0.2).all()
    np.testing.assert_array_equal(lumen.start, wall.start)
    nearest = trees.vessel_tubes.distance(0.5 * (lumen.start + lumen.end))
    assert np.median(nearest) < 3


def test_the_trachea_divides_into_the_two_hila(thorax: Thorax, trees: Trees) -> None:
    np.testing.assert_allclose(trees.trachea_lumen.end[1:], thorax.hila)
    assert trees.trachea_lumen.start[0, 2] > thorax.half_height
    thick = thicken(trees.trachea_lumen, 1.0, 0.5)
    np.testing.assert_allclose(thick.radius_start, 1.5 * trees.trachea_lumen.radius_start + 1.0)


def test_a_lung_too_small_for_the_grid_still_has_vessels() -> None:
    rng = np.random.default_rng(0)
    tiny = draw_thorax(rng, half_fov_mm=10, half_height_mm=10, table_side=1)
    trees = grow_trees(rng, tiny)
    assert len(trees.vessel_tubes) >= 8
