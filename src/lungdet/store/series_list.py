"""Which scans a store holds: folders on a disk; in an object store a list, for servers that cannot list their objects.

    <store>/scans/zarr.json    attributes["lungdet"]["series"]: names of all scans, while nothing is being written

A million scans are five million objects, 5,000 requests to list, and one to read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lungdet.errors import StoreError
from lungdet.store.location import ObjectFolder, StoreLocation
from lungdet.store.marker import write_group


def stored_series(store: StoreLocation) -> tuple[str, ...]:
    """Names of the scans in a store, sorted.

    An object store is asked for the list that preprocessing leaves there, one small object; where there is none, for
    all its names.

    Raises:
        StoreError: there is no list on a server that cannot list; or see `lungdet.store.object_errors`.
    """
    names = None if isinstance(store, Path) else read_series(store)
    if names is not None:
        return tuple(sorted(names))
    if isinstance(store, ObjectFolder) and store.is_read_only:
        raise StoreError(
            f"{store} has no list of its scans (scans/zarr.json), and {store.scheme} cannot list them: its writing was "
            "interrupted; finish it: lungdet preprocess"
        )
    return tuple(written_series(store))


def written_series(store: StoreLocation) -> list[str]:
    """Names of the scans that are there, whole, whatever the list says; an object store is asked for all its names."""
    scans = store / "scans"
    if isinstance(scans, Path):
        inside = scans.iterdir() if scans.is_dir() else ()  # not made yet by a run that was killed
        return sorted(path.name for path in inside if not path.name.startswith(".") and path.is_dir())
    parts = (name.split("/") for name in scans.names_below())
    # A scan's zarr.json comes last.
    return sorted(name[0] for name in parts if len(name) == 2 and name[1] == "zarr.json")


def write_series(store: StoreLocation, series_uids: Sequence[str] | None) -> None:
    """Keep the names of all scans in one object, for servers that cannot list and stores too large to be listed.

    Args:
        store: which holds them.
        series_uids: all of them; None forgets the list, while scans are being written.
    """
    write_group(store / "scans", {} if series_uids is None else {"lungdet": {"series": sorted(series_uids)}})


def read_series(store: StoreLocation) -> list[str] | None:
    """The list of `write_series`; None where there is none."""
    try:
        names: list[str] = json.loads((store / "scans" / "zarr.json").read_text())["attributes"]["lungdet"]["series"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return names
