"""Pixel hashes: equal voxels give equal hashes, whatever a scan is called and wherever it lies.

The store of scans writes the hash of the voxels with each scan. Cubes have no such metadata: theirs are computed when
they are first asked for and kept in a small file beside them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: In a folder of cubes: what `RememberedHashes` keeps.
FILE_NAME = ".lungdet_pixel_hashes.json"
_FORMAT_VERSION = 1


def pixel_hash(content_hash: str, shape_zyx: Sequence[int]) -> str:
    """SHA-256 (hex) over the shape of a volume and the SHA-256 of its stored int16 voxels.

    Name, patient, position, orientation and the file's format do not enter. Spacing enters only as far as resampling
    changed the voxels.
    """
    shape = ",".join(str(int(n)) for n in shape_zyx)
    return hashlib.sha256(f"{shape}:{content_hash}".encode()).hexdigest()


class RememberedHashes:
    """Hashes of files, computed once and kept in a JSON file as long as a file's size and time stay the same.

    Args:
        path: of the JSON file; one that is damaged or of other settings is made anew.
        settings: JSON-ready; everything besides the files' bytes that the hashes depend on.
    """

    def __init__(self, path: Path, *, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(dict(settings)))

    def of(self, files: Mapping[str, Path], compute: Callable[[str], str]) -> dict[str, str]:
        """The hash of each file; what is new is remembered, atomically, unless the folder cannot be written to.

        Args:
            files: name -> file.
            compute: name -> hash, asked for what is not remembered.

        Raises:
            OSError: a file is gone.
        """
        known = self._read()
        hashes, new = {}, 0
        for name, file in files.items():
            status = file.stat()
            state = [status.st_size, status.st_mtime_ns]
            if name not in known or known[name][:2] != state:
                known[name] = [*state, compute(name)]
                new += 1
            hashes[name] = known[name][2]
        if new:
            logger.info("%s: pixel hashes of %d files computed", self.path.parent, new)
            self._write(known)
        return hashes

    def _read(self) -> dict[str, list[Any]]:
        try:
            record = json.loads(self.path.read_text())
            if record["format_version"] != _FORMAT_VERSION or record["settings"] != self.settings:
                return {}
            return {str(name): [int(size), int(time), str(h)] for name, (size, time, h) in record["files"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s: not readable (%s); computed anew", self.path, error)
            return {}

    def _write(self, known: Mapping[str, list[Any]]) -> None:
        record = {"format_version": _FORMAT_VERSION, "settings": self.settings, "files": known}
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(json.dumps(record, sort_keys=True) + "\n")
            partial.replace(self.path)
        except OSError as error:  # a read-only data folder costs time at the next run, nothing else
            logger.info("%s: pixel hashes cannot be kept there (%s); they are computed again next time",
                        self.path.parent, error)  # fmt: skip
