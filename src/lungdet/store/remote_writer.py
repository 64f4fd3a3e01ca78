"""Scans into an object store: made in a local folder, uploaded, visible with their last object."""

from __future__ import annotations

from pathlib import Path

from lungdet.errors import StoreError
from lungdet.store.location import ObjectFolder, StoreLocation
from lungdet.store.object_client import each

_LAST = "zarr.json"


def upload_scan(scan: Path, to: ObjectFolder) -> None:
    """Put a scan where it belongs; one of the same name that is there goes first, and its zarr.json comes last.

    Nobody finds it before that: readers go by the list, which is written after all scans, or by the zarr.json. Two who
    write the same scan at once put the same bytes.

    Args:
        scan: folder of a whole scan.
        to: folder in the object store.

    Raises:
        StoreError: see `lungdet.store.object_errors`.
    """
    to.delete_below()
    files = sorted(path.relative_to(scan).as_posix() for path in scan.rglob("*") if path.is_file())
    each(lambda name: (to / name).write(scan / name), [name for name in files if name != _LAST])
    (to / _LAST).write(scan / _LAST)


def refuse_writing(store: StoreLocation) -> None:
    """Refuse a server that has no writing.

    Raises:
        StoreError: the address is an https one.
    """
    if isinstance(store, ObjectFolder) and store.is_read_only:
        raise StoreError(
            f"{store}: {store.scheme}:// addresses are read only; preprocess into a folder, s3://bucket/path, "
            "gs://bucket/path or az://container/path"
        )
