"""Simulated chest X-rays in the folders and file names of Kermany's collection, with what is odd about the real one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lungdet.io.phantom_images.folder import write_once
from lungdet.io.phantom_images.spec import ChestXrayPhantomSpec
from lungdet.io.phantom_images.thorax import Anatomy, Radiograph, draw_anatomy, draw_radiograph

_JPEG_QUALITY = 92
_VAL_IMAGES_PER_CLASS = 2
_TEST_FRACTION = 0.15
_RGB_EVERY = 10  # the real collection has a few colour files
_IMAGES_OF_A_PATIENT = (1, 2, 2, 3)  # equally likely


@dataclass(frozen=True)
class _Patient:
    """anatomy, agent (`bacteria`, `virus` or empty) and how the file name begins."""

    anatomy: Anatomy
    agent: str
    name: str


def write_chest_xray_phantom(folder: Path | str, spec: ChestXrayPhantomSpec) -> bool:
    """Write train|val|test/{NORMAL,PNEUMONIA}/*.jpeg, and masks/ with the same paths as .png where there is a lesion.

    As in the real collection, patients have several images, some of them in both train and test; the shipped
    validation part is tiny; two files (of two patients) are pixel-identical; some images have a dark frame, and a few
    are colour files.

    Args:
        folder: absent, empty, or holding the same collection, which is then kept.
        spec: what to write.

    Returns:
        Whether it was written by this call.

    Raises:
        StoreError: the folder holds something else.
    """
    return write_once(folder, spec, lambda root: _write(root, spec))


def _write(root: Path, spec: ChestXrayPhantomSpec) -> None:
    n_pneumonia = round(spec.pneumonia_fraction * spec.n_images)
    counts = {"NORMAL": spec.n_images - n_pneumonia, "PNEUMONIA": n_pneumonia - 1}
    for code, (label, n_images) in enumerate(counts.items()):
        random = np.random.default_rng([spec.seed, code])
        patients = _patients(label, random)
        owners = list(itertools.islice(_images_of(patients, random), n_images))
        names = [
            f"{partition}/{label}/{owner.name.format(image=number)}"
            for number, (owner, partition) in enumerate(zip(owners, _places(owners), strict=True), start=1)
        ]
        for number, (owner, name) in enumerate(zip(owners, names, strict=True)):
            drawn = _drawn(owner, spec, np.random.default_rng([spec.seed, code, number]))
            _save(root, name, drawn, colour=owner.agent != "" and number % _RGB_EVERY == 3)
        if label == "PNEUMONIA":  # one image a second time, as another patient's
            _copy(root, names[0], f"train/{label}/{next(patients).name.format(image=n_images + 1)}")


def _patients(label: str, random: np.random.Generator) -> Iterator[_Patient]:
    for number in itertools.count(1):
        if label == "PNEUMONIA":
            agent = ("bacteria", "virus")[int(random.random() < 0.4)]
            yield _Patient(draw_anatomy(random), agent, f"person{number}_{agent}_{{image}}.jpeg")
        else:
            series = ("IM", "NORMAL2-IM")[int(random.random() < 0.5)]
            yield _Patient(draw_anatomy(random), "", f"{series}-{number:04d}-{{image:04d}}.jpeg")


def _images_of(patients: Iterator[_Patient], random: np.random.Generator) -> Iterator[_Patient]:
    for patient in patients:
        for _ in range(int(random.choice(_IMAGES_OF_A_PATIENT))):
            yield patient


def _places(owners: list[_Patient]) -> list[str]:
    """The shipped partition of each image: train, a tiny val, test, and in test besides second images from train."""
    n_test = max(2, round(_TEST_FRACTION * len(owners)))
    n_train = len(owners) - n_test - _VAL_IMAGES_PER_CLASS
    places = ["train"] * n_train + ["val"] * _VAL_IMAGES_PER_CLASS + ["test"] * n_test
    second = [n for n in range(1, n_train) if owners[n] is owners[n - 1] and places[n - 1] == "train"]
    for n in second[:: max(1, 4 * len(second) // n_test)]:
        places[n] = "test"
    return places


def _drawn(patient: _Patient, spec: ChestXrayPhantomSpec, random: np.random.Generator) -> Radiograph:
    height, width = (round(n * random.uniform(0.85, 1.15)) for n in spec.size_hw)
    drawn = draw_radiograph(
        patient.anatomy, random, size_hw=(height, width), agent=patient.agent, difficulty=spec.difficulty
    )
    if random.random() >= spec.framed_fraction:
        return drawn
    sides = random.random(4) < 0.6
    sides[int(random.integers(4))] = True
    top, bottom, left, right = (
        int(on * random.uniform(0.03, 0.09) * n) for on, n in zip(sides, (height, height, width, width), strict=True)
    )
    frame = ((top, bottom), (left, right))
    dark = random.integers(0, 6, (height + top + bottom, width + left + right), dtype=np.uint8)
    dark[top : top + height, left : left + width] = drawn.pixels
    return Radiograph(dark, np.pad(drawn.lesion, frame))


def _save(root: Path, name: str, drawn: Radiograph, *, colour: bool) -> None:
    _save_picture(root / name, drawn.pixels, mode="RGB" if colour else "L")
    if drawn.lesion.any():
        _save_picture(_mask_path(root, name), drawn.lesion.astype(np.uint8) * 255, mode="L")


def _save_picture(path: Path, pixels: npt.NDArray[np.uint8], *, mode: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, quality=_JPEG_QUALITY)


def _copy(root: Path, name: str, copy: str) -> None:
    shutil.copyfile(root / name, root / copy)
    shutil.copyfile(_mask_path(root, name), _mask_path(root, copy))


def _mask_path(root: Path, name: str) -> Path:
    return (root / "masks" / name).with_suffix(".png")
