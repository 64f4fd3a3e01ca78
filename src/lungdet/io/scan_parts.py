"""Results of one scan each, kept in a folder until all are there, so that an interrupted command goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ScanParts:
    """JSON files by series, that hold for one key; those of another key are thrown away.

    Args:
        folder: of these files only; made when the first is written.
        key: JSON-ready: everything that the results depend on.
    """

    def __init__(self, folder: Path, *, key: Mapping[str, Any]) -> None:
        self._folder, self._key = folder, json.dumps(key, sort_keys=True)
        key_file = folder / "key.json"
        if folder.exists() and not (key_file.is_file() and key_file.read_text() == self._key):
            shutil.rmtree(folder)

    def read(self, series_uid: str) -> Any | None:
        """What was written for this series, None where nothing was."""
        file = self._file(series_uid)
        return json.loads(file.read_text()) if file.is_file() else None

    def write(self, series_uid: str, result: Any) -> None:
        """Keep a JSON-ready result; floats come back with the same bits."""
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            (self._folder / "key.json").write_text(self._key)
        partial = self._folder / f".{series_uid}.partial"
        partial.write_text(json.dumps(result))
        partial.replace(self._file(series_uid))

    def remove(self) -> None:
        """Delete the folder: all results are used."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, series_uid: str) -> Path:
        return self._folder / f"scan-{series_uid}.json"
