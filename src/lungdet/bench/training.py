"""Training of luna_cls: fp32 contiguous against channels_last and bf16, plain PyTorch against Lightning, data waits."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.bench.training_loops import Arithmetic, CropsInMemory, LightningPath, PlainLoop, make_task
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset, make_loader
from lungdet.errors import StoreError
from lungdet.losses.classification import BinaryCrossEntropy, CrossEntropy
from lungdet.nets.luna import LunaModel
from lungdet.nets.resnet3d import R3d18
from lungdet.pipeline.inference import resolve_precision
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

log = logging.getLogger(__name__)

BARE = "plain PyTorch loop"
LIGHTNING = "lungdet train, crops in memory"
FROM_STORE = "lungdet train, crops from an lz4 store"
FROM_MEMORY = "crops in memory"
_ADVICE = ("many workers", "smaller than the logging interval", "no `val_dataloader`", "is not empty", "LeafSpec")
SCANS = Collection(2, (96, 128, 128), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Network:
    """What is trained.

    Attributes:
        name: as `model=`.
        make: the network with random weights.
        loss: its loss.
        shape_zyx: of the crops.
        batch_size: of a step.
    """

    name: str
    make: Callable[[], nn.Module]
    loss: Callable[[], nn.Module]
    shape_zyx: tuple[int, int, int]
    batch_size: int


LUNA_CLS = Network("luna_cls", LunaModel, CrossEntropy, (32, 48, 48), 32)
R3D18 = Network("r3d18", R3d18, BinaryCrossEntropy, (64, 64, 64), 16)
# The same field of view at 2 mm: 64^3 takes half a minute for a step on two cores.
R3D18_COARSE = Network("r3d18", R3d18, BinaryCrossEntropy, (32, 32, 32), 8)


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Samples a second of training, on the GPU where there is one.

    A step is all that training does with a batch that is in memory: transfer, augmentation, window, forward, loss,
    backward, optimiser. The loops are epochs of such steps.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    has_bf16 = resolve_precision("auto", device) == "bf16"
    if not has_bf16:
        log.warning("this %s has no bf16 arithmetic: no figures for it", device.type)
    # Ratios hardly depend on the size of the batch; on two cores half of it halves the 17 s of the quick figures.
    networks = [LUNA_CLS if on_gpu or not quick else replace(LUNA_CLS, batch_size=LUNA_CLS.batch_size // 2)]
    if on_gpu or not quick:
        networks.append(R3D18 if on_gpu else R3D18_COARSE)
    lines = []
    with quiet_lightning():
        for network in networks:
            rates = step_rates(
                network,
                ways(has_bf16, compiled=on_gpu),
                device=device,
                steps=20 if on_gpu else 1,
                rounds=3 if quick else 7,
            )
            lines += rows(rates, section=_section(network, device), unit="samples/s", baseline=str(Arithmetic()))
        # A fourth of the batch on a CPU: the shorter the step, the more a loop around it weighs.
        batch_size = LUNA_CLS.batch_size if on_gpu else LUNA_CLS.batch_size // 4
        lines += loop_rows(
            LUNA_CLS,
            Arithmetic(bf16=has_bf16, channels_last=True),
            device=device,
            batch_size=batch_size,
            steps=200 if on_gpu else (8 if quick else 24),
            rounds=3 if quick else 9,
            folder=folder,
        )
    return lines


def ways(has_bf16: bool, *, compiled: bool) -> list[Arithmetic]:
    """The ways to compute that this machine has, the baseline first."""
    found = [Arithmetic(), Arithmetic(channels_last=True)]
    if has_bf16:
        found += [Arithmetic(bf16=True), Arithmetic(bf16=True, channels_last=True)]
    if compiled:
        found.append(Arithmetic(bf16=has_bf16, channels_last=True, compiled=True))
    return found


def step_rates(
    network: Network, arithmetics: Sequence[Arithmetic], *, device: torch.device, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Samples a second of each way to compute; all start from the same weights.

    Args:
        network: what is trained.
        arithmetics: how.
        device: where.
        steps: of a round.
        rounds: how many are counted.
    """
    dataset = CropsInMemory(network.batch_size * steps, network.shape_zyx)
    loader = _loader(dataset, network.batch_size, device)
    loops = {}
    for arithmetic in arithmetics:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            loops[str(arithmetic)] = PlainLoop(network.make(), network.loss(), arithmetic=arithmetic, device=device)

    def timed(loop: PlainLoop) -> Contender:
        def run(_: int) -> float:
            started = time.perf_counter()
            for raw in loader:
                loop.step(raw)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return len(dataset) / (time.perf_counter() - started)

        return run

    return interleave({name: timed(loop) for name, loop in loops.items()}, rounds=rounds)


def loop_rows(
    network: Network,
    arithmetic: Arithmetic,
    *,
    device: torch.device,
    batch_size: int,
    steps: int,
    rounds: int,
    folder: Path,
) -> list[Row]:
    """Epochs by a plain loop and by Lightning, and what is left of them beside the wait for data.

    Args:
        network: what is trained.
        arithmetic: how.
        device: where.
        batch_size: of a step.
        steps: of an epoch.
        rounds: how many are counted.
        folder: for a small store, checkpoints and event files.
    """
    count = batch_size * steps
    memory = _loader(CropsInMemory(count, network.shape_zyx), batch_size, device)
    store = _loader(_stored_crops(folder, count, network.shape_zyx), batch_size, device)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = PlainLoop(network.make(), network.loss(), arithmetic=arithmetic, device=device)
        paths = {}
        for name in (LIGHTNING, FROM_STORE):
            task = make_task(network.make(), network.loss(), arithmetic=arithmetic)
            paths[name] = LightningPath(task, bf16=arithmetic.bf16, device=device, folder=folder / "lightning")
    busy: dict[str, list[float]] = {LIGHTNING: [], FROM_STORE: []}

    def lightning(name: str, loader: DataLoader[Any]) -> Contender:
        def run(number: int) -> float:
            seconds, waiting = paths[name].epoch(loader)
            if number >= 0:
                busy[name].append(100 * (1 - waiting / seconds))
            return count / seconds

        return run

    rates = interleave(
        {
            BARE: lambda _: count / plain.epoch(memory),
            LIGHTNING: lightning(LIGHTNING, memory),
            FROM_STORE: lightning(FROM_STORE, store),
        },
        rounds=rounds,
    )
    how = f"{network.name}, {arithmetic}, batches of {batch_size}, {device.type}"
    shares = {FROM_MEMORY: busy[LIGHTNING], "crops from an lz4 store": busy[FROM_STORE]}
    return [
        *rows(rates, section=f"training loop, {how}", unit="samples/s", baseline=BARE),
        *rows(shares, section=f"time not spent waiting for data, {how}", unit="%", baseline=FROM_MEMORY),
    ]


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hold back what Lightning says at the start of every fit, and its advice on workers and on epochs of few steps."""
    names = ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning.accelerators.cuda", "lungdet.training")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _ADVICE:
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _loader(dataset: Any, batch_size: int, device: torch.device) -> DataLoader[Any]:
    return make_loader(
        dataset,
        SequentialSampler(dataset),
        batch_size=batch_size,
        world_size=1,
        num_workers=0,
        pin_memory=device.type == "cuda",
    )


def _stored_crops(folder: Path, count: int, shape_zyx: tuple[int, int, int]) -> CandidateDataset:
    """Crops anywhere in two small drawn scans, in turn positive and negative."""
    path = folder / "training.zarr"
    spec = StoreSpec(spacing_mm="native", lung_mask=False, codec="lz4")
    report = preprocess(scans_for(folder, SCANS), path, spec, workers=1)
    if report.failed:
        raise StoreError(f"the benchmark's own scans failed: {report.failed}")
    store = CtStore(path)
    random = np.random.default_rng(0)
    uids = [store.series_uids[n] for n in random.integers(0, len(store.series_uids), count)]
    index = random.uniform(0, SCANS.shape_zyx, (count, 3))
    centers = [store.geometry(uid).index_to_world(i) for uid, i in zip(uids, index, strict=True)]
    records = pd.DataFrame(np.asarray(centers), columns=CENTER_COLUMNS)
    records["series_uid"], records["label"] = uids, np.arange(count) % 2
    return CandidateDataset(store, records, shape_zyx=shape_zyx)


def _section(network: Network, device: torch.device) -> str:
    shape = " x ".join(map(str, network.shape_zyx))
    return f"training step, {network.name}, batches of {network.batch_size} of {shape}, {device.type}"
