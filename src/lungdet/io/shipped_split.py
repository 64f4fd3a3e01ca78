"""What the partitions that a collection ships are worth: their sizes and the patients they share, as data and words."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from lungdet.io.chest_xray import PARTITIONS

# Below this many images of a class one image moves sensitivity or specificity by more than 2 points.
_ENOUGH = 50


@dataclass(frozen=True)
class ShippedSplit:
    """Facts about train, val and test as they are shipped.

    Attributes:
        partitions: partition, images, patients, normal, pneumonia; one row for each partition that is there.
        shared: patients with images in more than one partition: patient_id, train, val, test (images in each),
            same_agent (bool: the same agent, or none, is named in two of the partitions, so that the number is hardly
            a coincidence).
    """

    partitions: pd.DataFrame
    shared: pd.DataFrame

    @property
    def remarks(self) -> list[str]:
        """Sentences for a report; empty where nothing is wrong."""
        said = []
        for row in self.partitions.itertuples():
            fewest = min(int(row.normal), int(row.pneumonia))  # type: ignore[arg-type]
            if fewest < _ENOUGH:
                worth = f"one image is {100 / fewest:.3g} points" if fewest else "one class is missing"
                said.append(
                    f"The shipped {row.partition} part holds {row.images} images ({row.normal} NORMAL, "
                    f"{row.pneumonia} PNEUMONIA): {worth} of specificity or sensitivity, too coarse to choose by."
                )
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            both = self.shared[(self.shared[first] > 0) & (self.shared[second] > 0)]
            if len(both):
                numbers = "1 patient number" if len(both) == 1 else f"{len(both)} patient numbers"
                said.append(
                    f"Found in the shipped {second} part ({both[second].sum()} images) and in {first} too "
                    f"({both[first].sum()} images): {numbers}, {int(both['same_agent'].sum())} of them with the same "
                    "agent. Results on it may be too good."
                )
        return said


def shipped_split(images: pd.DataFrame) -> ShippedSplit:
    """Count images and patients of the shipped partitions.

    Args:
        images: of `ChestXrays`: patient_id, agent, is_pneumonia, partition; rows without a partition are left out.
    """
    placed = images[images["partition"] != ""]
    rows = [
        {
            "partition": partition,
            "images": len(part),
            "patients": part["patient_id"].nunique(),
            "normal": int((~part["is_pneumonia"]).sum()),
            "pneumonia": int(part["is_pneumonia"].sum()),
        }
        for partition in PARTITIONS
        if len(part := placed[placed["partition"] == partition])
    ]
    partitions = pd.DataFrame(rows, columns=["partition", "images", "patients", "normal", "pneumonia"])
    counts = pd.crosstab(placed["patient_id"], placed["partition"]).reindex(columns=list(PARTITIONS), fill_value=0)
    shared = counts[(counts > 0).sum(axis=1) > 1].rename_axis(columns=None).reset_index()
    places = placed.groupby(["patient_id", "agent"])["partition"].nunique()
    twice = set(places[places > 1].index.get_level_values("patient_id"))
    return ShippedSplit(partitions, shared.assign(same_agent=shared["patient_id"].isin(twice)))
