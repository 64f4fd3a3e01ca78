"""Histopathology patches: Kaggle's layout (train/<id>.tif, train_labels.csv) and PCam's HDF5 files -> one table.

PCam: Veeling et al. 2018, doi 10.1007/978-3-030-00934-2_24, CC0; Kaggle's competition is PCam without its duplicates.
Neither ships the slide a patch was cut from; PCam's `_meta.csv` files and tables that people made do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungdet.errors import MissingFileError, TableError
from lungdet.io.image_file import is_image_file
from lungdet.io.image_pixels import ImagePixels, hdf5_labels, hdf5_rows
from lungdet.io.image_table import first_few, read_image_table, refuse_rows

PCAM_PREFIX = "camelyonpatch_level_2_split_"
#: PCam's words for the partitions, and ours.
PCAM_PARTITIONS = {"train": "train", "valid": "val", "test": "test"}

_ID = ("id", "patch_id")
_SLIDE = ("slide_id", "wsi", "slide")


@dataclass(frozen=True)
class HistologyPatches:
    """The patches of a collection; of HDF5 files only the labels have been read yet.

    Attributes:
        source: the folder given.
        patches: patch_id (str, unique), path (str), row (int: in the HDF5 file; -1 where the patch is a file of its
            own), is_tumor (bool; the column is missing where the folder has no labels), slide_id (empty where nobody
            says), partition (`train`, `val`, `test` or empty: the shipped one).
        ids_are_sha1: whether an id should be the SHA-1 of the pixels.
    """

    source: Path
    patches: pd.DataFrame
    ids_are_sha1: bool

    @property
    def is_labelled(self) -> bool:
        """Whether there is something to train on."""
        return "is_tumor" in self.patches

    @property
    def slide_remark(self) -> str:
        """What a report has to say where slides are unknown; empty where every patch has one."""
        unknown = int((self.patches["slide_id"] == "").sum())
        if not unknown:
            return ""
        return (
            f"The slide of {unknown} of {len(self.patches)} patches is unknown: patches of one slide may straddle the "
            "partitions, and numbers may be too good. A table of id and slide_id lets the split keep slides together."
        )

    def pixels(self) -> ImagePixels:
        """Reader of the patches, to be used in a `with` block."""
        rows = zip(self.patches["patch_id"], self.patches["path"], self.patches["row"], strict=True)
        return ImagePixels({name: (Path(path), int(row)) for name, path, row in rows})


def read_histopathology(root: Path | str, *, slides: Path | str | None = None) -> HistologyPatches:
    """Read whichever layout is there.

    Args:
        root: holds train_labels.csv and train/, or PCam's HDF5 files.
        slides: CSV with id and slide_id (or wsi), for every patch.

    Raises:
        MissingFileError: neither layout, or files of one that are missing.
        TableError: a wrong table; images without a label or labels without an image.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; give the one that holds train_labels.csv as data.root=")
    if (root / "train_labels.csv").is_file():
        return _kaggle(root, slides)
    if any(root.glob(f"{PCAM_PREFIX}*_x.h5*")):
        return _pcam(root, slides)
    raise MissingFileError(f"{root}: neither train_labels.csv (Kaggle) nor {PCAM_PREFIX}train_x.h5 (PCam) there")


def read_unlabelled_patches(folder: Path | str) -> HistologyPatches:
    """A folder of image files without labels, such as Kaggle's test/; the id is the name without suffix.

    Raises:
        MissingFileError: no such folder, or no images in it.
        TableError: two files of one id.
    """
    folder = Path(folder)
    files = _image_files(folder)
    patches = pd.DataFrame({"patch_id": list(files), "path": list(map(str, files.values())), "row": -1})
    return HistologyPatches(folder, patches.assign(slide_id="", partition="test"), ids_are_sha1=True)


def check_sha1(collection: HistologyPatches) -> dict[str, str]:
    """Compare every id with the SHA-1 of its pixels (uint8 RGB, row by row), reading all of them.

    Returns:
        patch_id -> what is wrong; empty where all ids hold.

    Raises:
        TableError: the layout has no such ids.
    """
    if not collection.ids_are_sha1:
        raise TableError(f"{collection.source}: PCam's patches have row numbers, no SHA-1 ids; leave this check out")
    wrong: dict[str, str] = {}
    with collection.pixels() as pixels:
        for name in collection.patches["patch_id"]:
            try:
                digest = hashlib.sha1(pixels.read(name).tobytes(), usedforsecurity=False).hexdigest()
            except (TableError, MissingFileError, ValueError) as error:
                wrong[name] = str(error)
                continue
            if digest != name.lower():
                wrong[name] = f"the pixels have the SHA-1 {digest}"
    return wrong


def _kaggle(root: Path, slides: Path | str | None) -> HistologyPatches:
    table_path = root / "train_labels.csv"
    table = read_image_table(table_path, {"patch_id": _ID, "label": ("label",)})
    refuse_rows(table_path, table["patch_id"].duplicated(), table["patch_id"], "id: listed twice; a patch has one line")
    refuse_rows(table_path, ~table["label"].isin(["0", "1"]), table["label"], "label: allowed are 0 and 1")
    files = _image_files(root / "train")
    _refuse_difference(root, labelled=set(table["patch_id"]), there=set(files))
    patches = pd.DataFrame(
        {
            "patch_id": table["patch_id"],
            "path": [str(files[name]) for name in table["patch_id"]],
            "row": -1,
            "is_tumor": table["label"] == "1",
            "slide_id": "",
            "partition": "",
        }
    )
    return HistologyPatches(root, _with_slides(patches, slides), ids_are_sha1=True)


def _pcam(root: Path, slides: Path | str | None) -> HistologyPatches:
    parts = [_pcam_part(root, word, partition) for word, partition in PCAM_PARTITIONS.items()
             if any(root.glob(f"{PCAM_PREFIX}{word}_[xy].h5*"))]  # fmt: skip
    return HistologyPatches(root, _with_slides(pd.concat(parts, ignore_index=True), slides), ids_are_sha1=False)


def _pcam_part(root: Path, word: str, partition: str) -> pd.DataFrame:
    images, labels = (root / f"{PCAM_PREFIX}{word}_{which}.h5" for which in "xy")
    for file in (images, labels):
        if not file.is_file():
            packed = file.with_name(f"{file.name}.gz")
            hint = f"unpack it: gunzip {packed}" if packed.is_file() else "images (x) and labels (y) belong together"
            raise MissingFileError(f"{file}: no such file; {hint}")
    is_tumor, n = hdf5_labels(labels), hdf5_rows(images)
    if len(is_tumor) != n:
        raise TableError(f"{images}: {n} patches, but {len(is_tumor)} labels in {labels.name}; download both again")
    part = pd.DataFrame({"patch_id": [f"{word}-{row:06d}" for row in range(n)], "path": str(images), "row": range(n),
                         "is_tumor": is_tumor, "slide_id": "", "partition": partition})  # fmt: skip
    meta = root / f"{PCAM_PREFIX}{word}_meta.csv"
    if meta.is_file():
        slides = read_image_table(meta, {"slide_id": _SLIDE})["slide_id"]
        if len(slides) != n:
            raise TableError(f"{meta}: {len(slides)} rows for {n} patches; it belongs to another file")
        part["slide_id"] = slides
    return part


def _image_files(folder: Path) -> dict[str, Path]:
    """Id -> file, sorted by id."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder of patches")
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if is_image_file(file):
            if file.stem in files:
                raise TableError(f"{file}: {files[file.stem].name} has the same id; leave one of the two")
            files[file.stem] = file
    if not files:
        raise MissingFileError(f"{folder}: no image files there")
    return files


def _refuse_difference(root: Path, *, labelled: set[str], there: set[str]) -> None:
    differences = {
        "labels without an image in train/": labelled - there,
        "images in train/ without a label in train_labels.csv": there - labelled,
    }
    for what, names in differences.items():
        if names:
            few = first_few(sorted(names))
            raise TableError(f"{root}: {len(names)} {what}: {few}. Both must name the same patches")


def _with_slides(patches: pd.DataFrame, slides: Path | str | None) -> pd.DataFrame:
    if slides is None:
        return patches
    table = read_image_table(slides, {"patch_id": _ID, "slide_id": _SLIDE})
    other_slide = table["patch_id"].duplicated() & ~table.duplicated()
    refuse_rows(Path(slides), other_slide, table["patch_id"], "id: an earlier line gives it another slide")
    known: Mapping[str, str] = dict(zip(table["patch_id"], table["slide_id"], strict=True))
    missing = [name for name in patches["patch_id"] if name not in known]
    if missing:
        raise TableError(f"{slides}: no slide for {len(missing)} of {len(patches)} patches: {first_few(missing)}")
    return patches.assign(slide_id=patches["patch_id"].map(known))
