from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import ConfigError, ShapeError
from lungdet.metrics.readers import join_agreements, reader_agreement

Mask = npt.NDArray[np.bool_]


def ball(center_zyx: tuple[float, float, float], radius: float) -> Mask:
    grid = np.indices((24, 32, 40)) - np.reshape(center_zyx, (3, 1, 1, 1))
    inside: Mask = (grid**2).sum(0) <= radius**2
    return inside


def draw(center_zyx: tuple[int, int, int], n_readers: int, seed: int) -> list[Mask]:
    """What several readers drew around one nodule; all of them hold its middle."""
    generator = np.random.default_rng(seed)
    z, y, x = center_zyx
    return [
        ball((z + dz, y + dy, x + dx), 3.0 + generator.random())
        for dz, dy, dx in generator.uniform(-1, 1, (n_readers, 3))
    ]


def stack(*drawn: Mask) -> npt.NDArray[np.uint8]:
    counts: npt.NDArray[np.uint8] = np.sum(drawn, axis=0, dtype=np.uint8)
    return counts


def pairwise(readers: list[Mask]) -> tuple[int, int]:
    """Over all pairs: twice the voxels of both, and the voxels of the one plus those of the other."""
    pairs = list(combinations(readers, 2))
    return sum(2 * int((a & b).sum()) for a, b in pairs), sum(int(a.sum() + b.sum()) for a, b in pairs)


def test_is_the_dice_of_explicit_pairs_of_readers() -> None:
    first, second, third = draw((6, 8, 8), 4, 1), draw((16, 22, 10), 2, 2), draw((12, 16, 30), 3, 3)
    alone = ball((20, 6, 34), 2.0)
    agreement = reader_agreement(stack(*first, *second, *third, alone))
    # Components come in the order of their first voxel.
    (f_shared, f_marked), (t_shared, t_marked), (s_shared, s_marked) = map(pairwise, (first, third, second))
    assert agreement.n_readers.tolist() == [4, 3, 2]
    assert agreement.shared.tolist() == [f_shared, t_shared, s_shared]
    assert agreement.marked.tolist() == [f_marked, t_marked, s_marked]
    dices = [f_shared / f_marked, t_shared / t_marked, s_shared / s_marked]
    assert agreement.dice.tolist() == pytest.approx(dices)
    assert agreement.mean_dice == pytest.approx(np.mean(dices))
    pooled = (f_shared + t_shared + s_shared) / (f_marked + t_marked + s_marked)
    assert agreement.pooled_dice == pytest.approx(pooled)
    assert agreement.n_single == 1
    assert 0.5 < agreement.pooled_dice < 1


def test_scans_are_joined_nodule_by_nodule() -> None:
    first, second = stack(*draw((6, 8, 8), 3, 4)), stack(*draw((12, 16, 30), 2, 5), ball((4, 4, 4), 1))
    both = join_agreements([reader_agreement(first), reader_agreement(second)])
    whole = reader_agreement(np.concatenate([first, second]))
    assert both.pooled_dice == pytest.approx(whole.pooled_dice)
    assert both.n_readers.tolist() == [3, 2]
    assert both.n_single == 1


def test_readers_who_agree_and_nobody_to_agree_with() -> None:
    same = reader_agreement(stack(*[ball((8, 8, 8), 3.0)] * 4))
    assert same.dice.tolist() == [1.0]
    for counts in (np.zeros((4, 5, 6), np.uint8), stack(ball((8, 8, 8), 3.0)), np.zeros((0, 4, 4), np.uint8)):
        nobody = reader_agreement(counts)
        assert len(nobody) == 0
        assert math.isnan(nobody.mean_dice)
        assert math.isnan(nobody.pooled_dice)
    assert math.isnan(join_agreements([]).pooled_dice)


def test_a_corner_joins_with_26_and_not_with_6() -> None:
    counts = np.zeros((4, 4, 4), np.uint8)
    counts[:2, :2, :2], counts[2:, 2:, 2:] = 2, 3
    assert reader_agreement(counts).n_readers.tolist() == [3]
    assert reader_agreement(counts, connectivity=6).n_readers.tolist() == [2, 3]


def test_other_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be \[D, H, W\] and >= 0, got shape \(4, 4\)"):
        reader_agreement(np.zeros((4, 4), np.uint8))
    with pytest.raises(ShapeError, match="dtype int16"):
        reader_agreement(np.full((2, 2, 2), -1, np.int16))
    with pytest.raises(ConfigError, match=r"connectivity must be 6 .* got 18"):
        reader_agreement(np.zeros((2, 2, 2), np.uint8), connectivity=cast(Any, 18))


@pytest.mark.realdata
def test_readers_of_a_real_scan_agree_as_people_do(realdata: Path) -> None:
    from lungdet.io.scan import read_scan

    (path,) = (realdata / "luna16" / "masks").glob("*.mhd")
    agreement = reader_agreement(read_scan(path).hu)
    assert agreement.n_readers.tolist() == [3, 2, 4]
    assert agreement.n_single == 1
    assert agreement.pooled_dice == pytest.approx(0.765, abs=0.001)
