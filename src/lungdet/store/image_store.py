"""The store of preprocessed 2-D images: one zarr v3 array uint8 [N, H, W, C] and a table that says whose row is whose.

A chunk holds 256 whole images and is not compressed, so any zarr library reads it and ours maps the files: a batch is
a copy from the page cache.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.open_arrays import most_open

FORMAT_VERSION = 1
KIND = "images"
#: Images of a chunk, which is one file and what an interrupted preprocessing does not repeat.
CHUNK_IMAGES = 256
TABLE = "images.parquet"
ARRAY = "images"
# Chunks a store keeps mapped, each one an open file.
_OPEN_CHUNKS = 1024


class ImageStore:
    """Read access to a finished store; can be pickled, and opens its files in each process anew.

    Args:
        path: folder of the store.
        expect: what it has to be made with; None takes any.
        channels: how many it has to have; None takes any.
        command: what to type to make it, for error messages.

    Attributes:
        images: one row an image: image_id, row (in the array), pixel_key (of the original pixels,
            `lungdet.io.pixel_duplicates.pixel_key`), height, width (of the original), top, left, bottom, right (what of
            it was kept).
        failures: image_id -> why it is not stored.
        shape_hw, channels: of the stored images.

    Raises:
        MissingFileError: there is no store.
        StoreError: unfinished, made with other settings, or not a store of images.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        expect: ImageSpec | None = None,
        channels: int | None = None,
        command: str = "lungdet preprocess",
    ) -> None:
        self.path = Path(path)
        record = read_image_marker(self.path)
        check_image_marker(self.path, expect, channels=channels, command=command)
        if not record["finished"]:
            raise StoreError(f"{self.path} is not finished; type {command} to go on where it was interrupted")
        self.spec = ImageSpec.from_dict(record["spec"])
        self.channels = int(record["channels"])
        self.fingerprint = str(record["fingerprint"])
        self.failures: Mapping[str, str] = record["failures"]
        self.images = pd.read_parquet(self.path / TABLE)
        height, width = self.spec.size_hw
        self.shape_hw = (int(height), int(width))
        self._rows = dict(zip(self.images["image_id"], self.images["row"], strict=True))
        self._chunks: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: the process that unpickles opens its own."""
        return {**self.__dict__, "_chunks": OrderedDict()}

    def __len__(self) -> int:
        return len(self.images)

    def rows_of(self, image_ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Where the images lie in the array, int64 [N].

        Raises:
            StoreError: an image that is not stored.
        """
        try:
            return np.array([self._rows[str(name)] for name in np.asarray(image_ids)], np.int64)
        except KeyError as error:
            raise StoreError(
                f"{self.path} has no image {error}; it holds {len(self)} images: preprocess again with overwrite=true"
            ) from None

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Images by their place in the array: uint8 [N, H, W, C], a copy."""
        out = np.empty((len(rows), *self.shape_hw, self.channels), np.uint8)
        for place, row in enumerate(rows.tolist()):
            out[place] = self._chunk(row // CHUNK_IMAGES)[row % CHUNK_IMAGES]
        return out

    def image(self, image_id: str) -> npt.NDArray[np.uint8]:
        """One image for people to look at: uint8 [H, W] grey or [H, W, 3]."""
        image: npt.NDArray[np.uint8] = self.read(self.rows_of([image_id]))[0]
        return np.asarray(image[..., 0]) if self.channels == 1 else image

    def _chunk(self, number: int) -> npt.NDArray[np.uint8]:
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = _mapped(self.path / ARRAY / "c" / str(number) / "0" / "0" / "0", (*self.shape_hw, self.channels))
            while len(self._chunks) >= min(_OPEN_CHUNKS, most_open()):
                self._chunks.popitem(last=False)
            self._chunks[number] = chunk
        return chunk


def _mapped(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """One chunk, mapped."""
    size = CHUNK_IMAGES * int(np.prod(shape))
    try:
        found = path.stat().st_size
        if found == size:
            mapped: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r", shape=(CHUNK_IMAGES, *shape))
            return mapped
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); preprocess again with overwrite=true") from error
    raise StoreError(f"{path}: {found} bytes instead of {size}; preprocess again with overwrite=true")


def read_image_marker(store: Path) -> dict[str, Any]:
    """The record of a store: format, fingerprint, spec, channels, finished, failures.

    Raises:
        MissingFileError: there is nothing at `store`.
        StoreError: what is there is not a store of images, or of another format version.
    """
    if not store.exists():
        raise MissingFileError(f"no store at {store}")
    try:
        record: dict[str, Any] = json.loads((store / "zarr.json").read_text())["attributes"]["lungdet"]
        is_ours = record["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{store} is not a store of images (no zarr.json that says so); choose another data.store_path"
        ) from error
    if not is_ours or record["format"] != FORMAT_VERSION:
        raise StoreError(
            f"{store} has format {record['format']} of {record['kind']}, this lungdet reads {FORMAT_VERSION} of "
            f"{KIND}; choose another data.store_path"
        )
    return record


def check_image_marker(store: Path, spec: ImageSpec | None, *, channels: int | None, command: str) -> None:
    """Refuse a store that was made with other settings.

    Raises:
        StoreError: says which settings differ and what to type.
    """
    record = read_image_marker(store)
    differing = []
    if spec is not None and record["fingerprint"] != store_fingerprint(spec, int(record["channels"])):
        made, asked = record["spec"], spec.to_dict()
        differing = [f"{k}: store {made.get(k)}, asked {asked[k]}" for k in asked if made.get(k) != asked[k]]
        differing = differing or ["an earlier version of the algorithm"]
    if channels is not None and channels != record["channels"]:
        differing.append(f"channels: store {record['channels']}, asked {channels}")
    if differing:
        raise StoreError(
            f"{store} was made with other settings ({'; '.join(differing)}). Rebuild it: {command} overwrite=true; or "
            "keep both: data.store_path=<another path>"
        )


def store_fingerprint(spec: ImageSpec, channels: int) -> str:
    """Of everything that decides the stored pixels of an image."""
    return f"{spec.fingerprint}-{channels}"
