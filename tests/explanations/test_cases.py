from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from lungdet.errors import ConfigError
from lungdet.explanations.cases import CaseChoice, choose_cases, draw_by_class

TABLE = pd.DataFrame(
    {
        "series_uid": ["a", "a", "b", "c", "d", "e"],
        "candidate_id": [1, 2, 3, 4, 5, 6],
        "label": [1, 0, 1, 0, 0, 1],
        "probability": [0.9, 0.2, 0.4, 0.7, 0.5, 0.6],
        "partition": ["test"] * 5 + ["val"],
    },
    index=[10, 11, 12, 13, 14, 15],
)


def chosen(**choice: Any) -> list[int]:
    return choose_cases(TABLE, CaseChoice(**choice))["candidate_id"].tolist()


def test_positives_come_first_and_the_most_probable_before_others() -> None:
    assert chosen() == [1, 3, 4, 5, 2]
    assert chosen(partition="val") == [6]


@pytest.mark.parametrize(
    ("choice", "ids"),
    [
        ({"correct": True}, [1, 2]),
        ({"correct": False}, [3, 4, 5]),  # 0.5 is called positive
        ({"correct": True, "threshold": 0.3}, [1, 3, 2]),
        ({"label": 0}, [4, 5, 2]),
        ({"probability": (0.4, 0.7)}, [3, 4, 5]),
        ({"label": 0, "correct": False, "probability": (0.6, 1.0)}, [4]),
        ({"ids": ["a"]}, [1, 2]),
        ({"ids": ["a:2", "c"]}, [4, 2]),
    ],
)
def test_by_correctness_class_band_and_id(choice: dict[str, Any], ids: list[int]) -> None:
    assert chosen(**choice) == ids


def test_a_draw_is_seeded() -> None:
    draws = {tuple(chosen(n=2, seed=seed)) for seed in range(8)}
    assert chosen(n=2, seed=3) == chosen(n=2, seed=3)
    assert len(draws) > 2
    assert all(len(draw) == 2 for draw in draws)


def test_correctness_is_a_column_and_the_index_stays() -> None:
    rows = choose_cases(TABLE, CaseChoice())
    assert rows["correct"].to_dict() == {10: True, 11: True, 12: False, 13: False, 14: False}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"n": 0}, r"cases\.n=0"),
        ({"probability": (0.8, 0.2)}, r"cases\.probability=\[0\.8, 0\.2\]"),
        ({"threshold": 0.0}, r"cases\.threshold=0\.0"),
        ({"ids": []}, r"cases\.ids=\[\]"),
        ({"label": 2}, r"cases\.label=2"),
        ({"ids": ["a:3"]}, r"cases\.ids: 'a:3' is no series.*did you mean 'b:3'"),
        ({"ids": ["zzz"]}, r"'zzz'.*there are a, b, c"),
        ({"label": 1, "probability": (0, 0.1)}, r"none of the 5 rows.*1 of label 1 answered rightly"),
    ],
)
def test_what_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(**choice)


@pytest.mark.parametrize(("n", "n_ones"), [(4, 2), (2, 1), (None, 3), (9, 3), (5, 2)])
def test_as_many_of_either_class(n: int | None, n_ones: int) -> None:
    drawn = draw_by_class(TABLE, n=n, seed=0)
    assert len(drawn) == min(n or 6, 6)
    assert drawn["label"].sum() == n_ones
    assert drawn.index.is_monotonic_increasing


def test_a_rare_class_leaves_its_room() -> None:
    table = pd.DataFrame({"label": [1] + [0] * 9})
    assert len(draw_by_class(table, n=6, seed=0)) == 6
    assert draw_by_class(table, n=6, seed=0)["label"].sum() == 1
