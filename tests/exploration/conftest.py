"""One exploration with everything that a page can hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.views import View
from lungdet.exploration.classes import classes_section
from lungdet.exploration.content import Exploration, Grid, Sample, Section, Words
from lungdet.exploration.copies import problems_section
from lungdet.exploration.preprocessing import preprocessing_section
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec

WORDS = Words(("normal", "pneu<monia>"), "image", "images")


@pytest.fixture(scope="session")
def exploration() -> Exploration:
    """Two classes, pictures of both kinds, every step of preprocessing, a damaged file."""
    random = np.random.default_rng(0)
    images = pd.DataFrame({"image_id": [f"i{n}" for n in range(6)], "patient_id": list("aabbcc"), "label": [0, 1] * 3})
    images = images.assign(partition="train", height=60, width=80)
    pixels = {name: random.integers(0, 256, (60, 80), dtype=np.uint8) for name in images["image_id"]}
    view = View("axial", random.normal(-500, 300, (41, 41)).astype(np.float32), 1.0, ("A", "P", "R", "L"))
    colour = random.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    samples = (Sample(pixels["i0"], "i0", "60 x 80"), Sample(colour, "a/very/long/name" * 3), Sample(view, "view"))
    spec = ImageSpec(size_hw=(32, 32), fit="pad", dark_frame=DarkFrame())
    return Exploration(
        title="x <rays> & more",
        lead="6 images of 3 patients.",
        tiles=(("Images", "6", "0 unreadable"), ("Patients", "3", "2 each")),
        sections=(
            classes_section(images, WORDS),
            Section(name="samples", title="Samples", grids=(Grid("samples-normal", "normal, 3", samples),)),
            preprocessing_section(images, pixels.__getitem__, spec, WORDS, n_channels=1, n_shown=2, seed=0),
            problems_section({"bad.png": "bad.png: damaged"}, n=7, items="images"),
            Section(name="nothing", title="Nothing", record={"missing": float("nan"), "n": np.int64(3)}),
        ),
        provenance={"source": "/data", "store": None},
    )
