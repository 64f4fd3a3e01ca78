"""`data/samples=nodules`: annotated nodules, malignant or benign by a stated rule over the readers' ratings."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from lungdet.data.sample_kind import PointSamples
from lungdet.errors import TableError
from lungdet.io.lidc import MalignancyRule, malignancy_labels
from lungdet.io.luna16 import Luna16

logger = logging.getLogger(__name__)


class NoduleSamples(PointSamples):
    """Nodules of annotations_with_malignancy.csv.

    Args:
        label_rule: how three or four ratings make a label, see `lungdet.io.lidc.malignancy_labels`; nodules that the
            rule drops are left out.

    Raises:
        ConfigError: another rule.
    """

    classes = ("benign", "malignant")

    def __init__(self, *, label_rule: MalignancyRule = "two_readers_4") -> None:
        malignancy_labels([], label_rule)  # refuses an unknown rule before anything is read
        self.label_rule = label_rule

    def points(self, collection: Luna16) -> pd.DataFrame:
        """The rated nodules; candidate_id is the row in the file.

        Raises:
            TableError: the collection has no such table, or the rule leaves no nodule.
        """
        table = collection.malignancy
        if table is None:
            raise TableError(
                f"{collection.root} has no annotations_with_malignancy.csv, so nobody rated its nodules; put it beside "
                "annotations.csv, or train without model=malignancy"
            )
        label = malignancy_labels(table["ratings"].tolist(), self.label_rule)
        known = ~np.isnan(label)
        if not known.any():
            raise TableError(f"data.samples.label_rule={self.label_rule} drops all {len(table)} nodules; take another")
        logger.info(
            "label rule %s: %d malignant, %d benign, %d of %d nodules dropped",
            self.label_rule,
            int((label == 1).sum()),
            int((label == 0).sum()),
            int((~known).sum()),
            len(table),
        )
        centers = [f"center_{axis}_mm" for axis in "xyz"]
        points = table.loc[known, ["series_uid", *centers, "diameter_mm"]].reset_index(drop=True)
        return points.assign(candidate_id=np.flatnonzero(known).astype(np.int64), is_nodule=label[known] == 1)
