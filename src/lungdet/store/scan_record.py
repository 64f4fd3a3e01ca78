"""What a store says of a scan beside its voxels: where they lie, and a hash of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.store.location import StoreLocation


@dataclass(frozen=True)
class ScanRecord:
    """Of one stored scan.

    Attributes:
        geometry: of the stored volume.
        source_geometry: of the voxels before resampling.
        content_hash: SHA-256 of the stored HU.
    """

    geometry: Geometry
    source_geometry: Geometry
    content_hash: str


class DamagedScanError(StoreError):
    """One scan of a store cannot be used; the others may be well."""


def read_scan_record(folder: StoreLocation, *, fingerprint: str) -> ScanRecord:
    """From the zarr.json of a scan's folder.

    Args:
        folder: of the scan.
        fingerprint: of the store; the scan must have been made with the same settings.

    Raises:
        DamagedScanError: it is not there, damaged, or was made with other settings.
        StoreError: an object store says no.
    """
    try:
        attributes = json.loads((folder / "zarr.json").read_text())["attributes"]["lungdet"]
        record = ScanRecord(
            Geometry.from_dict(attributes["geometry"]),
            Geometry.from_dict(attributes["source"]["geometry"]),
            attributes["content_hash"],
        )
        found = attributes["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedScanError(f"{folder}: damaged ({error}); delete it and preprocess again") from error
    if found != fingerprint:
        raise DamagedScanError(
            f"{folder}: made with other settings than its store ({found}, not {fingerprint}), as by a process that "
            "outlived an overwrite; delete it and preprocess again"
        )
    return record
