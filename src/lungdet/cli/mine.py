"""Hard negatives: score places without a nodule in a run's training scans, keep the most probable as a table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.executor import make_executor, scheduler_words
from lungdet.errors import ConfigError, RunError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from lungdet.cli.scan_mining import ScanMiner
    from lungdet.data.ct import CtDataModule
    from lungdet.executors.outcome import Executor
    from lungdet.executors.prepared import Prepared
    from lungdet.io.scan_parts import ScanParts
    from lungdet.pipeline.hardest import Quota
    from lungdet.training.run_directory import RunDirectory

    Scorer = Callable[[pd.DataFrame], npt.NDArray[np.float32]]

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Mine, then write table and card; `data.extra_negatives=<table>` trains on it.

    Raises:
        ConfigError: a value out of range, or a table of other settings in the place of the new one.
        ClusterError: see `DaskExecutor`.
        RunError: a run that does not classify candidates, or whose patients are split otherwise now.
    """
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="mine")
    check_pool(cfg)
    with make_executor(cfg) as executor:
        mine(cfg, executor)


def mine(cfg: DictConfig, executor: Executor) -> None:
    """See `run`."""
    from lungdet.cli.scan_mining import ScanMiner
    from lungdet.io.negatives_table import card_path, read_negatives, write_negatives
    from lungdet.io.scan_parts import ScanParts
    from lungdet.pipeline.hardest import Quota
    from lungdet.training.run_directory import find_run

    quota = Quota(**cfg.keep)
    run_directory = find_run(cfg.run, Path(cfg.paths.runs))
    checkpoint = run_directory.checkpoint(cfg.checkpoint)
    datamodule, score = open_run(run_directory, checkpoint, cfg)
    out = run_directory.path / "mined.csv" if cfg.out is None else Path(cfg.out)
    card = describe(run_directory, checkpoint, datamodule, cfg)
    if out.exists():
        there = read_negatives(out)[1] or {}
        if any(there.get(name) != value for name, value in card.items()):
            raise ConfigError([f"out: {out} was mined otherwise (see {card_path(out).name}); give another by out=..."])
        log.info("%s is already there, mined with the same settings", out)
        return
    parts = ScanParts(out.with_name(f"{out.stem}.parts"), key=card)
    miner = ScanMiner(cfg, datamodule, score, quota=quota, card=card)
    work = miner.as_work(run_directory.path, checkpoint)
    table, counts = mine_scans(miner, executor, work, parts=parts, shared=run_directory.path)
    write_negatives(out, table, card={**card, "counts": counts})
    parts.remove()
    log.info("%d hard negatives of %d scans: %s", len(table), counts["scans"], out)
    log.info(
        "go on with them: lungdet train ... ckpt_path=%s trainer.max_epochs=<more> data.extra_negatives=%s "
        "data.extra_negatives_share=0.5",
        run_directory.path,
        out,
    )


def check_pool(cfg: DictConfig) -> None:
    """Refuse values that no pool can have, all of them at once."""
    problems = []
    if cfg.pool.background_per_scan < 0:
        problems.append(f"pool.background_per_scan={cfg.pool.background_per_scan} must be >= 0")
    if cfg.pool.background_per_scan == 0 and not cfg.pool.candidates:
        problems.append("pool: pool.background_per_scan=0 and pool.candidates=false leave nothing to score")
    if not 0 <= cfg.pool.minimum_distance_mm < float("inf"):
        problems.append(f"pool.minimum_distance_mm={cfg.pool.minimum_distance_mm} must be a distance >= 0 in mm")
    if cfg.batch_size < 1:
        problems.append(f"batch_size={cfg.batch_size} must be at least 1")
    if problems:
        raise ConfigError(problems)


def open_run(run_directory: RunDirectory, checkpoint: Path, cfg: DictConfig) -> tuple[CtDataModule, Scorer]:
    """The run's data with its own split, and its network."""
    from lungdet.config.build import build
    from lungdet.data.candidates import CandidateSamples
    from lungdet.data.partitions import Split

    trained = OmegaConf.load(run_directory.config)
    assert isinstance(trained, DictConfig)
    if "split" not in trained:
        raise RunError(f"{run_directory.path} has no training patients of its own; mine with a trained run")
    data = DictConfig(dict(trained.data))
    if "extra_negatives" in data:  # they are not mined again, and their tables may be gone
        data.extra_negatives = data.extra_negatives_share = None
    datamodule: CtDataModule = build(data, split=build(trained.split), seed=trained.seed)
    if datamodule.spec.target != "class" or datamodule.classes != CandidateSamples.classes:
        raise RunError(f"{run_directory.path} does not tell nodules from the rest; mine with a run that does")
    problems = datamodule.store_problems()
    if problems:
        raise ConfigError([f"data: {text}" for text in problems])
    datamodule.setup("predict")
    known = Split.from_json(run_directory.split.read_text())
    if known.hash != datamodule.split_result.hash:
        raise RunError(
            f"{run_directory.path} was trained on other patients than its configuration gives now: scans or tables of "
            "the collection changed since, and patients who are to validate or test could be mined; train again"
        )
    return datamodule, load_scorer(trained, checkpoint, datamodule, cfg)


def load_scorer(trained: DictConfig, checkpoint: Path, datamodule: CtDataModule, cfg: DictConfig) -> Scorer:
    """A function from a table of points to the logits that the run's network gives them."""
    import numpy as np
    import torch

    from lungdet.config.build import build
    from lungdet.data.candidate_dataset import CandidateDataset
    from lungdet.pipeline.inference import mean_logit, prepare_network
    from lungdet.pipeline.threads import map_in_threads

    task = build(trained.model, optim=None, scheduler=None)
    task.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    use_cuda = cfg.device == "cuda" or (cfg.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if use_cuda else "cpu")
    net = prepare_network(task.net, "run's").to(device)
    depth, height, width = datamodule.spec.shape

    def judge(batch: Any) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            logit = mean_logit((net,), datamodule.window(batch["hu"].to(device)), precision=cfg.precision)
            answer: npt.NDArray[np.float32] = logit.cpu().numpy()
            return answer

    def score(points: pd.DataFrame) -> npt.NDArray[np.float32]:
        dataset = CandidateDataset(datamodule.store, points, shape_zyx=(depth, height, width))
        firsts = range(0, len(points), cfg.batch_size)
        batches = (dataset.__getitems__(range(n, min(n + cfg.batch_size, len(points)))) for n in firsts)
        logits = np.concatenate([np.empty(0, np.float32), *map_in_threads(judge, batches, device=device)])
        if not np.isfinite(logits).all():
            raise RunError(f"{checkpoint}: the network gives NaN or infinity; choose another checkpoint=")
        return logits

    return score


def describe(
    run_directory: RunDirectory, checkpoint: Path, datamodule: CtDataModule, cfg: DictConfig
) -> dict[str, Any]:
    """Everything that decides the table, for its card."""
    import hashlib

    import pandas as pd

    tables = [datamodule.collection.annotations, datamodule.collection.excluded, datamodule.collection.candidates]
    hashes = [pd.util.hash_pandas_object(t, index=False).to_numpy().tobytes() for t in tables if t is not None]
    return {
        "run": run_directory.path.name,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "split_rule": datamodule.split_result.rule,
        "split_hash": datamodule.split_result.hash,
        "store_fingerprint": datamodule.store_fingerprint,
        "collection_sha256": hashlib.sha256(b"".join(hashes)).hexdigest(),
        "seed": cfg.seed,
        "pool": OmegaConf.to_container(cfg.pool),
        "keep": OmegaConf.to_container(cfg.keep),
        "precision": cfg.precision,
    }


def mine_scans(
    miner: ScanMiner, executor: Executor, work: Prepared[dict[str, Any]], *, parts: ScanParts, shared: Path
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The hardest negatives of the training scans, by series and falling probability, and how many of what there were.

    Args:
        miner: of this process.
        executor: where scans are worked on.
        work: `miner.mine`, there.
        parts: where scans that are done are kept.
        shared: a folder that whoever works has to see.

    Raises:
        RunError: scans that failed where one failure does not end the others' work; or no place is likely enough.
    """
    import pandas as pd

    from lungdet.cli.progress import scan_progress

    train = miner.train
    results = {uid: result for uid in train if (result := parts.read(uid)) is not None}
    failures: dict[str, str] = {}
    missing: dict[str, tuple[()]] = {uid: () for uid in train if uid not in results}
    with scan_progress("mine", total=len(train)) as advance:
        advance(len(results), len(train))
        for outcome in executor.run(work, missing, shared=shared):
            if outcome.value is None:
                failures[outcome.name] = str(outcome.failure)
                log.warning("%s: %s", outcome.name, outcome.failure)
            else:
                parts.write(outcome.name, outcome.value)
                results[outcome.name] = outcome.value
            advance(len(results) + len(failures), len(train), outcome.name)
    if failures:
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(failures.items()))
        n = f"{len(failures)} of {len(train)}"
        raise RunError(f"{n} scans failed; the others are kept, type the same again\n{listed}")
    wanted = miner.cfg.pool.background_per_scan
    short = [uid for uid in train if results[uid]["pool_background"] < wanted]
    if short:
        log.warning(
            "%d of %d scans have fewer than %d places in their lungs outside the findings, the first is %s",
            len(short), len(train), wanted, short[0],
        )  # fmt: skip
    columns = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm", "probability", "source"]
    rows = [(uid, *row) for uid in train for row in results[uid]["rows"]]
    table = pd.DataFrame(rows, columns=columns)
    if not len(table):
        least = miner.quota.minimum_probability
        raise RunError(f"no place of {len(train)} scans reaches keep.minimum_probability={least}; lower it")
    counts = {"scans": len(train), "scans_with_rows": int(table["series_uid"].nunique())}
    for name in ("pool_background", "pool_candidates", "above_minimum"):
        counts[name] = sum(result[name] for result in results.values())
    for source in ("background", "candidates"):
        counts[f"kept_{source}"] = int((table["source"] == source).sum())
    return table, counts


def make_pool(store: Any, uid: str, *, listed: pd.DataFrame | None, avoid: Any, n_background: int, seed: int) -> Any:
    """Places of one scan to score: random ones in the lungs, and the listed negatives, none in a sphere of `avoid`."""
    import pandas as pd

    from lungdet.data.background import draw_in_lung
    from lungdet.data.candidate_dataset import CENTER_COLUMNS

    tables = []
    if n_background:
        centers = draw_in_lung(store, uid, n=n_background, avoid=avoid, minimum_distance_mm=0.0, seed=seed)
        tables.append(pd.DataFrame(centers, columns=CENTER_COLUMNS).assign(source="background"))
    if listed is not None:
        far = listed.loc[~avoid.contain(listed[CENTER_COLUMNS].to_numpy()), CENTER_COLUMNS]
        tables.append(far.assign(source="candidates"))
    none = pd.DataFrame(columns=[*CENTER_COLUMNS, "source"])
    return pd.concat(tables, ignore_index=True).assign(series_uid=uid) if tables else none.assign(series_uid=uid)


def keep_hardest(points: pd.DataFrame, logit: npt.NDArray[np.float32], quota: Quota) -> dict[str, Any]:
    """The kept rows of one scan and what they were chosen from, ready for JSON."""
    import scipy.special

    from lungdet.data.candidate_dataset import CENTER_COLUMNS

    probability = scipy.special.expit(logit.astype("float64"))
    centers = points[CENTER_COLUMNS].to_numpy("float64")
    kept = quota.hardest(centers, probability)
    source = points["source"].to_numpy(str)
    return {
        "rows": [[*centers[row].tolist(), float(probability[row]), str(source[row])] for row in kept],
        "pool_background": int((source == "background").sum()),
        "pool_candidates": int((source == "candidates").sum()),
        "above_minimum": int((probability >= quota.minimum_probability).sum()),
    }


def main() -> None:
    """Entry point of `lungdet mine`."""
    sys.argv[1:] = scheduler_words(sys.argv[1:])
    launch("mine", run)


if __name__ == "__main__":
    main()
