"""The cubes of a patch folder behind the interface of the CT store: each cube is a small scan of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, StoreError
from lungdet.geometry import Geometry
from lungdet.io.patch_folder import PatchFolder, open_cube
from lungdet.store.pixel_hash import FILE_NAME, RememberedHashes, pixel_hash
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec
from lungdet.store.shard import ArrayReader

Values = Literal["hu", "unit"]

# Cubes looked at to tell HU from normalised numbers; each is read whole.
_LOOKED_AT = 32
# No CT cube spans less than this in HU, no normalised one spans more.
_SPAN_OF_NORMALISED = 20.0


class PatchStore(CtStore):
    """Read access to the cubes, by their names; each is centred at its own centre, or at 0 where nobody says.

    Args:
        folder: whose cubes.
        spec: `spacing_mm` is that of the cubes, HU are clipped to `clip_hu`; there are no lung masks.
        values: what float cubes hold: `hu`, or `unit`: [0, 1] over `unit_range_hu`. Integer cubes hold HU; None is
            for them only.
        unit_range_hu: the HU that 0 and 1 stand for.

    Raises:
        ConfigError: `values` is missing or contradicts the cubes, or no spacing is given.
    """

    path: Path

    def __init__(
        self, folder: PatchFolder, *, spec: StoreSpec, values: Values | None, unit_range_hu: tuple[float, float]
    ) -> None:
        if isinstance(spec.spacing_mm, str):
            raise ConfigError(["data.store.spacing_mm=native: cubes do not say theirs; give three numbers (z, y, x)"])
        check_values(folder, values)
        self.path, self.spec = folder.root, dataclasses.replace(spec, lung_mask=False)
        z, y, x = spec.spacing_mm
        self._spacing_zyx = (float(z), float(y), float(x))
        self._shape, self._dtype = folder.shape_zyx, folder.dtype
        self._range_hu = (float(unit_range_hu[0]), float(unit_range_hu[1])) if values == "unit" else None
        patches = folder.patches.sort_values("name")
        self.series_uids = tuple(patches["name"])
        self._known = frozenset(self.series_uids)
        self._files = dict(zip(patches["name"], patches["path"], strict=True))
        centers = patches[["center_x_mm", "center_y_mm", "center_z_mm"]].fillna(0.0).to_numpy(np.float64)
        self._centers = dict(zip(self.series_uids, centers, strict=True))
        content = [list(self.series_uids), self._shape, str(self._dtype), self._range_hu, self.spec.fingerprint]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        self._forget()

    def geometry(self, series_uid: str) -> Geometry:
        """The cube's grid: its middle voxel, `shape // 2`, lies at its centre.

        Raises:
            StoreError: no such cube.
        """
        self._folder(series_uid)  # refuses an unknown name
        middle = np.asarray(self._shape) // 2 * np.asarray(self._spacing_zyx)
        origin = self._centers[series_uid] - middle[::-1]
        z, y, x = self._spacing_zyx
        return Geometry(self._shape, tuple(origin.tolist()), (x, y, z))

    def source_geometry(self, series_uid: str) -> Geometry:
        """The same: nobody knows the grid of the scan."""
        return self.geometry(series_uid)

    def content_hash(self, series_uid: str) -> str:
        """SHA-256 of the cube in HU."""
        return hashlib.sha256(self.volume(series_uid).tobytes()).hexdigest()

    def pixel_hashes(self, series_uids: Sequence[str]) -> dict[str, str]:
        """Name -> pixel hash of the cube in HU; computed once and kept in `.lungdet_pixel_hashes.json` in the folder.

        Raises:
            StoreError: no such cube, or one that is gone or damaged.
        """
        for uid in series_uids:
            self._folder(uid)  # refuses an unknown name
        settings = {"shape_zyx": self._shape, "unit_range_hu": self._range_hu, "clip_hu": list(self.spec.clip_hu)}
        remembered = RememberedHashes(self.path / FILE_NAME, settings=settings)
        try:
            return remembered.of(
                {uid: Path(self._files[uid]) for uid in series_uids},
                lambda uid: pixel_hash(self.content_hash(uid), self._shape),
            )
        except OSError as error:
            raise StoreError(f"{self.path}: a cube is gone since the folder was read ({error})") from error

    def lung_mask(self, series_uid: str) -> npt.NDArray[np.uint8]:
        """Refused.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"{self.path} holds cubes, which have no lung masks; use scans (data=luna16) for this")

    def _array(self, series_uid: str, name: str) -> ArrayReader:
        # Opened anew each time, unlike shards: a header of 128 bytes against the index of a shard, and no open files.
        self._folder(series_uid)
        return CubeReader(Path(self._files[series_uid]), self._shape, range_hu=self._range_hu, clip=self.spec.clip_hu)

    def _record(self, series_uid: str) -> Any:
        # What CtStore's methods ask of a record is the geometry.
        return _Cube(self.geometry(series_uid))


@dataclasses.dataclass(frozen=True)
class _Cube:
    geometry: Geometry


class CubeReader:
    """Boxes of one .npy file in HU.

    Args:
        path: the file.
        shape_zyx: that it must have.
        range_hu: the HU that 0 and 1 stand for; None for values in HU.
        clip: lower and upper end in HU.

    Raises:
        StoreError: the file is gone, damaged or of another shape.
    """

    def __init__(
        self,
        path: Path,
        shape_zyx: tuple[int, int, int],
        *,
        range_hu: tuple[float, float] | None,
        clip: Sequence[int],
    ) -> None:
        try:
            self._cube = open_cube(path)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"{path}: not a readable .npy file any more ({error})") from error
        if self._cube.shape != shape_zyx:
            raise StoreError(f"{path}: shape {self._cube.shape}, it was {shape_zyx} when the folder was read")
        self.path, self.shape = path, shape_zyx
        self.dtype: np.dtype[Any] = np.dtype(np.int16)
        self._range_hu, self._clip = range_hu, clip

    def announce(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> None:
        """Cubes are read in one go."""

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out`, int16, with HU, rounded and clipped.

        Raises:
            StoreError: NaN or infinity in the box.
        """
        z, y, x = (slice(first, first + n) for first, n in zip(start_zyx, out.shape, strict=True))
        box = self._cube[z, y, x]
        if np.issubdtype(box.dtype, np.floating):
            box = box.astype(np.float32)
            if not np.isfinite(box).all():
                raise StoreError(f"{self.path}: NaN or infinity in the cube; take it out of the index file")
            if self._range_hu is not None:
                low, high = self._range_hu
                box = low + box * (high - low)
            box = np.rint(box)
        low_hu, high_hu = self._clip
        out[...] = np.clip(box, low_hu, high_hu)


def check_values(folder: PatchFolder, values: Values | None) -> None:
    """Whether the statement about the cubes' numbers can be true, from a look at some of them.

    Raises:
        ConfigError: no statement about float cubes, or one that the numbers contradict.
    """
    if np.issubdtype(folder.dtype, np.integer):
        if values == "unit":
            raise ConfigError([f"data.values=unit: the cubes are {folder.dtype}, so they hold HU; type data.values=hu"])
        return
    paths = folder.patches["path"].iloc[np.linspace(0, len(folder.patches) - 1, _LOOKED_AT).astype(int)].unique()
    cubes = [open_cube(path) for path in paths]
    low, high = float(min(cube.min() for cube in cubes)), float(max(cube.max() for cube in cubes))
    found = f"the cubes are {folder.dtype}, {len(cubes)} of them hold numbers from {low:.4g} to {high:.4g}"
    is_unit, is_small = low >= -0.01 and high <= 1.01, high - low < _SPAN_OF_NORMALISED
    if values is None:
        guess = "unit" if is_unit else "hu"
        raise ConfigError(
            [
                f"data.values: {found}; say what they mean: data.values=hu, or data.values=unit with "
                f"data.unit_range_hu=[low,high], the HU that 0 and 1 stand for. They look like {guess}"
                if is_unit or not is_small
                else f"data.values: {found}, which is neither HU nor [0, 1]; convert them to one of the two"
            ]
        )
    if values == "unit" and not is_unit:
        raise ConfigError([f"data.values=unit means [0, 1], but {found}"])
    if values == "hu" and is_small:
        raise ConfigError(
            [f"data.values=hu, but {found}: these are normalised; type data.values=unit if they are [0, 1]"]
        )
