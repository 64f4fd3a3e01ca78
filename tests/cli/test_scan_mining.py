"""Which scans are mined, and what of the collection goes into a pool; whole calls run in `end_to_end/test_mining`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from lungdet.cli import mine as command
from lungdet.cli.scan_mining import ScanMiner, make_miner
from lungdet.data.background import NO_SPHERES
from lungdet.data.partitions import Split
from lungdet.errors import RunError
from lungdet.pipeline.hardest import Quota

SERIES = pd.DataFrame({"series_uid": ["c", "a", "b", "d"], "patient_id": [1, 1, 2, 3]})
CANDIDATES = pd.DataFrame({"series_uid": ["a", "a", "b", "a"], "is_nodule": [True, False, False, False]})
QUOTA = Quota(per_scan=2, minimum_probability=0.1, suppression_mm=5.0)


def miner(*, candidates: pd.DataFrame | None = CANDIDATES, with_candidates: bool = True) -> ScanMiner:
    pool = {"background_per_scan": 7, "candidates": with_candidates, "minimum_distance_mm": 5.0, "avoid_excluded": True}
    cfg: Any = OmegaConf.create({"pool": pool, "seed": 3})
    datamodule: Any = SimpleNamespace(
        collection=SimpleNamespace(series=SERIES, candidates=candidates),
        split_result=Split(("1", "3"), ("2",), (), rule="r"),
        store=SimpleNamespace(series_uids=("a", "b", "c")),
    )
    return ScanMiner(cfg, datamodule, lambda points: np.zeros(len(points), np.float32), quota=QUOTA, card={"a": 1})


def test_stored_scans_of_training_patients_are_mined() -> None:
    """Patient ids may be numbers in the table; d is not stored, b validates."""
    assert miner().train == ["a", "c"]


def test_listed_negatives_are_those_of_each_scan() -> None:
    listed = miner()._listed
    assert {uid: rows.index.tolist() for uid, rows in listed.items()} == {"a": [1, 3], "b": [2]}


@pytest.mark.parametrize("changed", [{"candidates": None}, {"with_candidates": False}])
def test_without_a_table_or_the_wish_only_background_is_drawn(changed: dict[str, Any]) -> None:
    assert miner(**changed)._listed == {}


def test_a_scan_is_scored_with_its_own_points(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def make_pool(store: Any, uid: str, **given: Any) -> pd.DataFrame:
        asked.update(given, uid=uid)
        return pd.DataFrame({"n": [1, 2, 3]})

    monkeypatch.setattr(command, "make_pool", make_pool)
    monkeypatch.setattr(command, "keep_hardest", lambda points, logits, quota: {"n": len(points), "quota": quota})
    one = miner()
    one.__dict__["_avoid"] = {"a": "spheres of a"}
    assert one.mine("a") == {"n": 3, "quota": QUOTA}
    assert asked["listed"].index.tolist() == [1, 3]
    assert (asked["avoid"], asked["n_background"], asked["seed"]) == ("spheres of a", 7, 3)
    one.mine("c")
    assert asked["listed"] is None
    assert asked["avoid"] is NO_SPHERES


def test_a_process_that_sees_another_run_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "open_run", lambda *_: (None, None))
    monkeypatch.setattr(command, "describe", lambda *_: {"checkpoint": "new", "seed": 3, "window": (0, 1)})
    recipe = {"cfg": {"keep": {}}, "run": "r", "checkpoint": "c", "card": {"checkpoint": "old", "seed": 3}}
    with pytest.raises(
        RunError, match=r"^this process would mine otherwise \(checkpoint, window differ\): does it see"
    ):
        make_miner(recipe)
