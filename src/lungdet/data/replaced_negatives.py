"""`data/samples=background_negatives` and `noise_negatives`: easy negatives in the place of the collection's.

This is how the earlier notebooks trained and validated. Their figures flatter: a network that tells lung or noise from
nodules has yet to tell vessels from nodules. So by default the test partition keeps the real candidates.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lungdet.data.background import check_distance, draw_background, places_to_avoid
from lungdet.data.candidate_dataset import CENTER_COLUMNS, CandidateDataset, RawBatch
from lungdet.data.candidate_records import make_records
from lungdet.data.candidates import CandidateSamples
from lungdet.data.counter_random import normal_noise, sample_keys
from lungdet.data.partitions import PARTITIONS, Split
from lungdet.data.sample_kind import BatchDataset, PointSamples
from lungdet.data.sampling import row_of_draw
from lungdet.data.splits import SplitRule
from lungdet.errors import ConfigError, TableError
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore

logger = logging.getLogger(__name__)

Partition = Literal["train", "val", "test"]
Positives = Literal["candidates", "annotations"]

#: Where noise "lies": outside every scan, so that whoever looks there (pictures, baseline) finds air and no tissue.
NOWHERE_MM = -9_000.0


class ReplacedNegatives(PointSamples):
    """Positives of the collection; in some partitions with made negatives. Subclasses give `negatives`.

    Patients are split as with data/samples=candidates and the same positives: the split has the same hash.

    Args:
        per_scan: negatives made for each stored scan of these partitions.
        partitions: where made negatives take the place of the candidate table's; the others keep it.
        positives: the positive rows of the candidate table, or the annotated nodules.
        seed: of what is drawn.

    Raises:
        ConfigError: per_scan < 1, or partitions that are not some of train, val, test.
    """

    classes = CandidateSamples.classes
    #: What the negatives are, for people.
    made_of: str

    def __init__(
        self,
        *,
        per_scan: int,
        partitions: Sequence[Partition] = ("train", "val"),
        positives: Positives = "candidates",
        seed: int = 0,
    ) -> None:
        problems = []
        if per_scan < 1:
            problems.append(f"data.samples.per_scan={per_scan} must be at least 1")
        if not partitions or set(partitions) - set(PARTITIONS) or len(set(partitions)) < len(partitions):
            problems.append(
                f"data.samples.partitions={list(partitions)} must be one or more of train, val, test, each once"
            )
        if positives not in ("candidates", "annotations"):
            problems.append(f"data.samples.positives={positives!r} must be 'candidates' or 'annotations'")
        if problems:
            raise ConfigError(problems)
        self.per_scan, self.partitions, self.seed = per_scan, tuple(partitions), seed
        self.positives: Positives = positives

    @abstractmethod
    def negatives(self, collection: Luna16, *, store: CtStore, series_uids: Sequence[str]) -> pd.DataFrame:
        """`per_scan` rows for each series: series_uid, center_x_mm, center_y_mm, center_z_mm."""

    def points(self, collection: Luna16) -> pd.DataFrame:
        """The candidate table, with the annotations in the place of its positives where they are asked for.

        Raises:
            TableError: the candidate table is needed and not there.
        """
        if self.positives == "candidates":
            return CandidateSamples().points(collection)
        nodules = collection.annotations.assign(is_nodule=True)
        if set(self.partitions) == set(PARTITIONS):
            return nodules.assign(candidate_id=np.arange(len(nodules)))
        table = CandidateSamples().points(collection)
        first = int(table["candidate_id"].max()) + 1
        nodules = nodules.assign(candidate_id=np.arange(first, first + len(nodules)))
        return pd.concat([table[~table["is_nodule"]], nodules], ignore_index=True)

    def make_records(
        self, collection: Luna16, *, store: CtStore, rule: SplitRule, shape_zyx: tuple[int, int, int]
    ) -> tuple[pd.DataFrame, Split]:
        """Records of the candidates, whose negatives give way to made ones in `partitions`.

        The made ones come last, with ids above all others. `is_made` marks them; a note of the split, which reports
        show, names the partitions.

        Raises:
            TableError: see `points`; a partition would be left without negatives.
            SplitError: the rule cannot split these patients.
        """
        points = self.points(collection)
        kept, split = make_records(
            collection.series, points, nodules=collection.annotations, stored=store.series_uids, rule=rule
        )
        kept = kept[~(kept["partition"].isin(self.partitions) & (kept["label"] == 0))]
        series = collection.series[collection.series["series_uid"].isin(list(store.series_uids))]
        patient = series["patient_id"].astype("str")
        partition = pd.Series(split.partition_of(patient), index=series["series_uid"])
        replaced = sorted(partition.index[partition.isin(self.partitions)])
        made = self.negatives(collection, store=store, series_uids=replaced)
        if not len(made):
            raise TableError(
                f"no negatives could be made for {', '.join(self.partitions)}: the lungs of the {len(replaced)} scans "
                "have no place that is far enough from every finding; type a smaller data.samples.minimum_distance_mm="
            )
        first = int(points["candidate_id"].max()) + 1
        made = made.assign(
            candidate_id=np.arange(first, first + len(made), dtype=np.int64),
            patient_id=made["series_uid"].map(patient.set_axis(series["series_uid"])),
            partition=made["series_uid"].map(partition),
            label=np.int8(0),
            diameter_mm=np.nan,
        )
        records = pd.concat([kept, made[kept.columns].astype(kept.dtypes)], ignore_index=True)
        note = f"The negatives of {' and '.join(self.partitions)} are {self.made_of}, not the collection's candidates."
        logger.info(note)
        is_made = np.arange(len(records)) >= len(kept)
        return records.assign(is_made=is_made), dataclasses.replace(split, notes=(*split.notes, note))


class BackgroundNegatives(ReplacedNegatives):
    """Negatives from random places of the lungs, away from every finding.

    Args:
        per_scan, partitions, positives, seed: see `ReplacedNegatives`.
        minimum_distance_mm: from the surface of every nodule.
        avoid_excluded: keep away from the irrelevant findings of annotations_excluded.csv too.

    Raises:
        ConfigError: see `ReplacedNegatives`; a negative distance.
    """

    def __init__(
        self,
        *,
        per_scan: int,
        minimum_distance_mm: float = 20.0,
        avoid_excluded: bool = False,
        partitions: Sequence[Partition] = ("train", "val"),
        positives: Positives = "candidates",
        seed: int = 0,
    ) -> None:
        super().__init__(per_scan=per_scan, partitions=partitions, positives=positives, seed=seed)
        check_distance("data.samples.minimum_distance_mm", minimum_distance_mm)
        self.minimum_distance_mm, self.avoid_excluded = minimum_distance_mm, avoid_excluded
        self.made_of = f"random places in the lungs, {minimum_distance_mm:g} mm or more from every nodule"

    def negatives(self, collection: Luna16, *, store: CtStore, series_uids: Sequence[str]) -> pd.DataFrame:
        """See `lungdet.data.background.draw_background`.

        Raises:
            StoreError: the store has no lung masks.
        """
        # An adult at 1 mm takes an eighth of a second, so this is worth announcing.
        logger.info("drawing %d places from the lungs of each of %d scans", self.per_scan, len(series_uids))
        return draw_background(
            store,
            series_uids,
            per_scan=self.per_scan,
            avoid=places_to_avoid(
                collection, minimum_distance_mm=self.minimum_distance_mm, excluded=self.avoid_excluded
            ),
            seed=self.seed,
        )


class NoiseNegatives(ReplacedNegatives):
    """Negatives that are cubes of independent Gaussian noise: no scan has anything like them.

    Args:
        per_scan, partitions, positives, seed: see `ReplacedNegatives`.
        mean_hu: of the noise.
        sd_hu: its standard deviation.

    Raises:
        ConfigError: see `ReplacedNegatives`; sd_hu <= 0.
    """

    def __init__(
        self,
        *,
        per_scan: int,
        mean_hu: float = -300.0,
        sd_hu: float = 200.0,
        partitions: Sequence[Partition] = ("train", "val"),
        positives: Positives = "candidates",
        seed: int = 0,
    ) -> None:
        super().__init__(per_scan=per_scan, partitions=partitions, positives=positives, seed=seed)
        if not 0 < sd_hu < float("inf"):
            raise ConfigError([f"data.samples.sd_hu={sd_hu} must be > 0; type data.samples.sd_hu=200"])
        self.mean_hu, self.sd_hu = mean_hu, sd_hu
        self.made_of = f"Gaussian noise ({mean_hu:g} HU, standard deviation {sd_hu:g} HU)"

    def negatives(self, collection: Luna16, *, store: CtStore, series_uids: Sequence[str]) -> pd.DataFrame:
        """Rows that lie nowhere (`NOWHERE_MM`); their voxels are made when they are asked for."""
        rows = pd.DataFrame({"series_uid": np.repeat(np.asarray(series_uids, dtype=object), self.per_scan)})
        return rows.assign(**dict.fromkeys(CENTER_COLUMNS, NOWHERE_MM)).astype({"series_uid": "str"})

    def dataset(
        self, store: CtStore, records: pd.DataFrame, *, shape_zyx: tuple[int, int, int], training: bool
    ) -> BatchDataset:
        """Crops, and noise where the records say so."""
        return NoiseDataset(store, records, shape_zyx=shape_zyx, mean_hu=self.mean_hu, sd_hu=self.sd_hu, seed=self.seed)


class NoiseDataset(CandidateDataset):
    """Crops of a store; rows with `is_made` are noise, a function of (seed, row) alone.

    Args:
        store, records, shape_zyx: see `CandidateDataset`.
        mean_hu, sd_hu, seed: of the noise.
    """

    def __init__(
        self,
        store: CtStore,
        records: pd.DataFrame,
        *,
        shape_zyx: tuple[int, int, int],
        mean_hu: float,
        sd_hu: float,
        seed: int,
    ) -> None:
        super().__init__(store, records, shape_zyx=shape_zyx)
        self.is_made: npt.NDArray[np.bool_] = records["is_made"].to_numpy(bool)
        self.mean_hu, self.sd_hu, self.seed = mean_hu, sd_hu, seed

    def __getitems__(self, draws: Sequence[int]) -> RawBatch:
        """See `CandidateDataset`."""
        batch = super().__getitems__(draws)
        rows = row_of_draw(np.asarray(draws, dtype=np.int64), n_records=len(self))
        made = np.flatnonzero(self.is_made[rows])
        if len(made):
            keys = torch.from_numpy(sample_keys(rows[made], seed=self.seed, epoch=0).view(np.int64))
            noise = normal_noise(keys, n=int(np.prod(self.shape_zyx))).mul_(self.sd_hu).add_(self.mean_hu)
            low, high = self.store.spec.clip_hu
            batch["hu"][torch.from_numpy(made)] = (
                noise.round_().clamp_(low, high).to(torch.int16).view(len(made), 1, *self.shape_zyx)
            )
        return batch
