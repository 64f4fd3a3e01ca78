"""`data/samples=candidates`: is there a nodule at this candidate?"""

from __future__ import annotations

import pandas as pd

from lungdet.data.sample_kind import PointSamples
from lungdet.errors import TableError
from lungdet.io.luna16 import Luna16


class CandidateSamples(PointSamples):
    """The collection's candidate table, nodules against the rest."""

    classes = ("non_nodule", "nodule")

    def points(self, collection: Luna16) -> pd.DataFrame:
        """The candidate table as it is.

        Raises:
            TableError: the collection has none.
        """
        if collection.candidates is None:
            raise TableError(
                f"{collection.root} has no candidates_V2.csv or candidates.csv; both come with the challenge: put one "
                "of them beside the subset folders, or name another file by data.candidates_file="
            )
        return collection.candidates
