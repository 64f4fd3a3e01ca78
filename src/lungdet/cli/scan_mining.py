"""What `lungdet mine` does with one scan, in this process or in another that opens the run anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.errors import RunError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from lungdet.data.ct import CtDataModule
    from lungdet.executors.prepared import Prepared
    from lungdet.pipeline.hardest import Quota


class ScanMiner:
    """A run's data and network, and what is kept of each scan.

    Args:
        cfg: of the command.
        datamodule: after setup.
        score: points to logits, float32 [N].
        quota: what is kept.
        card: everything that decides the table.
    """

    def __init__(
        self,
        cfg: DictConfig,
        datamodule: CtDataModule,
        score: Callable[[pd.DataFrame], npt.NDArray[np.float32]],
        *,
        quota: Quota,
        card: Mapping[str, Any],
    ) -> None:
        self.cfg, self.datamodule, self.score, self.quota, self.card = cfg, datamodule, score, quota, card

    @cached_property
    def train(self) -> list[str]:
        """Series of the training patients that the store holds, sorted."""
        collection, train = self.datamodule.collection, self.datamodule.split_result.train
        series = collection.series[collection.series["series_uid"].isin(list(self.datamodule.store.series_uids))]
        return sorted(series.loc[series["patient_id"].astype("str").isin(train), "series_uid"])

    def mine(self, uid: str) -> dict[str, Any]:
        """The hardest negatives of one scan and what they were chosen from, see `keep_hardest`."""
        from lungdet.cli.mine import keep_hardest, make_pool
        from lungdet.data.background import NO_SPHERES

        points = make_pool(
            self.datamodule.store,
            uid,
            listed=self._listed.get(uid),
            avoid=self._avoid.get(uid, NO_SPHERES),
            n_background=self.cfg.pool.background_per_scan,
            seed=self.cfg.seed,
        )
        return keep_hardest(points, self.score(points), self.quota)

    def as_work(self, run: Path, checkpoint: Path) -> Prepared[dict[str, Any]]:
        """`mine` as work of an executor, which may open the run anew elsewhere."""
        from lungdet.executors.prepared import Prepared

        recipe = {
            "cfg": OmegaConf.to_container(self.cfg, resolve=True),
            "run": str(run.resolve()),
            "checkpoint": str(checkpoint.resolve()),
            "card": self.card,
        }
        return Prepared(make_miner, recipe, "mine", here=self)

    @cached_property
    def _avoid(self) -> Mapping[str, Any]:
        from lungdet.data.background import places_to_avoid

        pool = self.cfg.pool
        return places_to_avoid(
            self.datamodule.collection,
            minimum_distance_mm=pool.minimum_distance_mm,
            excluded=pool.avoid_excluded,
        )

    @cached_property
    def _listed(self) -> Mapping[Any, pd.DataFrame]:
        candidates = self.datamodule.collection.candidates
        if not self.cfg.pool.candidates or candidates is None:
            return {}
        return dict(iter(candidates[~candidates["is_nodule"]].groupby("series_uid")))


def make_miner(recipe: Mapping[str, Any]) -> ScanMiner:
    """From the recipe of `ScanMiner.as_work`.

    Raises:
        RunError: run, store or collection are others here, or changed meanwhile.
    """
    from lungdet.cli.mine import describe, open_run
    from lungdet.pipeline.hardest import Quota
    from lungdet.training.run_directory import RunDirectory

    cfg = OmegaConf.create(dict(recipe["cfg"]))
    assert isinstance(cfg, DictConfig)
    run, checkpoint = RunDirectory(Path(recipe["run"])), Path(recipe["checkpoint"])
    datamodule, score = open_run(run, checkpoint, cfg)
    card = json.loads(json.dumps(describe(run, checkpoint, datamodule, cfg)))
    differing = sorted(name for name, value in card.items() if recipe["card"].get(name) != value)
    if differing:
        raise RunError(
            f"this process would mine otherwise ({', '.join(differing)} differ): does it see the same run, store and "
            "collection, and did they change meanwhile?"
        )
    return ScanMiner(cfg, datamodule, score, quota=Quota(**cfg.keep), card=card)
