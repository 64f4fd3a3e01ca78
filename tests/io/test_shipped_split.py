"""What the shipped partitions are worth, counted by hand."""

from __future__ import annotations

import pandas as pd

from lungdet.io.chest_xray import identify
from lungdet.io.shipped_split import shipped_split


def table(rows: list[tuple[str, str, bool]]) -> pd.DataFrame:
    said = [identify(name) for _, name, _ in rows]
    return pd.DataFrame(
        {
            "partition": [partition for partition, _, _ in rows],
            "patient_id": [identity.patient_id for identity in said],
            "agent": [identity.agent for identity in said],
            "is_pneumonia": [is_pneumonia for _, _, is_pneumonia in rows],
        }
    )


IMAGES = table(
    [
        ("train", "person1_bacteria_1", True),
        ("train", "person1_bacteria_2", True),
        ("train", "person2_bacteria_3", True),
        ("train", "IM-0001-0001", False),
        ("train", "NORMAL2-IM-0007-0001", False),
        ("val", "person9_virus_1", True),
        ("val", "NORMAL2-IM-0008-0001", False),
        ("test", "person1_virus_6", True),
        ("test", "person2_bacteria_9", True),
        ("test", "person2_virus_9", True),
        ("test", "IM-0007-0001", False),
        ("", "person9_virus_2", True),
    ]
)


def test_counts_of_the_partitions() -> None:
    partitions = shipped_split(IMAGES).partitions
    assert partitions.to_dict("list") == {
        "partition": ["train", "val", "test"],
        "images": [5, 2, 4],
        "patients": [4, 2, 3],
        "normal": [2, 1, 1],
        "pneumonia": [3, 1, 3],
    }


def test_patients_in_two_partitions() -> None:
    """person1 has bacteria here and virus there; IM-0007 is not NORMAL2-IM-0007; an unplaced image is none."""
    shared = shipped_split(IMAGES).shared
    assert shared.to_dict("list") == {
        "patient_id": ["person1", "person2"],
        "train": [2, 1],
        "val": [0, 0],
        "test": [1, 2],
        "same_agent": [False, True],
    }


def test_remarks() -> None:
    remarks = shipped_split(IMAGES).remarks
    assert "The shipped val part holds 2 images (1 NORMAL, 1 PNEUMONIA): one image is 100 points" in remarks[1]
    assert remarks[3].startswith(
        "Found in the shipped test part (3 images) and in train too (3 images): 2 patient numbers, 1 of them with the "
        "same agent."
    )
    assert len(remarks) == 4


def test_kermanys_val_of_16_is_too_coarse_and_a_large_clean_split_needs_no_remark() -> None:
    val = table([("val", f"person{n}_virus_{n}", n < 8) for n in range(16)])
    assert "16 images (8 NORMAL, 8 PNEUMONIA): one image is 12.5 points" in shipped_split(val).remarks[0]
    rows = [(part, f"{part}{n}", n < 50) for part in ("train", "val", "test") for n in range(100)]
    assert shipped_split(table(rows)).remarks == []


def test_a_missing_class_and_nothing_at_all() -> None:
    assert "one class is missing" in shipped_split(table([("test", "a", True)])).remarks[0]
    nothing = shipped_split(IMAGES[IMAGES["partition"] == ""])
    assert len(nothing.partitions) == len(nothing.shared) == 0
    assert nothing.remarks == []
