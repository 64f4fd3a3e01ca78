"""One scan into the store: read, clip, resample, mask, write; the scan appears whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from lungdet.errors import LungdetError, StoreError
from lungdet.io.metaimage import parse_header
from lungdet.io.scan import METAIMAGE_SUFFIXES, Scan, read_scan, scan_suffix
from lungdet.store.given_mask import read_given_mask
from lungdet.store.location import ObjectFolder, StoreLocation
from lungdet.store.lung_mask import lung_mask
from lungdet.store.object_client import each
from lungdet.store.remote_writer import upload_scan
from lungdet.store.resample import resample_linear
from lungdet.store.schema import FORMAT_VERSION, StoreSpec
from lungdet.store.shard import ShardReader
from lungdet.store.shard_writer import write_array

PARTIAL_PREFIX = ".partial-"


def write_scan(
    path: Path,
    store: StoreLocation,
    spec: StoreSpec,
    *,
    series_uid: str,
    mask_path: Path | None = None,
    read: Callable[[Path], Scan] = read_scan,
) -> None:
    """Preprocess one scan and put it in place; one of the same name that is there is replaced.

    Args:
        path: what `read` reads.
        store: folder of the store, or its address in an object store.
        spec: how.
        series_uid: the name it gets in the store.
        mask_path: a lung mask on the scan's own grid, stored with its codes; computed from the HU when None.
        read: reader of scans.

    Raises:
        ScanError: the file cannot be read, or the mask is not of this scan; the store is left as it was.
        StoreError: a name that cannot be a folder's; or the object store says no.
    """
    is_a_name = series_uid and not series_uid.startswith(".") and Path(series_uid).name == series_uid
    if not is_a_name or "\0" in series_uid or series_uid == "zarr.json":
        raise StoreError(f"series_uid={series_uid!r} cannot be the name of a folder; choose another name for {path}")
    if isinstance(store, ObjectFolder):
        with tempfile.TemporaryDirectory(prefix="lungdet-") as folder:
            write_scan(path, Path(folder), spec, series_uid=series_uid, mask_path=mask_path, read=read)
            upload_scan(Path(folder) / "scans" / series_uid, store / "scans" / series_uid)
        return
    scan = read(path)
    low, high = spec.clip_hu
    np.clip(scan.hu, low, high, out=scan.hu)  # in place: a scan is a few hundred MB
    target = scan.geometry if isinstance(spec.spacing_mm, str) else scan.geometry.resampled(_three(spec.spacing_mm))
    hu = resample_linear(scan.hu, scan.geometry, target)
    # Not by process id: two containers of a cluster may have the same, and work on one scan when one is slow to answer.
    partial = store / "scans" / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}-{series_uid}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        group = zarr.open_group(partial, mode="w", zarr_format=3)
        write_array(partial, "hu", hu, fill=low, codec=spec.codec)
        if spec.lung_mask and mask_path is None:
            write_array(partial, "lung_mask", lung_mask(hu, target), fill=0, codec="lz4")
        elif spec.lung_mask and mask_path is not None:
            given = read_given_mask(mask_path, scan.geometry, target, read=read)
            write_array(partial, "lung_mask", given, fill=0, codec="lz4")
        group.attrs["lungdet"] = {
            "format": FORMAT_VERSION,
            "fingerprint": spec.fingerprint,
            "series_uid": series_uid,
            "geometry": target.to_dict(),
            "source": {**_identity(path), "geometry": scan.geometry.to_dict()},
            "mask_source": None if mask_path is None or not spec.lung_mask else _identity(mask_path),
            "content_hash": hashlib.sha256(hu.data).hexdigest(),
        }
        put_in_place(partial, store / "scans" / series_uid)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def put_in_place(partial: Path, final: Path) -> None:
    """Give a folder that is complete its name; one that has it goes out of sight first, and is deleted last.

    Deleted where it lies, it would be read by halves by whoever comes after a process that was killed meanwhile. Of
    several processes that put the same scan there, the last one stays.
    """
    old = []
    while True:
        try:
            partial.rename(final)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            old.append(set_aside(final))
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Rename a scan to what counts as a leftover; its new place."""
    return folder.rename(folder.with_name(f"{PARTIAL_PREFIX}{uuid.uuid4().hex}-{folder.name}"))


def current_scans(
    paths: Mapping[str, Path], store: StoreLocation, spec: StoreSpec, *, mask_paths: Mapping[str, Path]
) -> list[str]:
    """The series that `is_current` says are; an object store is asked about many at once.

    Args:
        paths: series_uid -> source.
        store: which may hold them.
        spec: how they are to be stored.
        mask_paths: series_uid -> delivered lung mask, where there is one.
    """

    def check(uid: str) -> bool:
        return is_current(paths[uid], store, spec, series_uid=uid, mask_path=mask_paths.get(uid))

    answers = each(check, paths) if isinstance(store, ObjectFolder) else map(check, paths)
    return [uid for uid, answer in zip(paths, answers, strict=True) if answer]


def is_current(
    path: Path, store: StoreLocation, spec: StoreSpec, *, series_uid: str, mask_path: Path | None = None
) -> bool:
    """Whether the store holds this scan as `write_scan` would write it now, judged by names and sizes of the files.

    A source that is not there any more is taken to be unchanged; arrays that are cut short are not current (in an
    object store there are none).

    Raises:
        StoreError: the object store says no.
    """
    if isinstance(store, Path) and not _arrays_are_whole(store / "scans" / series_uid, spec):
        return False
    try:
        attributes = json.loads((store / "scans" / series_uid / "zarr.json").read_text())["attributes"]["lungdet"]
        source, mask = attributes["source"], attributes["mask_source"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if attributes.get("fingerprint") != spec.fingerprint:
        return False
    try:
        wanted = None if mask_path is None or not spec.lung_mask else _identity(mask_path)
        return mask == wanted and all(source.get(key) == value for key, value in _identity(path).items())
    except (OSError, LungdetError):
        return True


def _arrays_are_whole(scan: Path, spec: StoreSpec) -> bool:
    try:
        for name in ("hu", "lung_mask") if spec.lung_mask else ("hu",):
            ShardReader(scan / name)
    except StoreError:
        return False
    return True


def _identity(path: Path) -> dict[str, Any]:
    """Name and size of a source, the voxel file of a .mhd header included."""
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file()]
    else:
        header = parse_header(path) if scan_suffix(path) in METAIMAGE_SUFFIXES else None
        files = [path] if header is None else list({path, header.data_path})
    return {"file": path.name, "bytes": sum(file.stat().st_size for file in files)}


def _three(values: Any) -> tuple[float, float, float]:
    z, y, x = values
    return (z, y, x)
