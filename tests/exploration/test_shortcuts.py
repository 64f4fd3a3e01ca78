"""Properties that rank the classes alone: known AUROCs, and which of them is a warning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.exploration.content import Words
from lungdet.exploration.shortcuts import cut_share, shortcuts_section

WORDS = Words(("normal", "pneumonia"), "image", "images")


def images(n: int = 40) -> pd.DataFrame:
    """The second class is smaller in every image; grey values differ in half of them; the frame tells nothing."""
    label = np.arange(n) % 2
    return pd.DataFrame(
        {
            "label": label,
            "height": np.where(label == 1, 100, 200),
            "width": 100,
            "mean_grey": np.where((label == 1) & (np.arange(n) % 4 == 1), 50.0, 10.0),
            "sd_grey": 3.0,
            "top": 0,
            "left": 10,
            "bottom": np.where(label == 1, 100, 200),
            "right": 100,
        }
    )


def test_areas_are_those_of_one_number_as_a_score() -> None:
    record = shortcuts_section(images(), WORDS).record
    assert record["Height"] == {"medians": {"normal": 200, "pneumonia": 100}, "auroc": 0.0}
    assert record["Width / height"]["auroc"] == 1.0
    assert record["Mean grey value"]["auroc"] == 0.75, "half of the positives above all negatives, the others tie"
    assert not {"Width", "Deviation of grey values", "Share cut off with the dark frame"} & set(record), "all the same"


def test_files_warn_and_grey_values_are_a_note() -> None:
    findings = shortcuts_section(images(), WORDS).findings
    assert [finding.kind for finding in findings] == ["warning", "note"]
    assert "tells the classes apart: Height (1.000), Width / height (1.000), AUROC alone" in findings[0].text
    assert "tell the classes apart: Mean grey value (0.750), AUROC" in findings[1].text
    assert shortcuts_section(images(20), WORDS).findings == (), "ten images of a class prove nothing"


def test_one_class_cannot_be_ranked() -> None:
    table = images()
    section = shortcuts_section(table[table["label"] == 0], WORDS)
    assert (section.record, section.tables, section.findings) == ({}, (), ())


def test_cut_share_is_area() -> None:
    assert cut_share(images())[:2] == pytest.approx([0.1, 0.1])
    assert cut_share(images().assign(top=50))[0] == pytest.approx(1 - 150 * 90 / (200 * 100))
