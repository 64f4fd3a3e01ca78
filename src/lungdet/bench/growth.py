"""A collection of any number of tiny scans, and what each step of opening it for training costs: time, memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zarr

from lungdet.bench.drawn.luna16_folder import TableSizes, uids, write_folder
from lungdet.bench.processes import peak_mb
from lungdet.data.candidate_dataset import CandidateDataset, make_loader
from lungdet.data.candidate_records import make_records
from lungdet.data.sampling import BalancedSampling, EpochSampler, NaturalSampling
from lungdet.data.splits import GroupedKFold
from lungdet.geometry import Geometry
from lungdet.io.luna16 import find_scans, read_luna16
from lungdet.store.marker import write_marker
from lungdet.store.reader import CtStore
from lungdet.store.schema import FORMAT_VERSION, StoreSpec
from lungdet.store.shard_writer import write_array

SPEC = StoreSpec(spacing_mm="native", lung_mask=False, codec="none")
# One voxel file for all scans; a name that begins with a dot is none of the store's.
_SHARED = ".shared"
_BATCH = 32
_CROPS = 512


class Step(NamedTuple):
    """What one step of `walk` cost: elapsed and processor seconds, and the process's peak memory after it, in MB."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


class Growth(NamedTuple):
    """The steps of one collection; `imports_mb` is the peak before the first of them."""

    n_scans: int
    n_candidates: int
    imports_mb: float
    steps: tuple[Step, ...]


def make_collection(folder: Path, *, n_scans: int, rows_per_scan: int, seed: int = 0) -> None:
    """A folder with LUNA16's tables and subsets, and a store whose scans are of 2 x 2 x 2 voxels.

    Every scan has a folder and metadata of its own; their voxels are links to one array.

    Args:
        folder: made when missing; a collection that is whole is left as it is.
        n_scans: how many.
        rows_per_scan: candidates of each, on average; one scan has 1.3 nodules, as in LUNA16.
        seed: of the positions.
    """
    done = folder / "complete"
    if done.is_file():
        return
    sizes = TableSizes(n_scans, n_scans * rows_per_scan, round(1.3 * n_scans))
    write_folder(folder, sizes, seed=seed)
    store = folder / "store.zarr"
    write_marker(store, SPEC)
    scans = store / "scans"
    zarr.open_group(scans / _SHARED, mode="w", zarr_format=3)
    write_array(scans / _SHARED, "hu", np.arange(8, dtype=np.int16).reshape(2, 2, 2), fill=-1024, codec="none")
    geometry = Geometry((2, 2, 2), (-140.0, -120.0, -320.0), (140.0, 120.0, 150.0)).to_dict()
    for number, name in enumerate(uids(sizes)):
        (scans / name).mkdir()
        (scans / name / "hu").symlink_to(Path("..") / _SHARED / "hu")
        record = {
            "format": FORMAT_VERSION,
            "fingerprint": SPEC.fingerprint,
            "series_uid": name,
            "geometry": geometry,
            "source": {"file": f"{name}.mhd", "bytes": 0, "geometry": geometry},
            "mask_source": None,
            "content_hash": f"{number:064x}",
        }
        text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"lungdet": record}})
        (scans / name / "zarr.json").write_text(text)
    done.touch()


def walk(folder: Path) -> Growth:
    """Take every step from the folder to batches, one after the other, in this process."""
    imports_mb = peak_mb()
    steps: list[Step] = []
    root, path = folder, folder / "store.zarr"

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        steps.append(Step(name, time.perf_counter() - wall, time.process_time() - cpu, peak_mb()))

    with timed("list the scan files"):
        find_scans(root)
    with timed("read and match the tables"):
        collection = read_luna16(root)
    assert collection.candidates is not None
    with timed("open the store"):
        store = CtStore(path, expect=SPEC)
    with timed("split patients, make records"):
        records, split = make_records(
            collection.series,
            collection.candidates,
            nodules=collection.annotations,
            stored=store.series_uids,
            rule=GroupedKFold(),
        )
    with timed("write and hash the split"):
        assert split.hash in split.to_json()
    with timed("make the dataset"):
        dataset = CandidateDataset(store, records, shape_zyx=(2, 2, 2))
    rows = np.flatnonzero(records["partition"].to_numpy() == "train")
    labels = dataset.label[rows]
    for rule in (BalancedSampling(), NaturalSampling()):
        with timed(f"draw an epoch, {type(rule).__name__}"):
            sampler = EpochSampler(rule, rows=rows, labels=labels, n_records=len(records), batch_size=_BATCH, seed=0)
            assert sum(1 for _ in sampler) == len(sampler)
    with timed(f"read {_CROPS} crops"):
        loader = make_loader(dataset, sampler, batch_size=_BATCH, world_size=1, num_workers=0, pin_memory=False)
        for _, batch in zip(range(_CROPS // _BATCH), loader, strict=False):
            assert len(batch["hu"]) == _BATCH
    with timed("metadata of every scan (leak audit)"):
        assert len(store.pixel_hashes(store.series_uids)) == len(store)
    return Growth(len(store), len(records), imports_mb, tuple(steps))


def exponents(growths: list[Growth]) -> dict[str, float]:
    """How each step's processor time grows with the number of scans: the slope of log time over log scans.

    1 is linear, 0 constant, 2 quadratic. Below some milliseconds it says nothing.
    """
    scans = np.log([growth.n_scans for growth in growths])
    names = [step.name for step in growths[0].steps]
    seconds = np.array([[max(step.cpu_seconds, 1e-4) for step in growth.steps] for growth in growths])
    slopes = np.polyfit(scans, np.log(seconds), 1)[0]
    return dict(zip(names, slopes.tolist(), strict=True))
