"""Scoring candidates with one or several trained classifiers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lungdet.errors import ConfigError, RunError
from lungdet.io.scan import Scan
from lungdet.pipeline.calibrated import kind_of
from lungdet.pipeline.crops import CropInput, apply_window, crop_batches
from lungdet.pipeline.inference import (
    Mean,
    Precision,
    check_choice,
    device_of,
    mean_logit,
    parse_flips,
    prepare_network,
    resolve_precision,
)
from lungdet.pipeline.quick_copy import quick_copy
from lungdet.pipeline.threads import map_in_threads


@dataclass(frozen=True, kw_only=True)
class CandidateClassifier:
    """An ensemble of networks that judge one crop each: nodule or not, malignant or not.

    Args:
        nets: float32 [B, 1, D, H, W] -> [B, 2] (softmax pair, class 1 is the finding) or [B, 1] (one logit). They are
            put into evaluation mode and run where their weights lie. A `CalibratedNetwork` makes probabilities that can
            be read as chances.
        contract: the crop that all of them were trained on.
        flips: views to average over, as names of mirrored axes: `("", "x", "y", "yx")`.
        mean: average logits or probabilities over views and networks.
        batch_size: crops per forward pass. On a CPU LunaModel is fastest at 2 to 8: the activations of the first block
            of more crops do not fit into the cache.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 where the processor has it, which doubles the speed and
            moves probabilities in the third digit.
        name: what the networks judge, for messages and the recipe.

    Raises:
        ConfigError: no network, a batch size below 1, an unknown flip, mean or precision.
        RunError: weights that are NaN or infinite.
        ShapeError: a network that cannot take the crop.
    """

    nets: tuple[nn.Module, ...]
    contract: CropInput = field(default_factory=CropInput)
    flips: tuple[str, ...] = ("",)
    mean: Mean = "logit"
    batch_size: int = 4
    precision: Precision = "auto"
    name: str = "classifier"

    def __post_init__(self) -> None:
        if not self.nets:
            raise ConfigError([f"the {self.name} needs at least one network"])
        if self.batch_size < 1:
            raise ConfigError([f"batch_size={self.batch_size} of the {self.name}: must be at least 1"])
        check_choice("mean", self.mean, Mean)
        check_choice("precision", self.precision, Precision)
        parse_flips(self.flips)
        for net in self.nets:
            prepare_network(net, self.name)
            check_input = getattr(net, "check_input", None)
            if check_input is not None:
                check_input(1, self.contract.shape_zyx)

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "nets": [kind_of(net) for net in self.nets],
            "crop_zyx_vox": list(self.contract.shape_zyx),
            "spacing_zyx_mm": _listed(self.contract.spacing_zyx_mm),
            "window_hu": list(self.contract.window_hu),
            "scale": self.contract.scale,
            "border": self.contract.border,
            "flips": list(self.flips),
            "mean": self.mean,
            "precision": resolve_precision(self.precision, device_of(self.nets[0])),
        }

    def logits(self, scan: Scan, center_xyz_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Judge points of a scan.

        Args:
            scan: on the grid of the contract.
            center_xyz_mm: float64 [N, 3], world, within the volume.

        Returns:
            float32 [N].

        Raises:
            RunError: a network that answers NaN or infinity.
            ScanError: a scan smaller than the crop where crops are shifted inside.
        """
        index = np.rint(scan.geometry.world_to_index(center_xyz_mm)).astype(np.int64)
        # A point on the outer face of the last voxel rounds to one behind it.
        index = np.clip(index, 0, np.asarray(scan.hu.shape) - 1)
        device, flips = device_of(self.nets[0]), parse_flips(self.flips)
        nets = [quick_copy(net) for net in self.nets]

        def judge(crops: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                hu = torch.from_numpy(crops).to(device)
                image = apply_window(hu, self.contract.window_hu, self.contract.scale).unsqueeze(1)
                logit = mean_logit(nets, image, flips=flips, mean=self.mean, precision=self.precision)
                answer: npt.NDArray[np.float32] = logit.cpu().numpy()
                return answer

        batches = crop_batches(scan.hu, index, contract=self.contract, batch_size=self.batch_size)
        answers = list(map_in_threads(judge, batches, device=device))
        logits = np.concatenate([np.empty(0, dtype=np.float32), *answers])
        if not np.isfinite(logits).all():
            bad = int(np.count_nonzero(~np.isfinite(logits)))
            raise RunError(f"the {self.name} gives NaN or infinity for {bad} of {len(logits)} candidates")
        return logits


def _listed(values: tuple[float, ...] | None) -> list[float] | None:
    return None if values is None else list(values)
