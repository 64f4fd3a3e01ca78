"""The store's own record: its format, fingerprint and settings. What makes a folder a lungdet store."""

from __future__ import annotations

import json
from typing import Any

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.location import ObjectFolder, StoreLocation
from lungdet.store.schema import FORMAT_VERSION, StoreSpec

#: What `zarr.json` is called while it is written.
PARTIAL_GROUP = "zarr.json.partial"


def write_marker(store: StoreLocation, spec: StoreSpec) -> None:
    """Make an empty store; a valid zarr v3 group from the start."""
    record = {"format": FORMAT_VERSION, "fingerprint": spec.fingerprint, "spec": spec.to_dict()}
    # First: a folder that holds anything else and no record is not taken for a store.
    write_group(store, {"lungdet": record})
    write_group(store / "scans", {})


def read_marker(store: StoreLocation) -> dict[str, Any]:
    """The record of a store.

    Raises:
        MissingFileError: there is nothing at `store`.
        StoreError: what is there is not a store, or of another format version; or its server says no.
    """
    try:
        record: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["lungdet"]
        version, _, _ = record["format"], record["fingerprint"], record["spec"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileNotFoundError) and not store.exists():
            raise MissingFileError(f"no store at {store}") from error
        raise StoreError(
            f"{store} is not a lungdet store (no zarr.json with a lungdet record); choose another path"
        ) from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"{store} has format {version}, this lungdet reads {FORMAT_VERSION}; preprocess again into a new path"
        )
    return record


def check_marker(store: StoreLocation, spec: StoreSpec, *, command: str) -> dict[str, Any]:
    """Refuse a store that was made with other settings.

    Returns:
        The record of the store.

    Raises:
        StoreError: says which settings differ and what to type.
    """
    record = read_marker(store)
    if record["fingerprint"] == spec.fingerprint:
        return record
    made, asked = record["spec"], spec.to_dict()
    differing = [
        f"{k}: store {made.get(k)}, asked {asked[k]}" for k in asked if made.get(k) != asked[k] and k != "codec"
    ]
    raise StoreError(
        f"{store} was made with other settings ({'; '.join(differing) or 'an earlier version of the algorithm'}). "
        f"Rebuild it: {command}; or keep both: data.store_path=<another path>"
    )


def write_group(folder: StoreLocation, attributes: dict[str, Any]) -> None:
    """zarr.json of a group, whole or not at all."""
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
    if isinstance(folder, ObjectFolder):
        (folder / "zarr.json").write(text.encode())
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / PARTIAL_GROUP
    partial.write_text(text)
    partial.replace(folder / "zarr.json")
