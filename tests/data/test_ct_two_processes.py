"""Two real Lightning processes: they share the epochs of one, and every candidate is scored."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lungdet.data.augment import CropAugmentation
from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sample import ClassBatch
from lungdet.data.sampling import BalancedSampling
from lungdet.data.splits import Holdout
from lungdet.store.schema import CropSize, StoreSpec

WATCHDOG_S = 240


class Sums(pl.LightningModule):
    """Writes, for each sample this process was shown, its row and the sum of its voxels."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows: dict[str, list[Tensor]] = {}

    def note(self, stage: str, batch: ClassBatch) -> None:
        sums = batch["image"].double().sum(dim=(1, 2, 3, 4))
        self.rows.setdefault(stage, []).append(torch.stack([batch["index"].double(), sums], dim=1))

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        self.note(f"train{self.current_epoch}", batch)
        return (self.weight * batch["image"].mean()).sum()

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.note(f"predict{dataloader_idx}", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def write(self) -> None:
        for stage, rows in self.rows.items():
            np.save(self.folder / f"{stage}_{self.global_rank}.npy", torch.cat(rows).numpy())


def run(root: Path, store: Path, *, folder: Path, devices: int) -> None:
    datamodule = Luna16DataModule(
        root=root,
        store_path=store,
        store=StoreSpec(spacing_mm="native", lung_mask=False),
        crop=CropSize(vox=(8, 12, 10)),
        window=Window(),
        sampling=BalancedSampling(epoch_size=32),
        augment=CropAugmentation(),
        split=Holdout(val_fraction=0.25, test_fraction=0.25),
        batch_size=8,
    )
    # use_distributed_sampler stays at Lightning's default, True: it must leave our samplers alone.
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=2,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    model = Sums(folder)
    trainer.fit(model, datamodule=datamodule)
    trainer.predict(model, datamodule=datamodule, return_predictions=False)
    model.write()


@pytest.mark.slow
def test_two_processes_train_on_the_batches_of_one(
    luna_root: Path, luna_store: Path, make_datamodule: Callable[..., Luna16DataModule], tmp_path: Path
) -> None:
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        folder.mkdir()
        command = [sys.executable, __file__, str(luna_root), str(luna_store), str(folder), str(devices)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
        assert done.returncode == 0, done.stderr
    alone, ranks = tmp_path / "1", [0, 1]
    for epoch in (0, 1):
        one = np.load(alone / f"train{epoch}_0.npy")
        two = [np.load(tmp_path / "2" / f"train{epoch}_{rank}.npy") for rank in ranks]
        assert one.shape == (32, 2)
        assert two[0].shape == two[1].shape == (16, 2)
        # Element k of a global batch is element k // 2 of rank k % 2, augmented alike.
        assert (np.stack(two, axis=1).reshape(32, 2) == one).all()
    datamodule = make_datamodule()
    datamodule.setup()
    for loader, partition in enumerate(("val", "test")):
        rows = np.flatnonzero(datamodule.records["partition"] == partition)
        scored = [np.load(tmp_path / "2" / f"predict{loader}_{rank}.npy")[:, 0] for rank in ranks]
        assert np.stack(scored, axis=1).ravel()[: len(rows)].tolist() == rows.tolist()


if __name__ == "__main__":  # the processes that the test starts
    run(Path(sys.argv[1]), Path(sys.argv[2]), folder=Path(sys.argv[3]), devices=int(sys.argv[4]))
