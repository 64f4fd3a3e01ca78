"""Cubes behind the store's interface: where they lie, what their numbers mean, what lies around them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import ConfigError, StoreError
from lungdet.io.patch_folder import read_patch_folder
from lungdet.store.patch_store import PatchStore
from lungdet.store.schema import StoreSpec

HU = np.random.default_rng(0).integers(-1200, 2000, (3, 5, 6, 7)).astype(np.int16)
SPEC = StoreSpec(spacing_mm=(2.0, 0.5, 0.8), clip_hu=(-1000, 1500))
Open = Callable[..., PatchStore]


@pytest.fixture
def open_cubes(tmp_path: Path) -> Open:
    """A store of three cubes, two of them with a centre."""

    def make(cubes: npt.NDArray[Any] = HU, values: Any = None, **changed: Any) -> PatchStore:
        for n, cube in enumerate(cubes):
            np.save(tmp_path / f"{n}.npy", cube)
        (tmp_path / "patch_index.csv").write_text("path,coordX,coordY,coordZ\n0.npy,10,-20,300\n1.npy,1,1,1\n")
        (tmp_path / "bg_index.csv").write_text("path\n2.npy\n")
        settings: dict[str, Any] = {"spec": SPEC, "values": values, "unit_range_hu": (-1000.0, 400.0)} | changed
        return PatchStore(read_patch_folder(tmp_path), **settings)

    return make


def test_the_middle_voxel_lies_at_the_centre(open_cubes: Open) -> None:
    store = open_cubes()
    assert store.series_uids == ("0.npy", "1.npy", "2.npy")
    assert "0.npy" in store
    assert len(store) == 3
    assert store.geometry("0.npy").index_to_world([2, 3, 3]).tolist() == pytest.approx([10, -20, 300])
    assert store.geometry("0.npy").spacing_zyx_mm == (2.0, 0.5, 0.8)
    assert store.geometry("2.npy").index_to_world([2, 3, 3]).tolist() == pytest.approx([0, 0, 0])


def test_crops_around_the_centre_and_beyond_the_cube(open_cubes: Open) -> None:
    store = open_cubes()
    clipped = HU.clip(-1000, 1500)
    assert (store.volume("1.npy") == clipped[1]).all()
    crops = store.crops(["0.npy", "1.npy", "2.npy"], [(10, -20, 300), (1, 1, 1), (0, 0, 0)], (3, 4, 5))
    assert (crops == clipped[:, 1:4, 1:5, 1:6]).all()
    hu, valid = store.crop("0.npy", (10, -20, 300), (7, 6, 7))
    assert (hu[1:6] == clipped[0]).all()
    assert (hu[[0, 6]] == -1000).all()
    assert valid.sum() == HU[0].size


def test_unit_cubes_become_hu_again(open_cubes: Open) -> None:
    """To the rounding of float16: 1,400 HU in steps of up to 2^-11."""
    inside = HU.clip(-1000, 400)
    store = open_cubes(((inside + 1000) / 1400).astype(np.float16), values="unit")
    assert np.abs(store.volume("0.npy").astype(int) - inside[0]).max() <= 1
    assert store.volume("0.npy").dtype == np.int16
    exact = open_cubes(((inside + 1000) / 1400).astype(np.float64), values="unit")
    assert (exact.volume("0.npy") == inside[0]).all()


def test_float_hu_is_rounded(open_cubes: Open) -> None:
    store = open_cubes(HU.clip(-1000, 1500) + 0.4, values="hu")
    assert (store.volume("2.npy") == HU.clip(-1000, 1500)[2]).all()


@pytest.mark.parametrize(
    ("cubes", "values", "message"),
    [
        (HU, "unit", "the cubes are int16, so they hold HU; type data.values=hu"),
        (HU.astype(np.float32), None, r"from -1[0-9.]* to 1[0-9.]*; say what they mean: .* They look like hu"),
        (HU.astype(np.float32), "unit", r"data\.values=unit means \[0, 1\], but the cubes are float32"),
        ((HU + 1200) / 3200, None, r"from 0[0-9.]* to 0.99[0-9]*; say what they mean: .* They look like unit"),
        ((HU + 1200) / 3200, "hu", r"data\.values=hu, but .* these are normalised"),
        ((HU - HU.mean()) / HU.std(), None, r"neither HU nor \[0, 1\]; convert them"),
    ],
)
def test_what_numbers_mean_must_be_said_and_must_fit(
    open_cubes: Open, cubes: npt.NDArray[Any], values: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_cubes(cubes, values=values)


def test_what_cubes_do_not_have(open_cubes: Open) -> None:
    store = open_cubes()
    with pytest.raises(StoreError, match="which have no lung masks"):
        store.lung_mask("0.npy")
    with pytest.raises(StoreError, match=r"no series '3\.npy'"):
        store.geometry("3.npy")
    with pytest.raises(StoreError, match=r"no series '3\.npy'"):
        store.crops(["3.npy"], [(0, 0, 0)], (2, 2, 2))
    with pytest.raises(ConfigError, match="cubes do not say theirs; give three numbers"):
        open_cubes(spec=StoreSpec(spacing_mm="native"))


def test_a_cube_that_changes_later(open_cubes: Open, tmp_path: Path) -> None:
    store = open_cubes(HU.astype(np.float32), values="hu")
    np.save(tmp_path / "0.npy", np.full((5, 6, 7), np.nan, np.float32))
    with pytest.raises(StoreError, match=r"0\.npy: NaN or infinity in the cube"):
        store.volume("0.npy")
    np.save(tmp_path / "0.npy", np.zeros((5, 6, 8), np.float32))
    with pytest.raises(StoreError, match=r"0\.npy: shape \(5, 6, 8\), it was \(5, 6, 7\)"):
        store.volume("0.npy")
    (tmp_path / "0.npy").unlink()
    with pytest.raises(StoreError, match=r"0\.npy: not a readable \.npy file any more"):
        store.volume("0.npy")


def test_fingerprint_and_pickle(open_cubes: Open) -> None:
    store = open_cubes()
    assert open_cubes().fingerprint == store.fingerprint
    assert open_cubes(spec=StoreSpec(clip_hu=(-1000, 1400))).fingerprint != store.fingerprint
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.volume("1.npy") == store.volume("1.npy")).all()
    assert store.content_hash("0.npy") != store.content_hash("1.npy")
