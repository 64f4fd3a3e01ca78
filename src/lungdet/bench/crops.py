"""Crops of (32, 48, 48), one process: our reader against numpy.memmap, stock zarr-python and the seed book's way."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from lungdet.bench.baselines.book_way import BookWay
from lungdet.bench.drawn.scans import scans_for
from lungdet.bench.drawn.volumes import CODECS, CROP_ZYX, FULL, QUICK, CropList, Volumes, draw_crops, prepare
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.data.crop_cache import CropCachedStore
from lungdet.store.reader import CtStore

AIR_HU = -1024
MEMMAP = "numpy.memmap of .npy"
ZARR = "zarr-python, lz4"
BOOK = "book: SimpleITK, gzip cache"
BOOK_AS_PUBLISHED = "book: its cache without gzip"
CACHE = "lungdet crop cache"
#: Candidates of a scan of LUNA16: so many crops share the reading of a scan when the book fills its cache.
PER_SCAN = 850
#: Crops in our crop cache, read in another order each time: more than the processor's caches hold.
_KEPT = 512

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int16]
Reader = Callable[[CropList], IntArray]


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Crops a second with the files in the page cache, and after they were dropped from it.

    The memory map is given voxel indices; the store is given millimetres and has to find them itself. Both crop caches
    hold the crops that are asked for, but where crops are read for the first time.
    """
    collection = QUICK if quick else FULL
    volumes = prepare(folder, collection)
    rounds = 7 if quick else 15
    books = {
        name: BookWay(scans_for(folder, collection), folder / name, shape_zyx=CROP_ZYX, compress=name == BOOK)
        for name in (BOOK, BOOK_AS_PUBLISHED)
    }
    cached = CropCachedStore(CtStore(volumes.stores["lz4"]), folder=folder / "crops", limit_gb=1)
    kept = draw_crops(volumes, _KEPT, seed=0)
    cached.crops(kept.series_uids, kept.center_xyz_mm, CROP_ZYX)
    warm = interleave(
        _warm(volumes, crops=256 if quick else 512)
        | {name: _book(book, kept.first(_KEPT // 4)) for name, book in books.items()}
        | {CACHE: _cached(cached, kept)},
        rounds=rounds,
    )
    plain = {name: warm[name] for name in (MEMMAP, *map(_ours, CODECS), CACHE)}
    same_bytes = {name: warm[name] for name in (ZARR, _ours("lz4"))}
    against_book = {name: warm[name] for name in (BOOK, BOOK_AS_PUBLISHED, *map(_ours, CODECS), CACHE)}
    lines = rows(plain, section="crops, cache warm", unit="crops/s", baseline=MEMMAP)
    lines += rows(same_bytes, section="crops, cache warm, same lz4 store", unit="crops/s", baseline=ZARR)
    lines += rows(against_book, section="crops, cache warm, the book's way", unit="crops/s", baseline=BOOK)
    first = interleave(_first_time(volumes, books[BOOK], folder), rounds=3 if quick else 7, warm_up=False)
    lines += rows(first, section=f"crops, the first time, {PER_SCAN} a scan", unit="crops/s", baseline=BOOK)
    if not hasattr(os, "posix_fadvise"):
        log.warning("this system cannot drop files from its cache: no figures for a cold one")
        return lines
    cold = interleave(_cold(volumes) | {CACHE: _cold_cached(cached, kept, 2 * len(volumes.npy))}, rounds=rounds)
    return lines + rows(cold, section="crops, cache cold", unit="crops/s", baseline=MEMMAP)


def read_mapped(arrays: Mapping[str, Any], crops: CropList) -> IntArray:
    """Crops of arrays that slice like numpy's, padded with air as the store does: int16 [N, d, h, w]."""
    out = np.empty((len(crops), *CROP_ZYX), np.int16)
    for n, (uid, start) in enumerate(zip(crops.series_uids, crops.start_zyx, strict=True)):
        array = arrays[uid]
        low = [max(0, b) for b in start]
        high = [min(w, b + m) for w, b, m in zip(array.shape, start, CROP_ZYX, strict=True)]
        source = tuple(slice(b, e) for b, e in zip(low, high, strict=True))
        target = tuple(slice(b - s, e - s) for b, e, s in zip(low, high, start, strict=True))
        part = out[n][target]
        if part.shape != CROP_ZYX:
            out[n] = AIR_HU
        part[...] = array[source]
    return out


def _ours(codec: str) -> str:
    return f"lungdet store, {codec}"


def _open_memmap(volumes: Volumes) -> Reader:
    arrays = {uid: np.load(path, mmap_mode="r") for uid, path in volumes.npy.items()}
    return lambda crops: read_mapped(arrays, crops)


def _open_zarr(volumes: Volumes) -> Reader:
    scans = volumes.stores["lz4"] / "scans"
    arrays = {uid: zarr.open_array(scans / uid / "hu", mode="r") for uid in volumes.npy}
    return lambda crops: read_mapped(arrays, crops)


def _open_store(volumes: Volumes, codec: str) -> Reader:
    store = CtStore(volumes.stores[codec])
    return lambda crops: store.crops(crops.series_uids, crops.center_xyz_mm, CROP_ZYX)


def _warm(volumes: Volumes, *, crops: int) -> dict[str, Contender]:
    readers = {MEMMAP: _open_memmap(volumes), **{_ours(codec): _open_store(volumes, codec) for codec in CODECS}}
    _check_equal([*readers.values(), _open_zarr(volumes)], draw_crops(volumes, 24, seed=0))
    # zarr-python is two orders slower: fewer crops tell its rate as well.
    counts = dict.fromkeys(readers, crops) | {ZARR: crops // 8}
    readers[ZARR] = _open_zarr(volumes)

    def timed(name: str) -> Contender:
        def run(number: int) -> float:
            chosen = draw_crops(volumes, crops, seed=number + 1).first(counts[name])
            started = time.perf_counter()
            readers[name](chosen)
            return len(chosen) / (time.perf_counter() - started)

        return run

    return {name: timed(name) for name in readers}


def _book(book: BookWay, kept: CropList) -> Contender:
    """Crops that were put on disk before, series by series, as the book's own script does that."""
    points = list(zip(kept.series_uids, kept.center_xyz_mm.tolist(), strict=True))
    for uid, center in sorted(points):
        book.crop(uid, center)

    def run(number: int) -> float:
        order = np.random.default_rng(number + 1).permutation(len(points)).tolist()
        started = time.perf_counter()
        for n in order:
            book.crop(*points[n])
        return len(points) / (time.perf_counter() - started)

    return run


def _cached(cached: CropCachedStore, kept: CropList) -> Contender:
    """Kept crops in another order each time."""

    def run(number: int) -> float:
        order = np.random.default_rng(number + 1).permutation(len(kept))
        uids, centers = [kept.series_uids[n] for n in order.tolist()], kept.center_xyz_mm[order]
        started = time.perf_counter()
        cached.crops(uids, centers, CROP_ZYX)
        return len(order) / (time.perf_counter() - started)

    return run


def _first_time(volumes: Volumes, book: BookWay, folder: Path) -> dict[str, Contender]:
    """Crops that no cache holds: the price of a scan once for `PER_SCAN` of them, that of a crop from a few."""
    few = 48

    def points(number: int) -> CropList:
        drawn = draw_crops(volumes, few * len(volumes.npy), seed=2000 + number)
        uid = list(volumes.npy)[number % len(volumes.npy)]
        same = [n for n, other in enumerate(drawn.series_uids) if other == uid]
        return CropList([uid] * len(same), drawn.center_xyz_mm[same], [drawn.start_zyx[n] for n in same])

    def filling(number: int) -> float:
        chosen = points(number)
        started = time.perf_counter()
        book.last_scan(chosen.series_uids[0])
        read = time.perf_counter()
        for center in chosen.center_xyz_mm.tolist():
            book.crop(chosen.series_uids[0], center)
        each = (time.perf_counter() - read) / len(chosen)
        return PER_SCAN / (read - started + PER_SCAN * each)

    def ours(store: CtStore) -> Contender:
        def run(number: int) -> float:
            chosen = points(number)
            started = time.perf_counter()
            store.crops(chosen.series_uids, chosen.center_xyz_mm, CROP_ZYX)
            return len(chosen) / (time.perf_counter() - started)

        return run

    lz4 = CtStore(volumes.stores["lz4"])
    cached = CropCachedStore(lz4, folder=folder / "crops_first", limit_gb=1)
    return {BOOK: filling, f"{CACHE}, from lz4": ours(cached), _ours("lz4"): ours(lz4)}


def _cold(volumes: Volumes) -> dict[str, Contender]:
    # Few crops a scan: in a collection of a thousand scans hardly a crop finds the pages of another one.
    crops = 2 * len(volumes.npy)

    def timed(open_reader: Callable[[], Reader]) -> Contender:
        def run(number: int) -> float:
            gc.collect()  # a page that is still mapped stays in the cache
            read = open_reader()
            read(_first_voxels(volumes))
            drop_from_cache(volumes.files)
            chosen = draw_crops(volumes, crops, seed=1000 + number)
            started = time.perf_counter()
            read(chosen)
            return len(chosen) / (time.perf_counter() - started)

        return run

    readers = {MEMMAP: lambda: _open_memmap(volumes)}
    readers |= {_ours(codec): lambda codec=codec: _open_store(volumes, codec) for codec in CODECS}  # type: ignore[misc]
    return {name: timed(open_reader) for name, open_reader in readers.items()}


def _cold_cached(cached: CropCachedStore, kept: CropList, crops: int) -> Contender:
    def run(number: int) -> float:
        drop_from_cache(cached.cache_folder.rglob("c/*/0/0/0"))
        order = np.random.default_rng(number + 1).permutation(len(kept))[:crops]
        uids, centers = [kept.series_uids[n] for n in order.tolist()], kept.center_xyz_mm[order]
        started = time.perf_counter()
        cached.crops(uids, centers, CROP_ZYX)
        return crops / (time.perf_counter() - started)

    return run


def _first_voxels(volumes: Volumes) -> CropList:
    """A crop around the first voxel of every scan: opens each file, and touches little of it."""
    uids = list(volumes.geometries)
    centers = np.asarray([volumes.geometries[uid].index_to_world((0, 0, 0)) for uid in uids])
    return CropList(uids, centers, [[-(n // 2) for n in CROP_ZYX]] * len(uids))


def drop_from_cache(files: Iterable[Path]) -> None:
    """Ask the kernel to forget what it holds of these files; on a memory file system it does not."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # pages that are not on disk yet cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _check_equal(readers: Iterable[Reader], crops: CropList) -> None:
    first, *others = [read(crops) for read in readers]
    assert all(np.array_equal(first, other) for other in others), "readers of the same scans disagree"
