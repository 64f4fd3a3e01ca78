"""Which rows are shown, and the sheet that shows them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from lungdet.evaluation.views import View
from lungdet.exploration.contact_sheet import contact_sheet, grey_or_rgb, short, spread_choice
from lungdet.exploration.content import Grid, Sample


def test_no_group_comes_twice_before_all_came_once() -> None:
    groups = ["a"] * 50 + ["b"] * 3 + ["c"]
    for seed in range(20):
        chosen = spread_choice(groups, 5, generator=np.random.default_rng(seed))
        assert len(set(chosen)) == 5
        assert sorted(groups[row] for row in chosen[:3]) == ["a", "b", "c"]
        assert Counter(groups[row] for row in chosen) == {"a": 2, "b": 2, "c": 1}


def test_the_choice_is_random_and_repeatable() -> None:
    groups = [str(n) for n in range(100)]
    first, again, other = (spread_choice(groups, 10, generator=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert spread_choice([], 3, generator=np.random.default_rng(0)) == []
    assert len(spread_choice(groups, 500, generator=np.random.default_rng(0))) == 100


def test_every_row_is_equally_likely() -> None:
    drawn = Counter(spread_choice(list("abcd"), 1, generator=np.random.default_rng(seed))[0] for seed in range(400))
    assert min(drawn.values()) > 70


def test_the_sheet_shows_each_picture_with_the_end_of_its_name() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    view = View("axial", np.full((5, 5), -300.0, np.float32), 1.0, ("A", "P", "R", "L"))
    samples = (Sample(grey, "train/NORMAL/IM-0001.jpeg"), Sample(np.zeros((8, 8, 3), np.uint8), "b"), Sample(view, "c"))
    figure = contact_sheet(Grid("samples-x", "x, 3 at random", samples))
    assert [axes.get_title() for axes in figure.axes] == ["IM-0001.jpeg", "b", "c"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), grey)
    assert grey_or_rgb(view)[0, 0] == 128, "-300 HU is the middle of the lung window"


def test_long_names_keep_their_end() -> None:
    assert short("x" * 30 + "end") == "\u2026" + "x" * 18 + "end"
    assert len(short("x" * 99)) == 22
