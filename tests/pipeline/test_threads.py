from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from lungdet.pipeline.threads import map_in_threads

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_threads_are_given_back(n_threads: int) -> None:
    assert list(map_in_threads(lambda n: n * n, range(50), device=CPU)) == [n * n for n in range(50)]
    assert torch.get_num_threads() == n_threads
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [n_threads]  # threads that start afterwards too


@pytest.mark.usefixtures("n_threads")
def test_few_items_are_under_way_at_once() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = map_in_threads(lambda n: n, items(), device=CPU)
    next(results)
    assert len(taken) <= 6
    results.close()  # type: ignore[attr-defined]


def test_inside_there_is_one_torch_thread(n_threads: int) -> None:
    inside = set(map_in_threads(lambda _: torch.get_num_threads(), range(6), device=CPU))
    assert inside == {1}
    assert torch.get_num_threads() == n_threads


@pytest.mark.usefixtures("n_threads")
def test_an_exception_reaches_the_caller() -> None:
    def fail(n: int) -> int:
        if n == 3:
            raise ValueError("item 3")
        return n

    with pytest.raises(ValueError, match="item 3"):
        list(map_in_threads(fail, range(20), device=CPU))


def test_another_device_is_fed_from_the_calling_thread() -> None:
    names = set(map_in_threads(lambda _: threading.current_thread().name, range(4), device=torch.device("meta")))
    assert names == {threading.current_thread().name}
