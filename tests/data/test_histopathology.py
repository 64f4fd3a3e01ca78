"""What the DataModule makes of patches whose slides are known, and of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.data.histopathology import HistopathologyDataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.io.phantom_images import HistopathologyPhantomSpec, write_histopathology_phantom
from lungdet.store.image_preprocess import ImageSpec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_histopathology_phantom(tmp_path / "patches", HistopathologyPhantomSpec(n_images=20, n_slides=4))
    return tmp_path / "patches"


def module(root: Path, *, slides: Path | None) -> HistopathologyDataModule:
    store = ImageSpec(size_hw=(32, 32), dark_frame=None)
    return HistopathologyDataModule(
        root=root, slides=slides, store_path=root.with_name("store"), store=store, sampling=NaturalSampling()
    )


def test_a_slide_takes_the_place_of_a_patient_and_the_report_says_so(root: Path) -> None:
    collection = module(root, slides=root / "slides.csv").read_collection()
    assert collection.images["patient_id"].nunique() == 4
    assert collection.notes == ("The split keeps slides together: what is called a patient here is a slide.",)


def test_a_patch_of_unknown_slide_stands_alone(root: Path) -> None:
    collection = module(root, slides=None).read_collection()
    assert collection.images["patient_id"].tolist() == collection.images["image_id"].tolist()
    assert collection.notes[0].startswith("The slide of 20 of 20 patches is unknown")
