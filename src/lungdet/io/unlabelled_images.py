"""Images that nobody has labelled: a folder with folders in it, a list, one file, or PCam's HDF5 -> id and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lungdet.errors import MissingFileError, TableError
from lungdet.io.image_file import IMAGE_SUFFIXES, is_image_file
from lungdet.io.image_pixels import ImagePixels, hdf5_rows
from lungdet.io.image_table import read_image_table, refuse_rows

_PATH = ("path", "file", "filename", "image")
_ID = ("id", "image_id", "patch_id")
_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class UnlabelledImages:
    """Where images are; none of them has been opened yet.

    Attributes:
        source: what was given.
        image_ids: unique, in the order of the list, or of the paths.
        places: for each its file, and its row there (-1 for an image file).
    """

    source: Path
    image_ids: tuple[str, ...]
    places: tuple[tuple[Path, int], ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    def pixels(self, *, channels: Literal[1, 3]) -> ImagePixels:
        """Reader of the images, to be used in a `with` block."""
        return ImagePixels(dict(zip(self.image_ids, self.places, strict=True)), channels=channels)


def find_images(source: Path | str) -> UnlabelledImages:
    """Find images.

    The id of a file is its name without suffix, as in Kaggle's submissions; where two files of a folder share one, the
    ids of all are their paths below the folder, without suffix.

    Args:
        source: a folder, searched with all folders in it; a .csv with the column path (relative to its folder) and,
            optionally, id; an image file; or a .h5 with an array x, uint8 [N, H, W, 3], whose ids are row numbers.

    Raises:
        MissingFileError: nothing there, or no image in it. That a file of a list is missing is seen when it is read.
        TableError: a list without paths, or with an id twice.
        ScanError: no HDF5 file of images.
    """
    source = Path(source).expanduser()
    suffix = source.suffix.lower()
    if source.is_dir():
        files = [path for path in sorted(source.rglob("*")) if is_image_file(path)]
        if not files:
            raise MissingFileError(f"{source}: no image files in it; looked for {', '.join(IMAGE_SUFFIXES)}")
        return UnlabelledImages(source, _ids(files, source), tuple((path, -1) for path in files))
    if not source.is_file():
        raise MissingFileError(f"{source}: no such folder or file; give a folder of images, or a .csv with their paths")
    if suffix == ".csv":
        return _listed(source)
    if suffix in _HDF5:
        rows = range(hdf5_rows(source))
        return UnlabelledImages(source, tuple(map(str, rows)), tuple((source, row) for row in rows))
    return UnlabelledImages(source, (source.stem,), ((source, -1),))


def _listed(source: Path) -> UnlabelledImages:
    table = read_image_table(source, {"path": _PATH}, optional={"id": _ID})
    files = [source.parent / name for name in table["path"].str.replace("\\", "/")]
    if "id" not in table:
        table["id"] = list(_ids(files, source.parent))
    refuse_rows(source, table["id"] == "", table["id"], "id: allowed is a text that is not empty")
    refuse_rows(source, table["id"].duplicated(), table["id"], "id: listed twice; each image has one line and one id")
    return UnlabelledImages(source, tuple(table["id"]), tuple((path, -1) for path in files))


def _ids(files: Sequence[Path], root: Path) -> tuple[str, ...]:
    stems = tuple(path.stem for path in files)
    if len(set(stems)) == len(stems):
        return stems
    below = (path.relative_to(root) if path.is_relative_to(root) else path for path in files)
    longer = tuple(path.with_suffix("").as_posix() for path in below)
    if len(set(longer)) < len(longer):
        twice = next(name for name in longer if longer.count(name) > 1)
        raise TableError(f"{root}: two files are called {twice}, and differ in the suffix alone; leave one of the two")
    return longer
