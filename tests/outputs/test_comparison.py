"""Which findings are the same, and what became of annotated nodules: counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from lungdet.errors import TableError
from lungdet.outputs.comparison import called_places, false_positives, judge_annotations, positions
from lungdet.outputs.findings import Finding

NAN = float("nan")


def finding(rank: int, x: float, probability: float, *, diameter: float = 4.0) -> Finding:
    called = probability >= 0.5
    return Finding(
        rank, rank, (x, 0.0, 0.0), (0.0, 0.0, 0.0), 1, probability, 0.0, NAN, diameter, NAN, NAN, called, None
    )


def nodules(*rows: tuple[float, float], **columns: list[bool]) -> pd.DataFrame:
    table = pd.DataFrame({"center_x_mm": [x for x, _ in rows], "diameter_mm": [d for _, d in rows]})
    return table.assign(center_y_mm=0.0, center_z_mm=0.0, **columns)


def test_places_of_two_recipes() -> None:
    """Ours calls 0 and 100; theirs calls 4.9 (same as 0), 105 (5 mm: not nearer, so not the same) and 200.

    At 200 ours has a candidate that it does not call.
    """
    ours = [finding(1, 0, 0.9), finding(2, 100, 0.8), finding(3, 201, 0.2)]
    theirs = [finding(1, 200, 0.99), finding(2, 4.9, 0.7), finding(3, 105, 0.6), finding(4, 103, 0.1)]
    places = called_places({"ours": ours, "theirs": theirs})
    assert [p.center_xyz_mm[0] for p in places] == [0, 100, 200, 105]
    assert [p.found["ours"] for p in places] == [ours[0], ours[1], ours[2], None]
    assert [p.found["theirs"] for p in places] == [theirs[1], theirs[3], theirs[0], theirs[2]]
    assert [p.is_common for p in places] == [True, False, False, False]


@pytest.mark.parametrize(("mine", "other", "same"), [(20.0, 4.0, True), (4.0, 20.0, True), (18.0, NAN, False)])
def test_the_larger_radius_decides(mine: float, other: float, same: bool) -> None:
    """9.5 mm apart: nearer than a radius of 10, not than one of 9."""
    places = called_places({"a": [finding(1, 0, 0.9, diameter=mine)], "b": [finding(1, 9.5, 0.9, diameter=other)]})
    assert len(places) == (1 if same else 2)


def test_nothing_called_anywhere() -> None:
    assert called_places({"a": [finding(1, 0, 0.4)], "b": []}) == ()


def test_annotated_nodules_by_the_rule_of_the_challenge() -> None:
    """Radius 5 around 0: hit by 4.9, not by 5.0. Radius 3 around 50: hit below the threshold. 90: missed."""
    ours = [finding(1, 5.0, 0.9), finding(2, 4.9, 0.8), finding(3, 49, 0.3), finding(4, 0, 0.2), finding(5, 300, 0.7)]
    found = judge_annotations(nodules((0, 10), (50, 6), (90, 8)), {"ours": ours, "none": []})
    assert [n.hit_by["ours"] for n in found] == [ours[1], ours[2], None]
    assert [n.hit_by["none"] for n in found] == [None] * 3
    assert [n.is_malignant for n in found] == [None] * 3
    assert positions(found).tolist() == [[0, 0, 0], [50, 0, 0], [90, 0, 0]]
    # Called and outside every nodule: the one at 5.0 and the one at 300.
    assert false_positives(ours, found) == 2
    assert false_positives([], found) == 0


def test_without_nodules_everything_called_is_false() -> None:
    assert judge_annotations(nodules(), {"ours": []}) == ()
    assert positions(()).shape == (0, 3)
    assert false_positives([finding(1, 0, 0.9), finding(2, 0, 0.1)], ()) == 1


def test_malignancy_is_told_where_it_is_known() -> None:
    found = judge_annotations(nodules((0, 10), (50, 6), is_malignant=[True, False]), {})
    assert [n.is_malignant for n in found] == [True, False]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match="annotations without diameter_mm; read them with read_annotations"):
        judge_annotations(nodules((0, 10)).drop(columns="diameter_mm"), {})
