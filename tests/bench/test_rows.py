"""Medians, spreads and ratios counted by hand; the order of the rounds."""

from __future__ import annotations

import pytest

from lungdet.bench.rows import interleave, rows


def test_ratios_are_formed_within_a_round() -> None:
    base, ours = rows(
        {"base": [100.0, 10.0, 50.0], "ours": [200.0, 40.0, 50.0]}, section="s", unit="u", baseline="base"
    )
    assert (ours.median, ours.low, ours.high) == (50.0, 40.0, 200.0)
    assert (ours.ratio, ours.ratio_low, ours.ratio_high) == (2.0, 1.0, 4.0)
    assert (base.ratio, base.ratio_low, base.ratio_high) == (1.0, 1.0, 1.0)
    assert {line.baseline for line in (base, ours)} == {"base"}
    assert (ours.section, ours.unit, ours.name) == ("s", "u", "ours")


@pytest.mark.parametrize(("warm_up", "first"), [(True, -1), (False, 0)])
def test_contenders_take_turns_and_only_the_warm_up_is_not_counted(warm_up: bool, first: int) -> None:
    calls: list[tuple[str, int]] = []

    def contender(name: str, number: int) -> float:
        calls.append((name, number))
        return float(number)

    contenders = {name: (lambda number, name=name: contender(name, number)) for name in "abc"}
    rates = interleave(contenders, rounds=3, warm_up=warm_up)
    assert rates == {name: [0.0, 1.0, 2.0] for name in "abc"}
    assert sorted(calls) == sorted((name, n) for name in "abc" for n in range(first, 3))
    starts = [name for name, number in calls[:: len(contenders)]]
    assert set(starts) == set("abc"), "each of them is the first of some round"
