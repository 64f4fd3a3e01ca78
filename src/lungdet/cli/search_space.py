"""The ranges of a search, from a `sweep=` file in Hydra's own words: lists, range(), interval(), tag(log, ...)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from lungdet.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def read_space(params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """What a search may vary.

    Args:
        params: `hydra.sweeper.params`: key as it is typed -> values as they are typed.

    Returns:
        Key -> distribution. Lists and choice() are categories (as typed); range() of whole numbers and interval() are
        numbers, on a logarithmic scale with tag(log, ...).

    Raises:
        ConfigError: nothing to vary, or values that are no range.
    """
    if not params:
        raise ConfigError(
            ["sweep: nothing to search; name a file with ranges: sweep=space (conf/sweep/space.yaml shows how)"]
        )
    parser = OverridesParser.create()
    space = {}
    problems = []
    for key, values in params.items():
        try:
            override = parser.parse_override(f"{key}={values}")
        except HydraException as error:
            problems.append(f"sweep: {key}: cannot read '{values}': {str(error).splitlines()[0]}")
            continue
        if not override.is_sweep_override():
            problems.append(
                f"sweep: {key}: '{values}' is one value; give a range: 1e-4,1e-3 or interval(1e-5, 1e-2) or "
                "tag(log, interval(1e-5, 1e-2))"
            )
            continue
        space[str(key)] = _distribution(override)
    if problems:
        raise ConfigError(problems)
    return space


def as_override(key: str, value: Any) -> str:
    """A suggested value as it is typed behind `lungdet train`."""
    return f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        is_log = "log" in value.tags
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=is_log)
        return FloatDistribution(float(low), float(high), log=is_log)
    if isinstance(value, RangeSweep) and not value.shuffle:
        start, stop, step = value.start, value.stop, value.step
        if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int) and step > 0:
            last = start + (stop - start - 1) // step * step
            return IntDistribution(start, last, step=step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))
