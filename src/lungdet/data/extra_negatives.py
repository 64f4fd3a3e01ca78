"""`data.extra_negatives=`: rows of mined tables join the training candidates; other patients' rows stay out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.background import places_to_avoid
from lungdet.data.candidate_dataset import CENTER_COLUMNS
from lungdet.data.partitions import Split
from lungdet.errors import ConfigError, TableError
from lungdet.io.luna16 import Luna16
from lungdet.io.negatives_table import read_negatives

logger = logging.getLogger(__name__)

# Rows nearer than this name the same place.
_SAME_PLACE_MM = 0.01


class ExtraNegatives:
    """Tables of further negatives, and how often training shows them.

    Args:
        tables: CSV files as `lungdet mine` writes them, or any with the challenge's candidate columns.
        share: the part of the training negatives that they are to be: their rows are repeated until they are (never
            left out). None takes each row once.

    Raises:
        ConfigError: a share that is not between 0 and 1.
    """

    def __init__(self, tables: str | Path | Sequence[str | Path], *, share: float | None = None) -> None:
        self.tables = [Path(tables)] if isinstance(tables, str | Path) else [Path(table) for table in tables]
        if share is not None and not 0 < share < 1:
            raise ConfigError([f"data.extra_negatives_share={share} must lie between 0 and 1, or be null; type 0.5"])
        self.share = share
        self._n_added = 0
        #: Table -> hash of the split that the network which chose its rows was trained with, None where nobody knows.
        #: Filled by `added_to`.
        self.mined_with: dict[str, str | None] = {}

    def added_to(
        self, records: pd.DataFrame, *, collection: Luna16, split: Split, stored: Sequence[str]
    ) -> pd.DataFrame:
        """The records with the rows of the tables behind them.

        The rows of the records keep their numbers, so that everything that depends on them stays as it was. Rows of
        patients who validate or test, of scans that are not stored and of places given twice are dropped, with a log
        line.

        Args:
            records: of `lungdet.data.candidate_records.make_records`, not empty.
            collection: the candidate table's ids and the nodules.
            split: of these records.
            stored: series the store holds.

        Returns:
            The same columns; the new rows have label 0, partition "train" and ids above the collection's.

        Raises:
            MissingFileError, TableError: see `lungdet.io.negatives_table.read_negatives`.
            TableError: a training row that lies within a nodule; no row left.
        """
        parts = []
        for path in self.tables:
            part, self.mined_with[str(path)] = _training_rows(path, collection=collection, split=split, stored=stored)
            parts.append(part)
        rows = pd.concat(parts, ignore_index=True)
        places = (rows[CENTER_COLUMNS] / _SAME_PLACE_MM).round().assign(series_uid=rows["series_uid"])
        twice = places.duplicated()
        if twice.any():
            logger.info("extra negatives: %d rows name a place that another row names", int(twice.sum()))
        rows = rows[~twice]
        if not len(rows):
            raise TableError(
                f"{', '.join(map(str, self.tables))}: no row lies in a stored scan of a training patient; "
                "mine with a run of this split, or type data.extra_negatives=null"
            )
        self._n_added = len(rows)
        assert collection.candidates is not None, "the records come from it"
        first = int(collection.candidates["candidate_id"].max()) + 1
        added = rows.assign(
            candidate_id=np.arange(first, first + len(rows), dtype=np.int64),
            label=np.int8(0),
            diameter_mm=np.nan,
            partition="train",
        )
        return pd.concat([records, added[records.columns].astype(records.dtypes)], ignore_index=True)

    def shown(self, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Training rows as a sampler gets them: extra ones repeated in turn until they are `share` of the negatives.

        Args:
            rows: int64 [N], training rows in order, so the added ones are last.
            labels: int64 [N].

        Returns:
            int64 [M], M >= N.
        """
        if self.share is None:
            return rows
        others = int((labels == 0).sum()) - self._n_added
        wanted = max(self._n_added, round(self.share / (1 - self.share) * others))
        first = len(rows) - self._n_added
        return np.concatenate([rows[:first], np.resize(rows[first:], wanted)])


def _training_rows(
    path: Path, *, collection: Luna16, split: Split, stored: Sequence[str]
) -> tuple[pd.DataFrame, str | None]:
    """Rows of one table in stored scans of training patients, with patient_id; the hash of the split on its card."""
    table, card = read_negatives(path)
    if card is None:
        logger.warning("%s has no card: nobody knows which patients it was mined with", path)
    elif card.get("split_hash") != split.hash:
        logger.warning(
            "%s was mined with another split (%s, here %s); its rows of patients who validate or test here are "
            "dropped, but the network that chose them may have trained on those patients",
            path,
            str(card.get("split_hash"))[:12],
            split.hash[:12],
        )
    patient = collection.series.set_index("series_uid")["patient_id"].astype("str")
    here = table["series_uid"].isin(list(stored)) & table["series_uid"].isin(patient.index)
    known = table[here]
    known = known.assign(patient_id=known["series_uid"].map(patient))
    rows = known[known["patient_id"].isin(split.train)]
    _refuse_nodules(path, rows, collection)
    logger.info(
        "%s: %d extra negatives; %d rows of validation or test patients dropped, %d of scans that are not stored",
        path,
        len(rows),
        len(known) - len(rows),
        len(table) - len(known),
    )
    return rows, None if card is None else card.get("split_hash")


def _refuse_nodules(path: Path, rows: pd.DataFrame, collection: Luna16) -> None:
    nodules = places_to_avoid(collection, minimum_distance_mm=0.0, excluded=False)
    for uid, part in rows.groupby("series_uid"):
        spheres = nodules.get(str(uid))
        if spheres is None:
            continue
        inside = spheres.contain(part[CENTER_COLUMNS].to_numpy(np.float64))
        if inside.any():
            x, y, z = part[CENTER_COLUMNS].iloc[int(np.argmax(inside))]
            raise TableError(
                f"{path}: {int(inside.sum())} rows of series {uid} lie within a nodule, the first at "
                f"({x:g}, {y:g}, {z:g}) mm: they are positives, not negatives; take them out, or mine again with this "
                "collection's annotations"
            )
