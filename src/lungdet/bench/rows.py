"""A measured figure beside its baseline, and the interleaved rounds it is taken in.

Contenders take turns within every round and a ratio is formed within a round, so that whatever else the machine does
falls on all of them alike.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

#: Does its work for the given round and returns a rate: more is better.
Contender = Callable[[int], float]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        section: what was measured, e.g. `crops, cache warm`.
        name: who did it.
        unit: of median, low and high, e.g. `crops/s`.
        median, low, high: over the rounds.
        baseline: name of the row that ratios refer to.
        ratio, ratio_low, ratio_high: figure over the baseline's of the same round; median, least and most.
        peak_mb: resident memory of the process that did it, at its highest, in MB; None where it was not measured.
    """

    section: str
    name: str
    unit: str
    median: float
    low: float
    high: float
    baseline: str
    ratio: float
    ratio_low: float
    ratio_high: float
    peak_mb: float | None = None


def interleave(contenders: Mapping[str, Contender], *, rounds: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Run every contender once a round, each time in another order.

    Args:
        contenders: name -> what is called with the number of the round.
        rounds: how many are counted.
        warm_up: begin with a round -1 that is not counted.

    Returns:
        name -> a rate for each round.
    """
    names = list(contenders)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            rate = contenders[name](number)
            if number >= 0:
                rates[name].append(rate)
        log.debug("round %d of %d", number + 1, rounds)
    return rates


def rows(
    rates: Mapping[str, Sequence[float]],
    *,
    section: str,
    unit: str,
    baseline: str,
    peaks_mb: Mapping[str, float] | None = None,
) -> list[Row]:
    """A line for each contender.

    Args:
        rates: what `interleave` gave, or part of it.
        section: of the lines.
        unit: of the rates.
        baseline: the contender that the others are compared with.
        peaks_mb: peak memory of those contenders that were measured in a process of their own.
    """
    lines = []
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, rates[baseline], strict=True)]
        lines.append(
            Row(
                section=section,
                name=name,
                unit=unit,
                median=statistics.median(values),
                low=min(values),
                high=max(values),
                baseline=baseline,
                ratio=statistics.median(ratios),
                ratio_low=min(ratios),
                ratio_high=max(ratios),
                peak_mb=(peaks_mb or {}).get(name),
            )
        )
    return lines
