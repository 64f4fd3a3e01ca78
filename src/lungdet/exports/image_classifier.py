"""From image files to probabilities with a trained network: decoding, preparation, views and calibration of its run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lungdet.errors import StoreError
from lungdet.exports.calibrated import positive_logit, probability_module
from lungdet.exports.card import NetworkCard
from lungdet.exports.load import load_exported
from lungdet.io.image_file import read_image
from lungdet.store.image_preprocess import ImageSpec, preprocess_image

Pixels = npt.NDArray[np.uint8]


class ImageClassifier:
    """A network for pictures with all that has to happen before and after it.

    Args:
        net: float32 [B, C, H, W] in [0, 1] -> raw outputs, with the views of its run inside; `load_exported` gives it.
        card: what it takes and what its answer means.
        device: where it computes.

    Attributes:
        channels: 1 for grey, 3 for RGB.

    Raises:
        RunError: a network for CT, or a damaged calibration.
        StoreError: a preparation that this version does not know.

    Example:
        `load_image_classifier("to/net.onnx").predict(["a.jpeg", "b.jpeg"])`
    """

    def __init__(self, net: nn.Module, card: NetworkCard, *, device: torch.device | str = "cpu") -> None:
        spec = card.image_input
        try:
            self.spec = ImageSpec.from_dict(spec.preparation)
        except (KeyError, TypeError) as error:
            raise StoreError(f"the card of {card.name} has a preparation that is not known here: {error}") from error
        self.card = card
        self.channels = cast(Literal[1, 3], spec.channels)
        self.device = torch.device(device)
        self.net = net.to(self.device).eval()
        self._calibrated = probability_module(card.calibration).double()

    def prepare(self, image: Pixels) -> Pixels:
        """What the run's store would hold of an image: uint8 [H, W] or [H, W, 3] -> uint8 [C, h, w].

        Raises:
            ScanError: another dtype or shape.
        """
        stored = preprocess_image(image, self.spec).stored
        return np.ascontiguousarray(stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1))

    def logits(self, prepared: Pixels) -> npt.NDArray[np.float64]:
        """Logits of the positive class, not calibrated: uint8 [N, C, h, w] -> float64 [N]."""
        image = torch.from_numpy(prepared).to(self.device, torch.float32) / 255
        with torch.inference_mode():
            logit = positive_logit(self.net(image).float()).double().cpu()
        return np.asarray(logit.numpy(), np.float64)

    def probabilities(self, logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Of the positive class, calibrated where the run was: float64 [N] -> float64 [N]."""
        with torch.inference_mode():
            probability: torch.Tensor = self._calibrated(torch.from_numpy(logit))
        return np.asarray(probability.numpy(), np.float64)

    def predict(self, files: Sequence[Path | str], *, batch_size: int = 32) -> npt.NDArray[np.float64]:
        """Probabilities of the positive class for image files, float64 [N].

        Raises:
            MissingFileError, ScanError: a file that is not there or cannot be read; `lungdet predict` skips those.
        """
        logits = []
        for first in range(0, len(files), batch_size):
            batch = [
                self.prepare(read_image(file, channels=self.channels)) for file in files[first : first + batch_size]
            ]
            logits.append(self.logits(np.stack(batch)))
        return self.probabilities(np.concatenate(logits)) if logits else np.empty(0)


def load_image_classifier(path: Path | str, *, device: torch.device | str = "cpu") -> ImageClassifier:
    """A network for pictures that `lungdet export` wrote; its card lies beside it.

    Args:
        path: `NAME.safetensors`, `NAME.onnx`, `NAME.pt2` or `NAME.ts.pt`.
        device: where it computes; ONNX on the CPU only.

    Raises:
        LungdetError: see `load_exported` and `ImageClassifier`.
    """
    exported = load_exported(path)
    return ImageClassifier(exported.net, exported.card, device=device)
