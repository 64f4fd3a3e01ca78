"""Results of one case each, in a folder: what was computed before is not computed again, also after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_RECORD = "record"
_KEY = "key.json"


class CaseStore:
    """`.npz` files by name, that hold for one key.

    Args:
        folder: of these files only; made when the first is written.
        key: JSON-ready: everything that the results depend on.
    """

    def __init__(self, folder: Path, *, key: Mapping[str, Any]) -> None:
        self.folder = folder
        self._key = json.loads(json.dumps(key))

    def differences(self) -> list[str]:
        """Names of the settings in which what is there differs from the key; empty for the same, or nothing there."""
        file = self.folder / _KEY
        if not file.is_file():
            return ["all of them"] if any(self.folder.glob("*.npz")) else []
        there = json.loads(file.read_text(encoding="utf-8"))
        return sorted(_differing(there, self._key))

    def clear(self) -> None:
        """Delete the results that are there; files of others stay."""
        for file in [*self.folder.glob("*.npz"), self.folder / _KEY]:
            file.unlink(missing_ok=True)

    def read(self, name: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
        """The record and the arrays of a case; None where nothing was written."""
        file = self._file(name)
        if not file.is_file():
            return None
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {key: loaded[key] for key in loaded.files}
        return json.loads(str(arrays.pop(_RECORD))), arrays

    def write(self, name: str, record: Mapping[str, Any], **arrays: npt.NDArray[Any]) -> None:
        """Keep a JSON-ready record and arrays; floats come back with the same bits."""
        if not (self.folder / _KEY).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _KEY).write_text(json.dumps(self._key, indent=2, sort_keys=True), encoding="utf-8")
        partial = self.folder / f".{name}.partial.npz"
        content: dict[str, Any] = {_RECORD: np.array(json.dumps(record)), **arrays}
        np.savez_compressed(partial, **content)
        partial.replace(self._file(name))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def _differing(there: Any, here: Any, path: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        return [
            found
            for name in {**there, **here}
            for found in _differing(there.get(name), here.get(name), f"{path}.{name}" if path else name)
        ]
    return [] if there == here else [path]
