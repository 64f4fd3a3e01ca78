"""zarr-python and tensorstore read a store as our reader does: crops, whole volumes, masks, every codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tensorstore
import zarr

from lungdet.store.crop_boxes import crop_overlap
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

UIDS = ("1.2.1", "1.2.2", "1.2.3")
CROP_ZYX = (32, 48, 48)
AIR_HU = -1024

Open = Callable[[Path], Any]
Codec = Literal["none", "lz4", "zstd"]


def with_zarr(folder: Path) -> Any:
    return zarr.open_array(folder, mode="r")


def with_tensorstore(folder: Path) -> Any:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return tensorstore.open(spec, read=True).result()


def read(array: Any, box: tuple[slice, ...]) -> npt.NDArray[Any]:
    part = array[box]
    return np.asarray(part.read().result() if isinstance(part, tensorstore.TensorStore) else part)


def padded_crop(array: Any, start: list[int]) -> npt.NDArray[np.int16]:
    """The box that begins at `start`, air outside the array."""
    out = np.full(CROP_ZYX, AIR_HU, np.int16)
    low, inside = crop_overlap(start, CROP_ZYX, array.shape)
    part = out[inside]
    if part.size:
        part[...] = read(array, tuple(slice(b, b + n) for b, n in zip(low, part.shape, strict=True)))
    return out


@pytest.mark.parametrize("opened", [with_zarr, with_tensorstore])
@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_other_readers_give_equal_crops(codec: Codec, opened: Open, make_store: Callable[..., Path]) -> None:
    path = make_store(StoreSpec(codec=codec))
    store, generator = CtStore(path), np.random.default_rng(0)
    for uid in UIDS:
        geometry = store.geometry(uid)
        array = opened(path / "scans" / uid / "hu")
        assert tuple(array.shape) == geometry.shape_zyx
        # The whole volume and 20 voxels around it: inside, over one side, over a corner, outside altogether.
        centers = generator.integers(-20, np.array(geometry.shape_zyx) + 20, (12, 3))
        centers[0], centers[1] = (-60, 0, 0), np.array(geometry.shape_zyx) // 2
        crops = store.crops([uid] * 12, [geometry.index_to_world(center) for center in centers], CROP_ZYX)
        for crop, center in zip(crops, centers, strict=True):
            assert np.array_equal(crop, padded_crop(array, (center - np.array(CROP_ZYX) // 2).tolist()))
        assert (crops[0] == AIR_HU).all()
        assert 0 < (crops != AIR_HU).mean() < 1


@pytest.mark.parametrize("opened", [with_zarr, with_tensorstore])
@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_other_readers_give_equal_volumes_and_masks(
    codec: Codec, opened: Open, make_store: Callable[..., Path]
) -> None:
    path = make_store(StoreSpec(codec=codec))
    store = CtStore(path)
    everything = (slice(None),) * 3
    for uid in UIDS:
        for name, ours in (("hu", store.volume(uid)), ("lung_mask", store.lung_mask(uid))):
            theirs = read(opened(path / "scans" / uid / name), everything)
            assert theirs.dtype == ours.dtype
            assert np.array_equal(theirs, ours)
