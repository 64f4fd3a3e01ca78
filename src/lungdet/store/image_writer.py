"""A collection of images into one store: a chunk of 256 is one task, done chunks are kept, failures are collected."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from lungdet.errors import LungdetError, StoreError
from lungdet.io.file_lock import sole_holder
from lungdet.io.image_collection import ImageCollection
from lungdet.io.image_pixels import ImagePixels
from lungdet.io.pixel_duplicates import pixel_key
from lungdet.store.image_preprocess import ImageSpec, preprocess_image
from lungdet.store.image_store import (
    ARRAY,
    CHUNK_IMAGES,
    FORMAT_VERSION,
    KIND,
    TABLE,
    check_image_marker,
    read_image_marker,
    store_fingerprint,
)
from lungdet.store.processes import in_processes

log = logging.getLogger(__name__)

_PARTS = "parts"
_LOCK = ".writing.lock"
_PARTIAL_MARKER = "zarr.json.partial"

Progress = Callable[[int, int, str], None]


@dataclass
class ImageReport:
    """What a call did.

    Attributes:
        n_stored: images written by this call.
        n_skipped: images that an earlier call had written.
        failed: image_id -> why; nothing of them is in the store.
        seconds: wall time.
    """

    n_stored: int = 0
    n_skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def store_images(
    collection: ImageCollection,
    store_path: Path | str,
    spec: ImageSpec,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str = "lungdet preprocess",
) -> ImageReport:
    """Preprocess and store every image; what an interrupted call has finished is not done again.

    Args:
        collection: whose images.
        store_path: folder of the store; made when missing.
        spec: how. A store made with another one, or of other images, is refused unless `overwrite`.
        workers: processes, each of one thread; 0 and 1 work in this process.
        overwrite: throw away whatever the store holds first.
        progress: called as `progress(images done, images in all, "")` after each chunk.
        command: what to type to rebuild, for error messages.

    Raises:
        StoreError: the store was made with other settings or of other images, the folder is not a store, another run is
            writing to it, or not one image could be stored.
    """
    started = time.perf_counter()
    store = Path(store_path)
    if _holds_something(store):
        read_image_marker(store)  # refuse to write into, or delete, a folder that is not a store
    store.mkdir(parents=True, exist_ok=True)
    busy = f"{store}: another run is writing to this store; wait for it, or stop it"
    with sole_holder(store / _LOCK, busy=busy):
        ids = sorted(collection.images["image_id"])
        _prepare(store, spec, collection.channels, ids=ids, overwrite=overwrite, command=command)
        report = ImageReport()
        jobs, before, done = {}, set[int](), 0
        for number, first in enumerate(range(0, len(ids), CHUNK_IMAGES)):
            names = ids[first : first + CHUNK_IMAGES]
            if _part(store, number).is_file():
                before.add(number)
                done += len(names)
            else:
                jobs[str(number)] = (store, spec, names, collection.pixels(names))
        outcomes = (
            in_processes(_store_chunk, jobs, workers=min(workers, len(jobs)))
            if min(workers, len(jobs)) > 1
            else ((job, _store_chunk(job, *arguments)) for job, arguments in jobs.items())
        )
        for job, failure in outcomes:
            if failure is not None:
                raise StoreError(f"{store}: {failure}")
            done += len(jobs[job][2])
            if progress is not None:
                progress(done, len(ids), "")
        _finish(store, report, n_images=len(ids), before=before)
    report.seconds = time.perf_counter() - started
    return report


def is_finished(store: Path, collection: ImageCollection) -> bool:
    """Whether the store holds, or has given up, every image of the collection and no other."""
    try:
        record = read_image_marker(store)
    except LungdetError:
        return False
    return bool(record["finished"] and record["ids_hash"] == _hash(sorted(collection.images["image_id"])))


def _prepare(store: Path, spec: ImageSpec, channels: int, *, ids: Sequence[str], overwrite: bool, command: str) -> None:
    if not ids:
        raise StoreError(f"{store}: there are no images to store")
    if overwrite:
        _empty(store)
    if not (store / "zarr.json").exists():
        _write_marker(store, _new_record(spec, channels, ids))
    check_image_marker(store, spec, channels=channels, command=command)
    if read_image_marker(store)["ids_hash"] != _hash(ids):
        raise StoreError(
            f"{store} was made of other images than the {len(ids)} of this collection. Rebuild it: {command} "
            "overwrite=true; or keep both: data.store_path=<another path>"
        )
    if not (store / _PARTS).is_dir():  # which comes last, so without it nothing is certain of the array
        image = (*spec.size_hw, channels)
        zarr.create_array(
            store, name=ARRAY, shape=(len(ids), *image), chunks=(CHUNK_IMAGES, *image), dtype="uint8", compressors=None,
            fill_value=0, overwrite=True,
        )  # fmt: skip
        (store / _PARTS).mkdir()


def _empty(store: Path) -> None:
    """Delete everything, in an order in which no part of it is ever taken for the whole."""
    marker = store / "zarr.json"
    if marker.exists():
        _write_marker(store, {**read_image_marker(store), "finished": False})
    if (store / _PARTS).exists():  # as long as one is there, so are its images
        shutil.rmtree(store / _PARTS)
    for inside in store.iterdir():
        if inside.name not in (_LOCK, marker.name):
            shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
    marker.unlink(missing_ok=True)


def _new_record(spec: ImageSpec, channels: int, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "kind": KIND,
        "fingerprint": store_fingerprint(spec, channels),
        "spec": spec.to_dict(),
        "channels": channels,
        "ids_hash": _hash(ids),
        "finished": False,
        "failures": {},
    }


def _store_chunk(number: str, store: Path, spec: ImageSpec, names: Sequence[str], pixels: ImagePixels) -> str | None:
    """Read, preprocess and write the images of one chunk; its table says that it is done. Why it cannot be written."""
    # A chunk of black images is a file too: one that is missing was lost.
    with zarr.config.set({"array.write_empty_chunks": True}):
        array: Any = zarr.open_array(store / ARRAY, mode="r+")
    first = int(number) * CHUNK_IMAGES
    block = np.zeros((len(names), *array.shape[1:]), np.uint8)
    rows, failures = [], {}
    with pixels:
        for place, name in enumerate(names):
            try:
                original = pixels.read(name)
                stages = preprocess_image(original, spec)
            except LungdetError as error:
                failures[name] = str(error)
                continue
            block[place] = stages.stored.reshape(block.shape[1:])
            height, width = original.shape[:2]
            rows.append((name, first + place, pixel_key(original), height, width, *stages.kept_box))
    columns = ["image_id", "row", "pixel_key", "height", "width", "top", "left", "bottom", "right"]
    part = _part(store, int(number))
    partial = part.with_suffix(".partial")
    try:
        array[first : first + len(names)] = block
        partial.write_text(json.dumps({"columns": columns, "rows": rows, "failures": failures}))
        partial.replace(part)
    except OSError as error:
        return f"images cannot be written ({error.strerror or error}); make room, and type the same again to go on"
    return None


def _finish(store: Path, report: ImageReport, *, n_images: int, before: Collection[int]) -> None:
    """One table of all chunks, the failures into the marker."""
    parts = [json.loads(_part(store, n).read_text()) for n in range(-(-n_images // CHUNK_IMAGES))]
    table = pd.concat([pd.DataFrame(part["rows"], columns=part["columns"]) for part in parts], ignore_index=True)
    for part in parts:
        report.failed |= part["failures"]
    for name, reason in report.failed.items():
        log.warning("%s: %s", name, reason)
    if table.empty:
        raise StoreError(
            f"{store}: none of {n_images} images could be stored; the first: {next(iter(report.failed.values()))}"
        )
    report.n_skipped = sum(len(parts[number]["rows"]) for number in before)
    report.n_stored = len(table) - report.n_skipped
    partial = store / f"{TABLE}.partial"
    table.to_parquet(partial, index=False)
    partial.replace(store / TABLE)
    _write_marker(store, {**read_image_marker(store), "finished": True, "failures": report.failed})


def _write_marker(store: Path, record: dict[str, Any]) -> None:
    partial = store / _PARTIAL_MARKER
    content = {"zarr_format": 3, "node_type": "group", "attributes": {"lungdet": record}}
    partial.write_text(json.dumps(content, indent=2))
    partial.replace(store / "zarr.json")


def _part(store: Path, number: int) -> Path:
    return store / _PARTS / f"{number:06d}.json"


def _hash(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _holds_something(store: Path) -> bool:
    mine = (_LOCK, _PARTIAL_MARKER)  # of a run that was killed before anything else
    return store.exists() and (not store.is_dir() or any(inside.name not in mine for inside in store.iterdir()))
