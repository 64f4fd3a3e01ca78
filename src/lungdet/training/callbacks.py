"""Lightning callbacks of a run: where checkpoints go, its history, its predictions. None of them changes the loss."""

from __future__ import annotations

import csv
import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger(__name__)

# In the log line of an epoch, as far as the task logs them.
_SAID = ("train/loss", "val/loss", "val/auroc", "val/dice", "val/crop_dice")


class RunCheckpoint(ModelCheckpoint):
    """`best.ckpt` by a monitored metric and `last.ckpt`, in `<run>/checkpoints`.

    Args:
        monitor: a name that the task logs.
        mode: whether more or less of it is better.
        save_last: also keep the state after the newest epoch, which `ckpt_path=last` resumes from.
    """

    def __init__(
        self, *, monitor: str = "val/auroc", mode: Literal["min", "max"] = "max", save_last: bool = True
    ) -> None:
        # At the end of the training epoch, not of its validation: only then is the history row complete.
        super().__init__(
            monitor=monitor,
            mode=mode,
            save_last=save_last,
            save_top_k=1,
            filename="best",
            save_on_train_epoch_end=True,
            # One name each: a run that was killed between two files must not go on with best-v1.ckpt.
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Decide the folder: the run directory is known only now."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was best so far, also where a run goes on in another directory or has been moved.

        Lightning would forget what there was to beat. The best checkpoint so far is copied: the new directory is whole.
        """
        there = state_dict.get("dirpath")
        if there is not None and self.dirpath is not None and there != self.dirpath:
            here = str(self.dirpath)
            best = Path(state_dict["best_model_path"])
            state_dict = _moved(state_dict, there, here)
            _copy_missing(best, Path(state_dict["best_model_path"]))
        super().load_state_dict(state_dict)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; Lightning renews `last.ckpt` only in epochs that are among the best, a resume needs every one."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.save_last and self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


class RunEarlyStopping(EarlyStopping):
    """Early stopping that a resumed run remembers: one that had stopped trains no further epoch.

    Args:
        monitor: a name that the task logs.
        mode: whether more or less of it is better.
        patience: epochs without a better value before training stops.
        min_delta: what counts as better.
    """

    def __init__(
        self,
        *,
        monitor: str = "val/auroc",
        mode: Literal["min", "max"] = "max",
        patience: int = 10,
        min_delta: float = 0.0,
    ) -> None:
        # An epoch whose metric is undefined (one class only) is not a reason to stop.
        super().__init__(monitor=monitor, mode=mode, patience=patience, min_delta=min_delta, check_finite=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where patience had run out before the interruption; Lightning would train one epoch more."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class History(Callback):
    """One row an epoch with everything that was logged: `history.csv`, and one readable log line.

    The rows travel in the checkpoint, so a resumed run has one unbroken history, in whatever directory.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._started = 0.0
        self._validated = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        self._validated = False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that this epoch has numbers of its own: Lightning keeps those of the last that was validated."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row: training and validation metrics are reduced by now; checkpoints are saved after."""
        self._record(trainer)
        if trainer.is_global_zero:
            self._write(Path(trainer.default_root_dir) / "history.csv")
            row = self.rows[-1]
            shown = " ".join(f"{k} {row[k]:.4g}" for k in _SAID if k in row)
            of = f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
            log.info("epoch %d%s: %s (%.0f s)", trainer.current_epoch + 1, of, shown, row["seconds"])

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the run that is resumed."""
        self.rows = [dict(row) for row in state_dict["rows"]]

    def _record(self, trainer: pl.Trainer) -> None:
        metrics = {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if self._validated or not name.startswith("val/")
        }
        seconds = time.perf_counter() - self._started
        self.rows.append({"epoch": trainer.current_epoch, "seconds": seconds, **metrics})

    def _write(self, path: Path) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for row in self.rows:
                writer.writerow({k: "" if math.isnan(v) else v for k, v in row.items()})
        partial.replace(path)


class PredictionCollector(Callback):
    """Gathers `predict_step` outputs of all processes; repeated rows of padded shards are dropped by their index.

    After `trainer.predict`, `results[loader]` holds what the task gave, by name: `index` int64 [N], sorted, and the
    others [N, ...] in its order (floats as float32), the same on every rank.
    """

    def __init__(self) -> None:
        self.results: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._parts: dict[int, list[dict[str, npt.NDArray[Any]]]] = {}

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier prediction."""
        self._parts, self.results = {}, {}

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep one batch."""
        arrays = {name: (value.float() if value.is_floating_point() else value) for name, value in outputs.items()}
        kept = {name: value.cpu().numpy() for name, value in arrays.items()}
        self._parts.setdefault(dataloader_idx, []).append(kept)

    def on_predict_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather, sort, drop repeats."""
        parts = [self._parts]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(gathered, self._parts)
            parts = gathered
        for loader in sorted({loader for part in parts for loader in part}):
            batches = [batch for part in parts for batch in part.get(loader, [])]
            joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
            _, first = np.unique(joined["index"], return_index=True)
            self.results[loader] = {name: values[first] for name, values in joined.items()}


@rank_zero_only
def _copy_missing(source: Path, target: Path) -> None:
    if source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        shutil.copyfile(source, partial)
        partial.replace(target)


def _moved(state: dict[str, Any], there: str, here: str) -> dict[str, Any]:
    """The state of a RunCheckpoint with all its paths in another folder."""

    def move(value: Any) -> Any:
        if isinstance(value, str):
            return here + value.removeprefix(there) if value.startswith(there) else value
        return {move(key): inner for key, inner in value.items()} if isinstance(value, dict) else value

    return {name: move(value) for name, value in state.items()}
