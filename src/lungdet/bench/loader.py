"""Training batches of a DataModule: crops of the store against crops in memory, and how many workers are enough."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lungdet.bench.drawn.candidates import CandidatesInMemory, DrawnCandidates
from lungdet.bench.drawn.volumes import FULL, QUICK, Volumes, prepare
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.data.ct import CtDataModule
from lungdet.nets.luna import LunaModel

WORKERS = (0, 2)
CODECS = ("none", "lz4")
MEMORY = "crops in memory"
CACHE = "lungdet crop cache, from lz4"
QUICK_CROPS = 512
#: More workers are suggested only if they give more than this part of the fastest rate.
ENOUGH = 0.95

log = logging.getLogger(__name__)


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Crops a second that arrive in the main process, int16 and not windowed; then with what follows there."""
    volumes = prepare(folder, QUICK if quick else FULL)
    count, rounds = (QUICK_CROPS, 5) if quick else (3 * QUICK_CROPS, 11)
    lines = []
    for workers in WORKERS:
        modules: dict[str, CtDataModule] = {
            MEMORY: CandidatesInMemory(volumes, codec="none", count=count, num_workers=workers),
            **{
                f"lungdet store, {codec}": DrawnCandidates(volumes, codec=codec, count=count, num_workers=workers)
                for codec in CODECS
            },
            CACHE: DrawnCandidates(
                volumes, codec="lz4", count=count, num_workers=workers, crop_cache=folder / "loader_crops"
            ),
        }
        contenders = {name: _arriving(training_loader(module)) for name, module in modules.items()}
        rates = interleave(contenders, rounds=rounds)
        lines += rows(rates, section=f"DataModule, {workers} workers", unit="crops/s", baseline=MEMORY)
    for codec in CODECS:
        lines += _by_workers(volumes, codec=codec, count=count, rounds=2 if quick else 7)
    return lines


def training_loader(datamodule: CtDataModule) -> DataLoader[Any]:
    """The loader of a training without a trainer."""
    of_records = logging.getLogger("lungdet.data.ct")
    level = of_records.level
    of_records.setLevel(logging.WARNING)  # a line for each of a dozen DataModules says nothing here
    try:
        datamodule.setup()
    finally:
        of_records.setLevel(level)
    return datamodule.train_dataloader()


def worker_counts(cores: int) -> list[int]:
    """What is worth trying: none, powers of two, one for each core.

    >>> worker_counts(6)
    [0, 1, 2, 4, 6]
    """
    return sorted({0, cores, *(1 << n for n in range(cores.bit_length()))})


def enough_workers(rates: Mapping[int, Sequence[float]]) -> int:
    """The fewest workers that give `ENOUGH` of the fastest median: each one holds memory and a core."""
    medians = {workers: statistics.median(values) for workers, values in rates.items()}
    return min(workers for workers, rate in medians.items() if rate >= ENOUGH * max(medians.values()))


def _by_workers(volumes: Volumes, *, codec: str, count: int, rounds: int) -> list[Row]:
    """A line for each number of workers; the section says how many are enough on this machine.

    Beside the workers, batches are consumed: with a GPU by training steps of luna_cls there, else by the window alone.
    A network on the same cores takes so much longer than its batches that the number of workers hardly matters.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    contenders = {}
    for workers in worker_counts(cores):
        module = DrawnCandidates(volumes, codec=codec, count=count, num_workers=workers)
        contenders[_worker_name(workers)] = _consumed(module, _consumer(module))
    rates = interleave(contenders, rounds=rounds)
    suggested = enough_workers({workers: rates[_worker_name(workers)] for workers in worker_counts(cores)})
    log.info("%s store: data.num_workers=%d is enough on this machine", codec, suggested)
    section = f"training batches from {codec}: type data.num_workers={suggested}"
    return rows(rates, section=section, unit="crops/s", baseline=_worker_name(0))


def _worker_name(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"


def _arriving(loader: DataLoader[Any]) -> Contender:
    # Workers stay alive between rounds, and the round that warms up starts them.
    def run(_: int) -> float:
        started = time.perf_counter()
        received = sum(_touch(batch) for batch in loader)
        return received / (time.perf_counter() - started)

    return run


def _consumed(datamodule: CtDataModule, consume: Callable[[Any], None]) -> Contender:
    loader = training_loader(datamodule)

    def run(_: int) -> float:
        started, received = time.perf_counter(), 0
        for batch in loader:
            received += _touch(batch)
            consume(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return received / (time.perf_counter() - started)

    return run


def _consumer(datamodule: CtDataModule) -> Callable[[Any], None]:
    if not torch.cuda.is_available():
        return lambda batch: datamodule.on_after_batch_transfer(batch, 0) and None
    network = LunaModel().cuda().to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def step(batch: Any) -> None:
        on_device = {name: value.cuda(non_blocking=True) for name, value in batch.items()}
        finished = datamodule.on_after_batch_transfer(on_device, 0)
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(finished["image"]), finished["label"])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _touch(batch: Any) -> int:
    """Number of crops in a batch, whose last voxel is read so that it must have arrived."""
    hu: torch.Tensor = batch["hu"]
    hu[-1, -1, -1, -1, -1].item()
    return len(hu)
