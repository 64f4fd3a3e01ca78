"""Where candidates come from: a segmentation network and its connected components. (Blobs: see `blobs.py`.)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lungdet.errors import ConfigError
from lungdet.io.scan import Scan
from lungdet.pipeline.candidates import Candidates
from lungdet.pipeline.components import cut_out, label, label_eroded, measure
from lungdet.pipeline.lungs import Lungs
from lungdet.pipeline.segment import Segmenter
from lungdet.pipeline.timing import StageClock

# A score image of one byte, an eighth of the memory of float64: logits x in equal steps of x / (8 + |x|). Probabilities
# in equal steps would give every component that the network is sure of the same score.
_HALF_WAY = 8.0
_STEPS = 127


class CandidateSource(Protocol):
    """Anything that finds places worth a look."""

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float] | None:
        """Grid it works on; None for the scan's own voxels."""

    def find(self, scan: Scan, lungs: Lungs, *, clock: StageClock) -> Candidates:
        """Candidates of a scan on that grid."""

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""


@dataclass(frozen=True, kw_only=True)
class SegmentationSource:
    """Connected components of what a network segments, in the lungs only.

    Args:
        segmenter: gives a logit per voxel.
        threshold: voxels of a higher probability belong to a candidate.
        split: how components are told apart. "erode" cuts bridges by one erosion and keeps what would vanish, so that a
            small nodule stays and a nodule on a vessel comes free; "connect" takes components as they are.
        lung_margin_mm: how far outside the lungs a candidate's centre may lie.
        minimum_diameter_mm: components of less volume than this ball are left out.

    Raises:
        ConfigError: a threshold outside (0, 1), a negative length, another `split`.
    """

    segmenter: Segmenter
    threshold: float = 0.5
    split: str = "erode"
    lung_margin_mm: float = 3.0
    minimum_diameter_mm: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError([f"threshold={self.threshold} of the segmentation must lie between 0 and 1"])
        if self.split not in ("erode", "connect"):
            raise ConfigError([f"split={self.split!r}: allowed are 'erode', 'connect'"])
        if min(self.lung_margin_mm, self.minimum_diameter_mm) < 0:
            raise ConfigError(["lung_margin_mm and minimum_diameter_mm must not be negative"])

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float] | None:
        """The segmenter's."""
        return self.segmenter.spacing_zyx_mm

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "kind": "segmentation",
            "segmenter": self.segmenter.describe(),
            "threshold": self.threshold,
            "split": self.split,
            "lung_margin_mm": self.lung_margin_mm,
            "minimum_diameter_mm": self.minimum_diameter_mm,
        }

    def find(self, scan: Scan, lungs: Lungs, *, clock: StageClock) -> Candidates:
        """Segment the lungs' box and measure the components whose centre lies in the search region.

        Returns:
            Candidates; `logit` is that of the component's most certain voxel, in 255 steps.
        """
        with clock.stage("lungs"):
            region = lungs.search_region(self.lung_margin_mm)
        box = region.box.grown(self.segmenter.halo_zyx, shape_zyx=scan.geometry.shape_zyx)
        with clock.stage("segment"):
            score = np.empty(box.shape_zyx, dtype=np.uint8)
            mask = np.empty(box.shape_zyx, dtype=bool)
            limit = np.log(self.threshold / (1 - self.threshold))
            for z, logit in self.segmenter.logits(scan.hu, box):
                mask[z : z + len(logit)] = logit > limit
                score[z : z + len(logit)] = np.rint((logit / (np.abs(logit) + _HALF_WAY) + 1) * _STEPS)
        with clock.stage("group"):
            # Components are formed before the region cuts them: a nodule of the wall is measured whole.
            labels = label_eroded(mask, keep_lost=True) if self.split == "erode" else label(mask)
            del mask
            components = measure(labels, scan.hu[box.slices], score=score)
            center = components.center_zyx + np.asarray(box.low_zyx)
            voxel = np.rint(center).astype(np.int64) - np.asarray(region.box.low_zyx)
            keep = np.all((voxel >= 0) & (voxel < region.inside.shape), axis=1)
            keep[keep] = region.inside[tuple(voxel[keep].T)]
            diameter = components.diameter_mm(scan.geometry.spacing_zyx_mm)
            keep &= diameter >= self.minimum_diameter_mm
            level = np.clip(components.score / _STEPS - 1, -1 + 0.5 / _STEPS, 1 - 0.5 / _STEPS)
            rows = np.flatnonzero(keep)
            return Candidates(
                scan.geometry.index_to_world(center[rows]),
                diameter[rows],
                components.mean_hu[rows],
                (_HALF_WAY * level / (1 - np.abs(level)))[rows],
                cut_out(labels, components, rows, low_zyx=np.asarray(box.low_zyx)),
            )
