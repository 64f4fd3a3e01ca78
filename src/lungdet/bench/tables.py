"""The candidate table: 755,000 rows read, matched, split and ready to sample, against a tuple for each of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lungdet.bench.baselines.book_tables import TableCost, measure_book
from lungdet.bench.drawn.luna16_folder import LUNA16, TableSizes, uids, write_empty_store, write_folder
from lungdet.bench.processes import in_new_process, peak_mb
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.bench.worker_memory import can_measure, copied_by_worker
from lungdet.data.candidate_dataset import CandidateDataset
from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sampling import BalancedSampling
from lungdet.data.splits import GroupedKFold
from lungdet.store.reader import CtStore
from lungdet.store.schema import CropSize, StoreSpec

BOOK = "csv module, tuples"
OURS = "lungdet"
SIZES = LUNA16
# A worker that copies nothing at all would give an infinite ratio; a page is 4 kB.
_LEAST_MB = 0.1

log = logging.getLogger(__name__)

Voxels = npt.NDArray[np.int16]


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Rows a second until the first batch is drawn, imports apart; and rows that a worker sees for each MB it copies.

    Peak memory is that of the whole process; what its imports take of it is logged.
    """
    root, store = prepare(folder, SIZES)
    costs: dict[str, list[TableCost]] = {BOOK: [], OURS: []}
    peaks = dict.fromkeys(costs, 0.0)

    def timed(name: str, function: Callable[..., TableCost], *arguments: Path) -> Contender:
        def run(_: int) -> float:
            cost, peak = in_new_process(function, *arguments)
            log.info("%s: %s, peak %.0f MB", name, cost, peak)
            costs[name].append(cost)
            peaks[name] = max(peaks[name], peak)
            return SIZES.n_candidates / cost.seconds

        return run

    contenders = {BOOK: timed(BOOK, measure_book, root), OURS: timed(OURS, measure_ours, root, store)}
    rates = interleave(contenders, rounds=2 if quick else 5, warm_up=False)
    about = f"{SIZES.n_candidates:,} candidates of {SIZES.n_series:,} series"
    lines = rows(rates, section=f"{about}: read, matched, split, sampled", unit="rows/s", baseline=BOOK, peaks_mb=peaks)
    shared = {name: _rows_per_mb(costs[name]) for name in costs}
    if not all(shared.values()):
        log.warning("this system does not tell what a worker copies: no figures for that")
        return lines
    return lines + rows(shared, section=f"{about}: seen by a worker", unit="rows/MB copied", baseline=BOOK)


def prepare(folder: Path, sizes: TableSizes) -> tuple[Path, Path]:
    """The folder of tables and a store that knows its scans; what an earlier call left is used again."""
    root = folder / f"luna16_{sizes.n_series}_{sizes.n_candidates}"
    store = root / "store.zarr"
    if not store.is_dir():
        write_folder(root, sizes)
        write_empty_store(store, uids(sizes), _spec())
    return root, store


def measure_ours(root: Path, store: Path) -> TableCost:
    """The cost of the DataModule as training opens it, in this process: up to the numbers of the first batch."""
    imports_mb = peak_mb()
    started = time.perf_counter()
    datamodule = Luna16DataModule(
        root=root,
        store_path=store,
        store=_spec(),
        crop=CropSize(vox=(1, 1, 1)),
        window=Window(range_hu=(-1000, 400), scale="unit"),
        sampling=BalancedSampling(),
        split=GroupedKFold(),
    )
    datamodule.setup()
    first = next(iter(datamodule.train_dataloader().batch_sampler or ()))
    seconds = time.perf_counter() - started
    assert len(first) == datamodule.batch_size
    dataset = CandidateDataset(AirStore(store), datamodule.records, shape_zyx=(1, 1, 1))
    worker_mb = copied_by_worker(lambda: _every_batch(dataset)) if can_measure() else None
    return TableCost(seconds, imports_mb, worker_mb)


class AirStore(CtStore):
    """A store of air: what is left of a worker's job is what the table itself costs."""

    def crops(
        self,
        series_uids: Sequence[str],
        centers_xyz_mm: npt.ArrayLike,
        shape_zyx: Sequence[int],
        *,
        out: Voxels | None = None,
    ) -> Voxels:
        """Crops without voxels."""
        return np.full((len(series_uids), *shape_zyx), self.spec.air_hu, np.int16)


def _spec() -> StoreSpec:
    return StoreSpec(lung_mask=False)


def _every_batch(dataset: CandidateDataset, *, batch_size: int = 1024) -> None:
    for start in range(0, len(dataset), batch_size):
        dataset.__getitems__(range(start, min(start + batch_size, len(dataset))))


def _rows_per_mb(costs: Sequence[TableCost]) -> list[float]:
    """Empty where a worker's memory could not be told."""
    copied = [cost.worker_mb for cost in costs if cost.worker_mb is not None]
    return [SIZES.n_candidates / max(mb, _LEAST_MB) for mb in copied]
