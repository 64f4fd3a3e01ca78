"""The chest X-rays of Kermany et al. (2018, doi 10.17632/rscbjbr9sj.2, CC BY 4.0): folders or a manifest -> one table.

Whose image it is stands in the file name only. What the names are taken to mean, and how sure that is: `identify`.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungdet.errors import MissingFileError
from lungdet.io.image_file import IMAGE_SUFFIXES, is_image_file
from lungdet.io.image_table import first_few, read_image_table, refuse_rows

logger = logging.getLogger(__name__)

PARTITIONS = ("train", "val", "test")
CLASSES = {"normal": False, "pneumonia": True}

_LABELS = {**CLASSES, "0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_PERSON = re.compile(r"person(\d+)(?:_(bacteria|virus)(?=_|$)|(?=[_\- ]|$))", re.IGNORECASE)
_NORMAL = re.compile(r"(NORMAL2-)?IM-(\d+)-\d+", re.IGNORECASE)


@dataclass(frozen=True)
class FileIdentity:
    """What a file name says.

    Attributes:
        patient_id: `person12`, `IM-0115`, `NORMAL2-IM-0383`; the name without suffix where no rule applies.
        rule: `person`, `IM`, `NORMAL2-IM`, or `file` where no rule applies.
        agent: `bacteria`, `virus` or empty.
    """

    patient_id: str
    rule: str
    agent: str = ""


@dataclass(frozen=True)
class ChestXrays:
    """The images of a collection; none of them has been opened yet.

    Attributes:
        source: the folder or manifest given.
        images: image_id (path below the source, unique), path (str), is_pneumonia (bool), patient_id (never empty),
            id_from (`person`, `IM`, `NORMAL2-IM`, `file` or `group`: which rule gave the patient), agent
            (`bacteria`, `virus` or empty), partition (`train`, `val`, `test` or empty: the shipped one).
    """

    source: Path
    images: pd.DataFrame


def read_chest_xray(source: Path | str) -> ChestXrays:
    """Read a folder in Kermany's layout, or a manifest.

    Args:
        source: a folder with any of train, val, test, or with NORMAL and PNEUMONIA themselves; or a .csv with the
            columns path, label and, optionally, group and partition (`read_manifest`).

    Raises:
        MissingFileError: nothing there, or no images.
        TableError: as `read_manifest`.
    """
    source = Path(source)
    return read_manifest(source) if source.suffix.lower() == ".csv" else read_folders(source)


def read_folders(root: Path | str) -> ChestXrays:
    """Any of `train|val|test/{NORMAL,PNEUMONIA}`, or `{NORMAL,PNEUMONIA}` alone; names in any case, sorted by path.

    Raises:
        MissingFileError: no such folder, or no images where they should be.
    """
    root = Path(root)
    if not root.is_dir():
        raise MissingFileError(f"{root}: no such folder; give the one that holds train/NORMAL as data.root=")
    rows, passed_over = [], []
    for partition, parent in [("", root), *_folders(root, PARTITIONS)]:
        for label, folder in _folders(parent, tuple(CLASSES)):
            for file in sorted(folder.iterdir()):
                if is_image_file(file):
                    rows.append((file.relative_to(root).as_posix(), str(file), CLASSES[label], partition))
                elif not file.name.startswith("."):
                    passed_over.append(file.name)
    if passed_over:
        logger.warning("%s: %d files are no images and are passed over: %s", root, len(passed_over),
                       first_few(passed_over))  # fmt: skip
    if not rows:
        nested = next((p for p in sorted(root.iterdir()) if p.is_dir() and _folders(p, PARTITIONS)), None)
        hint = f"did you mean {nested}?" if nested else f"looked for {', '.join(IMAGE_SUFFIXES)}"
        raise MissingFileError(f"{root}: no images in any of train|val|test/NORMAL|PNEUMONIA there; {hint}")
    images = pd.DataFrame(rows, columns=["image_id", "path", "is_pneumonia", "partition"])
    return ChestXrays(root, _with_patients(images))


def read_manifest(path: Path | str, *, root: Path | str | None = None) -> ChestXrays:
    """A table of images of any collection.

    Args:
        path: CSV with path, label (NORMAL or PNEUMONIA, 0 or 1), group (patient; where empty or missing the file name
            is asked, see `identify`) and, optionally, partition (train, val, test or empty).
        root: what relative paths are relative to; by default the manifest's folder.

    Raises:
        MissingFileError: no such table, or images that are not there: all are counted, the first few named.
        TableError: a missing column, a wrong value (by line), an image listed twice.
    """
    path = Path(path)
    base = path.parent if root is None else Path(root)
    table = read_image_table(
        path, {"path": ("path",), "label": ("label",)},
        optional={"group": ("group", "patient_id"), "partition": ("partition",)},
    )  # fmt: skip
    labels = table["label"].str.lower().map(_LABELS)
    refuse_rows(path, labels.isna(), table["label"], "label: allowed are NORMAL and PNEUMONIA, or 0 and 1")
    given = table["path"].str.replace("\\", "/")
    refuse_rows(path, given.duplicated(), given, "path: listed twice; each image has one line")
    missing = [name for name in given if not (base / name).is_file()]
    if missing:
        raise MissingFileError(f"{path}: {len(missing)} of {len(given)} images are not there: {first_few(missing)}")
    partition = table["partition"].str.lower() if "partition" in table else pd.Series("", index=table.index)
    refuse_rows(path, ~partition.isin([*PARTITIONS, ""]), partition, "partition: allowed are train, val, test or none")
    images = pd.DataFrame(
        {
            "image_id": given,
            "path": [str(base / name) for name in given],
            "is_pneumonia": labels.astype(bool),
            "partition": partition,
        }
    )
    return ChestXrays(path, _with_patients(images, table.get("group")))


def identify(name: str) -> FileIdentity:
    """The patient that a file name of the collection means.

    `person<N>_bacteria_<m>` and `person<N>_virus_<m>` count as one patient, as the collection's users read them.
    `IM-<n>-<m>` and `NORMAL2-IM-<n>-<m>` with one n count as two: the numbers run independently in the two series.
    Measured on the 5,216 training images (32 x 32 thumbnails, rank of the correlation with the namesake among all of
    that series; .5 is chance): IM-n with NORMAL2-IM-n .49, two images of one IM-n or NORMAL2-IM-n .24; two bacteria
    (or two virus) images of one person .26, but bacteria with virus of one person .49. So joining the latter is
    caution, which costs a split nothing, not a finding; joining the former would besides invent an overlap of the
    shipped train and test, whose numbers run through the same range.

    Args:
        name: of the file, with or without folders and suffix.

    >>> identify("train/PNEUMONIA/person23_virus_56.jpeg")
    FileIdentity(patient_id='person23', rule='person', agent='virus')
    >>> identify("NORMAL2-IM-0395-0001-0002.jpeg").patient_id
    'NORMAL2-IM-0395'
    """
    stem = Path(name).stem
    if person := _PERSON.match(stem):
        return FileIdentity(f"person{int(person[1])}", "person", (person[2] or "").lower())
    if normal := _NORMAL.match(stem):
        series = "NORMAL2-IM" if normal[1] else "IM"
        return FileIdentity(f"{series}-{int(normal[2]):04d}", series)
    return FileIdentity(stem, "file")


def _with_patients(images: pd.DataFrame, groups: pd.Series[str] | None = None) -> pd.DataFrame:
    """Adds patient_id, id_from and agent; a group given by hand wins."""
    said = [identify(name) for name in images["image_id"]]
    given = [""] * len(said) if groups is None else list(groups)
    ids = [group or identity.patient_id for group, identity in zip(given, said, strict=True)]
    rules = ["group" if group else identity.rule for group, identity in zip(given, said, strict=True)]
    agents = [identity.agent for identity in said]
    columns = ["image_id", "path", "is_pneumonia", "patient_id", "id_from", "agent", "partition"]
    return images.assign(patient_id=ids, id_from=rules, agent=agents)[columns].reset_index(drop=True)


def _folders(parent: Path, names: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(name in lower case, folder) of the subfolders called so in any case, in the order of `names`."""
    there = [(p.name.lower(), p) for p in sorted(parent.iterdir()) if p.is_dir() and p.name.lower() in names]
    return sorted(there, key=lambda item: names.index(item[0]))
