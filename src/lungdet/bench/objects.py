"""Crops from a store in an S3 bucket (a server in this process): ours, cold and cached, and zarr-python."""

from __future__ import annotations

import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lungdet.bench.crops import IntArray, Reader, read_mapped
from lungdet.bench.drawn.scans import scans_for
from lungdet.bench.drawn.volumes import CROP_ZYX, FULL, QUICK, CropList, Volumes, draw_crops
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.bench.s3_server import S3Server, s3_server
from lungdet.store.chunk_cache import ChunkCache
from lungdet.store.location import ObjectFolder
from lungdet.store.object_client import client
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

ZARR = "zarr-python over obstore"
COLD = "lungdet store, cache empty"
WARM = "lungdet store, chunks in the cache"
STORE = ObjectFolder("s3://bench", "ct.zarr")
BATCH = 32
# What a request takes to a bucket in the same region; without it the server's processor time is all that is measured.
LATENCY_S = 0.02

log = logging.getLogger(__name__)


@dataclass
class _Round:
    crops: int
    requests: int
    n_bytes: int


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Crops a second, a request and a megabyte; arrays are opened before the clock starts.

    The server shares this process and so its processor: cold rates are below those of a real one.
    """
    missing = [name for name in ("moto", "werkzeug", "obstore") if importlib.util.find_spec(name) is None]
    if missing:
        log.warning(
            "no figures for object stores: %s not installed; type pip install 'lungdet[objects,dev]'", missing[0]
        )
        return []
    paths = scans_for(folder, QUICK if quick else FULL)
    local = folder / "lz4.zarr"
    preprocess(paths, local, StoreSpec(spacing_mm="native", lung_mask=False, codec="lz4"), workers=1)
    store = CtStore(local)
    volumes = Volumes({}, {"lz4": local}, {uid: store.geometry(uid) for uid in store.series_uids})
    with s3_server() as server, _environment(server.environment), tempfile.TemporaryDirectory(dir=folder) as caches:
        client.cache_clear()  # one of before would ask another server
        server.make_bucket("bench")
        for path in local.rglob("*"):
            if path.is_file():
                (STORE / path.relative_to(local).as_posix()).write(path)
        server.before = _travel
        try:
            return _rows(volumes, server, Path(caches), crops=BATCH if quick else 3 * BATCH, rounds=3 if quick else 7)
        finally:
            client.cache_clear()


def _rows(volumes: Volumes, server: S3Server, caches: Path, *, crops: int, rounds: int) -> list[Row]:
    readers: dict[str, Callable[[int], Reader]] = {
        ZARR: lambda number: _open_zarr(volumes),
        COLD: lambda number: _open_store(volumes, caches / f"cold{number}"),
        WARM: lambda number: _open_store(volumes, caches / "warm"),
    }
    _check_equal(volumes, [open_reader(-2) for open_reader in readers.values()])
    told: dict[str, list[_Round]] = {name: [] for name in (ZARR, COLD)}

    def timed(name: str) -> Contender:
        def run(number: int) -> float:
            # zarr-python is slow enough for fewer crops to tell.
            count = crops // 8 if name == ZARR else crops
            chosen = draw_crops(volumes, crops, seed=2000 + number).first(count)
            read = readers[name](number)
            if name == WARM:
                read(chosen)
            server.requests.clear()
            started = time.perf_counter()
            for first in range(0, count, BATCH):
                read(_part(chosen, first))
            seconds = time.perf_counter() - started
            if name in told and number >= 0:
                asked = list(server.requests)
                told[name].append(_Round(count, len(asked), sum(request.n_bytes for request in asked)))
            return count / seconds

        return run

    rates = interleave({name: timed(name) for name in readers}, rounds=rounds)
    requests = {name: [r.crops / max(1, r.requests) for r in of] for name, of in told.items()}
    megabytes = {name: [r.crops / max(1e-6, r.n_bytes / 1e6) for r in of] for name, of in told.items()}
    return [
        *rows(rates, section=f"crops from S3, {1000 * LATENCY_S:.0f} ms a request", unit="crops/s", baseline=ZARR),
        *rows(requests, section="crops from S3: a request fetches", unit="crops/request", baseline=ZARR),
        *rows(megabytes, section="crops from S3: a megabyte fetches", unit="crops/MB", baseline=ZARR),
    ]


def _travel(environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
    """Takes the time that a request needs over a network, in the server's thread of that request."""
    time.sleep(LATENCY_S)


def _open_zarr(volumes: Volumes) -> Reader:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    arrays: dict[str, Any] = {}
    for uid in volumes.geometries:
        folder: Any = S3Store.from_url(str(STORE / "scans" / uid / "hu"))
        arrays[uid] = zarr.open_array(ObjectStore(folder, read_only=True), mode="r")
    return lambda crops: read_mapped(arrays, crops)


def _open_store(volumes: Volumes, cache: Path) -> Reader:
    store = CtStore(STORE, cache=ChunkCache(cache, max_gb=10.0))
    uids = list(volumes.geometries)
    corners = np.asarray([volumes.geometries[uid].index_to_world((0, 0, 0)) for uid in uids])
    store.crops(uids, corners, (1, 1, 1))  # opens every scan

    def read(crops: CropList) -> IntArray:
        return store.crops(crops.series_uids, crops.center_xyz_mm, CROP_ZYX)

    return read


def _part(crops: CropList, first: int) -> CropList:
    chosen = slice(first, first + BATCH)
    return CropList(crops.series_uids[chosen], crops.center_xyz_mm[chosen], crops.start_zyx[chosen])


def _check_equal(volumes: Volumes, readers: list[Reader]) -> None:
    crops = draw_crops(volumes, 8, seed=0)
    local = CtStore(volumes.stores["lz4"]).crops(crops.series_uids, crops.center_xyz_mm, CROP_ZYX)
    assert all(np.array_equal(read(crops), local) for read in readers), "readers of the same scans disagree"


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """These variables, and no AWS profile or endpoint of the user, while the block runs."""
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    try:
        for name in before:
            del os.environ[name]
        os.environ.update(variables)
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)
