"""Tiny networks with the run directories and files that `lungdet detect` takes them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from lungdet.data.partitions import Split
from lungdet.exports.rebuild import describe_network, rebuild

LUNA = {"_target_": "lungdet.nets.luna.LunaModel", "conv_channels": 2}
SLICES = {"_target_": "lungdet.nets.unet.SliceUNet", "in_channels": 7, "depth": 2, "first_width": 2}
VOLUME = {"_target_": "lungdet.nets.unet3d.DynUNet3d", "first_width": 2, "depth": 3}
TASKS = {
    "classifier": "lungdet.tasks.candidate_classification.CandidateClassification",
    "malignancy": "lungdet.tasks.malignancy.Malignancy",
    "segmentation": "lungdet.tasks.segmentation.Segmentation",
}
HU = {"range_hu": [-1000, 1000], "scale": "hu"}
UNIT = {"range_hu": [-1000, 400], "scale": "unit"}
SPLIT = Split(train=("p1", "p2"), val=("p3",), test=("p4", "p5"), rule="by hand")


def random_net(node: dict[str, Any], *, seed: int = 0) -> nn.Module:
    """The network with weights from a seed, whose answers spread."""
    torch.manual_seed(seed)
    net = rebuild(describe_network(node))
    for tensor in net.parameters():
        torch.nn.init.normal_(tensor, std=0.3)
    return net


def write_run(
    folder: Path,
    node: dict[str, Any] = LUNA,
    *,
    role: str = "classifier",
    net: nn.Module | None = None,
    crop: tuple[int, int, int] = (32, 48, 48),
    window: dict[str, Any] = HU,
    spacing: Any = "native",
    split: Split | None = SPLIT,
    seed: int = 0,
) -> Path:
    """A finished run: configuration, best checkpoint, predictions, split and provenance."""
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "model": {"_target_": TASKS[role], "net": node},
        "data": {"crop": {"vox": list(crop)}, "window": window, "store": {"spacing_mm": spacing}},
    }
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    net = random_net(node, seed=seed) if net is None else net
    state = {"state_dict": {f"net.{name}": tensor for name, tensor in net.state_dict().items()}}
    torch.save(state, folder / "checkpoints" / "best.ckpt")
    (folder / "predictions.parquet").write_bytes(b"")
    if split is not None:
        (folder / "split.json").write_text(split.to_json())
        (folder / "provenance.json").write_text(json.dumps({"split_hash": split.hash}))
    return folder
