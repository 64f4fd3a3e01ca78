"""Ranges in Hydra's words become Optuna's distributions; what is no range is refused."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lungdet.cli.search_space import as_override, read_space
from lungdet.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("interval(1e-5, 1e-2)", FloatDistribution(1e-5, 1e-2)),
        ("tag(log, interval(1e-5, 1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("interval(2, 8)", FloatDistribution(2, 8)),
        ("int(interval(2, 8))", IntDistribution(2, 8)),
        ("range(1, 8, 3)", IntDistribution(1, 7, step=3)),
        ("range(0, 3)", IntDistribution(0, 2)),
        ("1e-4,3e-4", CategoricalDistribution(["0.0001", "0.0003"])),
        ("choice(sgd,adamw)", CategoricalDistribution(["sgd", "adamw"])),
        ("[1,2],[3,4]", CategoricalDistribution(["[1,2]", "[3,4]"])),
        ("range(0.5, 1.5, 0.5)", CategoricalDistribution(["0.5", "1.0"])),
    ],
)
def test_ranges(values: str, expected: object) -> None:
    assert read_space({"a.b": values}) == {"a.b": expected}


def test_all_problems_are_listed() -> None:
    with pytest.raises(ConfigError) as error:
        read_space({"optim.lr": "0.1", "seed": "choice(1", "optim": "sgd,adamw"})
    first, second = error.value.problems
    assert first.startswith("sweep: optim.lr: '0.1' is one value; give a range")
    assert second.startswith("sweep: seed: cannot read 'choice(1'")


def test_nothing_to_search_says_where_ranges_come_from() -> None:
    with pytest.raises(ConfigError, match=r"sweep=space \(conf/sweep/space\.yaml"):
        read_space({})


def test_suggestions_are_typed_in_full() -> None:
    assert as_override("optim.lr", 0.1 + 0.2) == "optim.lr=0.30000000000000004"
    assert as_override("scheduler", "cosine") == "scheduler=cosine"
    assert as_override("seed", 3) == "seed=3"
